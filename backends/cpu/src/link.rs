//! link - functions to one blob of position-independent machine code that imports nothing.

use std::{
    num::NonZero,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use cranelift_codegen::{
    Context, FinalizedRelocTarget,
    binemit::Reloc,
    control::ControlPlane,
    ir::{ExternalName, Function},
    isa::TargetIsa,
};
use nnc_tile::Tile;
use nnc_x86::Level;

use crate::wide;

/// Alignment of functions in the blob: a cache line.
const ALIGN: usize = 64;

/// Fills gaps between functions: an instruction that stops.
const FILLER: u8 = 0xcc;

/// A function to be linked. Calls name others by position: `u0:position` is a function of the program, `u1:number` a
/// tile, and tiles come after the functions.
pub(crate) struct Unit<'a> {
    /// Symbol name.
    pub(crate) name: &'a str,
    /// What it is made of.
    pub(crate) code: Code<'a>,
}

/// What the bytes of a function come from.
pub(crate) enum Code<'a> {
    /// Cranelift.
    Clif {
        /// The function.
        function: &'a Function,
        /// What compiles it.
        isa: &'a dyn TargetIsa,
    },
    /// nnc-x86.
    Tile {
        /// The spec.
        tile: &'a Tile,
        /// Instructions it may use.
        level: Level,
    },
}

/// Where a function is in the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// First byte.
    pub(crate) offset: usize,
    /// Number of bytes.
    pub(crate) len: usize,
}

/// Linked functions.
pub(crate) struct Blob {
    /// Machine code.
    pub(crate) code: Vec<u8>,
    /// One a function.
    pub(crate) places: Vec<Place>,
    /// One a function: its listing, if that was asked for.
    pub(crate) listings: Vec<Option<String>>,
}

/// A compiled function that is not placed yet.
struct Object {
    bytes: Vec<u8>,
    calls: Vec<Call>,
    listing: Option<String>,
}

/// Four bytes that take the distance to another function.
struct Call {
    offset: usize,
    callee: usize,
    addend: i64,
}

/// Compiles the functions, on as many threads as there are cores, and links them. The bytes do not depend on the number
/// of threads.
///
/// # Errors
/// Names the function that Cranelift cannot compile or that refers to something outside.
pub(crate) fn link(units: &[Unit<'_>], n_functions: usize, listing: bool) -> Result<Blob, String> {
    let done: Vec<OnceLock<Result<Object, String>>> = units.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut context = Context::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(unit) = units.get(at) else { return };
            // Nobody else has taken this position.
            let object = match unit.code {
                Code::Clif { function, isa } => {
                    compile(&mut context, unit.name, function, isa, [n_functions, units.len()], listing)
                }
                Code::Tile { tile, level } => wide(tile, level),
            };
            let _ = done[at].set(object);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let helpers = cores.min(units.len().div_ceil(8)).saturating_sub(1);
    std::thread::scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(work);
        }
        work();
    });
    let mut objects = Vec::with_capacity(units.len());
    for (unit, result) in units.iter().zip(done) {
        let missing = || Err(format!("{}: not compiled", unit.name));
        objects.push(result.into_inner().unwrap_or_else(missing)?);
    }
    place(&objects)
}

fn compile(
    context: &mut Context,
    name: &str,
    function: &Function,
    isa: &dyn TargetIsa,
    [n_functions, n_units]: [usize; 2],
    listing: bool,
) -> Result<Object, String> {
    let fail = |what: String| format!("{name}: {what}");
    context.clear();
    context.func = function.clone();
    context.set_disasm(listing);
    let code = context
        .compile(isa, &mut ControlPlane::default())
        .map_err(|e| fail(cranelift_codegen::print_errors::pretty_error(e.func, e.inner)))?;
    let mut calls = Vec::new();
    for reloc in code.buffer.relocs() {
        let (name, index) = match &reloc.target {
            FinalizedRelocTarget::ExternalName(ExternalName::User(name)) => {
                let name = &function.params.user_named_funcs()[*name];
                let first = match name.namespace {
                    0 => Some(0),
                    wide::NAMESPACE => Some(n_functions),
                    _ => None,
                };
                (name.to_string(), first.map(|first| first + name.index as usize))
            }
            other => (other.display(Some(&function.params)), None),
        };
        let Some(callee) = index.filter(|&i| i < n_units) else {
            return Err(fail(format!("needs {name}, which is no function of the program")));
        };
        if reloc.kind != Reloc::X86CallPCRel4 {
            return Err(fail(format!("refers to {name} by {:?}, which this linker cannot do", reloc.kind)));
        }
        calls.push(Call { offset: reloc.offset as usize, callee, addend: reloc.addend });
    }
    let listing = code.vcode.clone();
    Ok(Object { bytes: code.code_buffer().to_vec(), calls, listing })
}

fn wide(tile: &Tile, level: Level) -> Result<Object, String> {
    let bytes = nnc_x86::emit(tile, level).map_err(|e| format!("{tile:?}: {}", e.0))?;
    Ok(Object { bytes, calls: vec![], listing: None })
}

fn place(objects: &[Object]) -> Result<Blob, String> {
    let mut code: Vec<u8> = Vec::new();
    let mut places = Vec::with_capacity(objects.len());
    for object in objects {
        code.resize(code.len().next_multiple_of(ALIGN), FILLER);
        places.push(Place { offset: code.len(), len: object.bytes.len() });
        code.extend(&object.bytes);
    }
    for (object, at) in objects.iter().zip(&places) {
        for call in &object.calls {
            let from = at.offset + call.offset;
            let distance = places[call.callee].offset as i64 - from as i64 + call.addend;
            let Ok(distance) = i32::try_from(distance) else {
                return Err("the program has over 2 GiB of code".into());
            };
            code[from..from + 4].copy_from_slice(&distance.to_le_bytes());
        }
    }
    Ok(Blob { code, places, listings: objects.iter().map(|o| o.listing.clone()).collect() })
}
