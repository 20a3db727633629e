//! written - a module as text in which neither names nor the order of independent nodes matter.

use std::{collections::HashMap, fmt::Write};

use nnc::ir::{
    Module,
    graph::{Def, RegionId, ValueId},
    ops::{ConstantOp, OpStruct},
};

/// A module under way to text, from its outputs backwards.
struct Writer<'m> {
    module: &'m Module,
    names: HashMap<ValueId, usize>,
    text: String,
}

impl Writer<'_> {
    fn region(&mut self, region: RegionId) {
        let region = self.module.region(region);
        for &v in &region.results {
            let name = self.value(v);
            writeln!(self.text, "gives {name}").unwrap();
        }
    }

    fn value(&mut self, value: ValueId) -> usize {
        if let Some(&name) = self.names.get(&value) {
            return name;
        }
        let (line, results) = match self.module.value(value).def {
            Def::Param(_, at) => (format!("parameter {at}"), vec![value]),
            Def::Result(node, _) => {
                let node = self.module.node(node);
                let operands: Vec<usize> = node.operands.iter().map(|&v| self.value(v)).collect();
                for &region in &node.regions {
                    self.region(region);
                }
                let op = match ConstantOp::from_op(&node.op) {
                    Some(c) => format!("constant {}", c.value.short_digest()),
                    None => format!("{:?}", node.op),
                };
                (format!("{op} {operands:?}"), node.results.clone())
            }
        };
        for &v in &results {
            let name = self.names.len();
            self.names.insert(v, name);
            writeln!(self.text, "{name} : {} = {line}", self.module.ty(v)).unwrap();
        }
        self.names[&value]
    }
}

/// The module as text.
pub(crate) fn written(module: &Module) -> String {
    let mut writer = Writer { module, names: HashMap::new(), text: String::new() };
    writer.region(module.body());
    writer.text
}
