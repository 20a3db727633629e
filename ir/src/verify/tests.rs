//! tests - for each rule a module that breaks it.

use super::*;
use crate::{
    dtype::{DType, Scalar},
    entity::EntityId,
    extent::Extent,
    form::{Bounds, Combine, Form, Ix, Load, LoopForm},
    graph::{NodeId, Phase, RegionId, ValueId, loc},
    ops,
    program::{Builder, Program, Unary},
    text::parse,
    types::TensorType,
};

/// `y = x + x` and a fusion of it.
const GOOD: &str = r#"
nnir 1
phase fused
symbol s0 "N" 0..=64 input(0,0)
symbol s1 "k" 0..=64 data bound 2*s0
constraint at_most(s1,s0) loc("c")
module (%0 "x" : f32[s0], %1 "k" : i64[1], %2 "go" : bool[]) {
  %3 = add %0, %0 : f32[s0] loc("add")
  %4 = fusion %3 : f32[s0] loc("fusion") {
    region (%5 : f32[s0]) {
      %6 = neg %5 : f32[s0] loc("neg")
      yield %6
    }
  }
  read_extents %1 {symbols=[s1]} loc("read")
  %7 = extents {values=[s1]} : i64[1] loc("extents")
  return %4 "y", %7 "z"
}
"#;

fn module(text: &str) -> Module {
    parse(text, &|_| None).unwrap_or_else(|e| panic!("{e}\n{text}"))
}
/// The good module with a change that the parser does not mind.
fn changed(changes: &[(&str, &str)]) -> Module {
    let mut text = GOOD.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    module(&text)
}
fn violations(module: &Module) -> Vec<String> {
    verify(module).expect_err("refused").iter().map(ToString::to_string).collect()
}
/// The only violation.
fn violation(module: &Module) -> String {
    let found = violations(module);
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0].clone()
}
fn first_node(m: &Module) -> NodeId {
    m.region(m.body()).nodes[0]
}

#[test]
fn good_modules_are_accepted() {
    assert_eq!(verify(&module(GOOD)), Ok(()));
    assert_eq!(verify(&module(crate::text::tests::example())), Ok(()));
    assert_eq!(verify(&Module::new()), Ok(()));
}

#[test]
fn v01_ids_refer_to_something() {
    let mut m = module(GOOD);
    let node = first_node(&m);
    m.node_mut(node).operands[1] = ValueId::new(99);
    assert_eq!(violation(&m), "V01: add: add reads v99, which does not exist");
    let mut m = module(GOOD);
    let body = m.body();
    m.region_mut(body).nodes.push(NodeId::new(99));
    assert_eq!(violation(&m), "V01: there is no node n99");
    let mut m = module(GOOD);
    let node = first_node(&m);
    m.node_mut(node).regions.push(RegionId::new(99));
    assert_eq!(violation(&m), "V01: add: there is no region r99");
    let mut m = module(GOOD);
    let body = m.body();
    m.region_mut(body).params.swap(0, 1);
    assert!(violations(&m).iter().all(|v| v.starts_with("V01")));
}

#[test]
fn v02_values_are_defined_once() {
    let mut m = module(GOOD);
    let body = m.body();
    let x = m.region(body).params[0];
    let node = first_node(&m);
    m.node_mut(node).results.push(x);
    assert_eq!(violation(&m), "V02: add: v0 is defined twice");
}

#[test]
fn v03_nodes_and_regions_have_one_place() {
    let mut m = module(GOOD);
    let body = m.body();
    let node = first_node(&m);
    m.region_mut(body).nodes.push(node);
    assert_eq!(violation(&m), "V03: add: n0 (add) stands in two places");
    let mut m = module(GOOD);
    let body = m.body();
    m.node_mut(node).regions.push(body);
    assert_eq!(violation(&m), "V03: add: r0 has two owners");
}

#[test]
fn v04_values_are_read_after_their_definition_in_their_region() {
    let m = changed(&[("neg %5", "neg %3")]);
    assert!(violation(&m).starts_with("V04: neg: neg reads v"));
    let m = changed(&[("yield %6", "yield %3")]);
    assert!(violation(&m).starts_with("V04: fusion: the end of r1 reads v"));
    let m = changed(&[("return %4", "return %6")]);
    assert!(violation(&m).starts_with("V04: the end of r0 reads v"));
    let mut m = module(GOOD);
    let body = m.body();
    m.region_mut(body).nodes.swap(0, 1);
    assert!(violation(&m).starts_with("V04: fusion: fusion reads v"));
}

#[test]
fn v05_operations_accept_their_operands() {
    let mut m = module(GOOD);
    let node = first_node(&m);
    let go = m.region(m.body()).params[2];
    m.node_mut(node).operands[1] = go;
    assert_eq!(violation(&m), "V05: add: add (C1): bool[] differs from f32[s0]");
    m.node_mut(node).operands.pop();
    assert_eq!(violation(&m), "V05: add: add: needs 2 operands, has 1");
}

