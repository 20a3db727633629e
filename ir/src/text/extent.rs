//! extent - reads what `Extent`'s `Display` prints.

use crate::{
    entity::EntityId,
    extent::{Extent, SymbolId},
    ops::attr::split_top,
};

/// Deepest nesting of functions.
const MAX_DEPTH: usize = 64;

/// Reads an extent such as `2*s0*s1+floordiv(s2+1,2)+-3`.
#[must_use]
pub fn parse_extent(text: &str) -> Option<Extent> {
    parse_nested(text, MAX_DEPTH)
}

fn parse_nested(text: &str, depth: usize) -> Option<Extent> {
    split_outside(text, '+').into_iter().try_fold(Extent::ZERO, |sum, term| {
        let product = split_outside(term, '*')
            .into_iter()
            .try_fold(Extent::ONE, |p, factor| Some(&p * &parse_factor(factor, depth)?))?;
        Some(&sum + &product)
    })
}

fn parse_factor(text: &str, depth: usize) -> Option<Extent> {
    if let Ok(c) = text.parse::<i64>() {
        return Some(Extent::Const(c));
    }
    if let Some((name, rest)) = text.split_once('(') {
        let [a, b] = split_top(rest.strip_suffix(')')?)[..] else { return None };
        let depth = depth.checked_sub(1)?;
        let (a, b) = (parse_nested(a, depth)?, parse_nested(b, depth)?);
        return match name {
            "floordiv" => Some(a.floor_div(&b)),
            "mod" => Some(a.modulo(&b)),
            "min" => Some(a.min_with(&b)),
            "max" => Some(a.max_with(&b)),
            "bcast" => a.broadcast(&b),
            _ => None,
        };
    }
    let number: u32 = text.strip_prefix('s')?.parse().ok()?;
    Some(Extent::symbol(SymbolId::new(number as usize)))
}

/// Splits at `separator` outside of parentheses.
fn split_outside(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            c if c == separator && depth == 0 => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        let (n, h) = (Extent::symbol(SymbolId::new(0)), Extent::symbol(SymbolId::new(12)));
        let e = &(&(&n * &h).scale(-2) + &(&h - &Extent::Const(3)).floor_div(&Extent::Const(2)))
            + &n.min_with(&h);
        assert_eq!(parse_extent(&e.to_string()), Some(e));
        assert_eq!(parse_extent("s"), None);
        assert_eq!(parse_extent("floordiv(1)"), None);
        assert_eq!(parse_extent("s99999999999"), None);
        let deep = format!("{}s0{}", "mod(".repeat(9999), ",7)".repeat(9999));
        assert_eq!(parse_extent(&deep), None);
    }
}
