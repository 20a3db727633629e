//! constant - tensors known at compile time, as ranges of shared read-only buffers.
//!
//! A model file is read once; its weights are ranges of that buffer. Bytes are little-endian, row-major, in the storage
//! type of the tensor. Identity is the content: two constants are equal if type and bytes are. Only a splat of more than
//! [`SPELT_BYTES`] is never spelt out to be compared: it equals other splats. Large weights with their axes in another order
//! stay as they were read, until somebody asks for the bytes.

mod transposed;

pub use transposed::Transposed;

use std::{
    any::Any,
    borrow::Cow,
    fmt,
    hash::{Hash, Hasher},
    ops::Range,
    sync::{Arc, OnceLock},
};

use crate::{
    dtype::{DType, Scalar},
    types::TensorType,
};

/// Most bytes of a splat that are compared with those of other constants.
pub const SPELT_BYTES: usize = 1 << 16;

/// A fingerprint looks at so many pieces of a large constant.
const SAMPLES: usize = 256;
/// Bytes of such a piece.
const SAMPLE_BYTES: usize = 64;

/// Bytes of which one may ask what holds them.
pub trait Bytes: AsRef<[u8]> + Any {}

impl<T: AsRef<[u8]> + Any> Bytes for T {}

/// A read-only buffer that constants share.
pub type Buffer = Arc<dyn Bytes + Send + Sync>;

/// Where the bytes of a constant are.
#[derive(Clone)]
pub enum Payload {
    /// A range of a shared buffer.
    Range {
        /// The buffer.
        buffer: Buffer,
        /// First byte.
        offset: usize,
        /// Number of bytes.
        len: usize,
    },
    /// Bytes of its own.
    Inline(Arc<[u8]>),
    /// One element, everywhere; the scalar has the compute type.
    Splat(Scalar),
    /// The elements of another constant with its axes in another order.
    Transposed(Transposed),
}

/// A tensor known at compile time. Cheap to clone.
#[derive(Clone)]
pub struct Constant(Arc<Inner>);

struct Inner {
    dtype: DType,
    dims: Vec<i64>,
    payload: Payload,
    digest: OnceLock<[u8; 32]>,
    fingerprint: OnceLock<u64>,
}

