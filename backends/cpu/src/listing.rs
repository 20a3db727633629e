//! listing - programs as text: Cranelift IR and assembly.

use std::fmt::Write;

use crate::{entry::Functions, link::Blob, wide::WideTiles};

/// Every function in Cranelift's text format, in the order of the blob.
pub(crate) fn clif(functions: &Functions) -> String {
    let mut text = String::new();
    for (i, declared) in functions.list.iter().enumerate() {
        if let Some(function) = &declared.function {
            // Writing to a string does not fail.
            let _ = writeln!(text, "; {i}: {}\n{}", declared.name, function.display());
        }
    }
    text
}

/// Every function as the instructions chosen for it, in the order of the blob.
pub(crate) fn asm(functions: &Functions, tiles: &WideTiles, blob: &Blob) -> String {
    let mut text = String::new();
    for ((declared, place), listing) in functions.list.iter().zip(&blob.places).zip(&blob.listings) {
        let _ = writeln!(text, "; {} at {:#x}, {} bytes", declared.name, place.offset, place.len);
        text.push_str(listing.as_deref().unwrap_or(""));
        text.push('\n');
    }
    for (tile, place) in tiles.list().zip(&blob.places[functions.list.len()..]) {
        let _ = writeln!(text, "; {tile:?} at {:#x}, {} bytes\n", place.offset, place.len);
    }
    text
}
