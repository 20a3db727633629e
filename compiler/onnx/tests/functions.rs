//! functions - calls of model-local functions become operators, unless the functions make no sense.

mod proto;

use nnc_onnx::model::{AttrValue, Model};
use proto::*;

/// FunctionProto `d:name`.
fn function(name: &str, nodes: &[Msg], inputs: &[&str], outputs: &[&str]) -> Msg {
    msg()
        .str(1, name)
        .each(inputs, |m, n| m.str(4, n))
        .each(outputs, |m, n| m.str(5, n))
        .each(nodes, |m, n| m.msg(7, n.clone()))
        .msg(9, opset("", 13))
        .msg(9, opset("d", 1))
        .str(10, "d")
}

/// A call of `d:name`.
fn call(name: &str, inputs: &[&str], outputs: &[&str]) -> Msg {
    node(name, inputs, outputs).str(7, "d")
}

fn model_with(nodes: &[Msg], functions: &[Msg]) -> Msg {
    model(graph(nodes, &["x"], &["y"])).msg(8, opset("d", 1)).each(functions, |m, f| m.msg(25, f.clone()))
}

fn loaded(nodes: &[Msg], functions: &[Msg]) -> Model {
    load(&model_with(nodes, functions).0).unwrap_or_else(|p| panic!("{}", p[0]))
}

/// `op(inputs) -> outputs` of each node.
fn listing(model: &Model) -> Vec<String> {
    let line = |n: &nnc_onnx::model::Node| {
        format!("{}({}) -> {}", n.op_type, n.inputs.join(", "), n.outputs.join(", "))
    };
    model.graph.nodes.iter().map(line).collect()
}

fn relu(i: &str, o: &str) -> Msg {
    node("Relu", &[i], &[o])
}

#[test]
fn calls_become_bodies_with_names_of_their_own() {
    let f = function("f", &[relu("a", "t"), node("Add", &["t", "a"], &["b"])], &["a"], &["b"]);
    let nodes = [call("f", &["x"], &["m"]).str(3, "first"), call("f", &["m"], &["y"])];
    let model = loaded(&nodes, &[f]);
    assert_eq!(
        listing(&model),
        ["Relu(x) -> f.1/t", "Add(f.1/t, x) -> m", "Relu(m) -> f.2/t", "Add(f.2/t, m) -> y",]
    );
    assert!(model.functions.is_empty());
    let node = &model.graph.nodes[0];
    assert_eq!((node.opset, node.index, node.name.as_str()), (13, 0, "first"));
}

#[test]
fn inner_names_avoid_those_in_use() {
    let f = function("f", &[relu("a", "t"), relu("t", "b")], &["a"], &["b"]);
    let model = loaded(&[relu("x", "f.1/t"), call("f", &["f.1/t"], &["y"])], &[f]);
    assert_eq!(listing(&model), ["Relu(x) -> f.1/t", "Relu(f.1/t) -> f.1/t_", "Relu(f.1/t_) -> y"]);
}

#[test]
fn nested_calls_bodies_and_optional_operands_are_expanded() {
    let inner = function("inner", &[node("Clip", &["a", "low"], &["b"])], &["a", "low"], &["b", "c"]);
    let inner = Msg(inner.0).msg(7, relu("a", "c"));
    let body = |name: &str| graph(&[call("inner", &["p"], &[name])], &[], &[name]);
    let branch = node("If", &["p"], &["q"])
        .msg(5, graph_attribute("then_branch", body("s")))
        .msg(5, graph_attribute("else_branch", body("t")));
    let outer = function("outer", &[branch], &["p"], &["q"]);
    let model = loaded(&[call("outer", &["x"], &["y"])], &[outer, inner]);
    assert_eq!(listing(&model), ["If(x) -> y"]);
    let branches: Vec<String> = model.graph.nodes[0]
        .graphs()
        .map(|(name, g)| {
            let n = &g.nodes[0];
            let (output, unused) = (&g.outputs[0].name, &g.nodes[1].outputs[0]);
            format!("{name}: {}({}) -> {}; {output}; {unused}", n.op_type, n.inputs.join(","), n.outputs[0])
        })
        .collect();
    assert_eq!(
        branches,
        [
            "then_branch: Clip(x,) -> outer.1/s; outer.1/s; inner.2/c",
            "else_branch: Clip(x,) -> outer.1/t; outer.1/t; inner.3/c",
        ]
    );
}

#[test]
fn results_that_are_operands_are_copied() {
    let f = function("f", &[relu("a", "b")], &["a"], &["a", "b", "b"]);
    let nodes = [call("f", &["x"], &["p", "q", "r"]), node("Sum", &["p", "q", "r"], &["y"])];
    let model = loaded(&nodes, &[f]);
    assert_eq!(listing(&model)[..3], ["Relu(x) -> q", "Identity(x) -> p", "Identity(q) -> r"]);
}

