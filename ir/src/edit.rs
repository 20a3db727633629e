//! edit - changes of modules that several passes and the importer need.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    constant::Constant,
    definitions::bare_symbol,
    entity::EntityId,
    extent::{Extent, SymbolId, SymbolOrigin},
    graph::{ConstraintKind, Def, Module, NodeId, RegionId, ValueId},
    ops::Op,
};

/// Values and what stands for them.
pub type ValueMap = FxHashMap<ValueId, ValueId>;

impl Module {
    /// Appends copies of the nodes of `region` to `into`, with regions that they own, and gives what its results are
    /// there. `map` says what stands for its parameters; it gains the copies of the values defined in it.
    ///
    /// Symbols keep their meaning: a region whose nodes define symbols may be copied only if the original goes.
    ///
    /// # Errors
    /// An operation refuses what stands for its operands.
    ///
    /// # Panics
    /// If the region reads something that is neither defined in it nor mapped.
    pub fn clone_region_into(
        &mut self,
        region: RegionId,
        into: RegionId,
        map: &mut ValueMap,
    ) -> Result<Vec<ValueId>, String> {
        let source = self.region(region).clone();
        for id in source.nodes {
            let node = self.node(id).clone();
            let operands: Vec<ValueId> = node.operands.iter().map(|v| map[v]).collect();
            let mut regions = Vec::with_capacity(node.regions.len());
            for nested in node.regions {
                regions.push(self.clone_region(nested)?);
            }
            let copies = self.append(into, node.op, &operands, &regions, &node.loc)?;
            map.extend(node.results.into_iter().zip(copies));
        }
        Ok(source.results.iter().map(|v| map[v]).collect())
    }

    /// A copy of `region`, parameters and all. See [`Module::clone_region_into`] about symbols.
    ///
    /// # Errors
    /// As [`Module::clone_region_into`]; never for regions that the verifier accepts.
    pub fn clone_region(&mut self, region: RegionId) -> Result<RegionId, String> {
        let copy = self.add_region();
        let mut map = ValueMap::default();
        for param in self.region(region).params.clone() {
            let ty = self.ty(param).clone();
            map.insert(param, self.add_param(copy, ty));
        }
        let results = self.clone_region_into(region, copy, &mut map)?;
        self.set_results(copy, results);
        Ok(copy)
    }

    /// Puts the nodes of every fusion, and of every tiled region, in its place.
    pub fn inline_fusions(&mut self) {
        // Bodies of fusions are empty by the time their turn comes.
        for region in self.nested_regions(self.body()) {
            let mut map = ValueMap::default();
            let mut inlined = Vec::new();
            let nodes = std::mem::take(&mut self.region_mut(region).nodes);
            self.inline_nodes(nodes, &mut map, &mut inlined);
            let body = self.region_mut(region);
            body.nodes = inlined;
            substitute(&mut body.results, &map);
        }
    }

    fn inline_nodes(&mut self, nodes: Vec<NodeId>, map: &mut ValueMap, out: &mut Vec<NodeId>) {
        for id in nodes {
            substitute(&mut self.node_mut(id).operands, map);
            if !matches!(self.node(id).op, Op::Fusion(_) | Op::Tiled(_)) {
                out.push(id);
                continue;
            }
            let fusion = self.node(id).clone();
            let body = std::mem::take(self.region_mut(fusion.regions[0]));
            map.extend(body.params.into_iter().zip(fusion.operands));
            self.inline_nodes(body.nodes, map, out);
            let mut results = body.results;
            substitute(&mut results, map);
            map.extend(fusion.results.into_iter().zip(results));
        }
    }

