//! repeated - a limit on constants that a model only describes: one element, repeated as often as a shape says.

use nnc_ir::{
    Module,
    constant::Payload,
    diag::Diagnostic,
    ops::{ConstantOp, OpStruct},
};

/// Most bytes of all such constants together; those of a file are limited by its size.
const REPEATED_BYTES: usize = 2 << 30;

/// Refuses a module whose repeated elements, spelt out as a program has them, are over the limit (E0501).
pub(crate) fn check(module: &Module) -> Result<(), Box<Diagnostic>> {
    let mut bytes = 0usize;
    for region in module.nested_regions(module.body()) {
        for &id in &module.region(region).nodes {
            let node = module.node(id);
            let Some(constant) = ConstantOp::from_op(&node.op).map(|op| &op.value) else { continue };
            if matches!(constant.payload(), Payload::Splat(_)) {
                let more = constant.elements().saturating_mul(constant.dtype().bytes());
                bytes = bytes.saturating_add(more);
            }
            if bytes > REPEATED_BYTES {
                let names: Vec<&str> = node.loc.iter().map(AsRef::as_ref).collect();
                let message = format!(
                    "constants that repeat one element have {bytes} bytes, the limit is {REPEATED_BYTES}; the last is {} of '{}'",
                    constant.ty(),
                    names.join(", ")
                );
                return Err(Box::new(Diagnostic::error(501, message).help("use smaller shapes")));
            }
        }
    }
    Ok(())
}
