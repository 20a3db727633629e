//! elements - random elements of any type, and whether two tensors have the same.

use crate::support::Rng;
use nnc_ir::dtype::{DType, Scalar};

/// Random elements of a storage type: small numbers, all bit patterns, and special values.
pub(crate) fn random(rng: &mut Rng, dtype: DType, n: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(n * dtype.bytes());
    for _ in 0..n {
        let bits = match (dtype, rng.below(4)) {
            (DType::Bool, _) => rng.next() >> 63,
            (_, 0) => quiet(dtype, rng.next()),
            (d, 1) if d.is_float() => {
                let specials = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e-40, 6e-8, 65520.0];
                let mut bytes = [0; 8];
                Scalar::float(d, specials[rng.below(8)]).store(d, &mut bytes);
                u64::from_le_bytes(bytes)
            }
            (d, 1) => [0, 1, u64::MAX, Scalar::lowest(d).bits, Scalar::highest(d).bits][rng.below(5)],
            (d, _) => {
                let mut bytes = [0; 8];
                let x = rng.below(41) as f64 - 20.0;
                let x = if d.is_float() { Scalar::float(d, x / 4.0) } else { Scalar::int(d, x as i64) };
                x.store(d, &mut bytes);
                u64::from_le_bytes(bytes)
            }
        };
        out.extend(&bits.to_le_bytes()[..dtype.bytes()]);
    }
    out
}

/// Bit patterns without signalling NaN: whether moving one makes it quiet is nobody's promise.
fn quiet(dtype: DType, bits: u64) -> u64 {
    let (exponent, quiet) = match dtype {
        DType::F16 => (0x7c00, 0x200),
        DType::BF16 => (0x7f80, 0x40),
        DType::F32 => (0x7f80_0000, 0x40_0000),
        DType::F64 => (0x7ff0_0000_0000_0000, 0x8_0000_0000_0000),
        _ => return bits,
    };
    if bits & exponent == exponent { bits | quiet } else { bits }
}

/// Whether two tensors have the same bits, all NaN counting as one.
pub(crate) fn same_bits(dtype: DType, a: &[u8], b: &[u8]) -> bool {
    let n = dtype.bytes();
    a.len() == b.len()
        && a.chunks(n).zip(b.chunks(n)).all(|(a, b)| {
            let (x, y) = (Scalar::load(dtype, a), Scalar::load(dtype, b));
            let nan = |s: Scalar| s.as_f64().is_some_and(f64::is_nan);
            a == b || (nan(x) && nan(y))
        })
}
