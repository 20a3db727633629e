//! damage - models cut short or with flipped bits: an error with a code or a sound model, never a panic.

mod proto;

use proto::*;

/// A model with most of what a model can hold.
fn rich_model() -> Vec<u8> {
    let attribute = |name: &str, ty| msg().str(1, name).int(20, ty);
    let branch = |name: &str| {
        graph(&[node("Relu", &["s"], &[name])], &[], &[name]).msg(5, zeros(&format!("{name}w"), &[3]))
    };
    let nodes = [
        node("Conv", &["x", "w"], &["s"])
            .str(3, "conv")
            .msg(5, attribute("pads", 7).ints(8, &[1, 1, 1, 1]))
            .msg(5, attribute("alpha", 1).float(2, 0.5))
            .msg(5, attribute("mode", 3).bytes(4, b"same"))
            .msg(5, attribute("scales", 6).floats(7, &[1.0, 2.0]))
            .msg(5, attribute("names", 8).bytes(9, b"a").bytes(9, b"b")),
        node("Constant", &[], &["c"])
            .msg(5, attribute("value", 4).msg(5, tensor_header("", 7, &[2]).ints(7, &[-1, 3]))),
        node("If", &["c"], &["t"])
            .msg(5, graph_attribute("then_branch", branch("p")))
            .msg(5, graph_attribute("else_branch", branch("q"))),
        node("f", &["t"], &["y"]).str(7, "d"),
    ];
    let function = msg()
        .str(1, "f")
        .str(4, "a")
        .str(5, "b")
        .msg(7, node("Relu", &["a"], &["b"]))
        .msg(9, opset("", 17))
        .str(10, "d");
    let sparse = msg()
        .msg(1, tensor_header("sp", 1, &[1]).floats(4, &[1.0]))
        .msg(2, tensor_header("", 7, &[1]).ints(7, &[2]))
        .ints(3, &[2, 2]);
    let sequence = msg().msg(4, msg().msg(1, tensor_type(1, &[1])));
    let graph = graph(&nodes, &["x"], &["y"])
        .msg(5, zeros("w", &[4, 4]))
        .msg(5, tensor_header("h", 10, &[2]).ints(5, &[1, 2]))
        .msg(5, tensor_header("st", 8, &[1]).str(6, "text"))
        .msg(15, sparse)
        .msg(13, msg().str(1, "s").msg(2, tensor_type(1, &[-1, 3])))
        .msg(13, msg().str(1, "seq").msg(2, sequence));
    model(graph).msg(8, opset("d", 1)).msg(14, msg().str(1, "author").str(2, "nobody")).msg(25, function).0
}

#[test]
fn the_model_is_sound() {
    let model = load(&rich_model()).unwrap_or_else(|p| panic!("{}", p[0]));
    assert_eq!(model.graph.nodes.len(), 4);
    assert_eq!(model.graph.initializers.len(), 4);
    assert_eq!(model.metadata, [("author".to_owned(), "nobody".to_owned())]);
    assert_eq!(codes(&model.warnings), ["W0237"]);
}

#[test]
fn every_truncation_is_an_error_or_a_shorter_model() {
    let whole = rich_model();
    let mut n_loaded = 0;
    for length in 0..whole.len() {
        match load(&whole[..length]) {
            Ok(_) => n_loaded += 1,
            Err(problems) => assert!(problems.iter().any(|p| p.is_error() && !p.to_string().is_empty())),
        }
    }
    // Behind the graph and its operator sets there are three fields that a model may lack.
    assert!(n_loaded <= 3, "{n_loaded} truncations load");
}

#[test]
fn flipped_bits_never_panic() {
    let whole = rich_model();
    for bit in 0..8 * whole.len() {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let _ = load(&flipped);
    }
    // Several at once, from a fixed seed.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap()
    };
    for _ in 0..4000 {
        let mut damaged = whole.clone();
        for _ in 0..1 + random() % 8 {
            let at = random() % damaged.len();
            match random() % 4 {
                0 => damaged[at] = 0xff,
                1 => damaged[at] = u8::try_from(random() % 256).unwrap(),
                2 => drop(damaged.remove(at)),
                _ => damaged[at] ^= 1 << (random() % 8),
            }
        }
        let _ = load(&damaged);
    }
}
