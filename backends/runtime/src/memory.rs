//! memory - how much of it a process may use.

use std::fs;
use std::path::Path;

/// The default memory limit in bytes: four fifths of what the machine has or the cgroup allows.
#[must_use]
pub fn default_max_memory() -> u64 {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = [
        machine_bytes(),
        group_bytes(&groups, "0::/", "/sys/fs/cgroup", "memory.max"),
        group_bytes(&groups, ":memory:/", "/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
    ];
    match limits.into_iter().flatten().min() {
        Some(bytes) => bytes / 5 * 4,
        None => i64::MAX.unsigned_abs(),
    }
}

/// The lowest limit of this process's group and those it is in. `mark` stands before the group's path in `groups`; the
/// two versions of cgroups differ in it, in where groups are, and in the name of the file.
fn group_bytes(groups: &str, mark: &str, root: &str, file: &str) -> Option<u64> {
    let group = groups.lines().find_map(|line| line.split_once(mark)).map_or("", |(_, group)| group);
    let limit = |group: &Path| number_in(&Path::new(root).join(group).join(file));
    Path::new(group).ancestors().filter_map(limit).min()
}

/// The number a file consists of; `None` without the file or for `max`.
fn number_in(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn machine_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_on_the_way_up_counts() {
        let root = std::env::temp_dir().join(format!("nnc-memory-{}", std::process::id()));
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/max"), "max\n").unwrap();
        fs::write(root.join("a/max"), "5000\n").unwrap();
        fs::write(root.join("max"), "7000\n").unwrap();
        let bytes = |groups: &str| group_bytes(groups, "0::/", root.to_str().unwrap(), "max");
        assert_eq!(bytes("1:cpu:/x\n0::/a/b\n"), Some(5000));
        assert_eq!(bytes("0::/elsewhere"), Some(7000));
        assert_eq!(bytes(""), Some(7000));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn the_limit_is_some_memory() {
        assert!(default_max_memory() > 1 << 20);
    }
}
