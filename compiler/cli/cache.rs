//! cache - `nnc cache`: what the compile cache holds, and emptying it.

use nnc::Cache;

use super::{
    Outcome,
    args::{CacheAction, CacheArgs},
    output::say,
};

pub(crate) fn run(args: &CacheArgs) -> Outcome {
    let Some(folder) = args.folder.folder() else {
        say!("no cache: give --cache DIR or set NNC_CACHE");
        return Ok(2);
    };
    let cache = Cache::new(&folder);
    let (size, what) = match args.action {
        CacheAction::Show => (cache.size()?, "has"),
        CacheAction::Clear => (cache.clear()?, "had"),
    };
    say!("{} {what} {} programs of {} bytes", folder.display(), size.programs, size.bytes);
    Ok(0)
}
