//! cost - what nests, nodes and modules cost: arithmetic, traffic, kernels, and the roofline time of these.
//!
//! Figures are integers, so that decisions are the same everywhere. Extents that only a run knows count as
//! [`NOMINAL_EXTENT`] (within their range). The roofline model: Williams, Waterman, Patterson, CACM 52(4), 2009.

use nnc_ir::{
    Module,
    compose::{
        fuse_region,
        rows::{RowForm, rows_of_region},
    },
    extent::{Extent, SymbolId},
    form::{Class, Form, Ix, Load, LoopForm},
    graph::{NodeId, RegionId, ValueId},
    ops::Op,
    program::{Inst, Program},
};

use crate::target::TargetDesc;

/// What a symbol counts as, if its range allows.
pub const NOMINAL_EXTENT: i64 = 16;

/// What one kernel, or several, cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Scalar operations; a multiply-add counts twice, a division or root as often as [`nnc_ir::program::DIVISION`] says.
    pub flops: i64,
    /// Of these, those that multiply and add at once.
    pub contraction_flops: i64,
    /// Steps that no vector does: elements that lie apart, operations on elements too wide for lanes.
    pub steps: i64,
    /// Bytes read: of an operand as much as all its loads read, but no more than it has.
    pub read: i64,
    /// Bytes written.
    pub written: i64,
    /// Kernels started.
    pub kernels: i64,
}

impl Cost {
    /// Both one after another.
    #[must_use]
    pub fn plus(self, other: Cost) -> Cost {
        Cost {
            flops: self.flops.saturating_add(other.flops),
            contraction_flops: self.contraction_flops.saturating_add(other.contraction_flops),
            steps: self.steps.saturating_add(other.steps),
            read: self.read.saturating_add(other.read),
            written: self.written.saturating_add(other.written),
            kernels: self.kernels.saturating_add(other.kernels),
        }
    }

    /// Bytes read and written.
    #[must_use]
    pub fn bytes(self) -> i64 {
        self.read.saturating_add(self.written)
    }

    /// Least cycles of one kernel with this cost: the longer of arithmetic and traffic, and its start. Traffic passes at
    /// the speed of the least cache that holds all of it.
    #[must_use]
    pub fn cycles(self, target: &TargetDesc) -> i64 {
        let lanes = target.vector_bytes / 4 * target.vectors_per_cycle;
        let plain = self.flops - self.contraction_flops;
        let arithmetic =
            plain / lanes + self.contraction_flops / (2 * lanes) + self.steps / target.vectors_per_cycle;
        let level = target.cache_bytes.iter().position(|&bytes| self.bytes() <= bytes).unwrap_or(3);
        let traffic = self.bytes() / target.bytes_per_cycle[level];
        arithmetic.max(traffic).saturating_add(self.kernels.saturating_mul(target.kernel_cycles))
    }
}

/// The extent as a number: symbols count as [`NOMINAL_EXTENT`], within their range.
#[must_use]
pub fn nominal(module: &Module, extent: &Extent) -> i64 {
    let symbol = |s: SymbolId| {
        let symbol = &module.symbols[s];
        Some(NOMINAL_EXTENT.clamp(symbol.min.max(0), symbol.max.max(symbol.min.max(0))))
    };
    extent.eval(&symbol).unwrap_or(NOMINAL_EXTENT).max(0)
}

/// Number of points of a space, symbols as [`nominal`] takes them.
pub(crate) fn points(module: &Module, extents: &[Extent]) -> i64 {
    extents.iter().map(|e| nominal(module, e)).fold(1, i64::saturating_mul)
}

/// Bytes of a value.
#[must_use]
pub fn value_bytes(module: &Module, value: ValueId) -> i64 {
    let ty = module.ty(value);
    let width = i64::try_from(ty.dtype.bytes()).unwrap_or(i64::MAX);
    points(module, &ty.shape).saturating_mul(width)
}

/// How the elements that a load reads lie along an axis.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    Same,
    Neighbours,
    Apart,
}

fn walk(form: &LoopForm, load: &Load, axis: usize) -> Walk {
    let varies = |ix: &Ix| {
        let mut found = false;
        ix.visit(&mut |part| {
            found |= match part {
                Ix::Axis(a) => *a == axis,
                Ix::Load(k) => walk(form, &form.loads[*k], axis) != Walk::Same,
                _ => false,
            }
        });
        found
    };
    let inner = load.extents.iter().rposition(|e| !e.is(1));
    let mut varying = (0..load.index.len()).filter(|&i| varies(&load.index[i]));
    match (varying.next(), varying.next()) {
        (None, _) => Walk::Same,
        (Some(i), None) if Some(i) == inner && steps_by_one(&load.index[i], axis) => Walk::Neighbours,
        _ => Walk::Apart,
    }
}

