//! contract - speed of whole contractions as a share of the 128-bit multiply-add peak, on one thread.
//!
//!     cargo bench --profile dev -p nnc-cpu --bench contract -- [part of a name ..]
//!
//! Emitted code does not depend on the cargo profile; `dev` has its dependencies built already.

#[path = "tile/measure.rs"]
#[allow(dead_code, reason = "each bench uses its own part")]
mod measure;
#[path = "../tests/support/nest/mod.rs"]
mod nest;
#[path = "../tests/support/mod.rs"]
mod support;

use measure::{PEAK_FMAS, peak};
use nest::{Buffer, compile_known, value};
use nnc_ir::{
    compose::fuse_nodes,
    constant::{Constant, Payload},
    dtype::DType,
    entity::EntityId,
    extent::{Extent, SymbolId, product},
    form::LoopForm,
    graph::{Module, ValueId, loc},
    ops::{Add, Broadcast, Conv, MatMul, Op, Relu, Transpose},
    types::TensorType,
};
use support::Rng;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    println!("128-bit peak: {:.1} GFLOP/s", peak_gflops(200));
    let mut bench = Bench { args };
    // Input channels, size, result channels, window, stride.
    for (name, shapes) in [
        (
            "resnet50",
            &[
                (3, 224, 64, 7, 2),
                (64, 56, 64, 3, 1),
                (128, 28, 128, 3, 1),
                (128, 56, 128, 3, 2),
                (256, 14, 256, 3, 1),
                (512, 7, 512, 3, 1),
                (64, 56, 256, 1, 1),
                (256, 56, 64, 1, 1),
                (256, 56, 512, 1, 2),
                (512, 28, 128, 1, 1),
                (1024, 14, 256, 1, 1),
                (2048, 7, 512, 1, 1),
                (512, 7, 2048, 1, 1),
            ][..],
        ),
        ("mobilenet", &[(3, 224, 32, 3, 2), (16, 112, 96, 1, 1), (96, 56, 24, 1, 1), (320, 7, 1280, 1, 1)]),
        ("vgg", &[(64, 224, 64, 3, 1), (512, 14, 512, 3, 1)]),
    ] {
        for &(c, size, m, window, stride) in shapes {
            bench.conv(name, 1, c, size, m, window, stride);
        }
    }
    for &(channels, size, window, stride) in
        &[(32, 112, 3, 1), (96, 112, 3, 2), (144, 56, 3, 1), (384, 14, 3, 1), (960, 7, 3, 1), (240, 28, 5, 1)]
    {
        bench.conv("depthwise", channels, 1, size, 1, window, stride);
    }
    for &(groups, c, size, m, window, stride) in &[
        (1, 64, 56, 64, 3, 1),
        (1, 256, 14, 256, 3, 1),
        (1, 128, 56, 128, 3, 2),
        (1, 96, 56, 24, 1, 1),
        (144, 1, 56, 1, 3, 1),
    ] {
        bench.conv("symbolic", groups, c, size, m, window, stride);
    }
    bench.conv("grouped", 32, 4, 56, 4, 3, 1);
    for (name, m, n, k) in [
        ("bert", 128, 768, 768),
        ("bert", 128, 3072, 768),
        ("bert", 128, 768, 3072),
        ("vit", 197, 192, 192),
        ("large", 512, 512, 512),
        ("large", 1024, 1024, 1024),
        ("head", 1, 1000, 2048),
        ("decode", 1, 4096, 4096),
        ("decode", 4, 4096, 4096),
    ] {
        bench.matmul(name, &[], m, n, k, false, true);
    }
    bench.matmul("attention qk", &[12], 128, 128, 64, true, false);
    bench.matmul("attention pv", &[12], 128, 64, 128, false, false);
    bench.matmul("run-time b", &[], 512, 512, 512, false, false);
    bench.matmul("run-time b transposed", &[], 512, 512, 512, true, false);
    bench.matmul("run-time b", &[], 1, 4096, 1024, false, false);
}

