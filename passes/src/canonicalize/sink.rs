//! sink - rules that compute before elements are repeated or moved, not after.

use nnc_ir::{
    Module,
    constant::Constant,
    extent::Extent,
    form::{Class, Form},
    graph::{NodeId, ValueId},
    ops::{Broadcast, ConstantOp, Op, Reshape},
};
use rustc_hash::FxHashMap;

use super::values::splat;
use crate::{
    pass::{Bug, Exactness, Rule},
    readers::Readers,
    rewrite::Cursor,
};

pub(super) static SINK_BROADCAST: Rule = Rule {
    name: "sink-broadcast",
    law: "f(broadcast(x), broadcast(y)) = broadcast(f(x, y)), where f works element by element",
    source: "equal elements give equal results",
    exactness: Exactness::Exact,
};
pub(super) static CANCEL_AROUND_POINTWISE: Rule = Rule {
    name: "cancel-around-pointwise",
    law: "m(f(n(x), n(y), c)) = f(x, y, c), where reshapes and transposes m after n move nothing, c repeats one number, and f works element by element",
    source: "f commutes with every movement that keeps all elements",
    exactness: Exactness::Exact,
};

/// Nodes between movements that cancel, at most.
const MAX_NODES: usize = 64;

pub(super) fn is_pointwise(module: &Module, node: NodeId) -> bool {
    let this = module.node(node);
    let one = this.results.len() == 1 && this.regions.is_empty() && !this.operands.is_empty();
    one && matches!(module.form(node), Form::Loops(l) if l.class() == Class::Pointwise)
        && this.operands.iter().all(|&v| module.ty(v).shape == module.ty(this.results[0]).shape)
}

/// What a value repeats: the operand of a broadcast, or one number.
enum Source {
    Value(ValueId),
    Number(Constant),
}

pub(super) fn sink_broadcast(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let module = &*cursor.module;
    let repeats = |v: &ValueId| module.defined_by::<Broadcast>(*v).is_some();
    if !module.node(node).operands.iter().any(repeats) || !is_pointwise(module, node) {
        return Ok(None);
    }
    let this = module.node(node).clone();
    let full = module.ty(this.results[0]).shape.to_vec();
    let (mut sources, mut joint, mut computed) = (Vec::new(), vec![Extent::ONE; full.len()], false);
    for &v in &this.operands {
        if let Some(number) = splat(module, v) {
            sources.push(Source::Number(Constant::scalar(module.ty(v).dtype, number)));
            continue;
        }
        let Some((_, producer)) = module.defined_by::<Broadcast>(v) else { return Ok(None) };
        let source = producer.operands[0];
        let own = &module.ty(source).shape;
        for (have, axis) in own.iter().zip(full.len() - own.len()..) {
            match () {
                () if have.is(1) => {}
                () if *have == full[axis] => joint[axis] = have.clone(),
                // It may be 1, or what it is repeated to.
                () => return Ok(None),
            }
        }
        computed |= module.as_constant(source).is_none();
        sources.push(Source::Value(source));
    }
    let lead = joint.iter().take_while(|e| e.is(1)).count();
    if !computed || joint == full {
        return Ok(None);
    }
    let joint = joint[lead..].to_vec();
    let mut operands = Vec::new();
    for source in sources {
        let mut value = match source {
            Source::Value(value) => value,
            Source::Number(value) => cursor.emit1(ConstantOp { value }, &[], &this.loc)?,
        };
        let own = cursor.module.ty(value).shape.to_vec();
        if own.len() > joint.len() {
            // What is left out is of extent 1.
            value = cursor.emit1(
                Reshape { shape: own[own.len() - joint.len()..].to_vec() },
                &[value],
                &this.loc,
            )?;
        }
        if cursor.module.ty(value).shape != joint {
            value = cursor.emit1(Broadcast { shape: joint.clone() }, &[value], &this.loc)?;
        }
        operands.push(value);
    }
    let value = cursor.emit1(this.op, &operands, &this.loc)?;
    Ok(Some(cursor.emit1(Broadcast { shape: full }, &[value], &this.loc)?))
}

/// A reshape, as its operand's shape and its own, or a transpose.
#[derive(Clone)]
enum Move {
    Reshape(Vec<Extent>, Vec<Extent>),
    Transpose(Vec<usize>, Vec<Extent>, Vec<Extent>),
}

fn movement(module: &Module, node: NodeId) -> Option<Move> {
    let this = module.node(node);
    let shape = |v: ValueId| module.ty(v).shape.to_vec();
    match &this.op {
        Op::Reshape(_) => Some(Move::Reshape(shape(this.operands[0]), shape(this.results[0]))),
        Op::Transpose(t) => {
            let (from, to) = (shape(this.operands[0]), shape(this.results[0]));
            // Where only axes of extent 1 change places, nothing does.
            let in_order = t.perm.iter().filter(|&&p| !from[p].is(1)).is_sorted();
            Some(if in_order { Move::Reshape(from, to) } else { Move::Transpose(t.perm.clone(), from, to) })
        }
        _ => None,
    }
}