#[test]
fn v06_results_have_the_inferred_types() {
    let mut m = module(GOOD);
    let result = m.node(first_node(&m)).results[0];
    m.set_ty(result, TensorType::of(DType::F32, &[3]));
    assert!(violations(&m)[0].starts_with("V05: fusion"), "the fusion reads another type");
    assert!(violations(&m)[1].ends_with("is f32[3], inferred is f32[s0]"));
    let mut m = module(GOOD);
    let node = first_node(&m);
    m.node_mut(node).results.clear();
    let body = m.body();
    m.region_mut(body).nodes.truncate(1);
    m.set_outputs(&[]);
    assert_eq!(violation(&m), "V06: add: add has 0 results, gives 1");
}

#[test]
fn v07_symbols_exist() {
    let m = changed(&[("constraint at_most(s1,s0)", "constraint at_most(s1,s7)")]);
    assert_eq!(violation(&m), "V07: c: a constraint mentions s7, which does not exist");
    let m = changed(&[("values=[s1]", "values=[s7]")]);
    assert_eq!(violation(&m), "V07: extents: extents mentions s7, which does not exist");
    let m = changed(&[("bound 2*s0", "bound s9")]);
    assert_eq!(violation(&m), "V07: the bound of s1 mentions s9, which does not exist");
}

#[test]
fn v08_symbols_are_known_where_they_are_mentioned() {
    let m = changed(&[("  read_extents %1 {symbols=[s1]} loc(\"read\")\n", "")]);
    assert_eq!(violation(&m), "V08: extents: extents mentions s1, which is not known there");
    let m = changed(&[("\"x\" : f32[s0],", "\"x\" : f32[s0], %9 \"w\" : f32[s1],")]);
    assert_eq!(violation(&m), "V08: a parameter mentions s1, which is not known there");
}

#[test]
fn v09_symbols_are_defined_once() {
    let read = "  read_extents %1 {symbols=[s1]} loc(\"read\")\n";
    let m = changed(&[(read, &format!("{read}{read}"))]);
    assert_eq!(violation(&m), "V09: read: read_extents defines s1, which is defined elsewhere");
    let m = changed(&[("symbols=[s1]", "symbols=[s0]"), ("values=[s1]", "values=[s0]")]);
    assert_eq!(violation(&m), "V09: read: read_extents defines s0, which is defined elsewhere");
    let m = changed(&[("input(0,0)", "input(2,0)")]);
    assert_eq!(violation(&m), "V09: symbol s0 'N' is not the extent of axis 0 of input 2");
}

#[test]
fn v10_ranges_and_bounds_of_symbols() {
    let m = changed(&[("0..=64 input", "65..=64 input")]);
    assert_eq!(violation(&m), "V10: symbol s0 'N' ranges over 65..=64");
    let m = changed(&[("0..=64 data", "-1..=64 data")]);
    assert_eq!(violation(&m), "V10: symbol s1 'k' ranges over -1..=64");
    let m = changed(&[("bound 2*s0", "bound s1+1")]);
    assert_eq!(violation(&m), "V10: symbol s1 'k': its bound s1+1 mentions s1, which data decide");
}

#[test]
fn v11_ports_have_names_of_their_own() {
    let m = changed(&[("%7 \"z\"", "%7 \"y\"")]);
    assert_eq!(violation(&m), "V11: two outputs have the name 'y'");
    let mut m = module(GOOD);
    m.input_names.pop();
    assert_eq!(violation(&m), "V11: 2 names for 3 inputs");
}

#[test]
fn v12_extents_are_not_negative() {
    let m = changed(&[("\"go\" : bool[]", "\"go\" : bool[-3]")]);
    assert_eq!(violation(&m), "V12: a parameter has the extent -3");
}

