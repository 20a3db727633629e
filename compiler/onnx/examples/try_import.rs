//! throwaway
use nnc_onnx::{import::*, load::*};
fn main() {
    let (mut ok, mut n) = (0, 0);
    let mut hist: std::collections::BTreeMap<String, usize> = Default::default();
    let verbose = std::env::var("V").is_ok();
    for path in std::env::args().skip(1) {
        n += 1;
        let r = std::panic::catch_unwind(|| {
            load_file(path.as_ref(), &LoadOptions::default())
                .map_err(|e| ("load", e))
                .and_then(|m| import(&m, &ImportOptions::as_declared()).map_err(|e| ("import", e)))
        });
        match r {
            Ok(Ok((m, w))) => {
                ok += 1;
                println!("OK {path}: {} nodes {} constraints", m.node_count(), m.constraints.len());
                let mut ws: Vec<_> = w.iter().map(|w| w.to_string()).collect();
                ws.sort();
                ws.dedup();
                if verbose {
                    for w in ws.iter().take(6) {
                        println!("   {w}")
                    }
                    else_(&m)
                }
            }
            Ok(Err((what, e))) => {
                println!("FAIL {what} {path}");
                for d in e.iter().filter(|d| d.is_error()).take(if verbose { 50 } else { 4 }) {
                    println!("   {d}");
                    *hist.entry(d.message.clone()).or_default() += 1;
                }
            }
            Err(_) => println!("PANIC {path}"),
        }
    }
    println!("{ok} of {n}");
    let mut h: Vec<_> = hist.into_iter().collect();
    h.sort_by_key(|x| std::cmp::Reverse(x.1));
    for (m, c) in h.iter().take(60) {
        println!("{c:5} {m}");
    }
}
fn else_(m: &nnc_ir::graph::Module) {
    for &v in &m.region(m.body()).params {
        println!("   in {}", m.ty(v));
    }
    for &v in &m.region(m.body()).results {
        println!("   out {}", m.ty(v));
    }
}