    /// Takes an input that nothing reads out of the module, with the constraints that concern nothing else, and says
    /// whether it could: one whose extents are mentioned elsewhere stays, unless another input has them too.
    pub fn remove_input(&mut self, input: usize) -> bool {
        let body = self.body();
        let mut moved = Vec::new();
        let of_input = |origin| matches!(origin, SymbolOrigin::Input { input: i, .. } if i == input);
        for s in self.symbols.ids().filter(|&s| of_input(self.symbols[s].origin)) {
            let elsewhere = self.axis_with(s, input);
            if elsewhere.is_none() && self.mentions(s, input) {
                return false;
            }
            moved.push((s, elsewhere));
        }
        for &(s, elsewhere) in &moved {
            self.symbols[s].origin = elsewhere.unwrap_or(SymbolOrigin::Data);
        }
        let gone = |s: SymbolId| moved.iter().any(|&(m, elsewhere)| m == s && elsewhere.is_none());
        self.constraints.retain(|constraint| {
            let (ConstraintKind::Equal(a, b)
            | ConstraintKind::Broadcasts(a, b)
            | ConstraintKind::AtMost(a, b)) = &constraint.kind;
            let mut stays = true;
            [a, b].into_iter().for_each(|e| e.for_each_symbol(&mut |s| stays &= !gone(s)));
            stays
        });
        self.input_names.remove(input);
        self.region_mut(body).params.remove(input);
        for (i, param) in self.region(body).params.clone().into_iter().enumerate() {
            self.set_def(param, Def::Param(body, i));
        }
        let symbols: Vec<SymbolId> = self.symbols.ids().collect();
        for s in symbols {
            if let SymbolOrigin::Input { input: at, .. } = &mut self.symbols[s].origin {
                *at -= usize::from(*at > input);
            }
        }
        true
    }

    /// An axis of an input other than `except` whose extent is the symbol.
    fn axis_with(&self, symbol: SymbolId, except: usize) -> Option<SymbolOrigin> {
        let params = self.region(self.body()).params.iter().enumerate();
        params.filter(|(i, _)| *i != except).find_map(|(input, &p)| {
            let axis = self.ty(p).shape.iter().position(|e| bare_symbol(e) == Some(symbol))?;
            Some(SymbolOrigin::Input { input, axis })
        })
    }

    /// Whether a type, attribute or bound mentions the symbol, apart from the type of an input.
    fn mentions(&self, symbol: SymbolId, except: usize) -> bool {
        let found = std::cell::Cell::new(false);
        let look = |e: &Extent| e.for_each_symbol(&mut |s| found.set(found.get() || s == symbol));
        let type_of = |v: ValueId| self.ty(v).shape.iter().for_each(look);
        self.symbols.iter().filter_map(|(_, s)| s.bound.as_ref()).for_each(look);
        for region in self.nested_regions(self.body()) {
            let main = region == self.body();
            let params = self.region(region).params.iter().enumerate();
            params.filter(|(i, _)| !main || *i != except).for_each(|(_, &p)| type_of(p));
            for &node in &self.region(region).nodes {
                let node = self.node(node);
                node.results.iter().copied().for_each(type_of);
                node.op.clone().map_extents(&|e| {
                    look(e);
                    e.clone()
                });
            }
        }
        found.get()
    }

    /// Lets go of the elements of constants that the main region does not reach: weights that passes have replaced.
    pub fn release_constants(&mut self) {
        let regions = self.nested_regions(self.body());
        let reached: FxHashSet<NodeId> =
            regions.iter().flat_map(|&r| self.region(r).nodes.iter().copied()).collect();
        for id in (0..self.node_count()).map(NodeId::new).filter(|id| !reached.contains(id)) {
            if let Op::ConstantOp(op) = &mut self.node_mut(id).op {
                op.value = Constant::i64s(&[]);
            }
        }
    }

    /// Lets go of the elements of all constants: for who needs only types and symbols from now on. The verifier refuses
    /// what is left.
    pub fn forget_constants(&mut self) {
        for id in (0..self.node_count()).map(NodeId::new) {
            if let Op::ConstantOp(op) = &mut self.node_mut(id).op {
                op.value = Constant::i64s(&[]);
            }
        }
    }

    /// The same module without the values, nodes and regions that the main region does not reach. Ids change.
    ///
    /// # Errors
    /// As [`Module::clone_region_into`]; never for modules that the verifier accepts.
    pub fn compact(&self) -> Result<Module, String> {
        let mut out = Module::new();
        out.symbols = self.symbols.clone();
        out.input_names.clone_from(&self.input_names);
        out.output_names.clone_from(&self.output_names);
        out.constraints.clone_from(&self.constraints);
        out.phase = self.phase;
        let body = out.body();
        self.copy_region_to(self.body(), &mut out, body)?;
        Ok(out)
    }

