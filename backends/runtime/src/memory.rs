//! memory - how much of it a process may use.

use std::fs;

/// The default memory limit in bytes: four fifths of what the machine has or the cgroup allows.
#[must_use]
pub fn default_max_memory() -> u64 {
    let limits = [
        machine_bytes(),
        number_in("/sys/fs/cgroup/memory.max"),
        number_in("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    ];
    match limits.into_iter().flatten().min() {
        Some(bytes) => bytes / 5 * 4,
        None => i64::MAX.unsigned_abs(),
    }
}

/// The number a file consists of; `None` without the file or for `max`.
fn number_in(path: &str) -> Option<u64> {
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
    fn the_limit_is_some_memory() {
        assert!(default_max_memory() > 1 << 20);
    }
}
