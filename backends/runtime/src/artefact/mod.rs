//! artefact - the `.nnc` file: a compiled model as bytes.
//!
//! ```text
//! 0    magic, 8 bytes                       the same in every version
//! 8    byte order mark, u32                 the same in every version
//! 12   format version, u32                  the same in every version
//! 16   version of nnc, 16 bytes of text     the same in every version
//! 32   bytes of the whole file, u64
//! 40   number of sections, u32
//! 44   zeros
//! 64   digest of bytes 0..64 and the section table
//! 96   section table: name (16), offset u64, bytes u64, digest (32), for each section
//! ...  sections 'manifest', 'code', 'weights', each at the next multiple of 64, zeros between
//! ```
//!
//! Numbers are little-endian, digests BLAKE3. Every byte is either digested or must be zero, so no damage goes
//! unnoticed. The same image gives the same bytes. A file is read once, into memory of its own, and its weights are
//! used where they lie. Reading is safe for any bytes; whether to run what was read is a matter of trust
//! (see [`Program`](crate::Program)).

mod layout;
mod manifest;
mod read;
mod write;

pub use read::{from_bytes, is_artefact, read};
pub use write::{to_bytes, write};

/// Version of the format.
pub const FORMAT_VERSION: u32 = 1;

/// First bytes of every artefact. Line ends and a byte above 127 show transfers that alter text.
pub const MAGIC: [u8; 8] = *b"\x89nnc\r\n\x1a\n";

#[cfg(test)]
mod tests;
