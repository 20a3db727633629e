//! branch - If: a condition that is known picks its branch while importing, any other becomes a node with two regions.

use nnc_ir::{
    dtype::DType,
    extent::Extent,
    graph::{ConstraintKind, ValueId},
    ops,
};

use crate::import::{
    Outcome, Problem,
    cx::OpCx,
    region::upper_bound,
    scope::Scope,
    table::{Row, row},
    value::{Binding, Imported},
};

pub(crate) const ROWS: &[Row] = &[row("If", 1, 1..=1, if_op)];

fn if_op(cx: &mut OpCx<'_>) -> Outcome {
    let condition = cx.input(0)?;
    let graphs = [cx.graph("then_branch")?, cx.graph("else_branch")?];
    if cx.dtype(condition.id) != DType::Bool
        || cx.ty(condition.id).elements().as_const().is_some_and(|n| n != 1)
    {
        return cx.error(238, format!("the condition of If is {}, needs a scalar bool", cx.ty(condition.id)));
    }
    let names = ["then_branch", "else_branch"];
    let n = cx.n_outputs();
    for (name, graph) in names.iter().zip(graphs) {
        if graph.outputs.len() != n {
            return cx.error(112, format!("{name} gives {} outputs, node has {n}", graph.outputs.len()));
        }
    }
    if let Some(&[c]) = cx.ints_of(&condition).as_deref() {
        let chosen = usize::from(c == 0);
        let scope = Scope::inside(cx.scope);
        let outputs = cx.nested(names[chosen], graphs[chosen], &scope)?;
        return Ok(outputs.unwrap_or_else(|| vec![Binding::Poison; n]));
    }
    let equality = cx.importer.equalities.get(&condition.id).cloned();
    let condition = cx.reshape(condition.id, vec![])?;
    let captures = cx.captures(&graphs);
    let (mut regions, mut results) = (Vec::new(), Vec::new());
    for (name, graph) in names.iter().zip(graphs) {
        let region = cx.importer.module.add_region();
        let scope = Scope::new(region);
        cx.enter_captures(&captures, &scope)?;
        cx.importer.conditional += 1;
        let outputs = cx.nested(name, graph, &scope);
        cx.importer.conditional -= 1;
        let Some(outputs) = outputs? else { return Ok(vec![Binding::Poison; n]) };
        results.push(tensors(cx, outputs)?);
        regions.push(region);
    }
    let ranks = |v: &[Imported]| v.iter().map(|v| cx.rank(v.id)).collect::<Vec<_>>();
    if let (Some((a, b)), true) = (equality, ranks(&results[0]) != ranks(&results[1])) {
        // Exporters write "squeeze if the extent is 1", and go on as if it were.
        let text =
            format!("branches differ in rank; then_branch is taken, which the run checks needs {a} = {b}");
        cx.warn(405, text);
        cx.constrain(ConstraintKind::Equal(a, b));
        let scope = Scope::inside(cx.scope);
        let outputs = cx.nested(names[0], graphs[0], &scope)?;
        return Ok(outputs.unwrap_or_else(|| vec![Binding::Poison; n]));
    }
    let mut shapes = Vec::with_capacity(n);
    for (a, b) in results[0].iter().zip(&results[1]) {
        shapes.push(join(cx, a.id, b.id)?);
    }
    for (region, values) in regions.iter().zip(&results) {
        cx.importer.module.set_results(*region, values.iter().map(|v| v.id).collect());
    }
    let operands = [vec![condition], cx.capture_operands(&captures)].concat();
    let values = cx.emit_with_regions(ops::If { shapes }, &operands, &regions)?;
    Ok(values.into_iter().map(Binding::from).collect())
}

/// Outputs of a nested graph that becomes a region.
pub(crate) fn tensors(cx: &OpCx<'_>, outputs: Vec<Binding>) -> Result<Vec<Imported>, Problem> {
    let tensor = |binding| match binding {
        Binding::Tensor(value) => Ok(value),
        Binding::Sequence(_) | Binding::Nothing | Binding::Poison => {
            cx.unsupported(format!("a body of {} that gives a sequence or an optional", cx.op()))
        }
    };
    outputs.into_iter().map(tensor).collect()
}

/// The shape of what is either of two values.
fn join(cx: &mut OpCx<'_>, a: ValueId, b: ValueId) -> Result<Vec<Extent>, Problem> {
    let (x, y) = (cx.ty(a).clone(), cx.ty(b).clone());
    if x.dtype != y.dtype {
        return cx.error(209, format!("then_branch gives {x}, else_branch {y}"));
    }
    if x.rank() != y.rank() {
        return cx.unsupported(format!("branches of different rank: then_branch gives {x}, else_branch {y}"));
    }
    let mut shape = Vec::with_capacity(x.rank());
    for (i, (p, q)) in x.shape.iter().zip(&y.shape).enumerate() {
        shape.push(if p == q {
            p.clone()
        } else {
            let module = cx.module();
            let bound = upper_bound(module, p).zip(upper_bound(module, q)).map(|(p, q)| p.max_with(&q));
            cx.data_symbol(&format!("join.{i}"), bound)
        });
    }
    Ok(shape)
}