struct Bench {
    args: Vec<String>,
}

impl Bench {
    fn wants(&self, name: &str) -> bool {
        self.args.is_empty() || self.args.iter().any(|a| name.contains(a))
    }

    #[allow(clippy::too_many_arguments, reason = "one line says one shape")]
    fn conv(&mut self, name: &str, groups: i64, c: i64, size: i64, m: i64, window: i64, stride: i64) {
        let pad = window / 2;
        let out = (size + 2 * pad - window) / stride + 1;
        let what = format!(
            "{name} conv {groups}x{c} {size}x{size} to {groups}x{m}, window {window}, stride {stride}"
        );
        if !self.wants(&what) {
            return;
        }
        let mut module = Module::new();
        let symbolic = name == "symbolic";
        let side = if symbolic { Extent::symbol(SymbolId::new(0)) } else { Extent::Const(size) };
        let shape = vec![Extent::ONE, Extent::Const(groups * c), side.clone(), side.clone()];
        let x = module.add_input("x", TensorType::new(DType::F32, shape));
        let w = input(&mut module, &[groups * m, c, window, window]);
        let bias = input(&mut module, &[groups * m, 1, 1]);
        let conv = Conv {
            groups,
            strides: vec![stride; 2],
            dilations: vec![1; 2],
            pads_before: vec![pad; 2],
            spatial: vec![
                &(&side + &Extent::Const(2 * pad - window)).floor_div(&Extent::Const(stride))
                    + &Extent::ONE;
                2
            ],
        };
        let y = op(&mut module, conv, &[x, w]);
        let y = finish(&mut module, y, bias);
        run(
            &what,
            &form(&module, y, &[x, w, bias]),
            &[size],
            &[1, 2],
            2 * groups * c * m * out * out * window * window,
        );
    }

    #[allow(clippy::too_many_arguments, reason = "one line says one shape")]
    fn matmul(&mut self, name: &str, batch: &[i64], m: i64, n: i64, k: i64, transposed: bool, known: bool) {
        let what = format!("{name} {batch:?} {m}x{n}x{k}");
        if !self.wants(&what) {
            return;
        }
        let mut module = Module::new();
        let x = input(&mut module, &[batch, &[m, k]].concat());
        let rank = batch.len() + 2;
        let (w, rhs) = if transposed {
            let w = input(&mut module, &[batch, &[n, k]].concat());
            let mut perm: Vec<usize> = (0..rank).collect();
            perm.swap(rank - 2, rank - 1);
            (w, op(&mut module, Transpose { perm }, &[w]))
        } else {
            let w = input(&mut module, &[batch, &[k, n]].concat());
            (w, w)
        };
        let bias = input(&mut module, &[n]);
        let y = op(&mut module, MatMul {}, &[x, rhs]);
        let y = finish(&mut module, y, bias);
        let form = form(&module, y, &[x, w, bias]);
        run(
            &what,
            &form,
            &[],
            if known { &[1, 2] } else { &[] },
            2 * batch.iter().product::<i64>() * m * n * k,
        );
    }
}

fn input(module: &mut Module, dims: &[i64]) -> ValueId {
    module.add_input("x", TensorType::of(DType::F32, dims))
}

fn op(module: &mut Module, op: impl Into<Op>, operands: &[ValueId]) -> ValueId {
    let body = module.body();
    module.append(body, op, operands, &[], &loc("t")).expect("a valid operation")[0]
}

/// A bias and a rectifier.
fn finish(module: &mut Module, y: ValueId, bias: ValueId) -> ValueId {
    let shape = module.ty(y).shape.clone();
    let bias = op(module, Broadcast { shape }, &[bias]);
    let y = op(module, Add {}, &[y, bias]);
    op(module, Relu {}, &[y])
}

