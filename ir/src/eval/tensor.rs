//! tensor - tensors of an evaluation, and rows of their elements.

use std::{borrow::Cow, rc::Rc, sync::Arc};

use crate::{
    constant::{Constant, Payload},
    dtype::{DType, Scalar},
    eval::error::{Budget, EvalError},
    types::TensorType,
};

/// A tensor with its elements: little-endian, row-major, in the storage type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub dims: Vec<i64>,
    /// The elements.
    pub bytes: Vec<u8>,
}

impl Tensor {
    /// A tensor from elements of the compute type of `dtype`.
    #[must_use]
    pub fn from_scalars(dtype: DType, dims: &[i64], elements: &[Scalar]) -> Self {
        let mut bytes = vec![0; elements.len() * dtype.bytes()];
        for (chunk, x) in bytes.chunks_exact_mut(dtype.bytes()).zip(elements) {
            x.store(dtype, chunk);
        }
        Self { dtype, dims: dims.to_vec(), bytes }
    }
    /// An `f32` tensor.
    #[must_use]
    pub fn f32s(dims: &[i64], elements: &[f32]) -> Self {
        Self::from_scalars(DType::F32, dims, &elements.iter().map(|&x| Scalar::f32(x)).collect::<Vec<_>>())
    }
    /// An `i64` tensor.
    #[must_use]
    pub fn i64s(dims: &[i64], elements: &[i64]) -> Self {
        Self::from_scalars(DType::I64, dims, &elements.iter().map(|&x| Scalar::i64(x)).collect::<Vec<_>>())
    }
    /// Type as a value.
    #[must_use]
    pub fn ty(&self) -> TensorType {
        TensorType::of(self.dtype, &self.dims)
    }
    /// Every element in row-major order.
    #[must_use]
    pub fn scalars(&self) -> Vec<Scalar> {
        self.bytes.chunks_exact(self.dtype.bytes()).map(|b| Scalar::load(self.dtype, b)).collect()
    }
    /// The same tensor, as a constant.
    #[must_use]
    pub fn into_constant(self) -> Option<Constant> {
        let (len, buffer) = (self.bytes.len(), Arc::new(self.bytes));
        Constant::new(self.dtype, &self.dims, Payload::Range { buffer, offset: 0, len })
    }
}

impl From<&Constant> for Tensor {
    fn from(c: &Constant) -> Self {
        Self { dtype: c.dtype(), dims: c.dims().to_vec(), bytes: c.bytes().into_owned() }
    }
}

/// A value while evaluating. Cheap to clone; views and constants share their bytes.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) dtype: DType,
    pub(super) dims: Vec<i64>,
    bytes: SlotBytes,
}

#[derive(Clone, Debug)]
enum SlotBytes {
    Owned(Rc<Vec<u8>>),
    Constant(Constant),
}

impl Slot {
    pub(super) fn new(dtype: DType, dims: &[i64], bytes: Vec<u8>) -> Self {
        Self { dtype, dims: dims.to_vec(), bytes: SlotBytes::Owned(Rc::new(bytes)) }
    }
    pub(super) fn zeros(dtype: DType, dims: &[i64], budget: &Budget) -> Result<Self, EvalError> {
        let elements = budget.elements(dims, dtype.bytes())?;
        Ok(Self::new(dtype, dims, vec![0; elements * dtype.bytes()]))
    }
    pub(super) fn i64s(dims: &[i64], values: &[i64]) -> Self {
        Self::new(DType::I64, dims, values.iter().flat_map(|x| x.to_le_bytes()).collect())
    }
    pub(super) fn of_constant(c: &Constant) -> Self {
        let bytes = match c.bytes() {
            Cow::Borrowed(_) => SlotBytes::Constant(c.clone()),
            Cow::Owned(splat) => SlotBytes::Owned(Rc::new(splat)),
        };
        Self { dtype: c.dtype(), dims: c.dims().to_vec(), bytes }
    }
    pub(super) fn of_tensor(t: &Tensor) -> Self {
        Self::new(t.dtype, &t.dims, t.bytes.clone())
    }
    pub(super) fn into_tensor(self) -> Tensor {
        let bytes = match self.bytes {
            SlotBytes::Owned(bytes) => Rc::unwrap_or_clone(bytes),
            SlotBytes::Constant(c) => c.bytes().into_owned(),
        };
        Tensor { dtype: self.dtype, dims: self.dims, bytes }
    }
    /// The same bytes with other extents.
    pub(super) fn view(&self, dims: &[i64]) -> Self {
        Self { dims: dims.to_vec(), ..self.clone() }
    }
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.bytes {
            SlotBytes::Owned(bytes) => bytes,
            SlotBytes::Constant(c) => match c.payload() {
                Payload::Range { buffer, offset, len } => &(**buffer).as_ref()[*offset..*offset + *len],
                Payload::Inline(bytes) => bytes,
                Payload::Splat(_) | Payload::Transposed(_) => unreachable!("`of_constant` spells them out"),
            },
        }
    }
    /// The bytes for change; copied if they are shared.
    pub(super) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        if let SlotBytes::Constant(c) = &self.bytes {
            self.bytes = SlotBytes::Owned(Rc::new(c.bytes().into_owned()));
        }
        match &mut self.bytes {
            SlotBytes::Owned(bytes) => Rc::make_mut(bytes),
            SlotBytes::Constant(_) => unreachable!("it has just become owned"),
        }
    }
    pub(super) fn elements(&self) -> usize {
        self.bytes().len() / self.dtype.bytes()
    }
    pub(super) fn scalar(&self, index: usize) -> Scalar {
        Scalar::load(self.dtype, &self.bytes()[index * self.dtype.bytes()..])
    }
    /// The elements of an integer tensor; zero for others.
    pub(super) fn as_i64s(&self) -> Vec<i64> {
        (0..self.elements()).map(|i| self.scalar(i).as_i64().unwrap_or(0)).collect()
    }
}

