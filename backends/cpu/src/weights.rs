//! weights - constants that kernels read, as sections of constant data.
//!
//! Large ranges of a shared buffer (the model file) become sections without a copy; small constants are put together
//! into one pool, so that a thousand scalars are not a thousand sections.

use nnc_ir::constant::{Constant, Payload};
use nnc_runtime::{AlignedBytes, WeightSection, Weights};
use rustc_hash::FxHashMap;

/// Constants of fewer bytes go to the pool.
const POOLED: usize = 16 << 10;

/// Alignment within the pool.
const ALIGN: usize = 64;

/// A constant of the program, by the order in which it was first met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConstantId(pub(crate) usize);

/// The distinct constants of a program.
#[derive(Default)]
pub(crate) struct Constants {
    items: Vec<Constant>,
    /// Those with a fingerprint.
    seen: FxHashMap<u64, Vec<ConstantId>>,
}

impl Constants {
    /// The constant's number.
    pub(crate) fn add(&mut self, constant: &Constant) -> ConstantId {
        let alike = self.seen.entry(constant.fingerprint()).or_default();
        if let Some(&id) = alike.iter().find(|id| self.items[id.0] == *constant) {
            return id;
        }
        self.items.push(constant.clone());
        let id = ConstantId(self.items.len() - 1);
        alike.push(id);
        id
    }

    /// Lets go of the elements of a constant that nobody needs any more.
    pub(crate) fn release(&mut self, id: ConstantId) {
        self.items[id.0] = Constant::i64s(&[]);
    }

    /// The constant with a number.
    pub(crate) fn get(&self, id: ConstantId) -> &Constant {
        &self.items[id.0]
    }

    /// Bytes of all of them.
    pub(crate) fn bytes(&self) -> i64 {
        let bytes = |c: &Constant| i64::try_from(c.elements() * c.dtype().bytes()).unwrap_or(i64::MAX);
        self.items.iter().map(bytes).fold(0, i64::saturating_add)
    }

    /// Number of constants.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }
}

/// Where a constant is when the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WeightPlace {
    /// Which section.
    pub(crate) section: usize,
    /// Bytes from its start.
    pub(crate) offset: usize,
}

/// Lays out the constants that are used; the others have no place.
///
/// # Errors
/// There is no memory.
pub(crate) fn lay_out(
    constants: &Constants,
    used: &[bool],
) -> Result<(Weights, Vec<Option<WeightPlace>>), nnc_runtime::Error> {
    let mut pool: Vec<u8> = Vec::new();
    let mut sections = Vec::new();
    let mut places = vec![None; constants.len()];
    // The pool, if there is one, is section 0; how many bytes it has is known when all is pooled.
    let pools = |c: &Constant| c.elements() * c.dtype().bytes() < POOLED;
    let chosen = || constants.items.iter().enumerate().filter(|(i, _)| used[*i]);
    for (i, constant) in chosen().filter(|(_, c)| pools(c)) {
        pool.resize(pool.len().next_multiple_of(ALIGN), 0);
        places[i] = Some(WeightPlace { section: 0, offset: pool.len() });
        pool.extend_from_slice(&constant.bytes());
    }
    if places.iter().any(Option::is_some) {
        sections.push(WeightSection::owned(AlignedBytes::copy_of(&pool)?));
    }
    for (i, constant) in chosen().filter(|(_, c)| !pools(c)) {
        places[i] = Some(WeightPlace { section: sections.len(), offset: 0 });
        sections.push(match constant.payload() {
            // Kernels read whatever the alignment is.
            Payload::Range { buffer, offset, len } => {
                WeightSection::shared(buffer.clone(), *offset..*offset + *len, 1)?
            }
            _ => WeightSection::copied(&constant.bytes())?,
        });
    }
    Ok((Weights::new(sections), places))
}
