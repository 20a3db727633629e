//! control - what the control-flow operations share.

use crate::{form::Form, types::TensorType};

/// Checks that the types of a region's parameters are those of what is bound to them.
///
/// # Errors
/// Names the first that differs.
pub fn check_carried(op: &str, what: &str, have: &[&TensorType], want: &[&TensorType]) -> Result<(), String> {
    if have.len() != want.len() {
        return Err(format!("{op}: {} {what}, needs {}", have.len(), want.len()));
    }
    match have.iter().zip(want).enumerate().find(|(_, (h, w))| h != w) {
        Some((i, (h, w))) => Err(format!("{op}: {what} {i} is {h}, needs {w}")),
        None => Ok(()),
    }
}

/// The form of every operation whose meaning is its regions'.
pub(super) fn region_form() -> Form {
    Form::Region
}
