//! compose - several loop nests as one: what may be in a fusion, and the nest a fusion is.
//!
//! Two ways to join nests, applied along the data flow:
//!
//! * *inline*: a producer without reduction is evaluated where the consumer reads it; its index expressions take the
//!   consumer's in place of its axes. Where the consumer's read is guarded (padding), the producer's value is selected
//!   against the guard value, and the producer's own reads become guarded too, so that nothing is read out of range.
//!   Where it is checked (a lookup), the producer's own reads are.
//! * *epilogue*: a consumer without reduction that reads a reducing producer at the identity index becomes part of the
//!   producer's `finish` program. If it reads it transposed, the producer takes the consumer's order of axes first.
//!
//! A nest holds at most one reduction (several over the same rows: [`rows`]); into a contraction only what leaves it one is inlined: what computes one of its factors alone. What cannot be joined is refused with the reason. A value that is rounded
//! to `f16` or `bf16` on its way keeps its nests apart (unless one of them only moves it), since a joined nest would not
//! round it.

pub mod rows;

use rustc_hash::FxHashMap;

use crate::{
    dtype::{DType, Scalar},
    eval::program::eval_program,
    extent::Extent,
    form::{Bounds, Class, Form, Ix, Load, LoopForm},
    graph::{Module, NodeId, RegionId, ValueId},
    program::{Binary, Builder, Inst, Program, Ref},
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

/// Evaluates `producer`, which has no reduction and one result, where `consumer` reads it by load `k`.
///
/// Operand numbers of both must mean the same values.
///
/// # Errors
/// Why it cannot be.
pub fn inline(consumer: &LoopForm, k: usize, producer: &LoopForm) -> Result<LoopForm, String> {
    let read = &consumer.loads[k];
    if producer.combine.is_some() {
        return Err("the producer reduces".into());
    }
    if rounds_between(producer, consumer) {
        return Err(format!("the value between them is rounded to {}", producer.results[0]));
    }
    if read.bounds == Bounds::Check && !can_check(consumer, read, producer) {
        return Err("the consumer's index is checked when running".into());
    }
    let guarded = matches!(read.bounds, Bounds::Guard(_));
    if guarded && producer.loads.iter().any(|l| l.bounds == Bounds::Check) {
        return Err("the producer's index is checked when running, and the consumer pads".into());
    }
    let mut join = Join { loads: Vec::new() };
    let mut map = LoadMap { own: vec![None; consumer.loads.len()], inner: vec![None; producer.loads.len()] };
    let mut build = |program: &Program| {
        let mut b = Builder::new();
        let results = b.splice(program, &mut |b, inst, dtype| match inst {
            Inst::Load(l) if *l == k => {
                if let Some(l) = guard_moves(consumer, read, producer) {
                    let at: Vec<Ix> =
                        read.index.iter().map(|ix| own_index(&mut join, &mut map, consumer, ix)).collect();
                    let moved = &producer.loads[l];
                    let index = |ix| inner_index(&mut join, &mut map, producer, ix, &at, read.bounds);
                    let index = moved.index.iter().map(index).collect();
                    let load = join.add(Load { index, bounds: read.bounds, ..moved.clone() });
                    return b.push(Inst::Load(load), dtype);
                }
                let value = inlined_value(b, &mut join, &mut map, consumer, k, producer);
                if guards_itself(consumer, read, producer) { value } else { select_in_range(b, read, value) }
            }
            Inst::Load(l) => {
                let load = own_load(&mut join, &mut map, consumer, *l);
                b.push(Inst::Load(load), dtype)
            }
            Inst::Index(ix) => {
                let ix = own_index(&mut join, &mut map, consumer, ix);
                b.index(ix)
            }
            other => b.push(other.clone(), dtype),
        });
        b.finish(results)
    };
    let (body, finish) = (build(&consumer.body), build(&consumer.finish));
    if consumer.loads.iter().any(|l| l.index.iter().any(|ix| ix.loads().contains(&k))) {
        return Err("the value is an index".into());
    }
    let joined = LoopForm { loads: join.loads, body, finish, ..consumer.clone() };
    if consumer.class() == Class::Contraction && joined.class() != Class::Contraction {
        return Err("the producer would be computed again for every product".into());
    }
    Ok(joined)
}

/// Whether the loads of a producer can check what a checked read of it does: each axis that may be out of range is one of
/// theirs, as it is.
fn can_check(consumer: &LoopForm, read: &Load, producer: &LoopForm) -> bool {
    let whole = |ix: &Ix, extent: &Extent| matches!(ix, Ix::Axis(a) if consumer.axis_extent(*a) == extent);
    let checked = |axis: usize, extent: &Extent| {
        let same = |(ix, e): (&Ix, &Extent)| *ix == Ix::Axis(axis) && e == extent;
        producer.loads.iter().any(|l| l.index.iter().zip(&l.extents).any(same))
    };
    producer.loads.iter().all(|l| l.bounds == Bounds::Inside)
        && (read.index.iter().zip(&read.extents).enumerate())
            .all(|(axis, (ix, extent))| whole(ix, extent) || checked(axis, extent))
}

/// The load of a producer that only moves elements, if it is out of range exactly where a guarded read of the producer
/// is: then the guard of the read can be the load's own.
fn guard_moves(consumer: &LoopForm, read: &Load, producer: &LoopForm) -> Option<usize> {
    let [(Inst::Load(l), _)] = producer.body.insts() else { return None };
    let load = &producer.loads[*l];
    let guarded = matches!(read.bounds, Bounds::Guard(_));
    (guarded && leaves_range_with(consumer, read, load) && only_moves(producer) && load.dtype == read.dtype)
        .then_some(*l)
}

/// Whether a load of a producer is out of range exactly where the read of the producer is.
fn leaves_range_with(consumer: &LoopForm, read: &Load, load: &Load) -> bool {
    let told = |axis: usize, extent: &Extent| {
        let known = |ix: &Ix| matches!(ix, Ix::Extent(Extent::Const(at)) if (0..extent.as_const().unwrap_or(0)).contains(at));
        let same = |(ix, e): (&Ix, &Extent)| *ix == Ix::Axis(axis) && e == extent;
        // A whole axis is read as it is: channels of a padded image.
        let whole = |ix: &Ix| matches!(ix, Ix::Axis(a) if consumer.axis_extent(*a) == extent);
        known(&read.index[axis]) || whole(&read.index[axis]) || load.index.iter().zip(&load.extents).any(same)
    };
    load.bounds == Bounds::Inside && read.extents.iter().enumerate().all(|(axis, extent)| told(axis, extent))
}

/// Whether a producer gives a guarded read's value by itself where the read is out of range: its loads are out of range
/// there, too, and give zeros, of which it makes that value (the square of padding is padding).
fn guards_itself(consumer: &LoopForm, read: &Load, producer: &LoopForm) -> bool {
    let Bounds::Guard(outside) = read.bounds else { return false };
    let body = &producer.body;
    let loads =
        body.insts().iter().filter_map(|(inst, _)| if let Inst::Load(l) = inst { Some(*l) } else { None });
    let follows = |l: usize| leaves_range_with(consumer, read, &producer.loads[l]);
    if loads.clone().next().is_none()
        || !loads.clone().all(follows)
        || body.insts().iter().any(|(inst, _)| matches!(inst, Inst::Index(_)))
    {
        return false;
    }
    let zero = |l: usize| Scalar::zero(producer.loads[l].dtype);
    let made = eval_program(body, &zero, &[], &|_| 0);
    made.first().is_some_and(|made| made.bits == outside.bits && made.dtype == outside.dtype)
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

/// Where the loads of both nests are in the joined one.
struct LoadMap {
    own: Vec<Option<usize>>,
    inner: Vec<Option<usize>>,
}

fn own_load(join: &mut Join, map: &mut LoadMap, consumer: &LoopForm, l: usize) -> usize {
    if let Some(at) = map.own[l] {
        return at;
    }
    let load = &consumer.loads[l];
    let index = load.index.iter().map(|ix| own_index(join, map, consumer, ix)).collect();
    let at = join.add(Load { index, ..load.clone() });
    map.own[l] = Some(at);
    at
}

fn own_index(join: &mut Join, map: &mut LoadMap, consumer: &LoopForm, ix: &Ix) -> Ix {
    for l in ix.loads() {
        own_load(join, map, consumer, l);
    }
    ix.substitute(&Ix::Axis, &|l| map.own[l].unwrap_or(l))
}

/// Splices the producer's body at the consumer's index.
fn inlined_value(
    b: &mut Builder,
    join: &mut Join,
    map: &mut LoadMap,
    consumer: &LoopForm,
    k: usize,
    producer: &LoopForm,
) -> Ref {
    let read = &consumer.loads[k];
    let at: Vec<Ix> = read.index.iter().map(|ix| own_index(join, map, consumer, ix)).collect();
    let outer = read.bounds;
    b.splice(&producer.body, &mut |b, inst, dtype| match inst {
        Inst::Load(l) => {
            let load = inner_load(join, map, producer, *l, &at, outer);
            b.push(Inst::Load(load), dtype)
        }
        Inst::Index(ix) => {
            let ix = inner_index(join, map, producer, ix, &at, outer);
            b.index(ix)
        }
        other => b.push(other.clone(), dtype),
    })[0]
}

fn inner_load(
    join: &mut Join,
    map: &mut LoadMap,
    producer: &LoopForm,
    l: usize,
    at: &[Ix],
    outer: Bounds,
) -> usize {
    if let Some(known) = map.inner[l] {
        return known;
    }
    let load = &producer.loads[l];
    let index = load.index.iter().map(|ix| inner_index(join, map, producer, ix, at, outer)).collect();
    let bounds = match (load.bounds, outer) {
        (Bounds::Inside, Bounds::Guard(_)) => Bounds::Guard(Scalar::zero(load.dtype)),
        (Bounds::Inside, Bounds::Check) => Bounds::Check,
        (own, _) => own,
    };
    let new = join.add(Load { index, bounds, ..load.clone() });
    map.inner[l] = Some(new);
    new
}

fn inner_index(
    join: &mut Join,
    map: &mut LoadMap,
    producer: &LoopForm,
    ix: &Ix,
    at: &[Ix],
    outer: Bounds,
) -> Ix {
    for l in ix.loads() {
        inner_load(join, map, producer, l, at, outer);
    }
    ix.substitute(&|axis| at[axis].clone(), &|l| map.inner[l].unwrap_or(l))
}

/// `value` where the read is in range, else its guard value.
fn select_in_range(b: &mut Builder, read: &Load, value: Ref) -> Ref {
    let Bounds::Guard(outside) = read.bounds else { return value };
    let mut inside: Option<Ref> = None;
    for (ix, extent) in read.index.iter().zip(&read.extents) {
        if let Ix::Extent(e) = ix
            && let (Some(at), Some(end)) = (e.as_const(), extent.as_const())
            && (0..end).contains(&at)
        {
            continue;
        }
        let (at, end, zero) = (b.index(ix.clone()), b.index(Ix::Extent(extent.clone())), b.index(Ix::int(0)));
        let (low, high) = (b.le(zero, at), b.lt(at, end));
        let both = b.binary(Binary::And, low, high);
        inside = Some(inside.map_or(both, |i| b.binary(Binary::And, i, both)));
    }
    let outside = b.constant(outside);
    inside.map_or(value, |inside| b.select(inside, value, outside))
}

/// Appends `consumer`, which has no reduction, to `producer`, which it reads as operand `operand` at the identity index.
///
/// Operand numbers of both must mean the same values.
///
/// # Errors
/// Why it cannot be.
pub fn epilogue(producer: &LoopForm, consumer: &LoopForm, operand: usize) -> Result<LoopForm, String> {
    if consumer.combine.is_some() {
        return Err("both reduce".into());
    }
    if rounds_between(producer, consumer) {
        return Err(format!("the value between them is rounded to {}", producer.results[0]));
    }
    let is_hero = |load: &Load| load.operand == operand;
    let turned =
        consumer.loads.iter().find(|l| is_hero(l)).and_then(|l| turned(producer, &l.index, &consumer.space));
    let (producer, place) = match &turned {
        Some((producer, place)) => (producer, place.clone()),
        None => (producer, LoopForm::identity(consumer.space.len())),
    };
    if producer.space != consumer.space {
        return Err("they iterate over different spaces".into());
    }
    if consumer.loads.iter().any(|l| is_hero(l) && !same_place(&l.index, &place, &consumer.space)) {
        return Err("the consumer reads the reduction at another place".into());
    }
    if consumer.loads.iter().any(|l| l.index.iter().any(|ix| hero_is_index(consumer, ix, operand))) {
        return Err("the reduced value is an index".into());
    }
    let mut join = Join { loads: producer.loads.clone() };
    let mut map: Vec<Option<usize>> = vec![None; consumer.loads.len()];
    // Loads refer to earlier ones only, so that one pass in order resolves indirections.
    for (l, load) in consumer.loads.iter().enumerate() {
        if !is_hero(load) {
            let index =
                load.index.iter().map(|ix| ix.substitute(&Ix::Axis, &|j| map[j].unwrap_or(j))).collect();
            map[l] = Some(join.add(Load { index, ..load.clone() }));
        }
    }
    let mut b = Builder::new();
    let hero = b.splice(&producer.finish, &mut |b, inst, dtype| b.push(inst.clone(), dtype))[0];
    let results = b.splice(&consumer.body, &mut |b, inst, dtype| match inst {
        Inst::Load(l) => match map[*l] {
            Some(load) => b.push(Inst::Load(load), dtype),
            None => hero,
        },
        Inst::Index(ix) => b.index(ix.substitute(&Ix::Axis, &|j| map[j].unwrap_or(j))),
        other => b.push(other.clone(), dtype),
    });
    let finish = b.finish(results);
    Ok(LoopForm { loads: join.loads, finish, results: consumer.results.clone(), ..producer.clone() })
}

/// The nest with its space axes in the order of `space`, if `index` reads its result transposed, and how it does.
fn turned(form: &LoopForm, index: &[Ix], space: &[Extent]) -> Option<(LoopForm, Vec<Ix>)> {
    let axis = |ix: &Ix| if let Ix::Axis(a) = ix { Some(*a) } else { None };
    let order: Vec<usize> = index.iter().map(axis).collect::<Option<_>>()?;
    let all_once = (0..space.len()).all(|a| order.iter().filter(|&&o| o == a).count() == 1);
    let alike =
        order.len() == space.len() && order.iter().zip(&form.space).all(|(&a, e)| space.get(a) == Some(e));
    if !all_once || !alike || order.is_sorted() {
        return None;
    }
    let place = |ix: &Ix| ix.substitute(&|a| Ix::Axis(order.get(a).copied().unwrap_or(a)), &|k| k);
    let program = |program: &Program| {
        let mut b = Builder::new();
        let results = b.splice(program, &mut |b, inst, dtype| match inst {
            Inst::Index(ix) => b.index(place(ix)),
            other => b.push(other.clone(), dtype),
        });
        b.finish(results)
    };
    let mut out = form.clone();
    out.space = space.to_vec();
    for load in &mut out.loads {
        load.index = load.index.iter().map(place).collect();
    }
    (out.body, out.finish) = (program(&form.body), program(&form.finish));
    Some((out, index.to_vec()))
}

fn hero_is_index(consumer: &LoopForm, ix: &Ix, operand: usize) -> bool {
    ix.loads().into_iter().any(|l| consumer.loads[l].operand == operand)
}

/// Whether both indices name the same element: axes of extent 1 have one position.
fn same_place(a: &[Ix], b: &[Ix], space: &[crate::extent::Extent]) -> bool {
    a.len() == b.len() && (0..a.len()).all(|i| a[i] == b[i] || (space[i].is(1) && a[i] == Ix::int(0)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::loc,
        ops::{Add, Broadcast, Cast, Exp, MatMul, Reduce, ReduceKind, Transpose},
        types::TensorType,
    };

    fn f32s(dims: &[i64]) -> TensorType {
        TensorType::of(DType::F32, dims)
    }

    #[test]
    fn a_bias_with_its_broadcast_becomes_the_epilogue_of_a_matmul() {
        let mut m = Module::new();
        let (body, l) = (m.body(), loc("t"));
        let (x, w, bias) =
            (m.add_input("x", f32s(&[2, 3])), m.add_input("w", f32s(&[3, 5])), m.add_input("b", f32s(&[5])));
        let y = m.append(body, MatMul {}, &[x, w], &[], &l).unwrap()[0];
        let shape = m.ty(y).shape.clone();
        let wide = m.append(body, Broadcast { shape }, &[bias], &[], &l).unwrap()[0];
        let z = m.append(body, Add {}, &[y, wide], &[], &l).unwrap()[0];
        let z = m.append(body, Exp {}, &[z], &[], &l).unwrap()[0];
        let nodes = m.region(body).nodes.clone();
        let (form, operands) = fuse_nodes(&m, &nodes, &[z]).unwrap();
        assert_eq!(operands, [x, w, bias]);
        assert_eq!(form.class(), Class::Contraction);
        assert_eq!(form.loads[2].index, [Ix::Axis(1)]);
        assert_eq!(fuse_nodes(&m, &nodes, &[y, z]).unwrap().0.results.len(), 2);
    }

    #[test]
    fn the_square_of_padding_needs_no_guard_but_a_sum_with_one_does() {
        let producer = |square: bool| {
            let mut b = Builder::new();
            let x = b.load(0, DType::F32);
            let y = if square {
                b.mul(x, x)
            } else {
                let one = b.f32(1.0);
                b.add(x, one)
            };
            let extents = vec![Extent::Const(5)];
            let load = Load {
                operand: 0,
                dtype: DType::F32,
                index: vec![Ix::Axis(0)],
                extents: extents.clone(),
                bounds: Bounds::Inside,
            };
            LoopForm {
                space: extents,
                reduce: vec![],
                loads: vec![load],
                body: b.finish([y]),
                combine: None,
                finish: Program::default(),
                results: vec![DType::F32],
            }
        };
        let mut pad = producer(true);
        let mut b = Builder::new();
        let x = b.load(0, DType::F32);
        pad.body = b.finish([x]);
        pad.space = vec![Extent::Const(9)];
        pad.loads[0].index = vec![Ix::Axis(0).plus(Ix::int(-2))];
        pad.loads[0].bounds = Bounds::Guard(Scalar::f32(0.0));
        let selects = |form: &LoopForm| form.body.insts().iter().any(|(i, _)| matches!(i, Inst::Select(..)));
        assert!(!selects(&inline(&pad, 0, &producer(true)).unwrap()));
        assert!(selects(&inline(&pad, 0, &producer(false)).unwrap()));
    }

    #[test]
    fn padding_of_what_was_only_moved_stays_a_guard_of_its_load() {
        let extents = |dims: &[i64]| dims.iter().map(|&d| Extent::Const(d)).collect::<Vec<_>>();
        let nest = |space: &[i64], index: Vec<Ix>, of: &[i64], bounds: Bounds| {
            let mut b = Builder::new();
            let x = b.load(0, DType::F32);
            LoopForm {
                space: extents(space),
                reduce: vec![],
                loads: vec![Load { operand: 0, dtype: DType::F32, index, extents: extents(of), bounds }],
                body: b.finish([x]),
                combine: None,
                finish: Program::default(),
                results: vec![DType::F32],
            }
        };
        let guard = Bounds::Guard(Scalar::f32(2.0));
        let before = |axis: usize| Ix::Axis(axis).plus(Ix::int(-1));
        let pad = nest(&[7, 5], vec![before(0), before(1)], &[5, 3], guard);
        let turned = nest(&[5, 3], vec![Ix::Axis(1), Ix::Axis(0)], &[3, 5], Bounds::Inside);
        let joined = inline(&pad, 0, &turned).unwrap();
        assert_eq!(joined.loads, nest(&[], vec![before(1), before(0)], &[3, 5], guard).loads);
        assert_eq!(joined.class(), Class::Movement);
        // A slice is in range of its operand where padding is not in range of the slice.
        let slice = nest(&[5, 3], vec![Ix::Axis(0).plus(Ix::int(4)), Ix::Axis(1)], &[20, 3], Bounds::Inside);
        assert_eq!(inline(&pad, 0, &slice).unwrap().class(), Class::Pointwise);
    }

    #[test]
    fn casts_to_half_and_back_stay_apart_since_they_round() {
        let mut m = Module::new();
        let (body, l) = (m.body(), loc("t"));
        let x = m.add_input("x", f32s(&[2]));
        let half = m.append(body, Cast { to: DType::F16 }, &[x], &[], &l).unwrap()[0];
        let back = m.append(body, Cast { to: DType::F32 }, &[half], &[], &l).unwrap()[0];
        let nodes = m.region(body).nodes.clone();
        assert!(fuse_nodes(&m, &nodes, &[back]).unwrap_err().contains("rounded to f16"));
        let turned = m.append(body, Transpose { perm: vec![0] }, &[half], &[], &l).unwrap()[0];
        let nodes = [nodes[0], m.def_node(turned).unwrap()];
        assert!(fuse_nodes(&m, &nodes, &[turned]).is_ok());
    }

    #[test]
    fn a_reduction_that_is_read_transposed_iterates_in_that_order() {
        let mut m = Module::new();
        let (body, l) = (m.body(), loc("t"));
        let (x, w) = (m.add_input("x", f32s(&[7, 2, 3])), m.add_input("w", f32s(&[7, 3, 5])));
        let y = m.append(body, MatMul {}, &[x, w], &[], &l).unwrap()[0];
        let t = m.append(body, Transpose { perm: vec![1, 0, 2] }, &[y], &[], &l).unwrap()[0];
        let e = m.append(body, Exp {}, &[t], &[], &l).unwrap()[0];
        let nodes = m.region(body).nodes.clone();
        let (form, operands) = fuse_nodes(&m, &nodes, &[e]).unwrap();
        assert_eq!((operands, form.class()), (vec![x, w], Class::Contraction));
        assert_eq!(form.space, m.ty(e).shape);
        assert_eq!(form.loads[0].index, [Ix::Axis(1), Ix::Axis(0), Ix::Axis(3)]);
        assert!(fuse_nodes(&m, &nodes, &[y, e]).is_err());
    }

    #[test]
    fn a_producer_is_inlined_into_a_reduction_but_two_reductions_stay_apart() {
        let mut m = Module::new();
        let (body, l) = (m.body(), loc("t"));
        let x = m.add_input("x", f32s(&[2, 3]));
        let t = m.append(body, Transpose { perm: vec![1, 0] }, &[x], &[], &l).unwrap()[0];
        let e = m.append(body, Exp {}, &[t], &[], &l).unwrap()[0];
        let sum = Reduce { kind: ReduceKind::Sum, axes: vec![0], keep: true };
        let s = m.append(body, sum, &[e], &[], &l).unwrap()[0];
        let nodes = m.region(body).nodes.clone();
        let (form, operands) = fuse_nodes(&m, &nodes, &[s]).unwrap();
        assert_eq!((operands, form.class()), (vec![x], Class::Reduce));
        assert_eq!(form.loads[0].index, [Ix::Axis(1), Ix::Axis(2)]);
        let again = Reduce { kind: ReduceKind::Max, axes: vec![1], keep: true };
        let r = m.append(body, again, &[s], &[], &l).unwrap()[0];
        let nodes = m.region(body).nodes.clone();
        assert_eq!(fuse_nodes(&m, &nodes, &[r]).unwrap_err(), "both reduce");
    }
}