#[test]
fn v13_forms_fit_their_nodes() {
    let x = TensorType::of(DType::F32, &[4, 2]);
    let y = TensorType::of(DType::F32, &[4]);
    let load = Load {
        operand: 0,
        dtype: DType::F32,
        index: vec![Ix::Axis(0), Ix::Axis(1)],
        extents: x.shape.clone(),
        bounds: Bounds::Guard(Scalar::f32(0.0)),
    };
    let mut body = Builder::new();
    let element = body.load(0, DType::F32);
    let mut finish = Builder::new();
    let acc = finish.acc(0, DType::F32);
    let good = LoopForm {
        space: y.shape.clone(),
        reduce: vec![Extent::Const(2)],
        loads: vec![load],
        body: body.clone().finish([element]),
        combine: Some(Combine::Sum),
        finish: finish.finish([acc]),
        results: vec![DType::F32],
    };
    let check = |change: &dyn Fn(&mut LoopForm)| {
        let mut form = good.clone();
        change(&mut form);
        check_form(&Form::Loops(form), &[&x], &[&y])
    };
    let refused = |change: &dyn Fn(&mut LoopForm), why: &str| {
        let error = check(change).expect_err(why);
        assert!(error.contains(why), "{error}");
    };
    assert_eq!(check(&|_| {}), Ok(()));
    refused(&|f| f.combine = None, "reduction axes without a combiner");
    refused(&|f| f.reduce.clear(), "an index on axis 1 of 1");
    refused(&|f| f.loads[0].operand = 1, "load 0 of operand 1");
    refused(&|f| f.loads[0].dtype = DType::F16, "load 0 takes f32[4,2] for f16");
    refused(&|f| f.loads[0].extents[0] = Extent::ONE, "load 0 takes f32[4,2] for f32[1, 2]");
    refused(&|f| f.loads[0].index[1] = Ix::Axis(2), "an index on axis 2 of 2");
    refused(&|f| f.loads[0].index[1] = Ix::Load(0), "an index read from f32");
    refused(&|f| f.loads[0].bounds = Bounds::Guard(Scalar::f64(0.0)), "guarded by 0.0f64");
    refused(&|f| f.combine = Some(Combine::ArgMax { last: false }), "finish: accumulator 0 of type f32");
    refused(&|f| f.finish = f.body.clone(), "finish: an index on axis 1 of 1");
    refused(&|f| f.body = Program::default(), "a reduction of 0 values");
    refused(&|f| f.results[0] = DType::F16, "stores f16, the result is f32[4]");
    refused(&|f| f.space[0] = Extent::Const(5), "ranges over [5], the result is f32[4]");
    let ill_typed = body.unary(Unary::Not, element);
    let ill_typed = body.finish([ill_typed]);
    refused(&|f| f.body = ill_typed.clone(), "body: ill-typed instruction %1");

    assert!(check_form(&Form::View, &[&x], &[&TensorType::of(DType::I64, &[8])]).is_err());
    assert!(check_form(&Form::Concat { axis: 1 }, &[&y], &[&y]).is_err());
    assert!(check_form(&Form::Extents(vec![]), &[], &[&y]).is_err());
}

#[test]
fn v14_nothing_is_composite_from_canonical_on() {
    let form = r#"nnir 1
phase imported
module (%0 "x" : f32[2]) {
  %1 = training %0 {kind=dropout, learns=[false]} : f32[2] loc("dropout") {
    region (%2 : f32[2]) {
      yield %2
    }
  }
  return %1 "y"
}
"#;
    let mut m = module(form);
    assert_eq!(verify(&m), Ok(()));
    assert_eq!(crate::text::print(&m), form);
    m.phase = Phase::Canonical;
    assert_eq!(violation(&m), "V14: dropout: training is composite in phase Canonical");
    assert!(phases::form_is_allowed(&Form::Composite, Phase::Imported));
    assert!(!phases::form_is_allowed(&Form::Composite, Phase::Canonical));
    assert!(phases::form_is_allowed(&Form::View, Phase::Planned));
}

/// C1 to C3 of `training`.
#[test]
fn v05_training_forms_fit_their_regions() {
    let text = |attrs: &str, second: &str| {
        let regions = format!("region (%3 : f32[2]) {{\n yield %3\n }}\n {second}");
        format!(
            "nnir 1\nphase imported\nmodule (%0 \"x\" : f32[2], %1 \"k\" : f32[3]) {{\n %2 = training %0 \
             {{kind=loss, learns={attrs}}} : f32[2] loc(\"t\") {{\n {regions} }}\n return %2 \"y\"\n}}\n"
        )
    };
    let refused = |text: String| parse(&text, &|_| None).expect_err("refused").to_string();
    assert!(refused(text("[true,true]", "")).contains("training (C3): 2 flags for 1 results"));
    let other = "region (%4 : f32[3]) {\n yield %4\n }\n";
    assert!(refused(text("[true]", other)).contains("training (C1)"));
    let negated = "region (%4 : f32[2]) {\n %5 = is_nan %4 : bool[2] loc(\"n\")\n yield %5\n }\n";
    assert!(refused(text("[true]", negated)).contains("training (C2)"));
}

#[test]
fn v15_fusions_hold_plain_nodes_only() {
    let inner =
        "      %8 = fusion %5 : f32[s0] loc(\"inner\") {\n region (%9 : f32[s0]) {\n yield %9\n }\n }\n";
    let m = changed(&[("      %6 = neg", &format!("{inner}      %6 = neg"))]);
    assert_eq!(violation(&m), "V15: inner: a fusion holds fusion");
}

#[test]
fn violations_come_in_order() {
    let mut m = Module::new();
    let x = m.add_input("x", TensorType::of(DType::F32, &[2]));
    m.add_input("x", TensorType::of(DType::F32, &[2]));
    let body = m.body();
    let y = m.append(body, ops::Add {}, &[x, x], &[], &loc("add")).expect("types fit")[0];
    let node = first_node(&m);
    m.node_mut(node).operands[0] = y;
    let rules: Vec<Rule> = verify(&m).expect_err("refused").iter().map(|v| v.rule).collect();
    assert_eq!(rules, [Rule::BeforeUse, Rule::Ports]);
}