/// Whether the next position of the axis is the next element.
fn steps_by_one(ix: &Ix, axis: usize) -> bool {
    match ix {
        Ix::Axis(a) => *a == axis,
        Ix::Add(a, b) => steps_by_one(a, axis) != steps_by_one(b, axis),
        Ix::Bcast(a, _) => steps_by_one(a, axis),
        _ => false,
    }
}

/// Steps of a nest that vectors do not do: along its last axis, or its last reduction axis if that is better.
fn steps(form: &LoopForm, turns: i64, body: i64) -> i64 {
    let inner = |extents: &[Extent]| extents.iter().rposition(|e| !e.is(1));
    let axes = [inner(&form.space), inner(&form.reduce).map(|a| a + form.space.len())];
    let along = |axis: usize| {
        let used = |k: usize| form.body.insts().iter().any(|(inst, _)| *inst == Inst::Load(k));
        let read = form.loads.iter().enumerate().filter(|(k, _)| used(*k)).map(|(_, load)| load);
        let apart = read.filter(|load| walk(form, load, axis) == Walk::Apart).count() as i64;
        if !has_lanes(form, axis) {
            return turns.saturating_mul(body + form.loads.len() as i64);
        }
        // Blocks of a transposition are turned in registers.
        let each = if form.class() == Class::Movement { turns / 2 } else { turns.saturating_mul(2) };
        each.saturating_mul(apart)
    };
    axes.into_iter().flatten().map(along).min().unwrap_or(0)
}

/// Whether all that changes along the axis fits lanes of four bytes.
fn has_lanes(form: &LoopForm, axis: usize) -> bool {
    let insts = form.body.insts();
    let mut varies = vec![false; insts.len()];
    for (i, (inst, dtype)) in insts.iter().enumerate() {
        varies[i] = match inst {
            Inst::Load(k) => walk(form, &form.loads[*k], axis) != Walk::Same,
            Inst::Index(ix) => {
                let mut found = false;
                ix.visit(&mut |part| found |= *part == Ix::Axis(axis));
                found
            }
            other => other.refs().iter().any(|r| varies[r.index()]),
        };
        if varies[i] && dtype.bytes() > 4 && form.class() != Class::Movement {
            return false;
        }
    }
    true
}

/// Bytes that a nest reads of each operand: as much as all its loads read, but no more than there is.
fn read_bytes(module: &Module, form: &LoopForm) -> Vec<(usize, i64)> {
    let turns = points(module, &form.space).saturating_mul(points(module, &form.reduce));
    let mut read: Vec<(usize, i64, i64)> = Vec::new();
    for load in &form.loads {
        let width = i64::try_from(load.dtype.bytes()).unwrap_or(i64::MAX);
        let (whole, part) =
            (points(module, &load.extents).saturating_mul(width), turns.saturating_mul(width));
        match read.iter_mut().find(|(operand, ..)| *operand == load.operand) {
            Some((_, _, parts)) => *parts = parts.saturating_add(part),
            None => read.push((load.operand, whole, part)),
        }
    }
    read.into_iter().map(|(operand, whole, part)| (operand, whole.min(part))).collect()
}

/// Rows of a product for which a panel of the other factor is computed once.
const PANEL_ROWS: i64 = 64;

/// Operations on factors before they are multiplied: a tile's panel is made once for [`PANEL_ROWS`] of the other factor's
/// rows.
fn factor_flops(module: &Module, form: &LoopForm, factors: &[Program; 2]) -> i64 {
    let varies = |factor: &Program, axis: usize| {
        let read = |k: usize| factor.insts().iter().any(|(inst, _)| *inst == Inst::Load(k));
        (0..form.loads.len()).any(|k| read(k) && walk(form, &form.loads[k], axis) != Walk::Same)
    };
    let one = |factor: &Program, other: &Program| {
        let flops = factor.operations();
        if flops == 0 {
            return 0;
        }
        let extent = |axis: usize| nominal(module, form.axis_extent(axis));
        let axes = |of: &dyn Fn(usize) -> bool| {
            (0..form.axes()).filter(|&a| of(a)).map(extent).fold(1, i64::saturating_mul)
        };
        let elements = axes(&|a| varies(factor, a));
        let rows = axes(&|a| varies(other, a) && !varies(factor, a));
        elements.saturating_mul(flops).saturating_mul(rows.saturating_add(PANEL_ROWS - 1) / PANEL_ROWS)
    };
    let [a, b] = factors;
    one(a, b).saturating_add(one(b, a))
}

