//! tensor - dense row-major tensors as callers give and get them.

use crate::arena::{AlignedBytes, Plain};
use crate::elem::{ElemType, tensor_bytes};
use crate::error::{Error, Result, out_of_memory};

/// A Rust number that is an element type.
///
/// `bool`, `f16` and `bf16` have none: their tensors are read by [`Tensor::bytes`] or [`TensorView::to_f64s`].
#[expect(private_bounds, reason = "sealed: which types are plain is the runtime's business")]
pub trait Element: Plain {
    /// The element type.
    const ELEM: ElemType;
}

macro_rules! elements {
    ($($t:ty: $elem:ident,)*) => {$(
        impl Element for $t {
            const ELEM: ElemType = ElemType::$elem;
        }
    )*};
}
elements! {
    u8: U8, i8: I8, u16: U16, i16: I16, u32: U32, i32: I32, u64: U64, i64: I64, f32: F32, f64: F64,
}

/// An owned tensor; its bytes are aligned to 64.
///
/// ```
/// use nnc_runtime::Tensor;
///
/// let x = Tensor::from_slice(&[2, 2], &[1.0f32, 2.0, 3.0, 4.0])?;
/// assert_eq!(x.view().dims, [2, 2]);
/// assert_eq!(x.as_slice::<f32>(), Some(&[1.0, 2.0, 3.0, 4.0][..]));
/// # Ok::<(), nnc_runtime::Error>(())
/// ```
#[derive(Debug)]
pub struct Tensor {
    elem: ElemType,
    dims: Vec<i64>,
    bytes: AlignedBytes,
}

/// A borrowed tensor, to read. The bytes need no alignment.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// Element type.
    pub elem: ElemType,
    /// Extents.
    pub dims: &'a [i64],
    /// Elements, little-endian, row-major, as many as the extents say.
    pub bytes: &'a [u8],
}

/// A borrowed tensor, to be written by a run.
#[derive(Debug)]
pub struct TensorViewMut<'a> {
    /// Element type.
    pub elem: ElemType,
    /// As long as the rank; the run writes the extents here.
    pub dims: &'a mut [i64],
    /// Room for the elements: aligned to the element's size, and long enough for the extents' upper bound.
    pub bytes: &'a mut [u8],
}

/// Bytes that extents ask for, as an error if those cannot be.
pub(crate) fn checked_bytes(what: &str, elem: ElemType, dims: &[i64]) -> Result<usize> {
    if let Some(bytes) = tensor_bytes(elem, dims) {
        return Ok(bytes);
    }
    if let Some(dim) = dims.iter().find(|&&d| d < 0) {
        return Err(Error::new(802, format!("{what} has the extent {dim}")));
    }
    Err(out_of_memory(&format!("{what} of extents {dims:?}"), "over 2^63", None))
}

impl Tensor {
    /// A tensor of zeros.
    ///
    /// # Errors
    /// E0802 for a negative extent, E0501 when there is no memory.
    pub fn zeroed(elem: ElemType, dims: &[i64]) -> Result<Self> {
        let bytes = AlignedBytes::zeroed(checked_bytes("a tensor", elem, dims)?)?;
        Ok(Self { elem, dims: dims.to_vec(), bytes })
    }

    /// A tensor of these elements.
    ///
    /// # Errors
    /// E0803 when the extents ask for another number of elements, else as [`Tensor::zeroed`].
    pub fn from_slice<T: Element>(dims: &[i64], elements: &[T]) -> Result<Self> {
        let bytes = checked_bytes("a tensor", T::ELEM, dims)?;
        if bytes != size_of_val(elements) {
            return Err(wrong_length(T::ELEM, dims, bytes, size_of_val(elements)));
        }
        let mut tensor = Self::zeroed(T::ELEM, dims)?;
        if let Some(into) = tensor.bytes.elements_mut() {
            into.copy_from_slice(elements);
        }
        Ok(tensor)
    }

    /// A tensor of these bytes, which are copied.
    ///
    /// # Errors
    /// E0803 when the extents ask for another number of bytes, else as [`Tensor::zeroed`].
    pub fn from_bytes(elem: ElemType, dims: &[i64], bytes: &[u8]) -> Result<Self> {
        let needed = checked_bytes("a tensor", elem, dims)?;
        if needed != bytes.len() {
            return Err(wrong_length(elem, dims, needed, bytes.len()));
        }
        Ok(Self { elem, dims: dims.to_vec(), bytes: AlignedBytes::copy_of(bytes)? })
    }

    /// Element type.
    #[must_use]
    pub fn elem(&self) -> ElemType {
        self.elem
    }

    /// Extents.
    #[must_use]
    pub fn dims(&self) -> &[i64] {
        &self.dims
    }

    /// Elements as bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The buffer of the elements.
    #[must_use]
    pub fn into_bytes(self) -> AlignedBytes {
        self.bytes
    }

    /// Elements as bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Elements, or `None` when they are of another type.
    #[must_use]
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        if self.elem == T::ELEM { self.bytes.elements() } else { None }
    }

    /// Elements to write, or `None` when they are of another type.
    pub fn as_mut_slice<T: Element>(&mut self) -> Option<&mut [T]> {
        if self.elem == T::ELEM { self.bytes.elements_mut() } else { None }
    }

    /// The tensor, borrowed.
    #[must_use]
    pub fn view(&self) -> TensorView<'_> {
        TensorView { elem: self.elem, dims: &self.dims, bytes: &self.bytes }
    }

    /// The tensor, borrowed as the output of a run. Should the run give it fewer elements, cut it by
    /// [`Tensor::fit`] afterwards.
    pub fn view_mut(&mut self) -> TensorViewMut<'_> {
        TensorViewMut { elem: self.elem, dims: &mut self.dims, bytes: &mut self.bytes }
    }

    /// Forgets the bytes beyond what the extents ask for.
    pub fn fit(&mut self) {
        if let Some(bytes) = tensor_bytes(self.elem, &self.dims) {
            self.bytes.truncate(bytes);
        }
    }

    /// Address of the elements, for compiled code.
    pub(crate) fn start(&mut self) -> *mut u8 {
        self.bytes.start()
    }

    /// Sets the extents and cuts the bytes to them; what the tensor has must be enough.
    pub(crate) fn set_dims(&mut self, dims: &[i64]) {
        self.dims.clear();
        self.dims.extend_from_slice(dims);
        self.fit();
    }
}

