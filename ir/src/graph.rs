//! graph - modules: values, nodes and regions in typed arenas.

use std::sync::Arc;

use crate::{
    constant::Constant,
    entity::{Arena, entity},
    extent::{Extent, Symbol, SymbolId},
    form::Form,
    ops::{self, InferCx, Op, RegionTypes},
    types::TensorType,
};

entity! {
    /// A tensor: a parameter of a region or a result of a node.
    ValueId, "v"
}
entity! {
    /// One application of an operation.
    NodeId, "n"
}
entity! {
    /// A block of nodes with parameters and results.
    RegionId, "r"
}

/// The ONNX nodes something comes from, for readers: kernels, profiles and errors name them.
pub type Provenance = Arc<[Arc<str>]>;

/// What the verifier may assume; each phase tightens it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// As the importer made it.
    #[default]
    Imported,
    /// No composite operation, constants folded.
    Canonical,
    /// Fusions formed.
    Fused,
    /// Layouts and memory decided.
    Planned,
}

/// A tensor value.
#[derive(Clone, Debug)]
pub struct Value {
    /// Its type.
    pub ty: TensorType,
    /// Where it comes from.
    pub def: Def,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Def {
    /// Parameter number `.1` of a region.
    Param(RegionId, usize),
    /// Result number `.1` of a node.
    Result(NodeId, usize),
}

/// One application of an operation.
#[derive(Clone, Debug)]
pub struct Node {
    /// Operation with its attributes.
    pub op: Op,
    /// What it reads.
    pub operands: Vec<ValueId>,
    /// What it produces.
    pub results: Vec<ValueId>,
    /// Regions it owns.
    pub regions: Vec<RegionId>,
    /// Names of the ONNX nodes it comes from.
    pub loc: Provenance,
}

/// A block of nodes, in an order in which every value is defined before it is read. Regions capture nothing: what they
/// read from outside comes in through parameters.
#[derive(Clone, Debug, Default)]
pub struct Region {
    /// Values bound when the region is entered.
    pub params: Vec<ValueId>,
    /// Nodes in execution order.
    pub nodes: Vec<NodeId>,
    /// Values the region gives.
    pub results: Vec<ValueId>,
}

/// Something that must hold at every run; checked as soon as its symbols are known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Constraint {
    /// What must hold.
    pub kind: ConstraintKind,
    /// Names of the ONNX nodes that need it.
    pub loc: Provenance,
}

/// What must hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ConstraintKind {
    /// Both are equal.
    Equal(Extent, Extent),
    /// Both are equal, or the first is 1.
    Broadcasts(Extent, Extent),
    /// The first is at most the second.
    AtMost(Extent, Extent),
}

impl ConstraintKind {
    /// The constraint with its extents replaced.
    #[must_use]
    pub fn map_extents(&self, f: &dyn Fn(&Extent) -> Extent) -> Self {
        match self {
            ConstraintKind::Equal(a, b) => ConstraintKind::Equal(f(a), f(b)),
            ConstraintKind::Broadcasts(a, b) => ConstraintKind::Broadcasts(f(a), f(b)),
            ConstraintKind::AtMost(a, b) => ConstraintKind::AtMost(f(a), f(b)),
        }
    }
}

/// Name of an input or output of the module.
pub type PortName = String;

/// A program: the main region, everything in it, and the names users see.
#[derive(Clone, Debug, Default)]
pub struct Module {
    values: Arena<ValueId, Value>,
    nodes: Arena<NodeId, Node>,
    regions: Arena<RegionId, Region>,
    /// Run-time unknowns.
    pub symbols: Arena<SymbolId, Symbol>,
    /// Names of the parameters of the main region, in order.
    pub input_names: Vec<PortName>,
    /// Names of its results, in order.
    pub output_names: Vec<PortName>,
    /// What must hold at every run.
    pub constraints: Vec<Constraint>,
    /// What the verifier may assume.
    pub phase: Phase,
}

impl Module {
    /// A module with an empty main region.
    #[must_use]
    pub fn new() -> Self {
        let mut module = Self::default();
        module.regions.push(Region::default());
        module
    }

    /// The main region.
    #[must_use]
    pub fn body(&self) -> RegionId {
        crate::entity::EntityId::new(0)
    }

    /// Adds an empty region.
    pub fn add_region(&mut self) -> RegionId {
        self.regions.push(Region::default())
    }

    /// Adds a parameter to `region`.
    pub fn add_param(&mut self, region: RegionId, ty: TensorType) -> ValueId {
        let def = Def::Param(region, self.regions[region].params.len());
        let value = self.values.push(Value { ty, def });
        self.regions[region].params.push(value);
        value
    }

    /// Adds a parameter to the main region under the name that users see.
    pub fn add_input(&mut self, name: &str, ty: TensorType) -> ValueId {
        self.input_names.push(name.to_owned());
        self.add_param(self.body(), ty)
    }

