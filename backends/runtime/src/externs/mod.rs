//! externs - the functions of the runtime that compiled code may call.
//!
//! They do what loop nests cannot say: sort, compact, choose by data. None computes a pointwise, reduction or
//! contraction. Each is safe code over the checked slices of [`view`] and documents its operands, results and
//! attributes; results are written into buffers of the upper-bound size the caller computes, with the extents they
//! really have. A function that meets an operand it cannot take records a fault and changes nothing else.

mod order;
#[expect(unsafe_code, reason = "the one place that follows the pointers of a call")]
mod view;

use crate::abi::ExternFn;

macro_rules! externs {
    ($($(#[$doc:meta])* $variant:ident = $index:literal $name:literal $module:ident,)*) => {
        $(pub mod $module;)*

        /// A function of the allowlist. The number is its place in [`crate::abi::Context::externs`]; never renumber.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Extern {
            $($(#[$doc])* $variant = $index,)*
        }

        impl Extern {
            /// The allowlist, by index.
            pub const ALL: &[Extern] = &[$(Extern::$variant,)*];

            /// Name, as reports and artefacts have it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Extern::$variant => $name,)*
                }
            }
        }

        /// The functions, by index.
        static TABLE: &[ExternFn] = &[$(view::entry::<$module::$variant>,)*];
    };
}

externs! {
    /// The k largest or smallest elements along an axis: [`top_k`].
    TopK = 0 "top_k" top_k,
    /// Indices of elements that are not zero: [`non_zero`].
    NonZero = 1 "non_zero" non_zero,
    /// Distinct elements or slices: [`unique`].
    Unique = 2 "unique" unique,
    /// Elements or slices chosen by a condition: [`compress`].
    Compress = 3 "compress" compress,
    /// Boxes that overlap no better one: [`non_max_suppression`].
    NonMaxSuppression = 4 "non_max_suppression" non_max_suppression,
}

impl Extern {
    /// The function with this index.
    #[must_use]
    pub fn from_index(index: u32) -> Option<Self> {
        Self::ALL.get(index as usize).copied()
    }

    /// The function with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|function| function.name() == name)
    }

    /// Place in the context's table.
    #[must_use]
    pub const fn index(self) -> u32 {
        self as u32
    }
}

/// Address of the table for a context.
pub(crate) fn table() -> *const ExternFn {
    TABLE.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_places_in_the_table() {
        assert_eq!(TABLE.len(), Extern::ALL.len());
        for (index, function) in Extern::ALL.iter().enumerate() {
            assert_eq!(function.index() as usize, index);
            assert_eq!(Extern::from_index(function.index()), Some(*function));
            assert_eq!(Extern::from_name(function.name()), Some(*function));
        }
        assert_eq!(Extern::from_index(u32::MAX), None);
        assert_eq!(Extern::from_name("system"), None);
    }
}