fn form(module: &Module, result: ValueId, inputs: &[ValueId]) -> LoopForm {
    let nodes = module.region(module.body()).nodes.clone();
    let (mut form, operands) = fuse_nodes(module, &nodes, &[result]).expect("one nest");
    for load in &mut form.loads {
        let value = operands[load.operand];
        load.operand = inputs.iter().position(|&v| v == value).expect("an input");
    }
    form
}

fn run(what: &str, form: &LoopForm, symbols: &[i64], known: &[usize], flops: i64) {
    let symbols = symbols.to_vec();
    let mut rng = Rng::new(1);
    let bytes: Vec<Vec<u8>> = (0..3)
        .map(|o| {
            let load = form.loads.iter().find(|l| l.operand == o).expect("every operand is read");
            (0..value(&product(&load.extents), &symbols)).flat_map(|_| rng.unit().to_le_bytes()).collect()
        })
        .collect();
    let constants: Vec<Option<Constant>> = (0..3)
        .map(|o| {
            let load = form.loads.iter().find(|l| l.operand == o).expect("every operand is read");
            let dims: Vec<i64> = load.extents.iter().map(|e| value(e, &symbols)).collect();
            let payload = Payload::Inline(bytes[o].clone().into());
            known.contains(&o).then(|| Constant::new(DType::F32, &dims, payload).expect("as many bytes"))
        })
        .collect();
    let start = std::time::Instant::now();
    let compiled = compile_known(form, &constants, vec![None]);
    let compile_ms = start.elapsed().as_secs_f64() * 1e3;
    let buffers: Vec<Buffer> = bytes.iter().map(|b| Buffer::new(b)).collect();
    let output = Buffer::new(&vec![0; 4 * value(&product(&form.space), &symbols) as usize]);
    let all: Vec<&Buffer> = buffers.iter().chain([&output]).collect();
    let (frame, _scratch) = compiled.frame_for(&symbols, &all, Box::leak(Box::new([0; 12])));
    let items = value(&compiled.items, &symbols);
    let scratch = value(&compiled.scratch_bytes, &symbols);
    let flops = usize::try_from(flops).expect("a number of operations");
    // SAFETY: the kernel takes four parameters, and the frame describes the buffers.
    let once = || unsafe { support::call(&compiled.code, &[frame.address(), 0, items, 0]) };
    let (mut best, mut top) = (f64::MAX, 0f64);
    once();
    let mut spent = 0.0;
    while spent < 0.15 {
        top = top.max(peak_gflops(4));
        let start = cpu_seconds();
        let mut calls = 0;
        while calls == 0 || cpu_seconds() - start < 2e-3 {
            once();
            calls += 1;
        }
        let time = cpu_seconds() - start;
        spent += time;
        best = best.min(time / f64::from(calls));
    }
    let gflops = flops as f64 / best / 1e9;
    let way = if compiled.scheduled { "" } else { " by loops" };
    println!(
        "{what}{way}: {gflops:.1} GFLOP/s, {:.0} %; {items} items, scratch {} KiB, compiled in {compile_ms:.1} ms",
        100.0 * gflops / top,
        scratch >> 10
    );
}

/// Speed of multiply-adds in registers, 128 bits wide: the best of some runs.
fn peak_gflops(runs: usize) -> f64 {
    let one = || {
        let start = cpu_seconds();
        (0..20).for_each(|_| peak(false));
        (20 * PEAK_FMAS * 8) as f64 / (cpu_seconds() - start) / 1e9
    };
    (0..runs).map(|_| one()).fold(0.0, f64::max)
}

/// Processor time of this thread: other processes do not count.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn cpu_seconds() -> f64 {
    let mut time = [0i64; 2];
    // SAFETY: clock_gettime(CLOCK_THREAD_CPUTIME_ID) writes two words and nothing else.
    unsafe {
        std::arch::asm!(
            "syscall",
            inout("rax") 228i64 => _,
            in("rdi") 3i64,
            in("rsi") time.as_mut_ptr(),
            out("rcx") _,
            out("r11") _,
        );
    }
    time[0] as f64 + time[1] as f64 * 1e-9
}
