//! search - one island: its e-graph, the cheapest forms found in it, and what they rest on.

use std::{collections::BTreeSet, rc::Rc};

use egg::{Id, Language};
use nnc_ir::{
    Module,
    constant::Constant,
    graph::{NodeId, ValueId},
    types::TensorType,
};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    credit::Credit,
    extract::{Choice, Choices},
    graph::Graph,
    price,
    saturate::{End, saturate},
    site::is_step,
    term::{Leaf, Term},
};
use crate::{pass::ConstEval, target::TargetDesc};

/// An island's nodes in its e-graph.
pub(super) struct Island {
    /// The e-node of each node.
    pub(super) ids: FxHashMap<NodeId, Id>,
    /// The first node of each e-node.
    pub(super) node_of: FxHashMap<Id, NodeId>,
    /// Nodes whose results are read outside, in program order.
    pub(super) roots: Vec<(NodeId, Id)>,
}

/// What stands for an island.
pub(super) struct Found {
    /// The e-node of each class.
    pub(super) forms: FxHashMap<Id, Id>,
    /// Classes that are computed when compiling.
    pub(super) constants: FxHashMap<Id, Constant>,
    /// Classes that the roots need.
    pub(super) needed: FxHashSet<Id>,
    /// For each root the laws it rests on, as far as no root before it does.
    pub(super) laws: Vec<BTreeSet<usize>>,
    /// All of these.
    pub(super) credited: BTreeSet<usize>,
}

/// How a search ended.
pub(super) enum Outcome {
    /// No law applies.
    Nothing,
    /// The input is the cheapest, or may not be replaced: the reason.
    Kept(String),
    /// Something cheaper.
    Cheaper(Found),
}

/// The e-graph of some nodes, before any law; `readers` are those of their results that are not among them.
pub(super) fn build(
    module: &Module,
    nodes: &[NodeId],
    readers: &FxHashMap<ValueId, Vec<NodeId>>,
) -> (Graph, Island) {
    let mut graph = Graph::new();
    let mut island = Island { ids: FxHashMap::default(), node_of: FxHashMap::default(), roots: Vec::new() };
    let mut known: FxHashMap<ValueId, Id> = FxHashMap::default();
    for &node in nodes {
        let this = module.node(node);
        let mut operands = Vec::with_capacity(this.operands.len());
        for &value in &this.operands {
            let id = *known.entry(value).or_insert_with(|| {
                graph.leaf(Leaf::Value(value), module.ty(value).clone(), module.as_constant(value).cloned())
            });
            operands.push(id);
        }
        let result = this.results[0];
        // A type that says more than inference does is not to be lost: such a node is a leaf to the others.
        let types: Vec<Rc<TensorType>> = operands.iter().map(|&id| graph.fact(id).ty.clone()).collect();
        let types: Vec<&TensorType> = types.iter().map(Rc::as_ref).collect();
        let cx = nnc_ir::ops::InferCx { operands: &types, regions: &[] };
        if this.op.def().infer(&cx).is_ok_and(|ty| ty[..] == [module.ty(result).clone()])
            && let Some(id) = graph.apply(this.op.clone(), &operands, None)
        {
            known.insert(result, id);
            island.ids.insert(node, id);
            island.node_of.entry(id).or_insert(node);
            if let Some(readers) = readers.get(&result) {
                island.roots.push((node, id));
                let dtype = module.ty(result).dtype;
                if readers.iter().any(|&reader| is_step(&module.node(reader).op, dtype)) {
                    graph.stepped.push(id);
                }
            }
        }
    }
    (graph, island)
}

/// Looks for something cheaper.
pub(super) fn search(
    module: &Module,
    target: &TargetDesc,
    consts: &dyn ConstEval,
    graph: &mut Graph,
    island: &Island,
) -> Outcome {
    let end = saturate(graph);
    if graph.joins.is_empty() {
        return Outcome::Nothing;
    }
    let graph = &*graph;
    let price = |id: Id| match graph.term(id) {
        Term::Apply(op, operands) if !graph.fact(id).constant => {
            let types: Vec<Rc<TensorType>> = operands.iter().map(|&c| graph.fact(c).ty.clone()).collect();
            let types: Vec<&TensorType> = types.iter().map(Rc::as_ref).collect();
            price::cycles(module, target, graph.op(*op), &types, &graph.fact(id).ty)
        }
        _ => 0,
    };
    let before = input_cost(graph, island, price);
    let choices = Choices::of(graph, price);
    let roots: Vec<usize> = island.roots.iter().map(|&(_, id)| choices.number(graph.class(id))).collect();
    let greedy = choices.greedy();
    let found = choices.cost(&greedy, &roots);
    let first = choices.first();
    let start = match (choices.cost(&first, &roots), found) {
        (Some(first), Some(found)) if first <= found => choices.first(),
        (_, Some(_)) => greedy,
        _ => first,
    };
    let (choice, cost) = choices.improve(start, &roots);
    let stopped = match end {
        End::Saturated => String::new(),
        End::Turns(n) => format!("; stopped after {n} turns"),
        End::Terms(n) => format!("; stopped at {} forms", grouped(n as i64)),
    };
    let kept = |best: i64, why: &str| {
        let (before, best) = (grouped(before), grouped(best));
        Outcome::Kept(format!("kept: {before} cycles; best found {best}{why}{stopped}"))
    };
    let Some(cost) = cost.filter(|&cost| cost < before) else {
        return kept(found.or(cost).unwrap_or(before), "");
    };
    let Some(mut found) = collect(graph, consts, &choices, &choice, &roots) else {
        return kept(cost, ", whose constants are out of range or too many");
    };
    found.laws = credit(graph, island, &found);
    found.credited = found.laws.iter().flatten().copied().collect();
    if found.credited.is_empty() {
        return kept(cost, ", which no law accounts for");
    }
    Outcome::Cheaper(found)
}

