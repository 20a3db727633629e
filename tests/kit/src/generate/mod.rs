//! generate - random programs: a seed gives a module and inputs for it, the same ones for ever.
//!
//! A program grows forwards: each step picks an operation and operands among the values there are, so that every module
//! is valid. Extents come from a list that straddles vector widths and tiles; some are symbols, bound in several ways.
//! Next to each value stands a bound on its magnitude, by which operations that would leave the range of finite numbers
//! are scaled down first, unless special values are wanted.
//!
//! Reading order: [`state`] (a program under way), then any family of operations.

mod contraction;
mod control;
mod dynamic;
mod movement;
mod pattern;
mod pointwise;
mod reduction;
mod state;

use nnc_ir::{
    entity::EntityId,
    eval::Tensor,
    extent::{Extent, SymbolOrigin},
    graph::Module,
};

use crate::rng::{Fill, Rng};
use state::Gen;

/// What may be asked of the results of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No float sum: every evaluation order gives the same bits.
    Exact,
    /// Float sums of whole numbers so small that no partial sum rounds: again the same bits in any order.
    Whole,
    /// Float sums that round: results lie within [`crate::bounds`].
    Rounding,
}

/// A generated program with inputs.
pub struct Case {
    /// What it was made from.
    pub seed: u64,
    /// The program.
    pub module: Module,
    /// Inputs for several runs, with differing extents where there are symbols.
    pub runs: Vec<Vec<Tensor>>,
    /// What may be asked of its results.
    pub kind: Kind,
    /// Which values the inputs hold.
    pub fill: Fill,
}

impl Case {
    /// Whether some extent is a symbol.
    #[must_use]
    pub fn is_symbolic(&self) -> bool {
        self.module.symbols.iter().any(|(_, s)| s.origin != SymbolOrigin::Data)
    }

    /// The program for the extents of run `run` alone, without input symbols.
    ///
    /// # Panics
    /// If an operation refuses the extents: a bug of its inference.
    #[must_use]
    pub fn pinned(&self, run: usize) -> Module {
        let mut module = self.module.clone();
        let symbols: Vec<_> = module.symbols.iter().map(|(s, symbol)| (s, symbol.origin)).collect();
        for (symbol, origin) in symbols {
            if let SymbolOrigin::Input { input, axis } = origin {
                // No axis has the symbol from here on.
                module.symbols[symbol].origin = SymbolOrigin::Data;
                let dim = Extent::Const(self.runs[run][input].dims[axis]);
                if let Err(e) = module.substitute_symbol(symbol, &dim) {
                    panic!("seed {}: s{} = {dim:?}: {e}", self.seed, symbol.index());
                }
            }
        }
        module
    }
}

/// The program of a seed.
#[must_use]
pub fn generate(seed: u64) -> Case {
    let mut rng = Rng::new(seed);
    let kind = *rng.pick(&[Kind::Exact, Kind::Exact, Kind::Whole, Kind::Rounding, Kind::Rounding]);
    let fill = match kind {
        Kind::Whole => Fill::Whole,
        _ if rng.chance(30) => Fill::Special,
        _ => Fill::Finite,
    };
    let mut g = Gen::new(rng, kind, fill);
    g.inputs();
    let nodes = 1 + g.rng.below(25);
    let mut tries = 0;
    while g.nodes() < nodes && tries < 4 * nodes {
        step(&mut g);
        tries += 1;
    }
    g.finish();
    let runs = g.runs();
    Case { seed, module: g.module, runs, kind, fill }
}

/// Adds one operation, or a few that belong together.
fn step(g: &mut Gen) {
    // Where floats are not summed, fewer operations that would sum them.
    let sums = if g.kind == Kind::Exact { 0 } else { 22 };
    match g.rng.below(100 + sums) {
        0..=37 => pointwise::step(g),
        38..=64 => movement::step(g),
        65..=76 => reduction::step(g),
        77..=82 => contraction::step(g),
        83..=91 => pattern::step(g),
        92..=97 => control::step(g),
        98..=99 => dynamic::step(g),
        _ => contraction::step(g),
    }
}
