//! attr - attribute values: the only types an operation may carry.

use crate::{
    constant::Constant,
    dtype::{DType, Scalar},
    entity::EntityId,
    extent::{Extent, SymbolId},
    text::{self, extent::parse_extent},
};

/// A type usable as an attribute. `parse(print(x)) == x`.
pub trait Attr: Sized {
    /// Text form: no white space, brackets balanced.
    fn print(&self) -> String;
    /// Inverse of [`Attr::print`].
    fn parse(text: &str) -> Option<Self>;
    /// Replaces every extent in it.
    fn map_extents(&mut self, _: &dyn Fn(&Extent) -> Extent) {}
}

macro_rules! attr_by_display {
    ($($ty:ty),*) => {$(
        impl Attr for $ty {
            fn print(&self) -> String { self.to_string() }
            fn parse(text: &str) -> Option<Self> { text.parse().ok() }
        }
    )*};
}
attr_by_display!(usize, i64, bool);

impl Attr for Extent {
    fn print(&self) -> String {
        self.to_string()
    }
    fn parse(text: &str) -> Option<Self> {
        parse_extent(text)
    }
    fn map_extents(&mut self, f: &dyn Fn(&Extent) -> Extent) {
        *self = f(self);
    }
}

impl Attr for SymbolId {
    fn print(&self) -> String {
        format!("s{}", self.index())
    }
    fn parse(text: &str) -> Option<Self> {
        let number: u32 = text.strip_prefix('s')?.parse().ok()?;
        Some(SymbolId::new(number as usize))
    }
}

impl Attr for DType {
    fn print(&self) -> String {
        self.name().to_owned()
    }
    fn parse(text: &str) -> Option<Self> {
        DType::from_name(text)
    }
}

/// `value:type`, exact for every float; bits in hexadecimal where there is no finite value.
impl Attr for Scalar {
    fn print(&self) -> String {
        match (self.as_i64(), self.as_f64()) {
            (Some(x), _) => format!("{x}:{}", self.dtype),
            (_, Some(x)) if x.is_finite() && self.dtype == DType::F32 => format!("{:?}:f32", self.to_f32()),
            (_, Some(x)) if x.is_finite() => format!("{x:?}:f64"),
            _ => format!("0x{:x}:{}", self.bits, self.dtype),
        }
    }
    fn parse(text: &str) -> Option<Self> {
        let (value, dtype) = text.split_once(':')?;
        let dtype = DType::from_name(dtype)?;
        match value.strip_prefix("0x") {
            Some(hex) => Some(Scalar { dtype, bits: u64::from_str_radix(hex, 16).ok()? }),
            None => Some(match dtype {
                DType::F32 => Scalar::f32(value.parse().ok()?),
                DType::F64 => Scalar::f64(value.parse().ok()?),
                _ => Scalar::int(dtype, value.parse().ok()?),
            }),
        }
    }
}

impl<T: Attr> Attr for Vec<T> {
    fn print(&self) -> String {
        format!("[{}]", self.iter().map(Attr::print).collect::<Vec<_>>().join(","))
    }
    fn parse(text: &str) -> Option<Self> {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        split_top(inner).into_iter().map(T::parse).collect()
    }
    fn map_extents(&mut self, f: &dyn Fn(&Extent) -> Extent) {
        for item in self {
            item.map_extents(f);
        }
    }
}

/// Splits at commas outside of brackets; an empty text has no parts.
#[must_use]
pub fn split_top(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0usize, 0);
    if text.is_empty() {
        return parts;
    }
    for (i, c) in text.char_indices() {
        match c {
            '[' | '(' | '{' => depth += 1,
            ']' | ')' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Finds a constant by its digest.
pub type FindConstant<'t> = &'t dyn Fn(&str) -> Option<Constant>;

/// Attributes as parsed: each must be taken exactly once.
#[derive(Default)]
pub struct Reader<'t> {
    /// Names and texts, in order.
    pub attrs: Vec<(&'t str, &'t str)>,
    /// Finds a constant by the digest that stands for it in text.
    pub constants: Option<FindConstant<'t>>,
}

impl<'t> Reader<'t> {
    /// Removes the attribute `name` and gives its value.
    ///
    /// # Errors
    /// If it is missing or unreadable.
    pub fn take<T: Attr>(&mut self, name: &str) -> Result<T, String> {
        let text = self.take_text(name)?;
        T::parse(text).ok_or_else(|| format!("attribute `{name}`: cannot read `{text}`"))
    }

    /// Removes the attribute `name` and gives the constant it spells or names.
    ///
    /// # Errors
    /// If it is missing or unreadable, or the store has no such constant.
    pub fn take_constant(&mut self, name: &str) -> Result<Constant, String> {
        let text = self.take_text(name)?;
        text::constant::parse(text, self.constants)
            .ok_or_else(|| format!("attribute `{name}`: no constant `{text}`"))
    }

    fn take_text(&mut self, name: &str) -> Result<&'t str, String> {
        let at = self.attrs.iter().position(|(n, _)| *n == name);
        let at = at.ok_or_else(|| format!("missing attribute `{name}`"))?;
        Ok(self.attrs.remove(at).1)
    }
}
