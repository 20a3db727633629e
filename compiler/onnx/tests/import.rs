//! import - what the importer makes of small models, and what it says about bad ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use nnc_ir::{Module, diag::Diagnostic};
use nnc_onnx::{
    import::{ImportOptions, import},
    model::{
        AttrValue, Attribute, Dim, Graph, Model, Node, OnnxType, Tensor, TensorData, ValueInfo, ValueType,
    },
};

fn info(name: &str, elem: OnnxType, dims: &[Dim]) -> ValueInfo {
    ValueInfo { name: name.into(), ty: Some(ValueType::Tensor { elem, shape: Some(dims.to_vec()) }) }
}

fn named(name: &str) -> Dim {
    Dim::Param(name.into())
}

fn node(op: &str, inputs: &[&str], output: &str, attributes: &[(&str, AttrValue)]) -> Node {
    Node {
        name: format!("{op}_{output}"),
        op_type: op.into(),
        opset: 13,
        inputs: inputs.iter().map(|&s| s.into()).collect(),
        outputs: vec![output.into()],
        attributes: attributes
            .iter()
            .map(|(n, v)| Attribute { name: (*n).into(), value: v.clone() })
            .collect(),
        ..Node::default()
    }
}

fn ints(name: &str, values: &[i64]) -> Tensor {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let dims = vec![i64::try_from(values.len()).expect("few values")];
    Tensor { name: name.into(), dtype: OnnxType::Int64, dims, data: TensorData::Inline(Arc::new(bytes)) }
}

/// A model of one input `x: f32[N, 3, H]` and one output `y`.
fn model(initializers: Vec<Tensor>, nodes: Vec<Node>) -> Model {
    let graph = Graph {
        inputs: vec![info("x", OnnxType::Float, &[named("N"), Dim::Value(3), named("H")])],
        outputs: vec![ValueInfo { name: "y".into(), ty: None }],
        initializers,
        nodes,
        ..Graph::default()
    };
    Model {
        ir_version: 8,
        producer: String::new(),
        opsets: BTreeMap::from([(String::new(), 13)]),
        metadata: Vec::new(),
        functions: Vec::new(),
        graph,
        warnings: Vec::new(),
    }
}

fn output_type(model: &Model, options: &ImportOptions) -> String {
    let (module, _): (Module, _) = import(model, options).expect("the model is good");
    nnc_ir::verify::verify(&module).expect("the module is sound");
    module.ty(module.region(module.body()).results[0]).to_string()
}

fn errors(model: &Model) -> Vec<String> {
    let problems = import(model, &ImportOptions::as_declared()).expect_err("the model is bad");
    problems.iter().filter(|d| d.is_error()).map(Diagnostic::to_string).collect()
}

#[test]
fn a_shape_that_nodes_compute_is_known_when_importing() {
    let nodes = vec![
        node("Shape", &["x"], "shape", &[]),
        node("Gather", &["shape", "first"], "n", &[("axis", AttrValue::Int(0))]),
        node("Concat", &["n", "open"], "target", &[("axis", AttrValue::Int(0))]),
        node("Reshape", &["x", "target"], "y", &[]),
    ];
    let model = model(vec![ints("first", &[0]), ints("open", &[-1])], nodes);
    assert_eq!(output_type(&model, &ImportOptions::as_declared()), "f32[s0,3*s1]");
    let mut pinned = ImportOptions::as_declared();
    pinned.dims.insert("N".into(), 2);
    pinned.shapes.insert("x".into(), vec![2, 3, 5]);
    assert_eq!(output_type(&model, &pinned), "f32[2,15]");
}

#[test]
fn every_problem_is_told_once_and_what_depends_on_it_is_passed_over() {
    let nodes = vec![
        node("Frobnicate", &["x"], "a", &[]),
        node("Relu", &["a"], "b", &[]),
        node("Frobnicate", &["x"], "c", &[]),
        node("Transpose", &["x"], "d", &[("perm", AttrValue::Ints(vec![0, 0, 1]))]),
        node("Softmax", &["x"], "e", &[("axis", AttrValue::Int(3))]),
        node("Concat", &["b", "c", "d", "e"], "y", &[("axis", AttrValue::Int(0))]),
    ];
    let found = errors(&model(vec![], nodes));
    let codes: Vec<&str> = found.iter().map(|e| &e[..12]).collect();
    assert_eq!(codes, ["error[E0213]", "error[E0211]", "error[E0401]"], "{found:#?}");
    assert!(found[2].contains("2 nodes need it"), "{}", found[2]);
}

#[test]
fn inputs_that_clash_or_are_negative_are_refused() {
    let mut clash = model(vec![], vec![node("Relu", &["x"], "y", &[])]);
    clash.graph.inputs.push(info("z", OnnxType::Float, &[Dim::Value(-5)]));
    assert!(errors(&clash)[0].starts_with("error[E0237]"));
    let mut options = ImportOptions::as_declared();
    options.dims.insert("H".into(), 4);
    options.shapes.insert("x".into(), vec![1, 3, 5]);
    clash.graph.inputs.pop();
    let problems = import(&clash, &options).expect_err("H is 4 and 5");
    assert_eq!(problems[0].code.0, 236);
}

#[test]
fn a_condition_that_is_known_picks_its_branch() {
    let branch = |op: &str| {
        let nodes = vec![node(op, &["x"], "out", &[])];
        let outputs = vec![ValueInfo { name: "out".into(), ty: None }];
        AttrValue::Graph(Box::new(Graph { nodes, outputs, ..Graph::default() }))
    };
    let branches = [("then_branch", branch("Relu")), ("else_branch", branch("Exp"))];
    let nodes = vec![
        node("Shape", &["x"], "shape", &[]),
        node("Size", &["shape"], "rank", &[]),
        node("Equal", &["rank", "three"], "condition", &[]),
        node("If", &["condition"], "y", &branches),
    ];
    let (module, _) = import(&model(vec![ints("three", &[3])], nodes), &ImportOptions::as_declared())
        .expect("the model is good");
    let result = module.region(module.body()).results[0];
    let made_by = module.def_node(result).map(|n| module.node(n).op.mnemonic());
    assert_eq!(made_by, Some("relu"));
}
