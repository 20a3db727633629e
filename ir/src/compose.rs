//! compose - several loop nests as one: what may be in a fusion, and the nest a fusion is.
//!
//! Two ways to join nests, applied along the data flow:
//!
//! * [`inline`]: a producer without reduction is evaluated where the consumer reads it; its index expressions take the
//!   consumer's in place of its axes. Where the consumer's read is guarded (padding), the producer's value is selected
//!   against the guard value, and the producer's own reads become guarded too, so that nothing is read out of range.
//!   Where it is checked (a lookup), the producer's own reads are.
//! * [`epilogue`]: a consumer without reduction that reads a reducing producer at the identity index becomes part of the
//!   producer's `finish` program. If it reads it transposed, the producer takes the consumer's order of axes first.
//!
//! A nest holds at most one reduction (several over the same rows: [`rows`]); into a contraction only what leaves it one is
//! inlined: what computes one of its factors alone. What cannot be joined is refused with the reason. A value that is rounded
//! to `f16` or `bf16` on its way keeps its nests apart (unless one of them only moves it), since a joined nest would not
//! round it.

mod epilogue;
mod inline;
mod range;
pub mod rows;

pub use epilogue::epilogue;
pub use inline::inline;

use rustc_hash::FxHashMap;

use crate::{
    dtype::DType,
    form::{Class, Form, Ix, Load, LoopForm},
    graph::{Module, NodeId, RegionId, ValueId},
    program::{Builder, Inst, Ref},
};

/// The nest that the body of a fusion is. Operand numbers are those of the region's parameters.
///
/// # Errors
/// Why the region is no single nest.
pub fn fuse_region(module: &Module, region: RegionId) -> Result<LoopForm, String> {
    let region = module.region(region);
    let (mut form, operands) = fuse_nodes(module, &region.nodes, &region.results)?;
    for load in &mut form.loads {
        let value = operands[load.operand];
        let param = region.params.iter().position(|&p| p == value);
        load.operand = param.ok_or("a value from outside is no parameter of the region")?;
    }
    Ok(form)
}

/// The nest that computes `results` by `nodes` (in order), and the values from outside that it reads; loads number
/// these.
///
/// # Errors
/// Why they are no single nest.
pub fn fuse_nodes(
    module: &Module,
    nodes: &[NodeId],
    results: &[ValueId],
) -> Result<(LoopForm, Vec<ValueId>), String> {
    let mut fused: FxHashMap<ValueId, LoopForm> = FxHashMap::default();
    let mut outside = Outside::default();
    for &node in nodes {
        let form = inline_producers(nest_of(module, node, &mut outside)?, &outside, &fused)?;
        let [result] = module.node(node).results[..] else { return Err("a node has several results".into()) };
        fused.insert(result, form);
    }
    let of_result = |v: &ValueId| match fused.get(v) {
        Some(form) => append_to_reduction(form, &outside, &fused),
        None => Err("a result is not computed inside".to_owned()),
    };
    let forms: Vec<LoopForm> = results.iter().map(of_result).collect::<Result<_, _>>()?;
    let mut form = merge_results(&forms)?;
    let operands = outside.drop_inner(&mut form, &fused);
    Ok((form, operands))
}

/// Numbers for the values that nests read, of nodes inside and outside alike.
#[derive(Default)]
struct Outside {
    values: Vec<ValueId>,
}

impl Outside {
    fn number(&mut self, value: ValueId) -> usize {
        let at = self.values.iter().position(|&v| v == value);
        at.unwrap_or_else(|| {
            self.values.push(value);
            self.values.len() - 1
        })
    }

    /// Renumbers the loads of the finished nest over what is really read.
    fn drop_inner(self, form: &mut LoopForm, fused: &FxHashMap<ValueId, LoopForm>) -> Vec<ValueId> {
        let mut operands = Vec::new();
        for load in &mut form.loads {
            let value = self.values[load.operand];
            debug_assert!(!fused.contains_key(&value), "every inner value has been joined");
            load.operand = operands.iter().position(|&v| v == value).unwrap_or_else(|| {
                operands.push(value);
                operands.len() - 1
            });
        }
        operands
    }
}

/// The node's own nest, with operands numbered by value.
fn nest_of(module: &Module, node: NodeId, outside: &mut Outside) -> Result<LoopForm, String> {
    let Form::Loops(mut form) = module.form(node) else {
        return Err(format!("`{}` is no loop nest", module.node(node).op.mnemonic()));
    };
    for load in &mut form.loads {
        load.operand = outside.number(module.node(node).operands[load.operand]);
    }
    Ok(form)
}

