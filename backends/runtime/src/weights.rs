//! weights - the constant data of a program, one section a buffer that compiled code reads.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::arena::AlignedBytes;
use crate::error::{Error, Result};

/// Bytes that several sections share, such as a model file that was read once.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A range of shared bytes.
#[derive(Clone)]
pub struct WeightSection {
    owner: SharedBytes,
    range: Range<usize>,
}

impl WeightSection {
    /// Takes `range` of `owner`, without a copy where the range is aligned to `align` bytes (a power of two).
    ///
    /// # Errors
    /// E0707 when the range is not inside of the owner, E0501 when there is no memory for a copy.
    pub fn shared(owner: SharedBytes, range: Range<usize>, align: usize) -> Result<Self> {
        let all = (*owner).as_ref();
        let Some(bytes) = all.get(range.clone()) else {
            let message =
                format!("weights {}..{} of a buffer of {} bytes", range.start, range.end, all.len());
            return Err(Error::new(707, message));
        };
        if bytes.as_ptr().addr().is_multiple_of(align) {
            return Ok(Self { owner, range });
        }
        Self::copied(bytes)
    }

    /// Takes a buffer as it is.
    #[must_use]
    pub fn owned(bytes: AlignedBytes) -> Self {
        let range = 0..bytes.len();
        Self { owner: Arc::new(bytes), range }
    }

    /// Copies `bytes`.
    ///
    /// # Errors
    /// E0501 when there is no memory for a copy.
    pub fn copied(bytes: &[u8]) -> Result<Self> {
        Ok(Self::owned(AlignedBytes::copy_of(bytes)?))
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // An owner that gives other bytes on a second call would be odd; it gets an empty section.
        (*self.owner).as_ref().get(self.range.clone()).unwrap_or_default()
    }
}

impl fmt::Debug for WeightSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WeightSection({} bytes)", self.range.len())
    }
}

/// All weight sections of a program and the table of addresses that goes into the context.
#[derive(Default)]
pub struct Weights {
    sections: Vec<WeightSection>,
    table: Vec<*const u8>,
}

// SAFETY: the addresses are those of `sections`, which is Send, and nothing writes through them.
unsafe impl Send for Weights {}
// SAFETY: as above, and `sections` is Sync.
unsafe impl Sync for Weights {}

impl Weights {
    /// The sections in the order of their indices in the code.
    #[must_use]
    pub fn new(sections: Vec<WeightSection>) -> Self {
        let table = sections.iter().map(|section| section.bytes().as_ptr()).collect();
        Self { sections, table }
    }

    /// The sections.
    #[must_use]
    pub fn sections(&self) -> &[WeightSection] {
        &self.sections
    }

    /// Bytes of all sections together.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.sections.iter().map(|section| section.bytes().len() as u64).sum()
    }

    /// Address of the table of addresses.
    pub(crate) fn table(&self) -> *const *const u8 {
        self.table.as_ptr()
    }
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.sections).finish()
    }
}

impl Clone for Weights {
    fn clone(&self) -> Self {
        Self::new(self.sections.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::ALIGN;

    #[test]
    fn aligned_ranges_are_shared_and_others_copied() {
        let owner: SharedBytes = Arc::new(AlignedBytes::copy_of(&[7; 200]).unwrap());
        let start = (*owner).as_ref().as_ptr();
        let aligned = WeightSection::shared(owner.clone(), 64..100, ALIGN).unwrap();
        assert_eq!(aligned.bytes().as_ptr(), start.wrapping_add(64));
        let unaligned = WeightSection::shared(owner.clone(), 65..100, 4).unwrap();
        assert_eq!(unaligned.bytes(), &[7; 35]);
        assert_eq!(unaligned.bytes().as_ptr().addr() % ALIGN, 0);
        for bad in [0..201, 201..201, usize::MAX..usize::MAX] {
            assert_eq!(WeightSection::shared(owner.clone(), bad, 1).unwrap_err().code(), 707);
        }
        #[expect(clippy::reversed_empty_ranges, reason = "what a caller may get wrong")]
        let reversed = 5..4;
        assert_eq!(WeightSection::shared(owner, reversed, 1).unwrap_err().code(), 707);
    }

    #[test]
    fn table_points_at_sections() {
        let sections = vec![WeightSection::copied(&[1, 2]).unwrap(), WeightSection::copied(&[]).unwrap()];
        let weights = Weights::new(sections).clone();
        assert_eq!(weights.total_bytes(), 2);
        assert_eq!(weights.table[0], weights.sections()[0].bytes().as_ptr());
        assert!(!weights.table[1].is_null());
    }
}
