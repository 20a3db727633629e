//! wide - tiles whose machine code is nnc-x86's: which of them a program calls, each once.
//!
//! A kernel in CLIF calls a tile as `u1:number`; the linker puts the tiles after the functions of the program. Tiles
//! follow the System V calling convention on every operating system, which Cranelift knows how to call.

use cranelift_codegen::{
    ir::{AbiParam, ExtFuncData, ExternalName, InstBuilder, Signature, UserExternalName, Value, types::I64},
    isa::CallConv,
};
use cranelift_frontend::FunctionBuilder;
use indexmap::IndexSet;
use nnc_tile::Tile;
use nnc_x86::Level;
use rustc_hash::FxBuildHasher;

/// Namespace of tiles among the functions that a function may call.
pub const NAMESPACE: u32 = 1;

/// The tiles that a program calls.
#[derive(Clone, Debug)]
pub struct WideTiles {
    level: Option<Level>,
    list: IndexSet<Tile, FxBuildHasher>,
}

/// A tile of [`WideTiles`] by its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileNumber(u32);

impl WideTiles {
    /// No tile yet, for a target with such instructions, or without.
    #[must_use]
    pub fn new(level: Option<Level>) -> Self {
        WideTiles { level, list: IndexSet::default() }
    }

    /// Instructions that tiles may use; `None` where all code is CLIF.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        self.level
    }

    /// The tiles in order.
    pub fn list(&self) -> impl ExactSizeIterator<Item = &Tile> {
        self.list.iter()
    }

    /// The tile's position, if there is wide code for it.
    pub fn number(&mut self, spec: &Tile) -> Option<TileNumber> {
        if let Some(at) = self.list.get_index_of(spec) {
            return u32::try_from(at).ok().map(TileNumber);
        }
        if !nnc_x86::supports(spec, self.level?) {
            return None;
        }
        let (at, _) = self.list.insert_full(spec.clone());
        u32::try_from(at).ok().map(TileNumber)
    }
}

/// Calls a tile with the arguments of its spec's `args()`.
pub(crate) fn call(b: &mut FunctionBuilder<'_>, tile: TileNumber, args: &[Value]) {
    let name = b.func.declare_imported_user_function(UserExternalName::new(NAMESPACE, tile.0));
    let known = b.func.dfg.ext_funcs.iter().find(|(_, f)| f.name == ExternalName::user(name));
    let function = match known {
        Some((function, _)) => function,
        None => {
            let mut signature = Signature::new(CallConv::SystemV);
            signature.params = vec![AbiParam::new(I64); args.len()];
            let signature = b.import_signature(signature);
            let name = ExternalName::user(name);
            b.import_function(ExtFuncData { name, signature, colocated: true, patchable: false })
        }
    };
    b.ins().call(function, args);
}
