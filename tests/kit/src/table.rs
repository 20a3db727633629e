//! table - reads the few TOML files that list what to test: `[[name]]` and `key = value` lines.
//!
//! Values are strings (with `\n`, `\t`, `\"`, `\\`, `\uXXXX` escapes), integers, floats, `true`, `false` and arrays of
//! these on one line.

use std::collections::BTreeMap;

/// One `[[name]]` with its keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// What stands in the brackets.
    pub name: String,
    /// Line of the brackets.
    pub line: usize,
    values: BTreeMap<String, Value>,
}

/// What stands behind a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A number, whole or not.
    Number(f64),
    /// `true` or `false`.
    Bool(bool),
    /// Several.
    Array(Vec<Value>),
}

impl Row {
    /// The text behind a key.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        if let Some(Value::Text(text)) = self.values.get(key) { Some(text) } else { None }
    }
    /// The number behind a key.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<f64> {
        if let Some(Value::Number(x)) = self.values.get(key) { Some(*x) } else { None }
    }
    /// Whether `true` stands behind a key.
    #[must_use]
    pub fn is(&self, key: &str) -> bool {
        self.values.get(key) == Some(&Value::Bool(true))
    }
    /// The texts behind a key; one alone counts too.
    #[must_use]
    pub fn texts(&self, key: &str) -> Vec<&str> {
        match self.values.get(key) {
            Some(Value::Text(text)) => vec![text],
            Some(Value::Array(values)) => values
                .iter()
                .filter_map(|v| if let Value::Text(t) = v { Some(t.as_str()) } else { None })
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// The rows of a file.
///
/// # Errors
/// The first line that is not understood.
pub fn rows(text: &str) -> Result<Vec<Row>, String> {
    let mut rows: Vec<Row> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let (line, number) = (line.trim(), number + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("[[").and_then(|l| l.strip_suffix("]]")) {
            rows.push(Row { name: name.to_owned(), line: number, ..Row::default() });
            continue;
        }
        let read = || {
            let (key, rest) = line.split_once('=')?;
            let (value, rest) = value(rest.trim())?;
            let comment = rest.trim_start();
            (comment.is_empty() || comment.starts_with('#')).then(|| (key.trim().to_owned(), value))
        };
        let (key, value) = read().ok_or_else(|| format!("line {number}: cannot read `{line}`"))?;
        let row = rows.last_mut().ok_or_else(|| format!("line {number}: before the first [[..]]"))?;
        row.values.insert(key, value);
    }
    Ok(rows)
}

/// A value and what follows it.
fn value(text: &str) -> Option<(Value, &str)> {
    if let Some(text) = text.strip_prefix('"') {
        return string(text);
    }
    if let Some(mut rest) = text.strip_prefix('[') {
        let mut values = Vec::new();
        loop {
            rest = rest.trim_start();
            if let Some(rest) = rest.strip_prefix(']') {
                return Some((Value::Array(values), rest));
            }
            let (item, after) = value(rest)?;
            values.push(item);
            rest = after.trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
    }
    let end = text.find([',', ']', '#', ' ']).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let value = match word {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => Value::Number(word.replace('_', "").parse().ok()?),
    };
    Some((value, rest))
}

/// The rest of a string after its first quote.
fn string(text: &str) -> Option<(Value, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((Value::Text(out), &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'u' => {
                    let digits: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                    out.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                }
                other => out.push(other),
            },
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_with_texts_numbers_and_arrays_are_read() {
        let rows = rows(
            "# list\n[[a]]\nx = \"q\\\"\\u001b\" # why\ny = [\"b\", \"c\"]\n\n[[a]]\nz = 1.5e-5\nt = true\n",
        )
        .expect("valid");
        assert_eq!(rows[0].text("x"), Some("q\"\u{1b}"));
        assert_eq!(rows[0].texts("y"), ["b", "c"]);
        assert_eq!((rows[1].number("z"), rows[1].is("t"), rows[1].line), (Some(1.5e-5), true, 6));
        assert!(super::rows("[[a]]\nx = \"open").is_err());
    }
}
