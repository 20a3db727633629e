//! values - what stands behind an option, read from its text.

use std::{path::PathBuf, time::Duration};

use nnc::cpu::Winograd;

pub(super) fn parse_winograd(text: &str) -> Result<Winograd, String> {
    let way = Winograd::ALL.into_iter().find(|way| way.m().to_string() == text);
    way.ok_or_else(|| "must be 2, 4 or 6".to_owned())
}

pub(super) fn parse_dim(text: &str) -> Result<(String, i64), String> {
    let (name, value) = text.split_once('=').ok_or("needs NAME=N")?;
    Ok((name.to_owned(), value.parse().map_err(|e| format!("'{value}': {e}"))?))
}

pub(super) fn parse_shape(text: &str) -> Result<(String, Vec<i64>), String> {
    let (name, dims) = text.rsplit_once('=').ok_or("needs NAME=D,D,...")?;
    let dims = dims.split(',').filter(|d| !d.is_empty());
    let dims = dims.map(|d| d.trim().parse().map_err(|e| format!("'{d}': {e}")));
    Ok((name.to_owned(), dims.collect::<Result<_, String>>()?))
}

pub(super) fn parse_bytes(text: &str) -> Result<i64, String> {
    let upper = text.to_ascii_uppercase();
    let (digits, shift) = match upper.strip_suffix(['K', 'M', 'G']) {
        Some(digits) if upper.ends_with('K') => (digits, 10),
        Some(digits) if upper.ends_with('M') => (digits, 20),
        Some(digits) => (digits, 30),
        None => (upper.as_str(), 0),
    };
    let number: i64 = digits.parse().map_err(|e| format!("'{text}': {e}"))?;
    let bytes = number.checked_mul(1 << shift).filter(|b| *b >= 0);
    bytes.ok_or_else(|| format!("'{text}' is out of range"))
}

/// So many that their times have room in memory.
pub(super) fn parse_calls(text: &str) -> Result<usize, String> {
    let calls: usize = text.parse().map_err(|e| format!("{e}"))?;
    (1..=1 << 24)
        .contains(&calls)
        .then_some(calls)
        .ok_or_else(|| format!("{calls} is not in 1 to {}", 1 << 24))
}

pub(super) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|e| format!("{e}"))?;
    Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())
}

pub(super) fn parse_input(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("needs NAME=FILE")?;
    Ok((name.to_owned(), file.into()))
}