    fn copy_region_to(&self, region: RegionId, out: &mut Module, into: RegionId) -> Result<(), String> {
        let region = self.region(region);
        let mut map = ValueMap::default();
        for &param in &region.params {
            map.insert(param, out.add_param(into, self.ty(param).clone()));
        }
        for &id in &region.nodes {
            let node = self.node(id);
            let operands: Vec<ValueId> = node.operands.iter().map(|v| map[v]).collect();
            let mut regions = Vec::with_capacity(node.regions.len());
            for &nested in &node.regions {
                let copy = out.add_region();
                self.copy_region_to(nested, out, copy)?;
                regions.push(copy);
            }
            let copies = out.append(into, node.op.clone(), &operands, &regions, &node.loc)?;
            map.extend(node.results.iter().copied().zip(copies));
        }
        out.set_results(into, region.results.iter().map(|v| map[v]).collect());
        Ok(())
    }
}

fn substitute(values: &mut [ValueId], map: &ValueMap) {
    for value in values {
        if let Some(&new) = map.get(value) {
            *value = new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        text::{parse, print},
        verify::verify,
    };

    const FUSED: &str = r#"nnir 1
phase imported
module (%0 "x" : f32[2], %1 "go" : bool[]) {
  %2, %3 = fusion %0 : f32[2], f32[2] {
    region (%4 : f32[2]) {
      %5 = neg %4 : f32[2] loc("a")
      yield %5, %4
    }
  }
  %6 = if %1, %2, %3 {shapes=[[2]]} : f32[2] loc("if") {
    region (%7 : f32[2], %8 : f32[2]) {
      %9 = fusion %7, %8 : f32[2] {
        region (%10 : f32[2], %11 : f32[2]) {
          %12 = add %10, %11 : f32[2] loc("b")
          yield %12
        }
      }
      yield %9
    }
    region (%13 : f32[2], %14 : f32[2]) {
      yield %14
    }
  }
  return %6 "y"
}
"#;

    const INLINED: &str = r#"nnir 1
phase imported
module (%0 "x" : f32[2], %1 "go" : bool[]) {
  %2 = neg %0 : f32[2] loc("a")
  %3 = if %1, %2, %0 {shapes=[[2]]} : f32[2] loc("if") {
    region (%4 : f32[2], %5 : f32[2]) {
      %6 = add %4, %5 : f32[2] loc("b")
      yield %6
    }
    region (%7 : f32[2], %8 : f32[2]) {
      yield %8
    }
  }
  return %3 "y"
}
"#;

    fn module(text: &str) -> Module {
        parse(text, &|_| None).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn inlining_every_fusion_gives_the_graph_back() {
        let mut m = module(FUSED);
        m.inline_fusions();
        assert_eq!(verify(&m), Ok(()));
        assert_eq!(print(&m), INLINED);
    }

    #[test]
    fn compacting_drops_what_is_not_reached() {
        let mut m = module(FUSED);
        m.inline_fusions();
        let compact = m.compact().expect("verified");
        assert_eq!(print(&compact), INLINED);
        assert_eq!((compact.node_count(), compact.region_ids().count()), (3, 3));
    }

    #[test]
    fn a_region_is_copied_with_those_in_it() {
        let mut m = module(FUSED);
        let body = m.body();
        let params = m.region(body).params.clone();
        let mut map: ValueMap = params.iter().map(|&p| (p, p)).collect();
        let results = m.clone_region_into(body, body, &mut map).expect("the same types");
        let first = m.region(body).results[0];
        m.set_outputs(&[("y".into(), first), ("z".into(), results[0])]);
        assert_eq!(verify(&m), Ok(()));
        assert_eq!(m.region(body).nodes.len(), 4);
        assert_eq!(m.nested_regions(body).len(), 1 + 2 * 4);
    }
}