    /// Declares the results of the main region with the names that users see.
    pub fn set_outputs(&mut self, outputs: &[(String, ValueId)]) {
        self.output_names = outputs.iter().map(|(n, _)| n.clone()).collect();
        let body = self.body();
        self.regions[body].results = outputs.iter().map(|&(_, v)| v).collect();
    }

    /// Declares the results of `region`.
    pub fn set_results(&mut self, region: RegionId, results: Vec<ValueId>) {
        self.regions[region].results = results;
    }

    /// Appends a node to `region` and gives its results, whose types the operation infers.
    ///
    /// # Errors
    /// The constraint of the operation that the operands violate ("conv (C2): ...").
    pub fn append(
        &mut self,
        region: RegionId,
        op: impl Into<Op>,
        operands: &[ValueId],
        regions: &[RegionId],
        loc: &Provenance,
    ) -> Result<Vec<ValueId>, String> {
        let node = self.make_node(op.into(), operands, regions, loc)?;
        self.regions[region].nodes.push(node);
        Ok(self.nodes[node].results.clone())
    }

    /// Inserts a node before position `at` of `region`.
    ///
    /// # Errors
    /// As [`Module::append`].
    pub fn insert(
        &mut self,
        region: RegionId,
        at: usize,
        op: impl Into<Op>,
        operands: &[ValueId],
        loc: &Provenance,
    ) -> Result<Vec<ValueId>, String> {
        let node = self.make_node(op.into(), operands, &[], loc)?;
        self.regions[region].nodes.insert(at, node);
        Ok(self.nodes[node].results.clone())
    }

    /// Makes a node that is in no region yet: passes place it through [`Module::region_mut`].
    ///
    /// # Errors
    /// As [`Module::append`].
    pub fn make_node(
        &mut self,
        op: Op,
        operands: &[ValueId],
        regions: &[RegionId],
        loc: &Provenance,
    ) -> Result<NodeId, String> {
        let types = self.infer(&op, operands, regions)?;
        let node = self.nodes.push(Node {
            op,
            operands: operands.to_vec(),
            results: Vec::new(),
            regions: regions.to_vec(),
            loc: loc.clone(),
        });
        let results = types.into_iter().enumerate();
        let results =
            results.map(|(i, ty)| self.values.push(Value { ty, def: Def::Result(node, i) })).collect();
        self.nodes[node].results = results;
        Ok(node)
    }

    /// Types of the results `op` would have.
    ///
    /// # Errors
    /// As [`Module::append`].
    pub fn infer(
        &self,
        op: &Op,
        operands: &[ValueId],
        regions: &[RegionId],
    ) -> Result<Vec<TensorType>, String> {
        let types: Vec<&TensorType> = operands.iter().map(|&v| self.ty(v)).collect();
        let signatures: Vec<RegionTypes<'_>> = regions.iter().map(|&r| self.region_types(r)).collect();
        op.check_arity(types.len())?;
        op.def().infer(&InferCx { operands: &types, regions: &signatures })
    }

