//! hash - identity of a module's content.

use crate::{graph::Module, text};

/// blake3 of the module's text and of the full digests of the constants that it only names: modules that print alike and
/// have the same weights have the same hash, however they were built.
#[must_use]
pub fn content_hash(module: &Module) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(text::print(module).as_bytes());
    for constant in text::collect_constants(module).values() {
        hasher.update(constant.digest());
    }
    *hasher.finalize().as_bytes()
}

/// Likewise, with the fingerprints of large constants for their digests: fast, and enough to see whether somebody changed
/// a module. Not an identity: large constants that differ in few elements may have the same fingerprint.
#[must_use]
pub fn change_hash(module: &Module) -> [u8; 32] {
    *blake3::hash(text::print_fingerprints(module).as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        constant::{Constant, Payload},
        dtype::DType,
        graph::loc,
    };

    fn module(last: u8, garbage: bool) -> Module {
        let mut m = Module::new();
        let body = m.body();
        if garbage {
            let region = m.add_region();
            m.append_constant(region, Constant::i64s(&[1]), &loc("unused"));
        }
        let bytes = (0..99).chain([last]).collect();
        let c = Constant::new(DType::U8, &[100], Payload::Inline(bytes)).expect("valid");
        let value = m.append_constant(body, c, &loc("c"));
        m.set_outputs(&[("y".into(), value)]);
        m
    }

    #[test]
    fn content_counts_and_ids_do_not() {
        assert_eq!(content_hash(&module(1, false)), content_hash(&module(1, true)));
        assert_ne!(content_hash(&module(1, false)), content_hash(&module(2, false)));
        assert_eq!(change_hash(&module(1, false)), change_hash(&module(1, true)));
        assert_ne!(change_hash(&module(1, false)), change_hash(&module(2, false)));
    }
}
