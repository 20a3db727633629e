//! shrink - nests with less in them: what keeps a nest from tiles or from lanes and need not be there is taken out.
//!
//! Sums lose terms that only meet padding (`trim`), what follows from positions alone becomes a constant (`positions`), and
//! constants lose their repetitions (`repeat`). The layout, which comes next, sees what is left.

use nnc_ir::{
    constant::Constant,
    dtype::Scalar,
    extent::Extent,
    form::{Bounds, Class, Ix},
};

use super::{
    Block, Buffer, BufferId, BufferKind, NestStep, Plan, Step,
    layout::is_read,
    positions::{fold_counts, read_positions},
    repeat::without_repetition,
    trim::trimmed,
};

impl Plan {
    /// Shrinks every nest.
    pub(crate) fn shrink_nests(&mut self) {
        let mut main = std::mem::take(&mut self.main);
        self.shrink_in(&mut main);
        self.main = main;
    }

    fn shrink_in(&mut self, block: &mut Block) {
        for step in &mut block.steps {
            match step {
                Step::Nest(nest) => self.shrink(nest),
                Step::If(step) => {
                    self.shrink_in(&mut step.then);
                    self.shrink_in(&mut step.otherwise);
                }
                Step::Loop(step) => self.shrink_in(&mut step.body),
                Step::Scan(step) => self.shrink_in(&mut step.body),
                _ => {}
            }
        }
    }

    fn shrink(&mut self, nest: &mut NestStep) {
        let finite = |load: usize| {
            let constant = self.constant(nest.operands[nest.form.loads[load].operand]);
            constant.is_some_and(is_finite)
        };
        if let Some(form) = trimmed(&nest.form, &finite) {
            nest.form = form;
        }
        if let Some(form) = fold_counts(&nest.form) {
            nest.form = form;
        }
        if let Some(read) = read_positions(&nest.form, nest.operands.len()) {
            nest.form = read.form;
            nest.operands.push(self.add_constant(&read.constant));
        }
        for load in 0..nest.form.loads.len() {
            self.drop_repetition(nest, load);
        }
    }

    /// Has a load that is no factor of a contraction read its constant without repetitions.
    fn drop_repetition(&mut self, nest: &mut NestStep, l: usize) {
        let load = &nest.form.loads[l];
        let is_factor = nest.form.class() == Class::Contraction && is_read(&nest.form.body, l);
        let Some(constant) = self.constant(nest.operands[load.operand]) else { return };
        let whole = constant.dims().iter().map(|&d| Extent::Const(d)).eq(load.extents.iter().cloned());
        if is_factor || load.bounds != Bounds::Inside || !whole {
            return;
        }
        let Some((small, axes)) = without_repetition(constant) else { return };
        nest.operands.push(self.add_constant(&small));
        let load = &mut nest.form.loads[l];
        load.operand = nest.operands.len() - 1;
        for axis in axes {
            load.index[axis] = Ix::int(0);
            load.extents[axis] = Extent::ONE;
        }
    }

    /// A buffer of a constant's elements.
    fn add_constant(&mut self, constant: &Constant) -> BufferId {
        let kind = BufferKind::Constant(self.constants.add(constant));
        self.buffers.push(Buffer::new(kind, constant.ty().bytes()));
        BufferId(self.buffers.len() - 1)
    }
}

/// Whether no element is infinite or no number. A constant of one element repeated may be larger than memory.
fn is_finite(constant: &Constant) -> bool {
    let finite = |x: Scalar| x.as_f64().is_some_and(f64::is_finite);
    match constant.as_splat() {
        Some(element) => finite(element),
        None => constant.scalars().into_iter().all(finite),
    }
}

#[cfg(test)]
mod tests {
    use nnc_ir::{constant::Payload, dtype::DType};

    use super::*;

    #[test]
    fn a_repeated_element_is_looked_at_once() {
        let repeated = |x: f32| Constant::new(DType::F32, &[1 << 50], Payload::Splat(Scalar::f32(x)));
        assert!(repeated(1.0).is_some_and(|c| is_finite(&c)));
        assert!(repeated(f32::INFINITY).is_some_and(|c| !is_finite(&c)));
    }
}
