//! tests - what is printed is read back; what cannot be read is named by line.

use super::*;
use crate::{
    constant::{Constant, Payload},
    dtype::{DType, Scalar},
    entity::EntityId,
    extent::{Extent, Symbol, SymbolId, SymbolOrigin},
    graph::{Constraint, ConstraintKind, Module, Phase, loc},
    ops,
    types::TensorType,
};

/// The example of the document.
pub(crate) fn example() -> &'static str {
    let document = include_str!("../../../docs/text-format.md");
    let (_, example) = document.split_once("## Example").expect("the document has an example");
    let (_, example) = example.split_once("```text\n").expect("in a block");
    example.split_once("```").expect("that ends").0
}

fn read(text: &str) -> Module {
    parse(text, &|_| None).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn the_example_of_the_document_is_read_and_printed_alike() {
    let module = read(example());
    assert_eq!(print(&module), example());
    assert_eq!(module.phase, Phase::Fused);
    let x = crate::eval::Tensor::f32s(&[1, 2], &[1.0, 2.0]);
    let got = crate::eval::evaluate(&module, &[x], &crate::eval::EvalLimits::GENEROUS);
    assert_eq!(got, Ok(vec![crate::eval::Tensor::f32s(&[1, 2], &[1.5, 2.5])]));
}

#[test]
fn everything_a_module_has_is_read_back() {
    let mut m = Module::new();
    let origin = SymbolOrigin::Input { input: 0, axis: 1 };
    let n = Symbol { name: "N\n\"\u{202e}".into(), min: 1, max: i64::MAX, origin, bound: None };
    let n = Extent::symbol(m.symbols.push(n));
    let bound = Some(&n.scale(3) - &Extent::ONE);
    m.symbols.push(Symbol { name: String::new(), min: 0, max: 7, origin: SymbolOrigin::Data, bound });
    m.phase = Phase::Canonical;
    let half = n.floor_div(&Extent::Const(2)).min_with(&Extent::symbol(SymbolId::new(1)));
    m.constraints
        .push(Constraint { kind: ConstraintKind::Equal(half.clone(), n.clone()), loc: loc("größe") });
    m.constraints.push(Constraint { kind: ConstraintKind::Broadcasts(n.clone(), half), loc: [].into() });
    let x = m.add_input("x y", TensorType::new(DType::F32, vec![Extent::ONE, n.clone()]));
    m.add_input("", TensorType::of(DType::Bool, &[]));
    let body = m.body();
    let big = Constant::new(DType::U8, &[20], Payload::Inline((0..20u8).collect())).expect("valid");
    m.append_constant(body, big.clone(), &loc("big"));
    let index = m.append_constant(body, Constant::i64s(&[3]), &[].into());
    m.append(body, ops::ReadExtents { symbols: vec![SymbolId::new(1)] }, &[index], &[], &loc("a"))
        .expect("types fit");
    let empty = m.add_region();
    m.append(body, ops::Fusion {}, &[], &[empty], &[].into()).expect("types fit");
    let region = m.add_region();
    let p = m.add_param(region, m.ty(x).clone());
    let q = m.append(region, ops::Add {}, &[p, p], &[], &crate::graph::merge_locs([&loc("b"), &loc("c")]));
    m.set_results(region, vec![q.expect("types fit")[0], p]);
    let r = m.append(body, ops::Fusion {}, &[x], &[region], &loc("f")).expect("types fit");
    m.set_outputs(&[("first".into(), r[1]), ("second".into(), r[0]), ("third".into(), x)]);

    let text = print(&m);
    let constants = collect_constants(&m);
    assert_eq!(constants.values().collect::<Vec<_>>(), [&big]);
    let read =
        parse(&text, &|digest| constants.get(digest).cloned()).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(print(&read), text);
    assert_eq!(crate::verify::verify(&read), Ok(()));
    assert_eq!((read.symbols.iter().count(), &read.constraints), (2, &m.constraints));
    assert_eq!((&read.input_names, &read.output_names), (&m.input_names, &m.output_names));
    let missing = parse(&text, &|_| None).expect_err("the constant is missing");
    assert!(missing.message.contains("no constant `u8[20]=#"), "{missing}");

    let file = weights::write(&constants);
    assert_eq!(weights::read(&file), Ok(constants));
    assert!(weights::read(&file[..file.len() - 1]).is_err());
    let mut changed = file;
    let last = changed.len() - 2;
    changed[last] ^= 1;
    assert!(weights::read(&changed).expect_err("another digest").contains("has the digest"));
}

#[test]
fn numbers_follow_the_text_and_not_the_construction() {
    let build = |swap: bool| {
        let mut m = Module::new();
        let body = m.body();
        let one = |m: &mut Module, x: f32| {
            m.append_constant(body, Constant::scalar(DType::F32, Scalar::f32(x)), &loc("c"))
        };
        let (a, b) = if swap {
            let b = one(&mut m, 2.0);
            (one(&mut m, 1.0), b)
        } else {
            (one(&mut m, 1.0), one(&mut m, 2.0))
        };
        if swap {
            m.region_mut(body).nodes.reverse();
        }
        let c = m.append(body, ops::Add {}, &[a, b], &[], &loc("add")).expect("types fit");
        m.set_outputs(&[("c".into(), c[0])]);
        print(&m)
    };
    assert_eq!(build(false), build(true));
}

#[test]
fn errors_name_the_line() {
    let after = parse(&format!("{}}}", example()), &|_| None).expect_err("refused");
    assert_eq!(after.to_string(), "line 18: nothing may follow the module");
    let refused = |from: &str, to: &str| {
        assert!(example().contains(from), "{from}");
        parse(&example().replacen(from, to, 1), &|_| None).expect_err("refused").to_string()
    };
    assert_eq!(refused("nnir 1", "nnir 2"), "line 1: expected `nnir 1`, found `nnir 2`");
    assert_eq!(refused("phase fused", "phase melted"), "line 2: no phase `melted`");
    assert_eq!(refused("symbol s0", "symbol s1"), "line 3: symbols are numbered in order: expected `s0`");
    assert_eq!(refused("1..=1024", "1-1024"), "line 3: expected a range such as `1..=8`");
    assert_eq!(refused("input(0,0)", "input"), "line 3: expected `data` or an origin such as `input(0,1)`");
    assert_eq!(refused("at_most(", "at_least("), "line 4: no constraint `at_least`");
    assert_eq!(refused("f32[s0,2]) {", "f33[s0,2]) {"), "line 5: cannot read type `f33[s0,2]`");
    assert_eq!(refused("\"x\"", "x"), "line 5: expected a quoted name, found `x : f32[s0,2]) {`");
    assert_eq!(refused("%2 = matmul", "%1 = matmul"), "line 7: %1 is defined twice");
    assert_eq!(refused("matmul %0, %1", "matmul %0, %9"), "line 7: %9 is not defined");
    assert_eq!(refused("matmul", "mathmul"), "line 7: unknown operation `mathmul`");
    assert_eq!(
        refused("matmul %0, %1 : f32[s0,2]", "matmul %0, %1 : f32[s0,3]"),
        "line 7: %2 is written as f32[s0,3], but is f32[s0,2]"
    );
    assert_eq!(refused("matmul %0, %1", "matmul %0"), "line 7: matmul: needs 2 operands, has 1");
    assert_eq!(
        refused("%2 = matmul", "%2, %22 = matmul"),
        "line 7: `matmul` has 1 results, written are 2 with 1 types"
    );
    assert_eq!(
        refused("shape=[s0,2]", "shape=[s0,2], keep=true"),
        "line 11: `broadcast` has no attribute `keep`"
    );
    assert_eq!(refused("{shape=[s0,2]}", "{}"), "line 11: missing attribute `shape`");
    assert_eq!(
        refused("{shape=[s0,2]}", "{shape=[s0,2]"),
        "line 11: expected attributes up to `}`, found `shape=[s0,2] : f32[s0,2]`"
    );
    assert_eq!(
        refused("fusion %2, %3", "fusion %2, %2"),
        "line 9: fusion: operands 1 is f32[s0,2], needs f32[2]"
    );
    assert_eq!(
        refused("  return", "  %10 = add %4, %4 : f32[s0,2] x\n  return"),
        "line 16: expected the end of the line, found ` x`"
    );
    assert_eq!(refused("  return %4 \"y\"\n}\n", ""), "line 15: the text ends early");
}

#[test]
fn deep_nesting_is_refused() {
    let deep = format!("nnir 1\nmodule () {{\n{}", "fusion {\nregion () {\n".repeat(5000));
    let error = parse(&deep, &|_| None).expect_err("refused");
    assert_eq!(error.message, "regions nest deeper than 64");
}
