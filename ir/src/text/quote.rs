//! quote - names from files as quoted text on one line.

use std::fmt::Write;

/// The text between double quotes. Quotes, backslashes and everything that could break a line or steer a terminal is
/// escaped.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if is_unsafe(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Control characters, line and paragraph separators, marks and overrides of direction, the byte order mark.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The text of a quoted text at the start of `text`, and what follows it.
#[must_use]
pub fn unquote(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut out = String::new();
    loop {
        let special = rest.find(['"', '\\'])?;
        out.push_str(&rest[..special]);
        rest = &rest[special..];
        if let Some(after) = rest.strip_prefix('"') {
            return Some((out, after));
        } else if let Some(after) = rest.strip_prefix("\\u{") {
            let (hex, after) = after.split_once('}')?;
            out.push(char::from_u32(u32::from_str_radix(hex, 16).ok()?)?);
            rest = after;
        } else {
            let escaped = rest[1..].chars().next().filter(|c| matches!(c, '"' | '\\'))?;
            out.push(escaped);
            rest = &rest[2..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_read_back() {
        for name in
            ["", "conv_1/weight", "a\"b\\c", "line\nfeed\u{2028}\u{202e}\0\x1b[31m", "größe 数", "\\u{41}"]
        {
            let quoted = quote(name);
            assert!(!quoted.chars().any(is_unsafe), "{quoted}");
            assert_eq!(unquote(&format!("{quoted} rest")), Some((name.to_owned(), " rest")));
        }
        for wrong in ["", "a", "\"a", "\"\\", "\"\\n\"", "\"\\u{110000}\"", "\"\\u{", "\"\\ü\""] {
            assert_eq!(unquote(wrong), None, "{wrong}");
        }
    }
}
