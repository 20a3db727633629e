//! constant - constants in text: small ones spelt out, others named by digest.

use crate::{
    constant::{Constant, Payload},
    dtype::{DType, Scalar},
    ops::attr::{Attr, split_top},
    text::FindConstant,
};

/// Most elements that are spelt out.
const MAX_ELEMENTS: usize = 16;

/// Whether the text of a constant says what it is, without a side file.
#[must_use]
pub fn is_spelt_out(constant: &Constant) -> bool {
    matches!(constant.payload(), Payload::Splat(_)) || constant.elements() <= MAX_ELEMENTS
}

/// `f32[2]=[1.0:f32,2.0:f32]`, `f32[1000]=splat(0.0:f32)`, or `f32[64,64]=#0123456789abcdef`.
#[must_use]
pub fn print(constant: &Constant) -> String {
    let value = match constant.payload() {
        Payload::Splat(s) => format!("splat({})", s.print()),
        _ if constant.elements() <= MAX_ELEMENTS => constant.scalars().print(),
        _ => format!("#{}", constant.short_digest()),
    };
    format!("{}={value}", constant.ty())
}

/// Reads what [`print`] gives; `find` looks digests up.
#[must_use]
pub fn parse(text: &str, find: Option<&FindConstant<'_>>) -> Option<Constant> {
    let (ty, value) = text.split_once('=')?;
    let (dtype, dims) = ty.strip_suffix(']')?.split_once('[')?;
    let dtype = DType::from_name(dtype)?;
    let dims: Vec<i64> = split_top(dims).into_iter().map(|d| d.parse().ok()).collect::<Option<_>>()?;
    let found = if let Some(digest) = value.strip_prefix('#') {
        find?(digest)?
    } else if let Some(splat) = value.strip_prefix("splat(") {
        Constant::new(dtype, &dims, Payload::Splat(Scalar::parse(splat.strip_suffix(')')?)?))?
    } else {
        let elements = Vec::<Scalar>::parse(value)?;
        if elements.iter().any(|x| x.dtype != dtype.compute()) {
            return None;
        }
        let mut bytes = vec![0; elements.len() * dtype.bytes()];
        for (chunk, x) in bytes.chunks_exact_mut(dtype.bytes()).zip(&elements) {
            x.store(dtype, chunk);
        }
        Constant::new(dtype, &dims, Payload::Inline(bytes.into()))?
    };
    (found.dtype() == dtype && found.dims() == dims).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_constants_are_spelt_out_and_read_back() {
        let elements = [1.5, f32::NAN, -0.0].map(Scalar::f32);
        let c = Constant::from_scalars(DType::F32, &[3], &elements);
        assert_eq!(print(&c), "f32[3]=[1.5:f32,0x7fc00000:f32,-0.0:f32]");
        assert_eq!(parse(&print(&c), None), Some(c));
        let s = Constant::new(DType::F16, &[2, 99], Payload::Splat(Scalar::f32(2.0))).expect("valid");
        assert_eq!(parse(&print(&s), None), Some(s));
        assert_eq!(parse("f32[2]=[1.0:f32]", None), None);
        assert_eq!(parse("f32[1]=[1:i64]", None), None);
    }
}
