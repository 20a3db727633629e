//! padding - a tensor padded with a constant, seen through reshapes and transposes.

use nnc_ir::{
    Module,
    dtype::Scalar,
    extent::Extent,
    graph::{Provenance, ValueId, merge_locs},
    ops::{Op, Pad, PadMode, Reshape},
};

use crate::{axes::groups, pass::Bug, rewrite::Cursor};

/// Movements between the padding and what reads it, at most.
const MAX_DEPTH: usize = 8;

/// Padding of a tensor, in the axes of what reads it.
pub(super) struct Padding {
    /// The tensor without padding.
    pub(super) source: ValueId,
    /// The result of the padding.
    pub(super) padded: ValueId,
    /// Elements added before, one number an axis.
    pub(super) before: Vec<Extent>,
    /// Elements added after.
    pub(super) after: Vec<Extent>,
    /// What they are.
    pub(super) value: Scalar,
    /// Movements from the tensor to what reads it, without padding.
    moves: Vec<(Op, Provenance)>,
}

impl Padding {
    /// The padding that `value` is the result of.
    pub(super) fn of(module: &Module, value: ValueId) -> Option<Self> {
        let (pad, node) = module.defined_by::<Pad>(value)?;
        let PadMode::Constant(constant) = pad.mode else { return None };
        Some(Self {
            source: node.operands[0],
            padded: value,
            before: pad.before.clone(),
            after: pad.after.clone(),
            value: constant,
            moves: Vec::new(),
        })
    }

    /// The padding above `value`, through movements.
    pub(super) fn above(module: &Module, value: ValueId) -> Option<Self> {
        let mut path = Vec::new();
        let mut at = value;
        loop {
            if let Some(mut padding) = Self::of(module, at) {
                for &node in path.iter().rev() {
                    padding.follow(module, node)?;
                }
                return Some(padding);
            }
            let node = module.def_node(at)?;
            if !matches!(module.node(node).op, Op::Reshape(_) | Op::Transpose(_)) || path.len() == MAX_DEPTH {
                return None;
            }
            path.push(node);
            at = module.node(node).operands[0];
        }
    }

    /// Takes the axes of the result of a reshape or transpose.
    fn follow(&mut self, module: &Module, node: nnc_ir::graph::NodeId) -> Option<()> {
        let this = module.node(node);
        let op = match &this.op {
            Op::Transpose(t) => {
                self.before = t.perm.iter().map(|&p| self.before[p].clone()).collect();
                self.after = t.perm.iter().map(|&p| self.after[p].clone()).collect();
                this.op.clone()
            }
            _ => {
                let (from, to) = (&module.ty(this.operands[0]).shape, &module.ty(this.results[0]).shape);
                let mut shape = to.to_vec();
                let (mut before, mut after) = (vec![Extent::ZERO; to.len()], vec![Extent::ZERO; to.len()]);
                for (a, b) in groups(from, to)? {
                    let padded: Vec<usize> =
                        a.clone().filter(|&i| !self.before[i].is(0) || !self.after[i].is(0)).collect();
                    let wide = |axes: std::ops::Range<usize>, shape: &[Extent]| -> Vec<usize> {
                        axes.filter(|&i| !shape[i].is(1)).collect()
                    };
                    match (&padded[..], &wide(a, from)[..], &wide(b, to)[..]) {
                        ([], ..) => {}
                        (&[i], &[j], &[k]) if i == j => {
                            before[k] = self.before[i].clone();
                            after[k] = self.after[i].clone();
                            shape[k] = &to[k] - &(&before[k] + &after[k]);
                        }
                        _ => return None,
                    }
                }
                (self.before, self.after) = (before, after);
                Reshape { shape }.into()
            }
        };
        self.moves.push((op, this.loc.clone()));
        Some(())
    }

    /// Numbers before and after each axis.
    pub(super) fn amounts(&self) -> impl Iterator<Item = &Extent> {
        self.before.iter().chain(&self.after)
    }

    /// Axes that are padded.
    pub(super) fn axes(&self) -> impl Iterator<Item = usize> {
        (0..self.before.len()).filter(|&i| !self.before[i].is(0) || !self.after[i].is(0))
    }

    /// Adds the movements to the tensor without padding.
    pub(super) fn without(&self, cursor: &mut Cursor<'_>) -> Result<ValueId, Bug> {
        let mut value = self.source;
        for (op, loc) in &self.moves {
            value = cursor.emit1(op.clone(), &[value], loc)?;
        }
        Ok(value)
    }

    /// The names of the padding with those of what absorbs it.
    pub(super) fn loc_with(&self, module: &Module, loc: &Provenance) -> Provenance {
        match module.def_node(self.padded) {
            Some(node) => merge_locs([loc, &module.node(node).loc]),
            None => loc.clone(),
        }
    }
}
