//! hash - identity of a module's content.

use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

use crate::{
    constant::{Constant, Payload},
    entity::EntityId,
    graph::{Module, Node, RegionId, ValueId},
    ops::Op,
    text,
};

/// blake3 of the module's text and of the full digests of the constants that it only names: modules that print alike and
/// have the same weights have the same hash, however they were built.
#[must_use]
pub fn content_hash(module: &Module) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(text::print(module).as_bytes());
    for constant in text::collect_constants(module).values() {
        hasher.update(constant.digest());
    }
    *hasher.finalize().as_bytes()
}

/// A number that modules of the same content share, by the fingerprints of large constants: fast, and enough to see whether
/// somebody changed a module. Not an identity: large constants that differ in few elements may have the same fingerprint.
#[must_use]
pub fn change_hash(module: &Module) -> u64 {
    let numbers = vec![None; module.value_count()];
    let mut walk = Walk { module, numbers, next: 0, hasher: FxHasher::default() };
    module.phase.hash(&mut walk.hasher);
    for (_, symbol) in module.symbols.iter() {
        symbol.hash(&mut walk.hasher);
    }
    module.constraints.hash(&mut walk.hasher);
    module.input_names.hash(&mut walk.hasher);
    module.output_names.hash(&mut walk.hasher);
    walk.region(module.body());
    walk.hasher.finish()
}

/// Goes through a module as the printer does: values are numbered in the order in which they are defined.
struct Walk<'m> {
    module: &'m Module,
    numbers: Vec<Option<usize>>,
    next: usize,
    hasher: FxHasher,
}

impl Walk<'_> {
    fn region(&mut self, id: RegionId) {
        let module = self.module;
        let region = module.region(id);
        self.declare(&region.params);
        region.nodes.len().hash(&mut self.hasher);
        for &node in &region.nodes {
            self.node(module.node(node));
        }
        self.read(&region.results);
    }

    fn node(&mut self, node: &Node) {
        match &node.op {
            Op::ConstantOp(c) => self.constant(&c.value),
            op => op.hash(&mut self.hasher),
        }
        self.read(&node.operands);
        self.declare(&node.results);
        node.loc.hash(&mut self.hasher);
        node.regions.len().hash(&mut self.hasher);
        for &region in &node.regions {
            self.region(region);
        }
    }

    fn constant(&mut self, constant: &Constant) {
        let hasher = &mut self.hasher;
        (constant.dtype(), constant.dims()).hash(hasher);
        match constant.payload() {
            Payload::Splat(element) => element.hash(hasher),
            _ if text::constant::is_spelt_out(constant) => constant.bytes().hash(hasher),
            _ => constant.fingerprint().hash(hasher),
        }
    }

    fn declare(&mut self, values: &[ValueId]) {
        values.len().hash(&mut self.hasher);
        for &value in values {
            if let Some(number) = self.numbers.get_mut(value.index()) {
                *number = Some(self.next);
            }
            self.next += 1;
            self.module.ty(value).hash(&mut self.hasher);
        }
    }

    fn read(&mut self, values: &[ValueId]) {
        values.len().hash(&mut self.hasher);
        for &value in values {
            // What is not defined is told apart by its id.
            match self.numbers.get(value.index()) {
                Some(Some(number)) => number.hash(&mut self.hasher),
                _ => value.hash(&mut self.hasher),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dtype::DType, graph::loc, ops, types::TensorType};

    fn module(last: u8, garbage: bool) -> Module {
        let mut m = Module::new();
        let body = m.body();
        if garbage {
            let region = m.add_region();
            m.append_constant(region, Constant::i64s(&[1]), &loc("unused"));
        }
        let bytes = (0..99).chain([last]).collect();
        let c = Constant::new(DType::U8, &[100], Payload::Inline(bytes)).expect("valid");
        let value = m.append_constant(body, c, &loc("c"));
        m.set_outputs(&[("y".into(), value)]);
        m
    }

    #[test]
    fn content_counts_and_ids_do_not() {
        assert_eq!(content_hash(&module(1, false)), content_hash(&module(1, true)));
        assert_ne!(content_hash(&module(1, false)), content_hash(&module(2, false)));
        assert_eq!(change_hash(&module(1, false)), change_hash(&module(1, true)));
        assert_ne!(change_hash(&module(1, false)), change_hash(&module(2, false)));
    }

    #[test]
    fn every_part_counts() {
        let build = |f: &dyn Fn(&mut Module, ValueId, ValueId)| {
            let mut m = Module::new();
            let (x, y) = (
                m.add_input("x", TensorType::of(DType::F32, &[2])),
                m.add_input("y", TensorType::of(DType::F32, &[2])),
            );
            f(&mut m, x, y);
            change_hash(&m)
        };
        let add = |m: &mut Module, a: ValueId, b: ValueId, name: &str, at: &str| {
            let body = m.body();
            let sum = m.append(body, ops::Add {}, &[a, b], &[], &loc(at)).expect("types fit")[0];
            m.set_outputs(&[(name.into(), sum)]);
        };
        let hashes = [
            build(&|m, x, y| add(m, x, y, "z", "a")),
            build(&|m, x, y| add(m, y, x, "z", "a")),
            build(&|m, x, y| add(m, x, y, "w", "a")),
            build(&|m, x, y| add(m, x, y, "z", "b")),
            build(&|m, x, y| {
                add(m, x, y, "z", "a");
                m.phase = crate::graph::Phase::Canonical;
            }),
            build(&|m, x, _| m.set_outputs(&[("z".into(), x)])),
        ];
        for (i, a) in hashes.iter().enumerate() {
            assert!(hashes[..i].iter().all(|b| a != b), "{i}");
        }
        assert_eq!(hashes[0], build(&|m, x, y| add(m, x, y, "z", "a")));
    }
}
