//! bad_graph - graphs whose names and structure make no sense.

mod proto;

use proto::*;

fn of(nodes: &[Msg]) -> Msg {
    model(graph(nodes, &["x"], &["y"]))
}

fn branch(nodes: &[Msg], outputs: &[&str]) -> Msg {
    graph(nodes, &[], outputs)
}

fn if_node(then: Msg, other: Msg, outputs: &[&str]) -> Msg {
    node("If", &["x"], outputs)
        .str(3, "if")
        .msg(5, graph_attribute("then_branch", then))
        .msg(5, graph_attribute("else_branch", other))
}

#[test]
fn operands_must_be_defined_before() {
    let relu = |i, o| node("Relu", &[i], &[o]);
    check(vec![
        case(
            "undefined",
            of(&[relu("conv1_out", "a"), relu("a", "y")]),
            "E0103]: node #0 (Relu, opset 17): input 0 'conv1_out' is not defined",
        ),
        case(
            "misspelt",
            of(&[relu("x", "hidden"), relu("hiden", "y")]),
            "'hiden' is not defined; nearest name 'hidden'",
        ),
        case("cycle", of(&[relu("b", "a"), relu("a", "b"), relu("x", "y")]), "E0105]: cycle: #0 -> #1 -> #0"),
        case("self-loop", of(&[relu("y", "y")]), "E0105]: cycle: #0 -> #0"),
        case(
            "captured later",
            of(&[
                if_node(branch(&[relu("late", "t")], &["t"]), branch(&[relu("x", "e")], &["e"]), &["y"]),
                relu("x", "late"),
            ]),
            "E0103]",
        ),
        case(
            "of a sibling body",
            of(&[if_node(branch(&[relu("x", "t")], &["t"]), branch(&[relu("t", "e")], &["e"]), &["y"])]),
            "in graph 'main/if.else_branch'",
        ),
    ]);
}