impl TensorView<'_> {
    /// Copies the tensor.
    ///
    /// # Errors
    /// As [`Tensor::from_bytes`].
    pub fn to_tensor(&self) -> Result<Tensor> {
        Tensor::from_bytes(self.elem, self.dims, self.bytes)
    }

    /// Elements as `f64`, whatever their type (integers over 2^53 are rounded): for comparing and printing.
    #[must_use]
    pub fn to_f64s(&self) -> Vec<f64> {
        macro_rules! convert {
            ($t:ty, $f:expr) => {
                self.bytes.as_chunks().0.iter().map(|bytes| $f(<$t>::from_le_bytes(*bytes))).collect()
            };
        }
        match self.elem {
            ElemType::Bool => self.bytes.iter().map(|&b| f64::from(u8::from(b != 0))).collect(),
            ElemType::U8 => convert!(u8, f64::from),
            ElemType::I8 => convert!(i8, f64::from),
            ElemType::U16 => convert!(u16, f64::from),
            ElemType::I16 => convert!(i16, f64::from),
            ElemType::U32 => convert!(u32, f64::from),
            ElemType::I32 => convert!(i32, f64::from),
            ElemType::U64 => convert!(u64, |x| x as f64),
            ElemType::I64 => convert!(i64, |x| x as f64),
            ElemType::F16 => convert!(u16, |x| f64::from(f16_to_f32(x))),
            ElemType::Bf16 => convert!(u16, |x| f64::from(bf16_to_f32(x))),
            ElemType::F32 => convert!(f32, f64::from),
            ElemType::F64 => convert!(f64, f64::from),
        }
    }
}

fn wrong_length(elem: ElemType, dims: &[i64], needed: usize, given: usize) -> Error {
    Error::new(803, format!("{elem} of extents {dims:?} has {needed} bytes, given {given}"))
}

/// The value of an IEEE binary16.
#[must_use]
pub fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let exponent = u32::from(bits >> 10 & 0x1f);
    let fraction = u32::from(bits & 0x3ff);
    let magnitude = match exponent {
        // Zero and denormals: fraction * 2^-24, which is exact.
        0 => return f32::from_bits((fraction as f32 * f32::from_bits(0x3380_0000)).to_bits() | sign),
        0x1f => 0x7f80_0000 | fraction << 13,
        _ => (exponent + 112) << 23 | fraction << 13,
    };
    f32::from_bits(sign | magnitude)
}

/// The value of a bfloat16.
#[must_use]
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_round_trip() {
        let mut tensor = Tensor::from_slice(&[2, 2], &[1.0f32, -2.0, 3.5, f32::INFINITY]).unwrap();
        assert_eq!(tensor.as_slice::<f32>().unwrap(), [1.0, -2.0, 3.5, f32::INFINITY]);
        assert!(tensor.as_slice::<i32>().is_none());
        assert_eq!(tensor.view().to_f64s(), [1.0, -2.0, 3.5, f64::INFINITY]);
        tensor.as_mut_slice::<f32>().unwrap()[0] = 9.0;
        assert_eq!(tensor.view().to_tensor().unwrap().bytes(), tensor.bytes());
        tensor.set_dims(&[1, 2]);
        assert_eq!(tensor.as_slice::<f32>().unwrap(), [9.0, -2.0]);
    }

    #[test]
    fn wrong_extents_are_errors() {
        assert_eq!(Tensor::from_slice(&[3], &[1i64]).unwrap_err().code(), 803);
        assert_eq!(Tensor::from_bytes(ElemType::F16, &[2], &[0; 3]).unwrap_err().code(), 803);
        assert_eq!(Tensor::zeroed(ElemType::U8, &[-1]).unwrap_err().code(), 802);
        assert_eq!(Tensor::zeroed(ElemType::U8, &[i64::MAX, 2]).unwrap_err().code(), 501);
        assert_eq!(Tensor::zeroed(ElemType::F64, &[1 << 57]).unwrap_err().code(), 501);
        assert!(Tensor::zeroed(ElemType::F64, &[0, 1 << 60]).unwrap().bytes().is_empty());
    }

    #[test]
    fn halves_are_converted() {
        let cases = [
            (0x0000, 0.0),
            (0x8000, -0.0),
            (0x0001, 2f32.powi(-24)),
            (0x83ff, -1023.0 * 2f32.powi(-24)),
            (0x0400, 2f32.powi(-14)),
            (0x3c00, 1.0),
            (0xc100, -2.5),
            (0x7bff, 65504.0),
            (0x7c00, f32::INFINITY),
            (0xfc00, f32::NEG_INFINITY),
        ];
        for (bits, value) in cases {
            assert_eq!(f16_to_f32(bits).to_bits(), f32::to_bits(value), "{bits:#x}");
        }
        assert!(f16_to_f32(0x7e00).is_nan());
        assert_eq!(bf16_to_f32(0xc020), -2.5);
    }
}