/// Cost of the input's nodes that roots need, equal ones once.
fn input_cost(graph: &Graph, island: &Island, price: impl Fn(Id) -> i64) -> i64 {
    let (mut open, mut seen) = (Vec::new(), FxHashSet::default());
    open.extend(island.roots.iter().map(|&(_, id)| id));
    let mut total = 0i64;
    while let Some(id) = open.pop() {
        if seen.insert(id) && !graph.fact(id).constant {
            total = total.saturating_add(price(id));
            open.extend(graph.term(id).children());
        }
    }
    total
}

/// The chosen forms, with constants computed; nothing if one cannot be.
fn collect(
    graph: &Graph,
    consts: &dyn ConstEval,
    choices: &Choices,
    choice: &Choice,
    roots: &[usize],
) -> Option<Found> {
    let members = graph.members();
    let needed: FxHashSet<usize> = choices.needed(choice, roots).into_iter().collect();
    let mut found = Found {
        forms: FxHashMap::default(),
        constants: FxHashMap::default(),
        needed: FxHashSet::default(),
        laws: Vec::new(),
        credited: BTreeSet::new(),
    };
    let mut classes: Vec<(usize, Id)> = members.keys().map(|&class| (choices.number(class), class)).collect();
    classes.retain(|(number, _)| needed.contains(number));
    classes.sort_unstable();
    for (number, class) in classes {
        found.needed.insert(class);
        if let Some(form) = choices.form(choice, number) {
            found.forms.insert(class, form);
            continue;
        }
        let leaf = members[&class].iter().find(|&&id| matches!(graph.term(id), Term::Leaf(_)));
        if let Some(&leaf) = leaf {
            found.forms.insert(class, leaf);
            continue;
        }
        let mut computed = FxHashMap::default();
        let (value, form) = compute(graph, consts, &members, class, &mut computed, 0)?;
        found.forms.insert(class, form);
        found.constants.insert(class, value);
    }
    Some(found)
}

/// Deepest nesting of constants that are computed.
const MAX_DEPTH: usize = 32;

/// A constant class's value and the e-node it was computed by.
fn compute(
    graph: &Graph,
    consts: &dyn ConstEval,
    members: &FxHashMap<Id, Vec<Id>>,
    class: Id,
    computed: &mut FxHashMap<Id, Option<(Constant, Id)>>,
    depth: usize,
) -> Option<(Constant, Id)> {
    if let Some(known) = computed.get(&class) {
        return known.clone();
    }
    // A class that needs itself finds nothing here, and another form is tried.
    computed.insert(class, None);
    let ids = &members[&class];
    let leaf = ids.iter().find_map(|&id| match graph.term(id) {
        Term::Leaf(at) => Some((graph.egg.analysis.leaves[*at as usize].1.clone()?, id)),
        Term::Apply(..) => None,
    });
    let found = leaf.or_else(|| {
        if depth >= MAX_DEPTH {
            return None;
        }
        ids.iter().find_map(|&id| {
            let Term::Apply(op, operands) = graph.term(id) else { return None };
            let is_constant = operands.iter().all(|&c| graph.fact(c).constant);
            let operands: Option<Vec<Constant>> = operands
                .iter()
                .map(|&c| Some(compute(graph, consts, members, graph.class(c), computed, depth + 1)?.0))
                .collect::<Option<_>>()
                .filter(|_| is_constant);
            let value = consts.fold(graph.op(*op), &operands?)?.pop()?;
            is_in_range(&value).then_some((value, id))
        })
    });
    computed.insert(class, found.clone());
    found
}

/// Whether every element of a constant that joins others is a normal number or zero.
fn is_in_range(value: &Constant) -> bool {
    let fits = |x: f64, least: f64| x == 0.0 || (x.is_finite() && x.abs() >= least);
    let least = if value.dtype().compute() == nnc_ir::dtype::DType::F64 {
        f64::MIN_POSITIVE
    } else {
        f64::from(f32::MIN_POSITIVE)
    };
    match value.as_splat() {
        Some(x) => x.as_f64().is_none_or(|x| fits(x, least)),
        None => value.scalars().into_iter().all(|x| x.as_f64().is_none_or(|x| fits(x, least))),
    }
}

/// The laws that each root rests on.
fn credit(graph: &Graph, island: &Island, found: &Found) -> Vec<BTreeSet<usize>> {
    let mut credit = Credit::new(graph);
    let mut explained: FxHashSet<Id> = FxHashSet::default();
    let mut laws = Vec::with_capacity(island.roots.len());
    for &(_, id) in &island.roots {
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            let class = graph.class(id);
            let form = found.forms[&class];
            credit.add(id, form);
            if explained.insert(class) && (!found.constants.contains_key(&class)) {
                open.extend(graph.term(form).children());
            }
        }
        laws.push(std::mem::take(&mut credit.laws));
    }
    laws
}

/// Digits in groups of three.
fn grouped(n: i64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}