/// Inlines the producers without reduction. Reducing ones stay loads: what follows them is joined first, so that a value
/// they give may be read in several places.
fn inline_producers(
    mut form: LoopForm,
    outside: &Outside,
    fused: &FxHashMap<ValueId, LoopForm>,
) -> Result<LoopForm, String> {
    let producer = |form: &LoopForm, k: usize| fused.get(&outside.values[form.loads[k].operand]);
    let find = |form: &LoopForm| {
        (0..form.loads.len())
            .find_map(|k| Some((k, producer(form, k).filter(|p| p.combine.is_none())?.clone())))
    };
    while let Some((k, p)) = find(&form) {
        form = inline(&form, k, &p)?;
    }
    let reads_reduction = (0..form.loads.len()).any(|k| producer(&form, k).is_some());
    if form.combine.is_some() && reads_reduction { Err("both reduce".into()) } else { Ok(form) }
}

/// The nest appended to the reduction it reads, if it reads one.
fn append_to_reduction(
    form: &LoopForm,
    outside: &Outside,
    fused: &FxHashMap<ValueId, LoopForm>,
) -> Result<LoopForm, String> {
    let mut heroes = form.loads.iter().map(|l| l.operand).filter(|&o| fused.contains_key(&outside.values[o]));
    let Some(hero) = heroes.next() else { return Ok(form.clone()) };
    if heroes.any(|other| other != hero) {
        return Err("both reduce".into());
    }
    epilogue(&fused[&outside.values[hero]], form, hero)
}

/// One nest with the results of all: they must iterate alike and, if they reduce, reduce the same.
fn merge_results(forms: &[LoopForm]) -> Result<LoopForm, String> {
    let (first, rest) = forms.split_first().ok_or("it has no result")?;
    if rest.is_empty() {
        return Ok(first.clone());
    }
    if rest.iter().any(|f| f.space != first.space || f.reduce != first.reduce || f.combine != first.combine) {
        return Err("its results iterate over different spaces".into());
    }
    let mut join = Join { loads: Vec::new() };
    let (mut body, mut finish) = (Builder::new(), Builder::new());
    let (mut bodies, mut finishes) = (Vec::new(), Vec::new());
    for form in forms {
        let mut map: Vec<usize> = Vec::with_capacity(form.loads.len());
        for load in &form.loads {
            let index = load.index.iter().map(|ix| ix.substitute(&Ix::Axis, &|j| map[j])).collect();
            map.push(join.add(Load { index, ..load.clone() }));
        }
        let mut leaf = |b: &mut Builder, inst: &Inst, dtype: DType| match inst {
            Inst::Load(l) => b.push(Inst::Load(map[*l]), dtype),
            Inst::Index(ix) => b.index(ix.substitute(&Ix::Axis, &|j| map[j])),
            other => b.push(other.clone(), dtype),
        };
        bodies.push(body.splice(&form.body, &mut leaf));
        finishes.extend(finish.splice(&form.finish, &mut leaf));
    }
    let reduces = first.combine.is_some();
    if reduces && bodies.iter().any(|r| *r != bodies[0]) {
        return Err("its results reduce different things".into());
    }
    let body_results = if reduces { bodies.swap_remove(0) } else { bodies.concat() };
    Ok(LoopForm {
        loads: join.loads,
        body: body.finish(body_results),
        finish: finish.finish(finishes),
        results: forms.iter().flat_map(|f| f.results.clone()).collect(),
        ..first.clone()
    })
}

/// Whether the nests round a value between them that a joined nest would not round.
fn rounds_between(producer: &LoopForm, consumer: &LoopForm) -> bool {
    let narrow = matches!(producer.results[0], DType::F16 | DType::BF16);
    narrow && !only_moves(producer) && !only_moves(consumer)
}

/// Whether elements are stored as they were loaded: a cast between floats moves them too, but rounds or widens.
fn only_moves(form: &LoopForm) -> bool {
    let as_loaded = |(&r, stored): (&Ref, &DType)| match form.body.inst(r) {
        Inst::Load(k) => form.loads[*k].dtype == *stored,
        _ => false,
    };
    form.class() == Class::Movement && form.body.results.iter().zip(&form.results).all(as_loaded)
}

/// The loads of a joined nest; equal ones are one.
struct Join {
    loads: Vec<Load>,
}

impl Join {
    fn add(&mut self, load: Load) -> usize {
        let at = self.loads.iter().position(|l| *l == load);
        at.unwrap_or_else(|| {
            self.loads.push(load);
            self.loads.len() - 1
        })
    }
}

#[cfg(test)]
mod tests;
