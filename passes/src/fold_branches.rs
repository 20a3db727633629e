//! fold-branches - puts in place what control flow with a constant condition does.
//!
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[2]) {
//!   %1 = constant {value=bool[]=[1:bool]} : bool[] loc("on")
//!   %2 = if %1, %0 {shapes=[[2]]} : f32[2] loc("if") {
//!     region (%3 : f32[2]) {
//!       %4 = exp %3 : f32[2] loc("then")
//!       yield %4
//!     }
//!     region (%5 : f32[2]) {
//!       %6 = neg %5 : f32[2] loc("else")
//!       yield %6
//!     }
//!   }
//!   return %2 "y"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[2]) {
//!   %1 = constant {value=bool[]=[1:bool]} : bool[] loc("on")
//!   %2 = exp %0 : f32[2] loc("then")
//!   return %2 "y"
//! }
//! ```
//!
//! An `if` becomes the branch that is taken, a `loop` of no iteration the values it starts with, a `loop` of one iteration
//! its body. Symbols that the node defined become the extents that are known now. Left alone: conditions and trip counts
//! that data decide, loops of more iterations, a stack of no iterations whose other extents are unknown. Exact.

use nnc_ir::{
    Module,
    constant::Constant,
    definitions::{Definitions, bare_symbol},
    extent::{Extent, SymbolId},
    graph::{Node, NodeId, RegionId, ValueId},
    ops::{ConstantOp, Loop, Op, Reshape},
    types::TensorType,
};

use crate::{
    pass::{Bug, Exactness, PassCx, Rule},
    rewrite::take_region,
};

pub(crate) const RULES: &[&Rule] = &[&TAKE_BRANCH, &LOOP_NEVER, &LOOP_ONCE];

static TAKE_BRANCH: Rule = Rule {
    name: "take-branch",
    law: "if(true, a, b) = a, if(false, a, b) = b",
    source: "ONNX, If-13",
    exactness: Exactness::Exact,
};
static LOOP_NEVER: Rule = Rule {
    name: "loop-never",
    law: "a loop whose trips are 0 or whose condition is false = the values it starts with, and empty stacks",
    source: "ONNX, Loop-13: both are looked at before the first iteration",
    exactness: Exactness::Exact,
};
static LOOP_ONCE: Rule = Rule {
    name: "loop-once",
    law: "a loop of 1 trip whose condition is true = its body at iteration 0, and stacks of one",
    source: "ONNX, Loop-13",
    exactness: Exactness::Exact,
};

/// What a node is known to do.
#[derive(Clone, Copy)]
enum Fold {
    /// It runs this branch.
    Branch(RegionId),
    /// It runs its body not once.
    Never,
    /// It runs this body once.
    Once(RegionId),
}

impl Fold {
    fn rule(self) -> &'static Rule {
        match self {
            Fold::Branch(_) => &TAKE_BRANCH,
            Fold::Never => &LOOP_NEVER,
            Fold::Once(_) => &LOOP_ONCE,
        }
    }
}

/// A node to fold, with its place and the symbols it no longer defines.
struct Found {
    region: RegionId,
    at: usize,
    fold: Fold,
    symbols: Vec<(SymbolId, Extent)>,
}

pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    while cx.has_fuel()
        && let Some(found) = find(module, &mut |_, _| {})
    {
        let id = module.region(found.region).nodes[found.at];
        let loc = module.node(id).loc.clone();
        let rule = found.fold.rule();
        apply(module, found).map_err(|message| Bug { pass: "fold-branches".into(), message })?;
        cx.fired(rule, &loc);
    }
    let mut left = Vec::new();
    let more = find(module, &mut |id, why| left.push((id, why)));
    if more.is_none() {
        left.into_iter().for_each(|(id, why)| cx.miss(module, id, why));
    }
    Ok(())
}

/// The first node that folds. `left` hears of those before it that do not.
fn find(module: &Module, left: &mut dyn FnMut(NodeId, String)) -> Option<Found> {
    let control = |&id: &NodeId| matches!(module.node(id).op, Op::If(_) | Op::Loop(_));
    let regions = module.nested_regions(module.body());
    if !regions.iter().any(|&r| module.region(r).nodes.iter().any(control)) {
        return None;
    }
    let definitions = Definitions::new(module);
    for region in regions {
        for (at, &id) in module.region(region).nodes.iter().enumerate().filter(|(_, id)| control(id)) {
            let node = module.node(id);
            let folds = known(module, node)
                .and_then(|fold| Ok((fold, symbols(module, node, fold, definitions.of_node(id))?)));
            match folds {
                Ok((fold, symbols)) => return Some(Found { region, at, fold, symbols }),
                Err(why) => left(id, why),
            }
        }
    }
    None
}

/// What the node does, or why that is not known.
fn known(module: &Module, node: &Node) -> Result<Fold, String> {
    let number =
        |value: ValueId| module.as_constant(value).filter(|c| c.elements() == 1)?.element(0).as_i64();
    match &node.op {
        Op::If(_) => match number(node.operands[0]) {
            Some(condition) => Ok(Fold::Branch(node.regions[usize::from(condition == 0)])),
            None => Err("its condition is decided when running".into()),
        },
        _ => match (number(node.operands[0]), number(node.operands[1])) {
            (Some(..=0), _) | (_, Some(0)) => Ok(Fold::Never),
            (Some(1), Some(_)) => Ok(Fold::Once(node.regions[0])),
            (Some(trips), Some(_)) => Err(format!("it has up to {trips} iterations")),
            (None, _) => Err("its trip count is decided when running".into()),
            (_, None) => Err("its condition is decided when running".into()),
        },
    }
}

