//! affine - batch norms of trained models are gone after -O2: a model becomes what its exporter makes of it with the norms
//! folded.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::HashMap;

use nnc::{
    Compiler, OptLevel, Options,
    ir::{
        Module,
        constant::Constant,
        graph::{NodeId, RegionId, ValueId},
        ops::{ConstantOp, Op, OpStruct},
    },
};
use support::models;

fn optimized(name: &str) -> Module {
    let compiler = Compiler::new(Options { level: OptLevel::O2, ..Options::default() });
    let imported = compiler.import_file(models().join(name).join("model.onnx")).unwrap();
    compiler.optimize(imported.module).unwrap().module
}

/// Two modules walked together from their outputs.
struct Pair<'m> {
    modules: [&'m Module; 2],
    /// What a value of the first is in the second.
    same: HashMap<ValueId, ValueId>,
    nodes: usize,
}

impl Pair<'_> {
    fn node(&self, side: usize, value: ValueId) -> Option<NodeId> {
        self.modules[side].def_node(value)
    }

    /// Holds two values to each other, with everything that computes them.
    fn values(&mut self, a: ValueId, b: ValueId) {
        assert_eq!(self.modules[0].ty(a), self.modules[1].ty(b));
        if let Some(known) = self.same.insert(a, b) {
            assert_eq!(known, b, "one value of the first is two of the second");
            return;
        }
        let (Some(m), Some(n)) = (self.node(0, a), self.node(1, b)) else {
            let params = [(0, a), (1, b)].map(|(side, v)| format!("{:?}", self.modules[side].value(v).def));
            assert_eq!(params[0], params[1]);
            return;
        };
        let (m, n) = (self.modules[0].node(m).clone(), self.modules[1].node(n).clone());
        self.nodes += 1;
        match (ConstantOp::from_op(&m.op), ConstantOp::from_op(&n.op)) {
            (Some(x), Some(y)) => close(&x.value, &y.value),
            _ => assert_eq!(attributes(&m.op), attributes(&n.op), "at {:?} and {:?}", m.loc, n.loc),
        }
        assert_eq!(m.operands.len(), n.operands.len(), "at {:?} and {:?}", m.loc, n.loc);
        for (&r, &s) in m.regions.iter().zip(&n.regions) {
            self.regions(r, s);
        }
        for (&x, &y) in m.operands.iter().zip(&n.operands) {
            self.values(x, y);
        }
    }

    fn regions(&mut self, a: RegionId, b: RegionId) {
        let (a, b) = (self.modules[0].region(a).clone(), self.modules[1].region(b).clone());
        assert_eq!([a.params.len(), a.nodes.len()], [b.params.len(), b.nodes.len()]);
        for (x, y) in a.params.into_iter().zip(b.params).chain(a.results.into_iter().zip(b.results)) {
            self.values(x, y);
        }
    }
}

fn attributes(op: &Op) -> String {
    format!("{op:?}")
}

/// The exporter computed the same products: a few roundings apart, and sums with a bias of like size.
fn close(a: &Constant, b: &Constant) {
    let numbers =
        |c: &Constant| c.scalars().iter().map(|s| s.as_f64().unwrap_or(f64::NAN)).collect::<Vec<_>>();
    let (x, y) = (numbers(a), numbers(b));
    let greatest = x.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    for (x, y) in x.into_iter().zip(y) {
        assert!((x - y).abs() <= 1e-5 * greatest || x.to_bits() == y.to_bits(), "{x} and {y} of {a:?}");
    }
}

#[test]
fn a_model_with_batch_norms_becomes_the_one_that_is_exported_without() {
    let (folded, norms) = (optimized("mbconv"), optimized("mbconv_bn"));
    let counts = [&folded, &norms].map(|m| m.region(m.body()).nodes.len());
    assert_eq!(counts[0], counts[1]);
    let mut pair = Pair { modules: [&folded, &norms], same: HashMap::new(), nodes: 0 };
    let (a, b) = (folded.region(folded.body()).results.clone(), norms.region(norms.body()).results.clone());
    for (a, b) in a.into_iter().zip(b) {
        pair.values(a, b);
    }
    assert!(pair.nodes >= counts[0], "{} nodes of {} were held to each other", pair.nodes, counts[0]);
}
