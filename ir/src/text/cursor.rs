//! cursor - reads a line of text from left to right.

use crate::text::quote::unquote;

/// What is left of a line.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'t> {
    rest: &'t str,
}

impl<'t> Cursor<'t> {
    pub(super) fn new(line: &'t str) -> Self {
        Self { rest: line }
    }
    pub(super) fn starts_with(&self, text: &str) -> bool {
        self.rest.starts_with(text)
    }
    /// Skips `text`, if it comes next.
    pub(super) fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
    /// Skips `text`, if it comes next and `then` after it.
    pub(super) fn eat_before(&mut self, text: &str, then: &str) -> bool {
        let comes = self.rest.strip_prefix(text).is_some_and(|rest| rest.starts_with(then));
        comes && self.eat(text)
    }
    pub(super) fn expect(&mut self, text: &str) -> Result<(), String> {
        if self.eat(text) { Ok(()) } else { Err(self.expected(&format!("`{text}`"))) }
    }
    pub(super) fn end(&self) -> Result<(), String> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.expected("the end of the line")) }
    }
    /// The comma between items, unless `close` comes next.
    pub(super) fn separator(&mut self, close: &str) -> Result<(), String> {
        if self.starts_with(close) { Ok(()) } else { self.expect(", ") }
    }
    /// Says what should come here.
    pub(super) fn expected(&self, what: &str) -> String {
        let found: String = self.rest.chars().take(24).collect();
        let found = if found.is_empty() { "the end of the line".to_owned() } else { format!("`{found}`") };
        format!("expected {what}, found {found}")
    }

    fn take(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }
    /// Letters, digits and underscores.
    pub(super) fn word(&mut self) -> &'t str {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        self.take(end.unwrap_or(self.rest.len()))
    }
    /// Everything up to a space, or a comma or closing bracket outside of brackets.
    pub(super) fn token(&mut self) -> &'t str {
        let mut depth = 0usize;
        let end = self.rest.find(|c: char| {
            match c {
                '[' | '(' | '{' => depth += 1,
                ']' | ')' | '}' if depth == 0 => return true,
                ']' | ')' | '}' => depth -= 1,
                _ => {}
            }
            c == ' ' || (c == ',' && depth == 0)
        });
        self.take(end.unwrap_or(self.rest.len()))
    }
    /// `%` and a number.
    pub(super) fn value(&mut self) -> Result<&'t str, String> {
        let digits = self.rest.strip_prefix('%').ok_or_else(|| self.expected("a value such as `%0`"))?;
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        if end == 0 {
            return Err(self.expected("a value such as `%0`"));
        }
        Ok(self.take(1 + end))
    }
    /// Values with commas between them.
    pub(super) fn values(&mut self) -> Result<Vec<&'t str>, String> {
        let mut values = vec![self.value()?];
        while self.eat(", ") {
            values.push(self.value()?);
        }
        Ok(values)
    }
    pub(super) fn quoted(&mut self) -> Result<String, String> {
        let (text, rest) = unquote(self.rest).ok_or_else(|| self.expected("a quoted name"))?;
        self.rest = rest;
        Ok(text)
    }
    /// What stands between the braces that come next; nothing if none come, or if they open regions.
    pub(super) fn attributes(&mut self) -> Result<&'t str, String> {
        if self.rest == " {" || !self.eat(" {") {
            return Ok("");
        }
        let mut depth = 1usize;
        let end = self.rest.find(|c: char| {
            match c {
                '[' | '(' | '{' => depth += 1,
                ']' | ')' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0
        });
        let end = end.ok_or_else(|| self.expected("attributes up to `}`"))?;
        let attributes = self.take(end);
        self.expect("}")?;
        Ok(attributes)
    }
}