#[test]
fn references_become_attributes_or_defaults() {
    let refer = |name: &str, to: &str| msg().str(1, name).str(21, to).int(20, 2);
    let int = |name: &str, value| msg().str(1, name).int(3, value).int(20, 2);
    let leaf = node("Pick", &["a"], &["b"]).msg(5, refer("p", "given")).msg(5, refer("q", "usual"));
    let f = function("f", &[leaf], &["a"], &["b"]).str(6, "given").msg(11, int("usual", 7));
    // A reference passes through a call of another function.
    let through = call("f", &["a"], &["b"]).msg(5, refer("given", "outer"));
    let g = function("g", &[through], &["a"], &["b"]).str(6, "outer");
    let model = loaded(&[call("g", &["x"], &["y"]).msg(5, int("outer", 5))], &[f.clone(), g]);
    let values: Vec<_> = model.graph.nodes[0].attributes.iter().map(|a| (&a.name, &a.value)).collect();
    assert!(matches!(values[..], [(_, AttrValue::Int(5)), (_, AttrValue::Int(7))]), "{values:?}");

    let undeclared = function("f", &[node("Pick", &["a"], &["b"]).msg(5, refer("p", "q"))], &["a"], &["b"]);
    check(vec![
        case(
            "not given",
            model_with(&[call("f", &["x"], &["y"])], &[f]),
            "call of function 'd:f' does not give attribute 'given'",
        ),
        case(
            "not declared",
            model_with(&[call("f", &["x"], &["y"])], &[undeclared]),
            "attribute 'p' refers to 'q', which the function does not have",
        ),
    ]);
}

#[test]
fn functions_that_cannot_be_expanded_are_refused() {
    let calls = |name: &str, callee: &str| function(name, &[call(callee, &["a"], &["b"])], &["a"], &["b"]);
    let body = graph(&[call("f", &["a"], &["t"])], &[], &["t"]);
    let through_if = function(
        "f",
        &[node("If", &["a"], &["b"]).msg(5, graph_attribute("then_branch", body))],
        &["a"],
        &["b"],
    );
    let leaf = function("f0", &[relu("a", "b")], &["a"], &["b"]);
    let twice = |i: usize| {
        let callee = format!("f{i}");
        let nodes = [call(&callee, &["a"], &["t"]), call(&callee, &["t"], &["b"])];
        function(&format!("f{}", i + 1), &nodes, &["a"], &["b"])
    };
    let doubling: Vec<Msg> = std::iter::once(leaf.clone()).chain((0..60).map(twice)).collect();
    let chain: Vec<Msg> = std::iter::once(leaf.clone())
        .chain((0..101).map(|i| calls(&format!("f{}", i + 1), &format!("f{i}"))))
        .collect();
    let main = [call("f", &["x"], &["y"])];
    check(vec![
        case("itself", model_with(&main, &[calls("f", "f")]), "E0115]: recursive function: d:f -> d:f"),
        case(
            "in a circle",
            model_with(&main, &[calls("f", "g"), calls("g", "f")]),
            "E0115]: recursive function: d:f -> d:g -> d:f",
        ),
        case("through If", model_with(&main, &[through_if]), "E0115]"),
        case(
            "2^60 nodes",
            model_with(&[call("f60", &["x"], &["y"])], &doubling),
            "E0503]: inlining gives > 1000000 nodes",
        ),
        case(
            "depth 102",
            model_with(&[call("f101", &["x"], &["y"])], &chain),
            "E0507]: calls of functions nest 102 deep, limit 100",
        ),
        case(
            "twice",
            model_with(&[call("f0", &["x"], &["y"])], &[leaf.clone(), leaf.clone()]),
            "E0117]: function 'd:f0' given twice",
        ),
        case(
            "too many operands",
            model_with(&[call("f0", &["x", "x"], &["y"])], &[leaf]),
            "function 'd:f0' has 1 inputs, call has 2",
        ),
        case(
            "undefined inside",
            model_with(&main, &[function("f", &[relu("x", "b")], &["a"], &["b"])]),
            "in graph 'function d:f'",
        ),
    ]);
}

#[test]
fn a_long_chain_of_calls_is_expanded() {
    let leaf = function("f0", &[relu("a", "b")], &["a"], &["b"]);
    let calls = |i: usize| {
        let callee = format!("f{i}");
        function(&format!("f{}", i + 1), &[call(&callee, &["a"], &["b"])], &["a"], &["b"])
    };
    let chain: Vec<Msg> = std::iter::once(leaf).chain((0..99).map(calls)).collect();
    let model = loaded(&[call("f99", &["x"], &["y"])], &chain);
    assert_eq!(listing(&model), ["Relu(x) -> y"]);
}