/// Whether movements, one after another, move nothing.
fn cancel(moves: &[Move]) -> bool {
    let mut stack: Vec<Move> = Vec::new();
    for next in moves {
        let joined = match (stack.pop(), next.clone()) {
            (Some(Move::Reshape(from, _)), Move::Reshape(_, to)) => Move::Reshape(from, to),
            (Some(Move::Transpose(p, from, _)), Move::Transpose(q, _, to)) => {
                let perm: Vec<usize> = q.iter().map(|&i| p[i]).collect();
                if perm.is_sorted() { Move::Reshape(from, to) } else { Move::Transpose(perm, from, to) }
            }
            (last, next) => {
                stack.extend(last);
                next
            }
        };
        if !matches!(&joined, Move::Reshape(from, to) if from == to) {
            stack.push(joined);
        }
    }
    stack.is_empty()
}

/// The nodes between movements, each after those it reads, and what stands for their other operands.
#[derive(Default)]
struct Island {
    nodes: Vec<NodeId>,
    reads: FxHashMap<ValueId, usize>,
    leaves: FxHashMap<ValueId, Leaf>,
}

#[derive(Clone)]
enum Leaf {
    Source(ValueId),
    Number(Constant),
}

impl Island {
    /// Takes in what computes `value`; `after` are the movements that follow.
    fn take(&mut self, module: &Module, value: ValueId, after: &[Move]) -> Option<()> {
        *self.reads.entry(value).or_default() += 1;
        if self.reads[&value] > 1 {
            return Some(());
        }
        if let Some(number) = splat(module, value) {
            self.leaves.insert(value, Leaf::Number(Constant::scalar(module.ty(value).dtype, number)));
            return Some(());
        }
        if let Some(source) = undone(module, value, after) {
            self.leaves.insert(value, Leaf::Source(source));
            return Some(());
        }
        let node = module.def_node(value).filter(|_| self.nodes.len() < MAX_NODES)?;
        if !is_pointwise(module, node) {
            return None;
        }
        for &operand in &module.node(node).operands {
            self.take(module, operand, after)?;
        }
        self.nodes.push(node);
        Some(())
    }
}

/// What `value` is moved from by movements that those after it undo.
fn undone(module: &Module, value: ValueId, after: &[Move]) -> Option<ValueId> {
    let mut moves = after.to_vec();
    let mut at = value;
    while let Some(node) = module.def_node(at) {
        moves.insert(0, movement(module, node)?);
        at = module.node(node).operands[0];
        if cancel(&moves) {
            return Some(at);
        }
    }
    None
}

pub(super) fn cancel_around_pointwise(
    cursor: &mut Cursor<'_>,
    node: NodeId,
    readers: &Readers,
) -> Result<Option<ValueId>, Bug> {
    let module = &*cursor.module;
    let mut after: Vec<Move> = Vec::new();
    let mut at = node;
    let root = loop {
        let Some(step) = movement(module, at) else { return Ok(None) };
        after.insert(0, step);
        let value = module.node(at).operands[0];
        let Some(producer) = module.def_node(value).filter(|_| readers.count(value) == 1) else {
            return Ok(None);
        };
        if !matches!(module.node(producer).op, Op::Reshape(_) | Op::Transpose(_)) {
            break value;
        }
        at = producer;
    };
    if after.iter().all(|m| matches!(m, Move::Reshape(..))) {
        // Views cost nothing where they are.
        return Ok(None);
    }
    let mut island = Island::default();
    if island.take(module, root, &after).is_none() || island.nodes.is_empty() {
        return Ok(None);
    }
    let inside = |v: &ValueId| !island.leaves.contains_key(v);
    let shared = island.reads.iter().any(|(v, &reads)| inside(v) && readers.count(*v) != reads);
    if shared || !island.leaves.values().any(|leaf| matches!(leaf, Leaf::Source(_))) {
        return Ok(None);
    }
    let shape = module.ty(module.node(node).results[0]).shape.to_vec();
    let mut built: FxHashMap<ValueId, ValueId> = FxHashMap::default();
    for inner in island.nodes {
        let this = cursor.module.node(inner).clone();
        let mut operands = Vec::new();
        for v in &this.operands {
            operands.push(match (built.get(v), island.leaves.get(v)) {
                (Some(&value), _) => value,
                (None, Some(Leaf::Source(source))) => *source,
                (None, Some(Leaf::Number(value))) => {
                    let c = cursor.emit1(ConstantOp { value: value.clone() }, &[], &this.loc)?;
                    let c = cursor.emit1(Broadcast { shape: shape.clone() }, &[c], &this.loc)?;
                    built.insert(*v, c);
                    c
                }
                (None, None) => return Ok(None),
            });
        }
        let value = cursor.emit1(this.op, &operands, &this.loc)?;
        built.insert(this.results[0], value);
    }
    Ok(built.get(&root).copied())
}
