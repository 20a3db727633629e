//! process - what the system says of this process: memory, page faults, processor time. Zeros where it says nothing.

use std::fs;

/// A line of the memory figures, `VmRSS:` or `VmHWM:` (the peak), in MB.
pub(super) fn memory_mb(field: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(field));
    let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0);
    kib / 1024.0
}

/// Page faults so far, those that needed no disk and those that did.
pub(super) fn page_faults() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name before `)` may have spaces; minor faults are the eighth field after it, major ones the tenth.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    [7, 9].iter().filter_map(|&i| fields.get(i)?.parse::<u64>().ok()).sum()
}

/// Processor time of all threads so far, in ms.
pub(super) fn cpu_ms() -> f64 {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let ns = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    ns.sum::<f64>() / 1e6
}
