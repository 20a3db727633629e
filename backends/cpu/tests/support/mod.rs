//! support - compiles one emitted function and runs it in this process; random numbers.
//!
//! Tiles make position-independent code without relocations, so loading is a copy into executable pages.
#![allow(dead_code, unused_imports, reason = "each test and bench uses its own part")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::ExternalName;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{AbiParam, Value};
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{Context, FinalizedRelocTarget};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use memmap2::{Mmap, MmapMut};

pub(crate) mod guarded;
pub(crate) mod lanes;
pub(crate) mod random;

pub(crate) use guarded::Guarded;

/// The host as a target, at the given Cranelift optimisation level.
pub(crate) fn host_isa(opt_level: &str) -> OwnedTargetIsa {
    isa_of(opt_level, false)
}

/// The host without multiply-adds where it is an x86-64: code for the second level of that architecture.
pub(crate) fn plain_isa(opt_level: &str) -> OwnedTargetIsa {
    isa_of(opt_level, true)
}

fn isa_of(opt_level: &str, plain: bool) -> OwnedTargetIsa {
    let mut flags = settings::builder();
    for (key, value) in [("opt_level", opt_level), ("is_pic", "true"), ("enable_verifier", "true")] {
        flags.set(key, value).unwrap();
    }
    let mut isa = isa::lookup(target_lexicon::Triple::host()).unwrap();
    #[cfg(target_arch = "x86_64")]
    for (flag, has) in [
        ("has_sse3", is_x86_feature_detected!("sse3")),
        ("has_ssse3", is_x86_feature_detected!("ssse3")),
        ("has_sse41", is_x86_feature_detected!("sse4.1")),
        ("has_sse42", is_x86_feature_detected!("sse4.2")),
        ("has_avx", !plain && is_x86_feature_detected!("avx")),
        ("has_avx2", !plain && is_x86_feature_detected!("avx2")),
        ("has_fma", !plain && is_x86_feature_detected!("fma")),
    ] {
        isa.set(flag, if has { "true" } else { "false" }).unwrap();
    }
    isa.finish(settings::Flags::new(flags)).unwrap()
}

/// One compiled function.
pub(crate) struct Code {
    map: Mmap,
    /// Disassembly of Cranelift's output.
    pub(crate) listing: String,
}

impl Code {
    /// Entry of the function.
    pub(crate) fn ptr(&self) -> *const u8 {
        self.map.as_ptr()
    }

    /// Bytes of machine code and constants, rounded up to pages.
    pub(crate) fn n_bytes(&self) -> usize {
        self.map.len()
    }
}

/// Compiles a function of `n_params` i64 parameters whose body `emit` writes; the return is added.
pub(crate) fn compile(
    isa: &dyn isa::TargetIsa,
    n_params: usize,
    emit: impl FnOnce(&mut FunctionBuilder, &[Value]),
) -> Code {
    finish(isa, context(isa, n_params, emit))
}

/// The function that `compile` compiles.
pub(crate) fn context(
    isa: &dyn isa::TargetIsa,
    n_params: usize,
    emit: impl FnOnce(&mut FunctionBuilder, &[Value]),
) -> Context {
    let mut ctx = Context::new();
    let mut frontend = FunctionBuilderContext::new();
    ctx.func.signature.call_conv = isa.default_call_conv();
    ctx.func.signature.params = vec![AbiParam::new(I64); n_params];
    let mut builder = FunctionBuilder::new(&mut ctx.func, &mut frontend);
    let entry = builder.create_block();
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    let params = builder.block_params(entry).to_vec();
    emit(&mut builder, &params);
    cranelift_codegen::ir::InstBuilder::return_(builder.ins(), &[]);
    builder.seal_all_blocks();
    builder.finalize(isa.frontend_config());
    ctx
}

/// Compiles a complete function.
pub(crate) fn compile_function(isa: &dyn isa::TargetIsa, func: cranelift_codegen::ir::Function) -> Code {
    finish(isa, Context::for_function(func))
}

/// Bytes of a function for a target that need not be the host.
pub(crate) fn machine_code(isa: &dyn isa::TargetIsa, mut ctx: Context) -> (Vec<u8>, String) {
    ctx.set_disasm(true);
    let code = match ctx.compile(isa, &mut ControlPlane::default()) {
        Ok(code) => code,
        Err(err) => panic!("{:?}", err.inner),
    };
    assert!(code.buffer.relocs().is_empty(), "tiles have no relocations: {:?}", code.buffer.relocs());
    (code.code_buffer().to_vec(), code.vcode.clone().unwrap_or_default())
}