/// Row-major strides of a tensor of `dims`, in elements.
pub(super) fn strides(dims: &[i64]) -> Vec<i64> {
    let mut strides = vec![1i64; dims.len()];
    for i in (1..dims.len()).rev() {
        strides[i - 1] = strides[i].saturating_mul(dims[i]);
    }
    strides
}

/// Reads the elements at `offsets` (in elements) as bits of the compute type.
pub(super) fn gather(dtype: DType, bytes: &[u8], offsets: impl Iterator<Item = usize>, row: &mut [u64]) {
    fn each<const N: usize>(
        bytes: &[u8],
        offsets: impl Iterator<Item = usize>,
        row: &mut [u64],
        widen: impl Fn([u8; N]) -> u64,
    ) {
        for (out, at) in row.iter_mut().zip(offsets) {
            let mut element = [0; N];
            element.copy_from_slice(&bytes[at * N..at * N + N]);
            *out = widen(element);
        }
    }
    match dtype {
        DType::F16 | DType::BF16 => each(bytes, offsets, row, |e: [u8; 2]| Scalar::load(dtype, &e).bits),
        _ => match dtype.bytes() {
            1 => each(bytes, offsets, row, |e: [u8; 1]| u64::from(e[0])),
            2 => each(bytes, offsets, row, |e: [u8; 2]| u64::from(u16::from_le_bytes(e))),
            4 => each(bytes, offsets, row, |e: [u8; 4]| u64::from(u32::from_le_bytes(e))),
            _ => each(bytes, offsets, row, u64::from_le_bytes),
        },
    }
}

/// Reads the elements from `start` on, one after another.
pub(super) fn gather_next(dtype: DType, bytes: &[u8], start: usize, row: &mut [u64]) {
    let size = dtype.bytes();
    let bytes = &bytes[start * size..][..row.len() * size];
    if dtype == DType::F32 {
        for (out, element) in row.iter_mut().zip(bytes.as_chunks().0) {
            *out = u64::from(u32::from_le_bytes(*element));
        }
    } else {
        gather(dtype, bytes, 0.., row);
    }
}

/// Writes bits of the compute type to `start`, `start + step`, ... (in elements).
pub(super) fn put(dtype: DType, bytes: &mut [u8], start: usize, step: usize, row: &[u64]) {
    fn each<const N: usize>(
        bytes: &mut [u8],
        start: usize,
        step: usize,
        row: &[u64],
        narrow: impl Fn(u64) -> [u8; N],
    ) {
        for (i, &x) in row.iter().enumerate() {
            let at = (start + i * step) * N;
            bytes[at..at + N].copy_from_slice(&narrow(x));
        }
    }
    match dtype {
        DType::F16 | DType::BF16 => each(bytes, start, step, row, |bits| {
            let mut element = [0; 2];
            Scalar { dtype: DType::F32, bits }.store(dtype, &mut element);
            element
        }),
        _ => match dtype.bytes() {
            1 => each(bytes, start, step, row, |x| [x as u8]),
            2 => each(bytes, start, step, row, |x| (x as u16).to_le_bytes()),
            4 => each(bytes, start, step, row, |x| (x as u32).to_le_bytes()),
            _ => each(bytes, start, step, row, u64::to_le_bytes),
        },
    }
}
