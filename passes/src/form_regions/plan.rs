//! plan - how large a tile is, and whether running by tiles pays.
//!
//! Apart, what passes between kernels is written to and read from the least cache that holds what a kernel touches, or
//! memory. By tiles it stays in the second level, or nearer than it would be; what all of the rows need, such as weights or
//! the keys of attention, is read again for each tile; the last rows of each are too few for tiles of registers; and every
//! kernel starts once a tile (without waking threads: an eighth of a start). Kernels compute while they read and write, but
//! not all the time: of arithmetic and traffic the shorter is hidden behind the longer for a half.
//!
//! Of the tiles that differ by less than the estimate can tell the smallest is taken. A region is formed where it is not
//! slower: it then takes less memory, which the backend sees to.

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
/// The estimate cannot tell times that differ by a part of so many.
const RESOLUTION: i64 = 64;
/// Tiles there should be, so that several threads have as many.
const TILES: i64 = 16;
/// Rows of a product that the last block of rows has too few, about: half of those that tiles of registers have.
const EDGE: i64 = 7;

/// A tiling of some nodes.
pub(super) struct Plan {
    axis: usize,
    tile: Tile,
    /// Cycles of the nodes one after the other.
    apart: i64,
}

/// How large tiles are.
#[derive(Clone, Copy)]
struct Tile {
    /// Positions of the axis.
    rows: i64,
    /// Bytes of what is between.
    bytes: i64,
    /// How many there are.
    count: i64,
    /// Cycles of all of them.
    cycles: i64,
}

impl Plan {
    /// The best plan for nodes, the last of which gives the result; else why there is none.
    pub(super) fn of(module: &Module, nodes: &[NodeId], target: &TargetDesc) -> Result<Plan, String> {
        let last = nodes[nodes.len() - 1];
        let shape = &module.ty(module.node(last).results[0]).shape;
        let local: Vec<(usize, Axes)> = (0..shape.len().saturating_sub(1))
            .filter_map(|axis| Some((axis, follow(module, nodes, axis)?)))
            .collect();
        let known = |v: ValueId| module.ty(v).shape.iter().all(|e| e.as_const().is_some());
        if !nodes.iter().all(|&n| module.node(n).results.iter().all(|&v| known(v))) {
            return Err("its sizes are known only when running".into());
        }
        let extent = |axis: usize| cost::nominal(module, &shape[axis]).max(1);
        let Some(along) = local.iter().max_by_key(|(axis, _)| extent(*axis)) else {
            return Err("no axis of the result goes with one axis of all that is between".into());
        };
        let (axis, along) = (along.0, &along.1);
        let around: Vec<&(usize, Axes)> = local.iter().filter(|(other, _)| *other != axis).collect();
        let between: i64 = nodes[..nodes.len() - 1]
            .iter()
            .map(|&n| cost::value_bytes(module, module.node(n).results[0]))
            .sum();
        let (rows, outer) = (extent(axis), around.iter().map(|(a, _)| extent(*a)).product());
        // Pixels of a line are rows of a product, too; columns are not.
        let line = follow(module, nodes, shape.len() - 1).map_or(1, |_| extent(shape.len() - 1));
        let space = Space { rows, outer, line, a_row: (between / outer / rows).max(1) };
        let around: Vec<(i64, &Axes)> = around.into_iter().map(|(a, axes)| (extent(*a), axes)).collect();
        let [_, second, last_level] = target.cache_bytes;
        if between <= second / 2 {
            return Err(format!("the {between} bytes between stay in the cache as they are"));
        }
        let largest = (last_level / 2).max(second);
        if space.a_row > largest {
            return Err(format!("a row of {} bytes is too large for tiles", space.a_row));
        }
        let (outside, result) = (captures(module, nodes), module.node(last).results[0]);
        let nodes: Vec<Passing> = nodes
            .iter()
            .map(|&n| Passing::of(module, n, (&outside, result), (along, &around), target))
            .collect();
        let apart = nodes.iter().map(|node| node.apart(rows * line, target)).sum();
        let rooms = std::iter::successors(Some(second), |room| Some(2 * room));
        let tiles: Vec<Tile> =
            rooms.take_while(|&room| room <= largest).map(|room| space.tile(room, &nodes, target)).collect();
        let least = tiles.iter().map(|tile| tile.cycles).min().unwrap_or(i64::MAX);
        let good = |tile: &&Tile| tile.cycles <= least.saturating_add(least / RESOLUTION);
        let Some(&tile) = tiles.iter().find(good) else { return Err("there are no tiles".into()) };
        let plan = Plan { axis, tile, apart };
        if tile.cycles > apart { Err(plan.figures()) } else { Ok(plan) }
    }

    /// What the decision was made for.
    pub(super) fn figures(&self) -> String {
        let Tile { rows, bytes, count, cycles } = self.tile;
        format!(
            "{cycles} cycles in {count} tiles of {rows} rows with {bytes} bytes between, {} apart",
            self.apart
        )
    }

    /// The operation with this plan.
    pub(super) fn op(&self, kind: TiledKind) -> Tiled {
        Tiled { kind, axis: self.axis, rows: self.tile.rows, bytes: self.tile.bytes }
    }
}

/// What tiles are of.
struct Space {
    /// Positions of the axis along which tiles follow each other.
    rows: i64,
    /// Positions of the axes around it.
    outer: i64,
    /// Rows that products have for one position.
    line: i64,
    /// Bytes of what is between, for one position.
    a_row: i64,
}

