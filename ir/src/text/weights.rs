//! weights - the side file of a text: constants that it names by digest.
//!
//! ```text
//! nnir weights 1
//! 0123456789abcdef f32[64,64]
//! <bytes of the elements>
//! ```
//!
//! Each constant is a line with its digest and type, its bytes, and a line feed; sorted by digest.

use std::collections::BTreeMap;

use crate::{
    constant::{Constant, Payload},
    dtype::DType,
    graph::Module,
    ops::{self, OpStruct, attr::split_top},
    text::constant::is_spelt_out,
};

const MAGIC: &[u8] = b"nnir weights 1\n";

/// The constants that the text of `module` names by digest.
#[must_use]
pub fn collect_constants(module: &Module) -> BTreeMap<String, Constant> {
    let mut found = BTreeMap::new();
    for region in module.nested_regions(module.body()) {
        for &node in &module.region(region).nodes {
            if let Some(op) = ops::ConstantOp::from_op(&module.node(node).op)
                && !is_spelt_out(&op.value)
            {
                found.insert(op.value.short_digest(), op.value.clone());
            }
        }
    }
    found
}

/// The side file.
#[must_use]
pub fn write(constants: &BTreeMap<String, Constant>) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    for (digest, constant) in constants {
        out.extend_from_slice(format!("{digest} {}\n", constant.ty()).as_bytes());
        out.extend_from_slice(&constant.bytes());
        out.push(b'\n');
    }
    out
}

/// Reads what [`write`] gives.
///
/// # Errors
/// A file that is cut off, a line that cannot be read, or bytes that have another digest.
pub fn read(file: &[u8]) -> Result<BTreeMap<String, Constant>, String> {
    let mut rest = file.strip_prefix(MAGIC).ok_or("not a file of weights")?;
    let mut found = BTreeMap::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|&b| b == b'\n').ok_or("the file ends early")?;
        let line = std::str::from_utf8(&rest[..end]).map_err(|_| "a line is not text")?;
        rest = &rest[end + 1..];
        let cannot = || format!("cannot read `{}`", crate::diag::escape(line));
        let (digest, ty) = line.split_once(' ').ok_or_else(cannot)?;
        let (dtype, dims) = ty.strip_suffix(']').and_then(|t| t.split_once('[')).ok_or_else(cannot)?;
        let dtype = DType::from_name(dtype).ok_or_else(cannot)?;
        let dims: Option<Vec<i64>> = split_top(dims).into_iter().map(|d| d.parse().ok()).collect();
        let dims = dims.ok_or_else(cannot)?;
        let len = dims.iter().try_fold(dtype.bytes(), |n, &d| n.checked_mul(usize::try_from(d).ok()?));
        let (bytes, after) = len.and_then(|len| rest.split_at_checked(len)).ok_or("the file ends early")?;
        rest = after.strip_prefix(b"\n").ok_or("the file ends early")?;
        let constant = Constant::new(dtype, &dims, Payload::Inline(bytes.into())).ok_or_else(cannot)?;
        if constant.short_digest() != digest {
            return Err(format!("constant {digest} has the digest {}", constant.short_digest()));
        }
        found.insert(digest.to_owned(), constant);
    }
    Ok(found)
}