impl Constant {
    /// A constant of `dtype` and `dims`; `None` if the payload has not exactly the bytes that these need, or a
    /// dimension is negative.
    #[must_use]
    pub fn new(dtype: DType, dims: &[i64], payload: Payload) -> Option<Self> {
        let elements = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?))?;
        let bytes = elements.checked_mul(dtype.bytes())?;
        let right = match &payload {
            Payload::Range { buffer, offset, len } => {
                *len == bytes && offset.checked_add(*len)? <= (**buffer).as_ref().len()
            }
            Payload::Inline(b) => b.len() == bytes,
            Payload::Splat(s) => s.dtype == dtype.compute(),
            Payload::Transposed(t) => t.of().dtype() == dtype && t.of().elements() == elements,
        };
        let inner = Inner {
            dtype,
            dims: dims.to_vec(),
            payload,
            digest: OnceLock::new(),
            fingerprint: OnceLock::new(),
        };
        right.then(|| Self(Arc::new(inner)))
    }

    /// A constant from elements of the compute type of `dtype`.
    ///
    /// # Panics
    /// If the number of elements is not the product of `dims`.
    #[must_use]
    pub fn from_scalars(dtype: DType, dims: &[i64], elements: &[Scalar]) -> Self {
        let mut bytes = vec![0; elements.len() * dtype.bytes()];
        for (chunk, x) in bytes.chunks_exact_mut(dtype.bytes()).zip(elements) {
            x.store(dtype, chunk);
        }
        Self::new(dtype, dims, Payload::Inline(bytes.into())).expect("as many elements as the dimensions say")
    }

    /// An `i64` vector.
    #[must_use]
    pub fn i64s(values: &[i64]) -> Self {
        let elements: Vec<Scalar> = values.iter().map(|&x| Scalar::i64(x)).collect();
        Self::from_scalars(DType::I64, &[i64::try_from(values.len()).unwrap_or(0)], &elements)
    }

    /// A scalar (rank 0) of storage type `dtype`.
    #[must_use]
    pub fn scalar(dtype: DType, value: Scalar) -> Self {
        Self::from_scalars(dtype, &[], &[value])
    }

    /// Element type.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }
    /// Extents.
    #[must_use]
    pub fn dims(&self) -> &[i64] {
        &self.0.dims
    }
    /// Type as a value.
    #[must_use]
    pub fn ty(&self) -> TensorType {
        TensorType::of(self.0.dtype, &self.0.dims)
    }
    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.0.dims.iter().map(|&d| usize::try_from(d).unwrap_or(0)).product()
    }
    /// Where the bytes are.
    #[must_use]
    pub fn payload(&self) -> &Payload {
        &self.0.payload
    }
    /// The bytes; copied only for a splat and for what is transposed.
    #[must_use]
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match &self.0.payload {
            Payload::Range { buffer, offset, len } => {
                Cow::Borrowed(&(**buffer).as_ref()[*offset..*offset + *len])
            }
            Payload::Inline(b) => Cow::Borrowed(b),
            Payload::Splat(s) => {
                let mut element = [0; 8];
                s.store(self.0.dtype, &mut element);
                Cow::Owned(element[..self.0.dtype.bytes()].repeat(self.elements()))
            }
            Payload::Transposed(t) => Cow::Owned(t.bytes(0..self.elements())),
        }
    }
    /// The bytes as they were read, if nobody else holds them or a part of them; else the constant.
    ///
    /// # Errors
    /// The constant, where somebody does.
    pub fn into_bytes(self) -> Result<Vec<u8>, Self> {
        let Self(inner) = self;
        let whole = |p: &Payload| match p {
            Payload::Range { buffer, offset: 0, len } => {
                let all: &dyn Any = &**buffer;
                all.downcast_ref::<Vec<u8>>().is_some_and(|all| all.len() == *len)
                    && Arc::strong_count(buffer) == 1
            }
            _ => false,
        };
        if !whole(&inner.payload) {
            return Err(Self(inner));
        }
        let inner = Arc::try_unwrap(inner).map_err(Self)?;
        let Payload::Range { buffer, .. } = inner.payload else { unreachable!("it is a range") };
        let buffer: Arc<dyn Any + Send + Sync> = buffer;
        let all = buffer.downcast().ok().and_then(|all| Arc::try_unwrap(all).ok());
        Ok(all.expect("it is a vector, and the reference to it was the only one"))
    }
    /// Element number `index` in row-major order.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    pub fn element(&self, index: usize) -> Scalar {
        match &self.0.payload {
            Payload::Splat(s) => *s,
            Payload::Transposed(t) => t.of().element(t.place(index)),
            _ => Scalar::load(self.0.dtype, &self.bytes()[index * self.0.dtype.bytes()..]),
        }
    }
    /// Every element in row-major order.
    #[must_use]
    pub fn scalars(&self) -> Vec<Scalar> {
        let bytes = self.bytes();
        bytes.chunks_exact(self.0.dtype.bytes()).map(|b| Scalar::load(self.0.dtype, b)).collect()
    }
    /// The elements of an integer or `bool` constant.
    #[must_use]
    pub fn as_i64s(&self) -> Option<Vec<i64>> {
        self.scalars().into_iter().map(Scalar::as_i64).collect()
    }
    /// The one value all elements have, if it is a splat, has one element, or all bytes say so (looked at up to 64 KiB).
    #[must_use]
    pub fn as_splat(&self) -> Option<Scalar> {
        if let Payload::Splat(s) = &self.0.payload {
            return Some(*s);
        }
        if self.elements() * self.0.dtype.bytes() > SPELT_BYTES {
            return None;
        }
        let bytes = self.bytes();
        let mut chunks = bytes.chunks_exact(self.0.dtype.bytes());
        let first = chunks.next()?;
        chunks.all(|c| c == first).then(|| Scalar::load(self.0.dtype, first))
    }
    /// blake3 digest of type and bytes; of a large splat, of type and element.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        self.0.digest.get_or_init(|| {
            let mut hasher = blake3::Hasher::new();
            let spelt = self.elements().saturating_mul(self.0.dtype.bytes());
            match &self.0.payload {
                Payload::Splat(s) if spelt > SPELT_BYTES => {
                    let mut element = [0; 8];
                    s.store(self.0.dtype, &mut element);
                    hasher.update(format!("splat {}", self.ty()).as_bytes());
                    hasher.update(&element[..self.0.dtype.bytes()]);
                }
                _ => {
                    hasher.update(self.ty().to_string().as_bytes());
                    hasher.update(&self.bytes());
                }
            }
            *hasher.finalize().as_bytes()
        })
    }
    /// A number that equal constants share, and others hardly ever: of type, length, and samples of the bytes.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        *self.0.fingerprint.get_or_init(|| self.samples_hashed())
    }

    fn samples_hashed(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.ty().to_string().as_bytes());
        match self.repeated_element() {
            Some(element) => {
                hasher.update(b"splat");
                hasher.update(&element);
            }
            None => {
                let len = self.elements() * self.0.dtype.bytes();
                let step = (len / SAMPLES).max(SAMPLE_BYTES);
                for at in (0..len).step_by(step) {
                    hasher.update(&self.part(at..len.min(at + SAMPLE_BYTES)));
                }
                hasher.update(&self.part(len.saturating_sub(SAMPLE_BYTES)..len));
            }
        }
        u64::from_le_bytes(*hasher.finalize().as_bytes().first_chunk().expect("32 bytes"))
    }

    /// Some of the bytes.
    fn part(&self, range: Range<usize>) -> Cow<'_, [u8]> {
        match &self.0.payload {
            Payload::Transposed(t) => {
                let size = self.0.dtype.bytes();
                let whole = range.start / size..range.end.div_ceil(size);
                let from = range.start - whole.start * size;
                Cow::Owned(t.bytes(whole)[from..from + range.len()].to_vec())
            }
            _ => match self.bytes() {
                Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[range]),
                Cow::Owned(bytes) => Cow::Owned(bytes[range].to_vec()),
            },
        }
    }

    /// The bytes of the element of a splat that is never spelt out.
    fn repeated_element(&self) -> Option<Vec<u8>> {
        let Payload::Splat(s) = &self.0.payload else { return None };
        let width = self.0.dtype.bytes();
        let mut element = [0; 8];
        s.store(self.0.dtype, &mut element);
        (self.elements().saturating_mul(width) > SPELT_BYTES).then(|| element[..width].to_vec())
    }

    /// Whether the bytes are the same, by digests if both are known.
    fn same_bytes(&self, other: &Self) -> bool {
        if let (Some(a), Some(b)) = (self.0.digest.get(), other.0.digest.get()) {
            return a == b;
        }
        match (self.repeated_element(), other.repeated_element()) {
            (None, None) => {
                if let (Payload::Transposed(a), Payload::Transposed(b)) = (&self.0.payload, &other.0.payload)
                    && a == b
                {
                    return true;
                }
                let (a, b) = (self.bytes(), other.bytes());
                std::ptr::eq(&raw const *a, &raw const *b) || a == b
            }
            (a, b) => a == b,
        }
    }

    /// First eight bytes of the digest in hexadecimal: the constant's name in text.
    #[must_use]
    pub fn short_digest(&self) -> String {
        self.digest()[..8].iter().map(|b| format!("{b:02x}")).collect()
    }
}

