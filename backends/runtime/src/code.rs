//! code - executable memory for one blob of position-independent machine code.

use memmap2::{Mmap, MmapMut};

use crate::error::{Error, Result, out_of_memory};

/// Machine code that can be called: written once, then readable and executable, never writable again; unmapped when
/// dropped.
#[derive(Debug)]
pub struct Code {
    map: Mmap,
    len: usize,
}

impl Code {
    /// Copies `bytes` into executable memory.
    ///
    /// # Errors
    /// E0501 when there is no memory, E0703 on a processor this runtime cannot load code for, E0710 when the system
    /// does not allow executable memory.
    pub fn new(bytes: &[u8]) -> Result<Self> {
        if cfg!(not(target_arch = "x86_64")) {
            // Other processors need their instruction cache told of new code.
            return Err(Error::new(703, format!("code cannot be loaded on {}", std::env::consts::ARCH))
                .with_help("compile with --emit obj and link the result"));
        }
        if bytes.is_empty() {
            return Err(Error::new(707, "the program has no code"));
        }
        let mut map =
            MmapMut::map_anon(bytes.len()).map_err(|_| out_of_memory("the code", bytes.len(), None))?;
        map[..bytes.len()].copy_from_slice(bytes);
        let map = map.make_exec().map_err(|cause| {
            Error::new(710, format!("cannot make code executable: {cause}")).with_help(
                "the system forbids executable memory here (SELinux, seccomp or a hardened kernel)",
            )
        })?;
        Ok(Self { map, len: bytes.len() })
    }

    /// Bytes of code.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no code, which [`Code::new`] refuses.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The code, to read.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.map[..self.len]
    }

    /// Address of the code at `offset`, or `None` outside of it. It is valid as long as this `Code` lives.
    pub(crate) fn address(&self, offset: u64) -> Option<*const u8> {
        let offset = usize::try_from(offset).ok()?;
        self.bytes().get(offset).map(std::ptr::from_ref)
    }

    /// Offset of an address inside of the code.
    pub(crate) fn offset_of(&self, address: usize) -> Option<u64> {
        let offset = address.checked_sub(self.map.as_ptr().addr())?;
        (offset < self.len).then_some(offset as u64)
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn runs_a_tiny_function() {
        // mov eax, 42; ret
        let code = Code::new(&[0xb8, 42, 0, 0, 0, 0xc3]).unwrap();
        let address = code.address(0).unwrap();
        // SAFETY: the six bytes are a function without arguments that returns an i32, and `code` outlives the call.
        let function: extern "C" fn() -> i32 = unsafe { std::mem::transmute(address) };
        assert_eq!(function(), 42);
        assert!(code.address(5).is_some());
        assert!(code.address(6).is_none());
        assert!(code.address(u64::MAX).is_none());
        assert_eq!(code.offset_of(address.addr() + 5), Some(5));
        assert_eq!(code.offset_of(address.addr() + 6), None);
        assert_eq!(code.offset_of(address.addr() - 1), None);
    }

    #[test]
    fn empty_code_is_refused() {
        assert_eq!(Code::new(&[]).unwrap_err().code(), 707);
    }

    #[test]
    fn maps_are_freed_on_drop() {
        // More than the system's usual limit of 65530 maps.
        for _ in 0..70_000 {
            drop(Code::new(&[0xc3]).unwrap());
        }
    }
}