    fn region_types(&self, region: RegionId) -> RegionTypes<'_> {
        let region = &self.regions[region];
        RegionTypes {
            params: region.params.iter().map(|&v| self.ty(v)).collect(),
            results: region.results.iter().map(|&v| self.ty(v)).collect(),
        }
    }

    /// Appends a `constant` node.
    pub fn append_constant(&mut self, region: RegionId, constant: Constant, loc: &Provenance) -> ValueId {
        let results = self.append(region, ops::ConstantOp { value: constant }, &[], &[], loc);
        results.expect("a constant has no operand to be wrong")[0]
    }

    /// Borrows a region.
    #[must_use]
    pub fn region(&self, id: RegionId) -> &Region {
        &self.regions[id]
    }
    /// Borrows a region for change. The verifier checks afterwards.
    pub fn region_mut(&mut self, id: RegionId) -> &mut Region {
        &mut self.regions[id]
    }
    /// Borrows a node.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }
    /// Borrows a node for change. The verifier checks afterwards.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id]
    }
    /// Borrows a value.
    #[must_use]
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id]
    }
    /// Type of a value.
    #[must_use]
    pub fn ty(&self, id: ValueId) -> &TensorType {
        &self.values[id].ty
    }
    /// Number of values ever made.
    #[must_use]
    pub fn value_count(&self) -> usize {
        self.values.len()
    }
    /// Number of nodes ever made.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }
    /// Every region ever made; some may be unreachable from the main one.
    pub fn region_ids(&self) -> impl Iterator<Item = RegionId> + use<> {
        self.regions.ids()
    }

    /// The node that produces a value.
    #[must_use]
    pub fn def_node(&self, value: ValueId) -> Option<NodeId> {
        match self.values[value].def {
            Def::Result(node, _) => Some(node),
            Def::Param(..) => None,
        }
    }
    /// The node that produces a value, as operation `T` with its node.
    #[must_use]
    pub fn defined_by<T: ops::OpStruct>(&self, value: ValueId) -> Option<(&T, &Node)> {
        let node = &self.nodes[self.def_node(value)?];
        Some((T::from_op(&node.op)?, node))
    }
    /// The constant a value is.
    #[must_use]
    pub fn as_constant(&self, value: ValueId) -> Option<&Constant> {
        self.defined_by::<ops::ConstantOp>(value).map(|(op, _)| &op.value)
    }
    /// How a node iterates.
    #[must_use]
    pub fn form(&self, node: NodeId) -> Form {
        let node = &self.nodes[node];
        let operands: Vec<&TensorType> = node.operands.iter().map(|&v| self.ty(v)).collect();
        let results: Vec<&TensorType> = node.results.iter().map(|&v| self.ty(v)).collect();
        node.op.def().form(&operands, &results)
    }

    /// Regions reachable from `region`, itself first, in program order.
    #[must_use]
    pub fn nested_regions(&self, region: RegionId) -> Vec<RegionId> {
        let mut out = vec![region];
        let mut at = 0;
        while at < out.len() {
            for &node in &self.regions[out[at]].nodes {
                out.extend(&self.nodes[node].regions);
            }
            at += 1;
        }
        out
    }

    /// For each value how often it is read, by nodes and as a result of a region.
    #[must_use]
    pub fn use_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.values.len()];
        for region in self.nested_regions(self.body()) {
            let region = &self.regions[region];
            let reads = region.nodes.iter().flat_map(|&n| &self.nodes[n].operands).chain(&region.results);
            for &value in reads {
                counts[crate::entity::EntityId::index(value)] += 1;
            }
        }
        counts
    }

    /// Reads `new` wherever `old` is read in `region` (uses in nested regions come through parameters).
    pub fn replace_uses(&mut self, region: RegionId, old: ValueId, new: ValueId) {
        let nodes = self.regions[region].nodes.clone();
        for node in nodes {
            for operand in &mut self.nodes[node].operands {
                if *operand == old {
                    *operand = new;
                }
            }
        }
        for result in &mut self.regions[region].results {
            if *result == old {
                *result = new;
            }
        }
    }

    /// Replaces a symbol by an extent in every type, attribute, constraint and bound, and infers types anew.
    ///
    /// # Errors
    /// The operation that does not accept the extent.
    pub fn substitute_symbol(&mut self, symbol: SymbolId, by: &Extent) -> Result<(), String> {
        let with = |s: SymbolId| if s == symbol { by.clone() } else { Extent::symbol(s) };
        let map = |e: &Extent| e.substitute(&with);
        for constraint in &mut self.constraints {
            constraint.kind = constraint.kind.map_extents(&map);
        }
        self.map_extents(&map)
    }

    /// Replaces extents in every type, attribute and bound by others that are equal as long as the constraints hold, which
    /// therefore stay as they are; infers types anew.
    ///
    /// # Errors
    /// The operation that does not accept an extent.
    pub fn map_extents(&mut self, map: &dyn Fn(&Extent) -> Extent) -> Result<(), String> {
        let symbols: Vec<SymbolId> = self.symbols.ids().collect();
        for s in symbols {
            self.symbols[s].bound = self.symbols[s].bound.as_ref().map(map);
        }
        let regions = self.nested_regions(self.body());
        for &region in regions.iter().rev() {
            for i in 0..self.regions[region].params.len() {
                let value = self.regions[region].params[i];
                self.values[value].ty.shape.iter_mut().for_each(|e| *e = map(e));
            }
            for i in 0..self.regions[region].nodes.len() {
                let node = self.regions[region].nodes[i];
                self.nodes[node].op.map_extents(map);
                for r in 0..self.nodes[node].results.len() {
                    let value = self.nodes[node].results[r];
                    self.values[value].ty.shape.iter_mut().for_each(|e| *e = map(e));
                }
            }
        }
        regions.iter().rev().try_for_each(|&region| self.infer_region(region))
    }

    /// Infers the types of the results of every node of `region` anew.
    fn infer_region(&mut self, region: RegionId) -> Result<(), String> {
        for i in 0..self.regions[region].nodes.len() {
            let node = &self.nodes[self.regions[region].nodes[i]];
            let types = self.infer(&node.op, &node.operands, &node.regions)?;
            for (value, ty) in node.results.clone().into_iter().zip(types) {
                self.values[value].ty = ty;
            }
        }
        Ok(())
    }

    /// Says anew where a value comes from: for edits that move parameters.
    pub(crate) fn set_def(&mut self, value: ValueId, def: Def) {
        self.values[value].def = def;
    }

    /// Sets the type of a value: for passes that refine shapes. The verifier checks afterwards.
    pub fn set_ty(&mut self, value: ValueId, ty: TensorType) {
        self.values[value].ty = ty;
    }
}

/// A provenance of one name.
#[must_use]
pub fn loc(name: &str) -> Provenance {
    Arc::from([Arc::from(name)])
}

/// The names of both, without repetition, in order.
#[must_use]
pub fn merge_locs<'a>(locs: impl IntoIterator<Item = &'a Provenance>) -> Provenance {
    let mut names: Vec<Arc<str>> = Vec::new();
    for name in locs.into_iter().flat_map(|l| l.iter()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names.into()
}