#[test]
fn unsorted_nodes_are_sorted() {
    let nodes = [node("Relu", &["a"], &["y"]), node("Relu", &["x"], &["a"])];
    let model = load(&of(&nodes).0).unwrap();
    assert_eq!(codes(&model.warnings), ["W0104"]);
    assert_eq!(model.graph.nodes.iter().map(|n| n.index).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn values_are_made_once() {
    let relu = |o: &[&str]| node("Relu", &["x"], o);
    let twice = graph(&[relu(&["y"])], &["x"], &["y"]).msg(5, zeros("w", &[1])).msg(5, zeros("w", &[1]));
    check(vec![
        case("two nodes", of(&[relu(&["y"]), relu(&["y"])]), "value 'y' produced by #0 and #1"),
        case("one node twice", of(&[relu(&["y", "y"])]), "E0106]"),
        case("an input", of(&[relu(&["x"]), relu(&["y"])]), "E0106]"),
        case(
            "an initializer",
            model(graph(&[relu(&["w", "y"])], &["x"], &["y"]).msg(5, zeros("w", &[1]))),
            "value 'w' produced by #0 is an initializer",
        ),
        case("initializers", model(twice), "E0107]: initializer 'w' given twice"),
        case(
            "unnamed initializer",
            model(graph(&[relu(&["y"])], &["x"], &["y"]).msg(5, zeros("", &[1]))),
            "E0108]",
        ),
        case("inputs", model(graph(&[relu(&["y"])], &["x", "x"], &["y"])), "E0110]: input 'x' given twice"),
        case(
            "untyped input",
            model(graph(&[relu(&["y"])], &["x"], &["y"]).msg(11, msg().str(1, "z"))),
            "E0118]: input 'z' has no type",
        ),
        case("no outputs", model(graph(&[relu(&["y"])], &["x"], &[])), "E0109]"),
        case("output not made", of(&[relu(&["a"])]), "E0102]: graph output 'y' is never produced"),
        case("no operator", of(&[node("", &["x"], &["y"])]), "E0111]"),
    ]);
    assert!(load(&model(graph(&[], &["x"], &["x", "x"])).0).is_ok(), "outputs may repeat and be inputs");
}

#[test]
fn bodies_fit_their_nodes() {
    let relu = |i, o| node("Relu", &[i], &[o]);
    let one = |o| branch(&[relu("x", o)], &[o]);
    let two = branch(&[relu("x", "p"), relu("x", "q")], &["p", "q"]);
    let body = graph(&[relu("c", "d")], &["i", "c"], &["d"]);
    let loop_node = |body: Msg| node("Loop", &["x", "x", "x"], &["y"]).msg(5, graph_attribute("body", body));
    let scan = |body: Msg| {
        node("Scan", &["x"], &["y"])
            .msg(5, graph_attribute("body", body))
            .msg(5, msg().str(1, "num_scan_inputs").int(3, 1).int(20, 2))
    };
    check(vec![
        case(
            "If",
            of(&[if_node(one("t"), two, &["y"])]),
            "If node: then_branch gives 1 outputs, else_branch 2, node has 1",
        ),
        case(
            "shadowing",
            of(&[relu("x", "s"), if_node(one("s"), one("e"), &["y"])]),
            "'s' shadows a value of the graph around it",
        ),
        case(
            "shadowing input",
            of(&[loop_node(graph(&[relu("c", "d")], &["i", "c", "x"], &["c", "d"]))]),
            "E0113]",
        ),
        case("Loop inputs", of(&[loop_node(body.clone())]), "Loop body has 2 inputs, needs 3"),
        case("Loop outputs", of(&[loop_node(body)]), "Loop body has 1 outputs, needs 2"),
        case(
            "Scan",
            of(&[scan(graph(&[relu("a", "d")], &["a", "b"], &["d"]))]),
            "Scan body has 2 inputs, needs 1",
        ),
        case("body output", of(&[if_node(branch(&[], &["t"]), one("e"), &["y"])]), "E0102]"),
    ]);
    let fine = of(&[relu("x", "s"), if_node(branch(&[relu("s", "t")], &["t"]), one("e"), &["y"])]);
    assert!(load(&fine.0).is_ok(), "bodies read the graph around them");
}

#[test]
fn initializers_that_are_inputs_are_constants() {
    let model = load(&model(tiny_graph().msg(11, value("w"))).0).unwrap();
    assert_eq!(model.graph.inputs.len(), 1);
    assert_eq!(model.graph.overridable, ["w"]);
}

#[test]
fn all_problems_are_listed_at_once() {
    let nodes = [node("Relu", &["p"], &["a"]), node("Relu", &["q"], &["a"]), node("", &["x"], &["b"])];
    let problems = load(&model(graph(&nodes, &["x", "x"], &["y"])).0).unwrap_err();
    assert_eq!(codes(&problems), ["E0110", "E0103", "E0103", "E0106", "E0111", "E0102"]);

    let nodes = [node("Add", &["w", "gone"], &["y"])];
    let short = tensor_header("w", 1, &[2]).bytes(9, &[0; 3]);
    let bad = msg().int(1, 99).msg(7, graph(&nodes, &[], &["y"]).msg(5, short)).msg(8, opset("", 3));
    let problems = load(&bad.0).unwrap_err();
    assert_eq!(codes(&problems), ["E0011", "E0013", "E0240", "E0103"]);
}

#[test]
fn negative_declared_extents_are_unknown_or_wrong() {
    let with = |d| {
        let output = msg().str(1, "y").msg(2, tensor_type(1, &[d]));
        model(graph(&[node("Relu", &["x"], &["y"])], &["x"], &[]).msg(12, output))
    };
    assert_eq!(codes(&load(&with(-1).0).unwrap().warnings), ["W0237"]);
    check(vec![
        case("-5", with(-5), "E0237]: dim 0 of 'y' is -5, not in 0.."),
        case("2^63-1", with(i64::MAX), "E0237]: dim 0 of 'y' is 9223372036854775807"),
    ]);
}
