//! hosts - values of stages that lie where a result of the nest will be.
//!
//! A value that the stage of a result reads element by element, as softmax has exponentials, lies where the result will be: it is
//! written to memory that is wanted soon anyway, and takes none of the first cache besides. Until then nothing else may read what
//! the result may be written over: operands that are as the result is, which a kernel may overwrite where it is the last to read
//! them (`plan/in_place.rs`).

use nnc_ir::{
    compose::rows::{RowForm, Stage},
    extent::Extent,
    form::Load,
};

use super::{
    super::access::{Access, dense_strides},
    lies_across,
};

/// For each stage the result where its value lies.
pub(super) fn hosts(form: &RowForm) -> Vec<Option<usize>> {
    let mut hosts: Vec<Option<usize>> = vec![None; form.stages.len()];
    if lies_across(form) {
        return hosts;
    }
    for at in 0..form.stages.len() {
        let found = host(form, at).filter(|r| !hosts.contains(&Some(*r)));
        hosts[at] = found;
    }
    hosts
}

fn host(form: &RowForm, at: usize) -> Option<usize> {
    let made = &form.stages[at];
    let wide = made.form.space[form.rows.len()..].iter().any(|e| !e.is(1));
    if made.result.is_some() || !wide || made.form.combine.is_some() {
        return None;
    }
    let value = form.operands + at;
    let reads = |stage: &Stage| stage.form.loads.iter().any(|load| load.operand == value);
    let last = form.stages.iter().rposition(reads)?;
    let host = &form.stages[last];
    let result = host.result?;
    let alike = made.form.space == host.form.space && made.form.results == host.form.results;
    let in_order = [made, host].into_iter().all(|s| s.axes.iter().copied().eq(0..s.form.space.len()));
    let no_sum = host.form.combine.is_none();
    // Between the two, nobody reads elements of operands; the first reads them where it writes.
    let whole = |load: &&Load| {
        let own = |axis: usize| load.index.iter().any(|ix| ix.mentions(axis));
        load.operand < form.operands && (form.rows.len()..host.form.axes()).any(own)
    };
    let between = &form.stages[at + 1..=last];
    let unread = between.iter().all(|stage| !stage.form.loads.iter().any(|load| whole(&load)));
    let no_other = between.iter().all(|stage| stage.result.is_none_or(|r| r == result));
    let first = made.form.loads.iter().filter(whole).all(|load| in_place(made, load));
    let read = host.form.loads.iter().filter(|load| load.operand == value).all(|load| in_place(host, load));
    (alike && in_order && no_sum && unread && no_other && first && read).then_some(result)
}

/// Whether a load reads the element that the stage gives at each point.
fn in_place(stage: &Stage, load: &Load) -> bool {
    let extents: Vec<Extent> = stage.form.space.iter().chain(&stage.form.reduce).cloned().collect();
    let access = Access::of_load(load, &extents);
    let plain = access.extra.is_empty() && access.conditions.is_empty() && access.base.is(0);
    plain && access.coefficients[..stage.form.space.len()] == dense_strides(&stage.form.space)[..]
}