impl PartialEq for Constant {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.dtype == other.0.dtype && self.0.dims == other.0.dims && self.same_bytes(other))
    }
}
impl Eq for Constant {}
impl Hash for Constant {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint().hash(state);
    }
}
impl fmt::Debug for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "constant {} : {}", self.short_digest(), self.ty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(bytes: Vec<u8>) -> Constant {
        let dims = [i64::try_from(bytes.len()).expect("short")];
        let payload = Payload::Range { offset: 0, len: bytes.len(), buffer: Arc::new(bytes) };
        Constant::new(DType::U8, &dims, payload).expect("valid")
    }

    #[test]
    fn constants_that_only_unsampled_bytes_tell_apart_are_not_equal() {
        let plain = vec![7; 1 << 20];
        let mut other = plain.clone();
        // Pieces are 4096 bytes apart, and 64 bytes of each are looked at.
        other[1000] = 8;
        let (a, b, c) = (bytes(plain.clone()), bytes(other), bytes(plain));
        assert_eq!(a.fingerprint(), b.fingerprint());
        assert!(a != b && a == c);
        assert_ne!(a.digest(), b.digest());
        assert!(a != b && a == c, "with some digests known");
    }

    #[test]
    fn bytes_are_given_to_the_only_holder() {
        let held = bytes(vec![7; 100]);
        let other = held.clone();
        let held = held.into_bytes().expect_err("another holds them, too");
        drop(other);
        assert_eq!(held.into_bytes().expect("nobody else holds them"), vec![7; 100]);
        let buffer: Buffer = Arc::new(vec![1u8; 8]);
        for (offset, len) in [(0, 4), (4, 4), (0, 8)] {
            let payload = Payload::Range { buffer: buffer.clone(), offset, len };
            let part = Constant::new(DType::U8, &[len as i64], payload).expect("valid");
            assert!(part.into_bytes().is_err(), "the buffer is held");
        }
    }

    #[test]
    fn small_splats_equal_their_spelling_and_large_ones_each_other() {
        let splat =
            |n: i64, x: i64| Constant::new(DType::I64, &[n], Payload::Splat(Scalar::i64(x))).expect("valid");
        let spelt = |n: i64, x: i64| {
            let elements: Vec<Scalar> = (0..n).map(|_| Scalar::i64(x)).collect();
            Constant::from_scalars(DType::I64, &[n], &elements)
        };
        assert_eq!(splat(100, 5), spelt(100, 5));
        assert_eq!(splat(100, 5).fingerprint(), spelt(100, 5).fingerprint());
        assert_ne!(splat(100, 5), splat(100, 6));
        assert_eq!(splat(1 << 20, 5), splat(1 << 20, 5));
        assert_ne!(splat(1 << 20, 5), splat(1 << 20, 6));
        assert_ne!(splat(1 << 15, 5), spelt(1 << 15, 5));
    }
}