impl Space {
    /// Tiles whose values between have so many bytes at most.
    fn tile(&self, room: i64, nodes: &[Passing], target: &TargetDesc) -> Tile {
        let even = self.rows.saturating_mul(self.outer) / TILES;
        let fit = (room / self.a_row).min(even).clamp(1, self.rows);
        let parts = (self.rows + fit - 1) / fit;
        let rows = (self.rows + parts - 1) / parts;
        let (count, bytes) = (self.outer * parts, self.a_row * rows);
        let cycles = nodes.iter().map(|node| node.by_tiles((count, rows * self.line), bytes, target)).sum();
        Tile { rows, bytes, count, cycles }
    }
}

/// What passes between a node and memory, in bytes.
#[derive(Default)]
struct Passing {
    /// Cycles of its arithmetic.
    arithmetic: i64,
    /// Of these, cycles of sums of products.
    products: i64,
    /// From and to other nodes of the region.
    between: i64,
    /// From and to others, each row once.
    once: i64,
    /// What all rows read, for one position of the axes around, and for all of these.
    every: Vec<(i64, i64)>,
}

impl Passing {
    /// Of a node of a region that reads values from `outside` and gives `result`.
    fn of(
        module: &Module,
        node: NodeId,
        (outside, result): (&[ValueId], ValueId),
        (along, around): (&Axes, &[(i64, &Axes)]),
        target: &TargetDesc,
    ) -> Passing {
        let cost = cost::of_node(module, node);
        let arithmetic = cost::Cost { read: 0, written: 0, kernels: 0, ..cost }.cycles(target);
        let plain = cost::Cost { flops: cost.flops - cost.contraction_flops, contraction_flops: 0, ..cost };
        let plain = cost::Cost { read: 0, written: 0, kernels: 0, ..plain }.cycles(target);
        let mut passing = Passing { arithmetic, products: arithmetic - plain, ..Passing::default() };
        let this = module.node(node);
        let mut values = [&this.operands[..], &this.results].concat();
        values.sort_unstable();
        values.dedup();
        for value in values {
            // One element everywhere is no traffic.
            let bytes = match module.as_constant(value) {
                Some(constant) if constant.as_splat().is_some() => 0,
                _ => cost::value_bytes(module, value),
            };
            let goes = |axes: &Axes| axes.get(&value).copied().flatten();
            if value == result || outside.contains(&value) && goes(along).is_some() {
                passing.once += bytes;
            } else if outside.contains(&value) {
                // An operand that goes with an axis around is read in parts, of which it may have more.
                let (mut one, mut parts) = (bytes, 1);
                for (extent, axis) in around.iter().filter_map(|(extent, axes)| Some((extent, goes(axes)?))) {
                    one /= cost::nominal(module, &module.ty(value).shape[axis]).max(1);
                    parts *= extent;
                }
                passing.every.push((one, one * parts));
            } else {
                passing.between += bytes;
            }
        }
        passing
    }

    /// Cycles of arithmetic in products of so many rows.
    fn arithmetic(&self, rows: i64) -> i64 {
        self.arithmetic + self.products.saturating_mul(EDGE) / rows.max(1)
    }

    /// Cycles with whole tensors, products of so many rows.
    fn apart(&self, rows: i64, target: &TargetDesc) -> i64 {
        let whole = self.between + self.once + self.every.iter().map(|(_, all)| all).sum::<i64>();
        overlapped(self.arithmetic(rows), whole / speed(whole, target)) + target.kernel_cycles
    }

    /// Cycles in so many tiles with products of so many rows and so many bytes between.
    fn by_tiles(&self, (tiles, rows): (i64, i64), bytes: i64, target: &TargetDesc) -> i64 {
        let again =
            |&(one, all): &(i64, i64)| all.max(one.saturating_mul(tiles)) / speed(one + bytes, target);
        let traffic = self.between / speed(bytes, target)
            + self.once / speed(self.once, target)
            + self.every.iter().map(again).sum::<i64>();
        overlapped(self.arithmetic(rows), traffic) + tiles.saturating_mul(target.kernel_cycles / START_SHARE)
    }
}

/// Bytes a cycle of the least cache that holds so many.
fn speed(bytes: i64, target: &TargetDesc) -> i64 {
    let level = target.cache_bytes.iter().position(|&cache| bytes <= cache).unwrap_or(3);
    target.bytes_per_cycle[level]
}

/// Cycles of arithmetic with traffic beside it.
fn overlapped(arithmetic: i64, traffic: i64) -> i64 {
    arithmetic.max(traffic) + arithmetic.min(traffic) / 2
}

/// Axes of the outside values that go with `axis` of the result through all nodes; `None` if what is between does not.
fn follow(module: &Module, nodes: &[NodeId], axis: usize) -> Option<Axes> {
    let made: FxHashMap<ValueId, NodeId> = nodes.iter().map(|&n| (module.node(n).results[0], n)).collect();
    let mut axes = Axes::default();
    axes.insert(module.node(nodes[nodes.len() - 1]).results[0], Some(axis));
    for &node in nodes.iter().rev() {
        let own = (*axes.get(&module.node(node).results[0])?)?;
        for (value, axis) in locality::through(module, node, own)? {
            // What is made inside must not be needed as a whole.
            if axis.is_none() && made.contains_key(&value) {
                return None;
            }
            locality::join(&mut axes, value, axis);
        }
    }
    Some(axes)
}
