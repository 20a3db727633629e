//! winograd - minimal filtering is from -O2 on, however a module is compiled, and can be left out.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use nnc::{
    Compiler, OptLevel, Options,
    cpu::{CompileOptions, Winograd},
    ir::{
        Module,
        constant::Constant,
        dtype::{DType, Scalar},
        extent::Extent,
        graph::loc,
        ops::{Conv, Op, Relu},
        types::TensorType,
    },
};

/// Convolutions of window 3, one after another.
fn net() -> Module {
    let shape: Vec<Extent> = [1, 32, 48, 48].map(Extent::Const).to_vec();
    let mut m = Module::new();
    let mut x = m.add_input("x", TensorType::new(DType::F32, shape));
    for layer in 0..4 {
        let body = m.body();
        let weights: Vec<Scalar> =
            (0..32 * 32 * 9).map(|i| Scalar::f32(((i * 7 + layer) % 13) as f32 / 64.0)).collect();
        let weights = Constant::from_scalars(DType::F32, &[32, 32, 3, 3], &weights);
        let w = m.append_constant(body, weights, &loc("w"));
        let conv = Conv {
            groups: 1,
            strides: vec![1; 2],
            dilations: vec![1; 2],
            pads_before: vec![1; 2],
            spatial: vec![Extent::Const(48); 2],
        };
        let y = m.append(body, Op::from(conv), &[x, w], &[], &loc("c")).unwrap()[0];
        x = m.append(body, Op::from(Relu {}), &[y], &[], &loc("r")).unwrap()[0];
    }
    m.set_outputs(&[("y".to_owned(), x)]);
    m
}

/// Bytes of weights in the program, compiled from a module that is kept or given away.
fn weight_bytes(level: OptLevel, without: &[&str], owned: bool) -> usize {
    let without = without.iter().map(|name| (*name).to_owned()).collect();
    weight_bytes_of(&Options { level, without, cpu: "x86-64-v3".into(), ..Options::default() }, owned)
}

fn weight_bytes_of(options: &Options, owned: bool) -> usize {
    let compiler = Compiler::new(options.clone());
    let lowered = compiler.optimize(net()).unwrap();
    let compiled = if owned {
        compiler.generate_owned(lowered.module, CompileOptions::default())
    } else {
        compiler.generate(&lowered.module)
    };
    compiled.unwrap().report.weight_bytes as usize
}

#[test]
#[cfg(target_arch = "x86_64")]
fn minimal_filtering_is_from_o2_on_and_can_be_left_out() {
    for owned in [false, true] {
        let taps = weight_bytes(OptLevel::O1, &[], owned);
        assert_eq!(taps, weight_bytes(OptLevel::O2, &["winograd"], owned));
        // Sixteen or thirty-six products in place of nine taps, in most layers.
        assert!(weight_bytes(OptLevel::O2, &[], owned) > taps * 3 / 2, "owned {owned}");
    }
}

/// Squares of 8x8, which round most, are for who asks for them, and for many registers.
#[test]
#[cfg(target_arch = "x86_64")]
fn the_largest_squares_are_those_asked_for() {
    let bytes = |winograd: Winograd, cpu: &str| {
        weight_bytes_of(&Options { winograd, cpu: cpu.into(), ..Options::default() }, false)
    };
    let by_default = weight_bytes_of(&Options { cpu: "x86-64-v4".into(), ..Options::default() }, false);
    let of = |winograd: Winograd| bytes(winograd, "x86-64-v4");
    assert_eq!(of(Winograd::F4), by_default);
    assert!(of(Winograd::F2) < by_default && by_default < of(Winograd::F6));
    assert_eq!(bytes(Winograd::F4, "x86-64-v3"), bytes(Winograd::F6, "x86-64-v3"));
}
