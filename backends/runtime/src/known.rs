//! known - what a session knows from the call before: for a call of the same extents it is not worked out again.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::abi::UNBOUNDED;
use crate::elem::tensor_bytes;
use crate::error::{Result, out_of_memory};
use crate::signature::Signature;
use crate::tensor::TensorView;

/// Tells loaded programs apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProgramNumber(u64);

impl ProgramNumber {
    /// One that no program has had.
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A call that was checked, and what the program said to its extents.
#[derive(Debug, Default)]
pub(crate) struct Known {
    program: Option<ProgramNumber>,
    /// Extents of all inputs, one input after the other.
    input_dims: Vec<i64>,
    /// Bytes of each input.
    input_bytes: Vec<usize>,
    /// What the program says of the extents of all outputs.
    extents: Vec<i64>,
    /// Bytes of each output by these; `None` where the code allocates.
    rooms: Vec<Option<usize>>,
    /// Bytes of workspace, once they have been asked for.
    pub(crate) workspace: Option<u64>,
}

impl Known {
    /// Whether this is the known call again, as far as extents say.
    pub(crate) fn is(
        &self,
        program: ProgramNumber,
        signature: &Signature,
        inputs: &[TensorView<'_>],
    ) -> bool {
        if self.program != Some(program) || inputs.len() != self.input_bytes.len() {
            return false;
        }
        let mut rest = &self.input_dims[..];
        for ((view, port), &bytes) in inputs.iter().zip(&signature.inputs).zip(&self.input_bytes) {
            let Some((dims, after)) = rest.split_at_checked(port.dims.len()) else { return false };
            if view.elem != port.elem || view.bytes.len() != bytes || view.dims != dims {
                return false;
            }
            rest = after;
        }
        true
    }

    /// Nothing is known any more.
    pub(crate) fn forget(&mut self) {
        self.program = None;
        self.workspace = None;
    }

    /// Keeps a call that has been checked; `extents` are what the program says of its outputs.
    ///
    /// # Errors
    /// E0501 for an output of over `max_memory` bytes.
    pub(crate) fn keep(
        &mut self,
        program: ProgramNumber,
        signature: &Signature,
        inputs: &[TensorView<'_>],
        extents: &[i64],
        max_memory: u64,
    ) -> Result<()> {
        self.forget();
        self.input_dims.clear();
        self.input_bytes.clear();
        for view in inputs {
            self.input_dims.extend_from_slice(view.dims);
            self.input_bytes.push(view.bytes.len());
        }
        self.extents.clear();
        self.extents.extend_from_slice(extents);
        self.rooms.clear();
        let mut at = 0;
        for port in &signature.outputs {
            let dims = &extents[at..at + port.dims.len()];
            at += port.dims.len();
            let what = || format!("output '{}' of extents {dims:?}", port.name);
            self.rooms.push(match tensor_bytes(port.elem, dims) {
                _ if dims.contains(&UNBOUNDED) => None,
                Some(bytes) if bytes as u64 <= max_memory => Some(bytes),
                Some(bytes) => return Err(out_of_memory(&what(), bytes, Some(max_memory))),
                None => return Err(out_of_memory(&what(), "over 2^63", Some(max_memory))),
            });
        }
        self.program = Some(program);
        Ok(())
    }

    /// What the program says of the extents of all outputs.
    pub(crate) fn extents(&self) -> &[i64] {
        &self.extents
    }

    /// Bytes that output `i` may have; `None` where the code allocates.
    pub(crate) fn room(&self, i: usize) -> Option<usize> {
        self.rooms[i]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elem::ElemType;
    use crate::signature::{Dim, Port};

    #[test]
    fn a_call_is_known_by_its_extents() {
        let port = |name: &str, dims: Vec<Dim>| Port { name: name.into(), elem: ElemType::U8, dims };
        let signature = Signature {
            inputs: vec![port("x", vec![Dim::Derived; 2]), port("y", vec![Dim::Derived])],
            outputs: vec![port("z", vec![Dim::Derived]), port("w", vec![Dim::Derived; 2])],
            symbols: vec![],
        };
        let bytes = [0; 8];
        fn view<'a>(dims: &'a [i64], bytes: &'a [u8]) -> TensorView<'a> {
            TensorView { elem: ElemType::U8, dims, bytes }
        }
        let (x, y) = (view(&[2, 3], &bytes[..6]), view(&[2], &bytes[..2]));
        let (one, other) = (ProgramNumber::next(), ProgramNumber::next());
        let mut known = Known::default();
        assert!(!known.is(one, &signature, &[x, y]));
        known.keep(one, &signature, &[x, y], &[7, UNBOUNDED, 3], 100).unwrap();
        assert!(known.is(one, &signature, &[x, y]));
        assert_eq!((known.room(0), known.room(1), known.extents()), (Some(7), None, &[7, -1, 3][..]));
        for inputs in [
            &[x][..],
            &[x, view(&[2], &bytes[..3])],
            &[view(&[3, 2], &bytes[..6]), y],
            &[view(&[2], &bytes[..6]), view(&[3, 2], &bytes[..2])],
            &[TensorView { elem: ElemType::I8, ..x }, y],
        ] {
            assert!(!known.is(one, &signature, inputs));
        }
        assert!(!known.is(other, &signature, &[x, y]));
        assert_eq!(known.keep(one, &signature, &[x, y], &[101, 1, 1], 100).unwrap_err().code(), 501);
        assert!(!known.is(one, &signature, &[x, y]));
    }
}
