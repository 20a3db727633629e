//! plan - how large a tile is, and whether running by tiles pays.
//!
//! With whole tensors every kernel's traffic passes at the speed of the cache that holds what it reads and writes. By
//! tiles the values between kernels stay in the second-level cache, what all tiles read is read again for each of them,
//! and every kernel starts once a tile (without waking threads: an eighth of a start).

use nnc_ir::{
    Module,
    graph::{NodeId, ValueId},
    ops::{Tiled, TiledKind},
};
use rustc_hash::FxHashMap;

use super::locality::{self, Axes};
use crate::{cost, enclose::captures, target::TargetDesc};

/// The start of a kernel within a tile costs a kernel's start by this.
const START_SHARE: i64 = 8;

/// A tiling of some nodes.
pub(super) struct Plan {
    axis: usize,
    rows: i64,
    bytes: i64,
}

impl Plan {
    /// The best plan for nodes, the last of which gives the result; else why there is none.
    pub(super) fn of(module: &Module, nodes: &[NodeId], target: &TargetDesc) -> Result<Plan, String> {
        let last = nodes[nodes.len() - 1];
        let result = module.node(last).results[0];
        let shape = &module.ty(result).shape;
        let local: Vec<(usize, Axes)> = (0..shape.len().saturating_sub(1))
            .filter_map(|axis| Some((axis, follow(module, nodes, axis)?)))
            .collect();
        let Some((axis, axes)) = local.last() else {
            return Err("no axis of the result goes with one axis of all that is between".into());
        };
        let extent = |axis: usize| cost::nominal(module, &shape[axis]).max(1);
        let outer: i64 = local[..local.len() - 1].iter().map(|(a, _)| extent(*a)).product();
        let rows = extent(*axis);
        let bytes = |v: ValueId| cost::value_bytes(module, v);
        let between: i64 = nodes[..nodes.len() - 1].iter().map(|&n| bytes(module.node(n).results[0])).sum();
        let a_row = between / outer / rows;
        let room = target.cache_bytes[1] / 2;
        if between <= room {
            return Err(format!("the {between} bytes between stay in the cache as they are"));
        }
        let fits = (0..).map(|k| 1i64 << k).take_while(|r| *r <= rows && a_row * r <= room).last();
        let Some(tile) = fits else {
            return Err(format!("a row of {a_row} bytes is too large for tiles"));
        };
        let tiles = outer * ((rows + tile - 1) / tile);
        let own = captures(module, nodes);
        // An operand that goes with an outer axis is read in parts.
        let share = |v: ValueId| -> i64 {
            let parts = local[..local.len() - 1].iter().filter(|(_, axes)| matches!(axes.get(&v), Some(Some(_))));
            parts.map(|(a, _)| extent(*a)).product()
        };
        let every = |v: &&ValueId| !matches!(axes.get(*v), Some(Some(_)));
        let again: i64 = own.iter().filter(every).map(|&v| bytes(v) / share(v)).sum();
        let once: i64 = own.iter().filter(|v| !every(v)).map(|&v| bytes(v)).sum::<i64>() + bytes(result);
        let apart: i64 = nodes.iter().map(|&n| cost::of_node(module, n).cycles(target)).sum();
        let arithmetic: i64 = nodes.iter().map(|&n| arithmetic(module, n, target)).sum();
        let speed = |bytes: i64| {
            let level = target.cache_bytes.iter().position(|&cache| bytes <= cache).unwrap_or(3);
            target.bytes_per_cycle[level]
        };
        let traffic = again * tiles / speed(again + a_row * tile)
            + 2 * between / target.bytes_per_cycle[1]
            + once / speed(once);
        let starts = tiles * i64::try_from(nodes.len()).unwrap_or(i64::MAX) * target.kernel_cycles / START_SHARE;
        let tiled = arithmetic.max(traffic) + starts;
        if tiled >= apart {
            return Err(format!("{tiled} cycles in {tiles} tiles of {tile} rows, {apart} apart"));
        }
        Ok(Plan { axis: *axis, rows: tile, bytes: a_row * tile })
    }

    /// The operation with this plan.
    pub(super) fn op(&self, kind: TiledKind) -> Tiled {
        Tiled { kind, axis: self.axis, rows: self.rows, bytes: self.bytes }
    }
}

/// Cycles of a node's arithmetic alone.
fn arithmetic(module: &Module, node: NodeId, target: &TargetDesc) -> i64 {
    let cost = cost::of_node(module, node);
    cost::Cost { read: 0, written: 0, kernels: 0, ..cost }.cycles(target)
}

/// Axes of the outside values that go with `axis` of the result through all nodes; `None` if what is between does not.
fn follow(module: &Module, nodes: &[NodeId], axis: usize) -> Option<Axes> {
    let made: FxHashMap<ValueId, NodeId> =
        nodes.iter().map(|&n| (module.node(n).results[0], n)).collect();
    let mut axes = Axes::default();
    axes.insert(module.node(nodes[nodes.len() - 1]).results[0], Some(axis));
    for &node in nodes.iter().rev() {
        let own = (*axes.get(&module.node(node).results[0])?)?;
        for (value, axis) in locality::through(module, node, own)? {
            // What is made inside must not be needed as a whole.
            if axis.is_none() && made.contains_key(&value) {
                return None;
            }
            locality::join(&mut axes, value, axis)?;
        }
    }
    Some(axes)
}