/// Compiles a function that calls tiles by their numbers, and puts these after it.
pub(crate) fn compile_linked(
    isa: &dyn isa::TargetIsa,
    func: cranelift_codegen::ir::Function,
    tiles: &[Vec<u8>],
) -> Code {
    let names = func.params.user_named_funcs().clone();
    let mut ctx = Context::for_function(func);
    ctx.set_disasm(true);
    let code = match ctx.compile(isa, &mut ControlPlane::default()) {
        Ok(code) => code,
        Err(err) => panic!("{:?}", err.inner),
    };
    let mut bytes = code.code_buffer().to_vec();
    let mut places = Vec::with_capacity(tiles.len());
    for tile in tiles {
        bytes.resize(bytes.len().next_multiple_of(64), 0xcc);
        places.push(bytes.len());
        bytes.extend(tile);
    }
    for reloc in code.buffer.relocs() {
        let FinalizedRelocTarget::ExternalName(ExternalName::User(name)) = &reloc.target else {
            panic!("calls something else: {reloc:?}")
        };
        assert_eq!(names[*name].namespace, nnc_cpu::wide::NAMESPACE, "calls something else: {reloc:?}");
        assert_eq!(reloc.kind, Reloc::X86CallPCRel4);
        let (at, to) = (reloc.offset as usize, places[names[*name].index as usize]);
        let distance = i32::try_from(to as i64 - at as i64 + reloc.addend).unwrap();
        bytes[at..at + 4].copy_from_slice(&distance.to_le_bytes());
    }
    load(&bytes, code.vcode.clone().unwrap_or_default())
}

fn finish(isa: &dyn isa::TargetIsa, ctx: Context) -> Code {
    let (bytes, listing) = machine_code(isa, ctx);
    load(&bytes, listing)
}

/// Machine code made callable.
pub(crate) fn load(bytes: &[u8], listing: String) -> Code {
    let mut map = MmapMut::map_anon(bytes.len()).unwrap();
    map.copy_from_slice(bytes);
    Code { map: map.make_exec().unwrap(), listing }
}

/// Levels of wide code that this machine runs.
pub(crate) fn host_levels() -> Vec<nnc_x86::Level> {
    let features = nnc_runtime::host_features();
    let best = nnc_x86::Level::of(|f| features.contains(&f));
    [nnc_x86::Level::Avx2, nnc_x86::Level::Avx512].into_iter().filter(|l| Some(*l) <= best).collect()
}

/// A step of a sum as an emission without multiply-adds does it, if this target has none.
pub(crate) fn step_of(isa: &dyn isa::TargetIsa) -> fn(f32, f32, f32) -> f32 {
    if nnc_cpu::tile::Arithmetic::of(isa).fused { f32::mul_add } else { |x, y, sum| x * y + sum }
}

/// A 64-bit Arm machine.
pub(crate) fn arm_isa() -> OwnedTargetIsa {
    let mut flags = settings::builder();
    flags.set("is_pic", "true").unwrap();
    let isa = isa::lookup("aarch64-unknown-linux-gnu".parse().unwrap()).unwrap();
    isa.finish(settings::Flags::new(flags)).unwrap()
}

/// Xorshift64* numbers from a seed.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Uniform in `0..n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    /// Uniform in [-1, 1).
    pub(crate) fn unit(&mut self) -> f32 {
        ((self.next() >> 40) as i32 - (1 << 23)) as f32 / (1 << 23) as f32
    }
}

/// Calls a function of 64-bit parameters.
///
/// # Safety
/// The code takes as many parameters, and they describe memory it may use.
pub(crate) unsafe fn call(code: &Code, args: &[i64]) {
    let mut all = [0i64; 24];
    all[..args.len()].copy_from_slice(args);
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x] = all;
    #[rustfmt::skip]
    type Function = extern "C" fn(
        i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64,
        i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64,
    );
    // SAFETY: the caller vouches for the parameters; surplus ones are ignored by the C calling conventions of the
    // hosts tests run on, where the caller removes arguments.
    let function: Function = unsafe { std::mem::transmute(code.ptr()) };
    function(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x);
}
