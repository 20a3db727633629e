//! sample - inputs made up for a program, the same ones every time.

use nnc_runtime::{Dim, ElemType, Port, Program, Session, SessionOptions, Signature, Tensor};

use crate::Failure;

/// What symbols are in made-up inputs, within their ranges: the first of these that the program takes.
const EXTENTS: [i64; 5] = [8, 1, 32, 64, 224];

/// A tensor for each input of a program, with which it runs: floats in -1..1, integers 0 and 1.
///
/// # Errors
/// E0801 for an input whose extents cannot be made up, since they depend on others; E05 if one is too large; what a run
/// ends with if none of the extents tried will do.
pub fn sample_inputs(program: &Program) -> Result<Vec<Tensor>, Failure> {
    let mut failure = None;
    for extent in EXTENTS {
        let inputs = inputs(program.signature(), extent)?;
        let views: Vec<_> = inputs.iter().map(Tensor::view).collect();
        match program.run(&mut Session::new(&SessionOptions::host()), &views) {
            Ok(_) => return Ok(inputs),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.map_or_else(|| Failure::single(801, "no inputs to try"), Failure::from))
}

fn inputs(signature: &Signature, extent: i64) -> Result<Vec<Tensor>, Failure> {
    let mut random = SplitMix(0x6e6e_6300);
    signature.inputs.iter().map(|port| tensor(port, signature, extent, &mut random)).collect()
}

fn tensor(port: &Port, signature: &Signature, extent: i64, random: &mut SplitMix) -> Result<Tensor, Failure> {
    let dim = |dim: &Dim| match dim {
        Dim::Fixed(n) => Ok(*n),
        Dim::Symbol(s) => {
            let symbol = &signature.symbols[*s as usize];
            Ok(extent.clamp(symbol.min, symbol.max))
        }
        Dim::Derived => {
            let what = format!("the extents of input '{}' follow from others: give inputs", port.name);
            Err(Failure::single(801, what))
        }
    };
    let dims = port.dims.iter().map(dim).collect::<Result<Vec<i64>, Failure>>()?;
    let mut tensor = Tensor::zeroed(port.elem, &dims)?;
    fill(&mut tensor, random);
    Ok(tensor)
}

fn fill(tensor: &mut Tensor, random: &mut SplitMix) {
    let elem = tensor.elem();
    let elements = tensor.dims().iter().product::<i64>().max(1);
    let width = tensor.bytes().len() / usize::try_from(elements).unwrap_or(usize::MAX);
    for element in tensor.bytes_mut().chunks_exact_mut(width.max(1)) {
        let bits = random.next();
        let unit = (bits >> 40) as f32 / (1u32 << 23) as f32 - 1.0;
        match elem {
            ElemType::F32 => element.copy_from_slice(&unit.to_le_bytes()),
            ElemType::F64 => element.copy_from_slice(&f64::from(unit).to_le_bytes()),
            ElemType::F16 => element.copy_from_slice(&half::f16::from_f32(unit).to_le_bytes()),
            ElemType::Bf16 => element.copy_from_slice(&half::bf16::from_f32(unit).to_le_bytes()),
            _ => element[0] = u8::from(bits >> 63 == 1),
        }
    }
}

/// Steele, Lea, Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
