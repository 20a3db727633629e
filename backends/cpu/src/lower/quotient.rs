//! quotient - axes that are read by their quotient only become two, by which all is linear.
//!
//! ```text
//! y[i] = x[i / 2]  for i in 0..2 n          y[2 a + b] = x[a]  for a in 0..n, b in 0..2
//! ```
//!
//! Elements that are repeated, such as those of an upsampling, are so read at linear places, once for all their copies.

use nnc_ir::{
    extent::Extent,
    form::Ix,
    program::{Inst, Program},
};

use super::{access::Access, collapse::Nest};

impl Nest {
    /// Splits every such axis of the space.
    pub(super) fn split_quotients(&mut self) {
        let mut axis = 0;
        while axis < self.space {
            match self.divisor(axis) {
                Some(by) => {
                    self.split(axis, by);
                    axis += 2;
                }
                None => axis += 1,
            }
        }
    }

    /// What the axis is divided by wherever an index mentions it, if that leaves no rest.
    fn divisor(&self, axis: usize) -> Option<i64> {
        let mut divisor = None;
        for access in &self.loads {
            for extra in access.extra.iter().filter(|e| e.index.mentions(axis)) {
                let Ix::FloorDiv(of, Extent::Const(by)) = &extra.index else { return None };
                if **of != Ix::Axis(axis) || extra.check.is_some() || divisor.is_some_and(|d| d != *by) {
                    return None;
                }
                divisor = Some(*by);
            }
            if access.conditions.iter().any(|c| c.index.mentions(axis)) {
                return None;
            }
        }
        let computed = |program: &Program| {
            program.insts().iter().any(|(inst, _)| matches!(inst, Inst::Index(ix) if ix.mentions(axis)))
        };
        let by = divisor.filter(|&d| d > 1)?;
        let whole = self.extents[axis].floor_div(&Extent::Const(by)).scale(by) == self.extents[axis];
        let plain = whole && self.rows == 0 && !self.columns && self.scatter.is_none();
        (plain && !computed(&self.body) && !computed(&self.finish)).then_some(by)
    }

    fn split(&mut self, axis: usize, by: i64) {
        let outer = self.extents[axis].floor_div(&Extent::Const(by));
        self.extents[axis] = Extent::Const(by);
        self.extents.insert(axis, outer);
        self.space += 1;
        let shift = |ix: &Ix| ix.substitute(&|x| Ix::Axis(x + usize::from(x > axis)), &|k| k);
        for access in self.loads.iter_mut().chain(&mut self.results) {
            split_access(access, axis, by, &shift);
        }
        self.body = self.body.map_indices(&shift);
        self.finish = self.finish.map_indices(&shift);
    }
}

fn split_access(access: &mut Access, axis: usize, by: i64, shift: &dyn Fn(&Ix) -> Ix) {
    let mut outer = access.coefficients[axis].scale(by);
    access.extra.retain(|extra| {
        let divided = extra.index.mentions(axis);
        if divided {
            outer = &outer + &extra.stride;
        }
        !divided
    });
    access.coefficients.insert(axis, outer);
    access.extra.iter_mut().for_each(|e| e.index = shift(&e.index));
    access.conditions.iter_mut().for_each(|c| c.index = shift(&c.index));
}