/// What a nest costs as one kernel, with operands as its loads number them.
#[must_use]
pub fn of_nest(module: &Module, form: &LoopForm) -> Cost {
    let space = points(module, &form.space);
    let turns = space.saturating_mul(points(module, &form.reduce));
    let body = form.body.operations() + i64::from(form.combine.is_some());
    let factors = form.factors();
    let all = turns.saturating_mul(if factors.is_some() { 2 } else { body });
    let before = factors.map_or(0, |factors| factor_flops(module, form, &factors));
    let flops = all.saturating_add(before).saturating_add(space.saturating_mul(form.finish.operations()));
    let width = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
    let read = read_bytes(module, form);
    let results = form.results.iter().map(|d| width(d.bytes()));
    Cost {
        flops,
        contraction_flops: if form.class() == Class::Contraction { all } else { 0 },
        steps: if form.class() == Class::Contraction { 0 } else { steps(form, turns, body) },
        read: read.iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes)),
        written: results.fold(0, |sum, bytes| sum.saturating_add(space.saturating_mul(bytes))),
        kernels: 1,
    }
}

/// What a row nest costs as one kernel: what its stages hand to each other stays in the cache.
#[must_use]
pub fn of_rows(module: &Module, rows: &RowForm) -> Cost {
    let mut sum = Cost { kernels: 1, ..Cost::default() };
    let mut read = vec![0; rows.operands];
    for stage in &rows.stages {
        let one = of_nest(module, &stage.form);
        sum.flops = sum.flops.saturating_add(one.flops);
        sum.steps = sum.steps.saturating_add(one.steps);
        sum.written = sum.written.saturating_add(if stage.result.is_some() { one.written } else { 0 });
        for (operand, bytes) in read_bytes(module, &stage.form) {
            if let Some(most) = read.get_mut(operand) {
                *most = bytes.max(*most);
            }
        }
    }
    sum.read = read.into_iter().fold(0, i64::saturating_add);
    sum
}

/// What a node costs when run once.
#[must_use]
pub fn of_node(module: &Module, node: NodeId) -> Cost {
    let this = module.node(node);
    let bytes =
        |values: &[ValueId]| values.iter().map(|&v| value_bytes(module, v)).fold(0, i64::saturating_add);
    let moves = |kernels: i64| Cost {
        read: bytes(&this.operands),
        written: bytes(&this.results),
        kernels,
        ..Cost::default()
    };
    match module.form(node) {
        Form::Loops(form) => of_nest(module, &form),
        Form::View | Form::Constant | Form::Extents(_) | Form::ReadExtents(_) | Form::Composite => {
            Cost::default()
        }
        Form::Concat { .. } => moves(i64::try_from(this.operands.len()).unwrap_or(i64::MAX)),
        Form::Scatter(_) => moves(2),
        Form::Extern(_) => moves(1),
        Form::Region => {
            let fused = matches!(this.op, Op::Fusion(_)).then(|| fused_cost(module, this.regions[0]));
            match fused.flatten() {
                Some(cost) => cost,
                None => this.regions.iter().map(|&r| of_region(module, r)).fold(Cost::default(), Cost::plus),
            }
        }
    }
}

/// What a fusion costs that is one kernel.
fn fused_cost(module: &Module, region: RegionId) -> Option<Cost> {
    match fuse_region(module, region) {
        Ok(form) => Some(of_nest(module, &form)),
        Err(_) => rows_of_region(module, region).ok().map(|rows| of_rows(module, &rows)),
    }
}

fn of_region(module: &Module, region: RegionId) -> Cost {
    module.region(region).nodes.iter().map(|&n| of_node(module, n)).fold(Cost::default(), Cost::plus)
}

/// What running every node of a module once costs: bodies of loops count once, both branches of an `if` count.
#[must_use]
pub fn of_module(module: &Module) -> Cost {
    of_region(module, module.body())
}

/// Nodes in every reachable region, those inside fusions included.
#[must_use]
pub fn count_nodes(module: &Module) -> usize {
    module.nested_regions(module.body()).into_iter().map(|r| module.region(r).nodes.len()).sum()
}