/// Types of what will stand for the results.
fn types(module: &Module, node: &Node, fold: Fold) -> Vec<TensorType> {
    let of = |values: &[ValueId]| values.iter().map(|&v| module.ty(v).clone()).collect::<Vec<_>>();
    let stacked =
        |ty: &TensorType, count: i64| ty.with_shape([&[Extent::Const(count)], &ty.shape[..]].concat());
    match (fold, &node.op) {
        (Fold::Branch(region), _) => of(&module.region(region).results),
        (Fold::Once(region), Op::Loop(op)) => {
            let mut types = of(&module.region(region).results[1..]);
            types[op.carried..].iter_mut().for_each(|ty| *ty = stacked(ty, 1));
            types
        }
        (_, op) => {
            let carried = if let Op::Loop(op) = op { op.carried } else { 0 };
            let mut types = of(&node.operands[2..2 + carried]);
            let body = &module.region(node.regions[0]).results[1 + carried..];
            types.extend(of(body).iter().map(|ty| stacked(ty, 0)));
            types
        }
    }
}

/// The symbols that the node defines, with the extents they have, or why that does not fit.
fn symbols(
    module: &Module,
    node: &Node,
    fold: Fold,
    defined: &[SymbolId],
) -> Result<Vec<(SymbolId, Extent)>, String> {
    let mut known: Vec<(SymbolId, Extent)> = Vec::new();
    let mut bind = |have: &Extent, is: &Extent| match bare_symbol(have).filter(|s| defined.contains(s)) {
        _ if have == is => true,
        Some(symbol) => match known.iter().find(|(s, _)| *s == symbol) {
            Some((_, before)) => before == is,
            None => {
                known.push((symbol, is.clone()));
                true
            }
        },
        None => false,
    };
    if let Op::Loop(Loop { count, .. }) = &node.op {
        let is = Extent::Const(i64::from(matches!(fold, Fold::Once(_))));
        if !bind(count, &is) {
            return Err(format!("it counts {count} iterations, which are {is}"));
        }
    }
    for (&result, is) in node.results.iter().zip(types(module, node, fold)) {
        let have = module.ty(result);
        if !have.shape.iter().zip(&is.shape).all(|(have, is)| bind(have, is)) {
            return Err(format!("its result {have} is known as {is} then"));
        }
        let stack = matches!(fold, Fold::Never) && have.shape.first() != is.shape.first();
        if (stack || is.shape.first().is_some_and(|e| e.is(0))) && is.dims().is_none() {
            return Err(format!("an empty {is} has extents that are not known"));
        }
    }
    Ok(known)
}

fn apply(module: &mut Module, found: Found) -> Result<(), String> {
    let id = module.region(found.region).nodes[found.at];
    let node = module.node(id).clone();
    let (mut nodes, mut values) = (Vec::new(), Vec::new());
    let stacked = types(module, &node, found.fold);
    let carried = if let Op::Loop(op) = &node.op { op.carried } else { 0 };
    match found.fold {
        Fold::Branch(region) => (nodes, values) = take_region(module, region, &node.operands[1..]),
        Fold::Never => {
            values.extend(&node.operands[2..2 + carried]);
            for ty in &stacked[carried..] {
                let dims = ty.dims().ok_or("an empty stack of unknown extents")?;
                let value = Constant::from_scalars(ty.dtype, &dims, &[]);
                let empty = module.make_node(ConstantOp { value }.into(), &[], &[], &node.loc)?;
                values.push(module.node(empty).results[0]);
                nodes.push(empty);
            }
        }
        Fold::Once(region) => {
            let value = Constant::from_scalars(
                nnc_ir::dtype::DType::I64,
                &[],
                &[nnc_ir::dtype::Scalar::int(nnc_ir::dtype::DType::I64, 0)],
            );
            let first = module.make_node(ConstantOp { value }.into(), &[], &[], &node.loc)?;
            let args = [&[module.node(first).results[0]], &node.operands[1..]].concat();
            let (body, results) = take_region(module, region, &args);
            nodes.push(first);
            nodes.extend(body);
            values.extend(&results[1..=carried]);
            for (&slice, ty) in results[1 + carried..].iter().zip(&stacked[carried..]) {
                let shape = ty.shape.clone();
                let stack = module.make_node(Reshape { shape }.into(), &[slice], &[], &node.loc)?;
                values.push(module.node(stack).results[0]);
                nodes.push(stack);
            }
        }
    }
    module.region_mut(found.region).nodes.splice(found.at..=found.at, nodes);
    for (&old, new) in node.results.iter().zip(values) {
        module.replace_uses(found.region, old, new);
    }
    found.symbols.iter().try_for_each(|(symbol, extent)| module.substitute_symbol(*symbol, extent))
}
