//! place - how far the address of an access is known at a level, and reading and writing there.

use cranelift_codegen::ir::{InstBuilder, Type, Value};
use nnc_ir::{extent::Extent, form::Ix};

use super::{
    access::{Access, Condition},
    levels::has_load,
    nest::Emitter,
    scalar,
    schedule::{Lanes, VECTOR_BYTES, raw_vector},
    vector::{self, Val},
};

/// How far the address of an access is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    /// Address, but for `disp` and what is not known yet.
    pub(super) addr: Value,
    /// Bytes to be added.
    pub(super) disp: i32,
    /// Whether all conditions so far hold, if there are any.
    pub(super) condition: Option<Value>,
}

impl Cursor {
    /// `bytes` further.
    pub(super) fn shifted(self, bytes: i64) -> Option<Cursor> {
        let disp = i32::try_from(i64::from(self.disp) + bytes).ok().filter(|d| d.abs() < 1 << 30)?;
        Some(Cursor { disp, ..self })
    }
}

impl Emitter<'_, '_> {
    /// An access at the origin of the nest.
    pub(super) fn origin(&mut self, pointer: Value, access: &Access) -> Cursor {
        let base = access.base.scale(access.dtype.bytes() as i64);
        let start = Cursor { addr: pointer, disp: 0, condition: None };
        match base.as_const().and_then(|c| start.shifted(c)) {
            Some(cursor) => cursor,
            None => Cursor { addr: self.plus(pointer, &base), ..start },
        }
    }

    /// Moves accesses to the current item.
    pub(super) fn move_to_item(&mut self, accesses: &[Access], cursors: &[Cursor]) -> Vec<Cursor> {
        (0..self.nest.space - 1).fold(cursors.to_vec(), |cursors, axis| {
            let at = self.axes[axis].expect("the item's axes are known");
            self.move_along(axis, at, accesses, &cursors)
        })
    }

    /// Moves accesses to a position of an axis.
    pub(super) fn move_along(
        &mut self,
        axis: usize,
        at: Value,
        accesses: &[Access],
        cursors: &[Cursor],
    ) -> Vec<Cursor> {
        let mut cursors = cursors.to_vec();
        for (access, cursor) in accesses.iter().zip(&mut cursors) {
            if !access.coefficients[axis].is(0) {
                let step = self.times(at, &access.coefficients[axis].scale(access.dtype.bytes() as i64));
                cursor.addr = self.b.ins().iadd(cursor.addr, step);
            }
        }
        cursors
    }

    /// Moves accesses to the constant position `at` of an axis.
    pub(super) fn move_to(&mut self, axis: usize, at: i64, cursors: &[Cursor]) -> Vec<Cursor> {
        let mut cursors = cursors.to_vec();
        for (access, cursor) in self.nest.loads.iter().zip(&mut cursors) {
            let bytes = access.coefficients[axis].scale(at * access.dtype.bytes() as i64);
            *cursor = match bytes.as_const().and_then(|c| cursor.shifted(c)) {
                Some(moved) => moved,
                None => Cursor { addr: self.plus(cursor.addr, &bytes), ..*cursor },
            };
        }
        cursors
    }

    /// Computes what becomes known at a level: indices, conditions, elements. What differs from lane to lane is
    /// computed where its element is read.
    pub(super) fn enter(&mut self, level: usize, mut cursors: Vec<Cursor>) -> Vec<Cursor> {
        let nest = self.nest;
        let lane_axis = self.lanes.as_ref().map(|l| l.axis);
        let in_lanes = |ix: &Ix| lane_axis.is_some_and(|axis| nest.ix_varies(ix, axis));
        for (k, access) in nest.loads.iter().enumerate() {
            let used = self.uses[k];
            if !used.any() {
                continue;
            }
            let at = |ix: &Ix, checked: bool| {
                let level = nest.ix_level(ix);
                if checked || has_load(ix) { level.max(used.earliest) } else { level }
            };
            for extra in &access.extra {
                if at(&extra.index, extra.check.is_some()) == level && !in_lanes(&extra.index) {
                    cursors[k].addr = self.add_extra(cursors[k].addr, extra, access.dtype.bytes() as i64);
                }
            }
            let told = |ix: &Ix| self.item_holds && !nest.ix_varies(ix, nest.space - 1);
            let here =
                |c: &&Condition| at(&c.index, false) == level && !in_lanes(&c.index) && !told(&c.index);
            let here: Vec<&Condition> = access.conditions.iter().filter(here).collect();
            cursors[k].condition = self.all_conditions(here, cursors[k].condition);
            if used.level == level && !used.late() {
                self.values[k] = self.read(access, cursors[k]);
            }
        }
        cursors
    }

    /// Reads what only the finish program needs.
    pub(super) fn enter_finish(&mut self, cursors: &[Cursor]) {
        for (k, access) in self.nest.loads.iter().enumerate() {
            if self.uses[k].late() {
                self.values[k] = self.read(access, cursors[k]);
            }
        }
    }

    /// The elements of an access: one for all lanes, or a vector for each of the vectors at once.
    fn read(&mut self, access: &Access, cursor: Cursor) -> Vec<Val> {
        let nest = self.nest;
        let Some(lanes) = self.lanes.clone().filter(|l| nest.access_varies(access, l.axis)) else {
            return vec![Val::One(self.load_if(access, cursor.addr, cursor.disp, cursor.condition))];
        };
        let axis = lanes.axis;
        let linear =
            nest.covered(access, axis) && !access.extra.iter().any(|e| nest.ix_varies(&e.index, axis));
        let stride = access.coefficients[axis].as_const();
        let bytes = access.dtype.bytes() as i64;
        let vectors = 0..lanes.copies as i64;
        match stride {
            Some(1) if linear => vectors
                .map(|copy| {
                    let at = cursor.shifted(copy * lanes.width as i64 * bytes).expect("vectors are near");
                    Val::Lanes(self.read_neighbours(access, at, lanes.raw))
                })
                .collect(),
            Some(2) if linear && bytes == 4 => vectors
                .map(|copy| {
                    let at = cursor.shifted(copy * 2 * lanes.width as i64 * bytes).expect("vectors are near");
                    Val::Lanes(self.read_every_other(access, at))
                })
                .collect(),
            _ => vectors
                .map(|copy| Val::Lanes(self.read_apart(access, cursor, &lanes, copy, linear)))
                .collect(),
        }
    }

    /// Lanes from neighbouring elements.
    fn read_neighbours(&mut self, access: &Access, at: Cursor, raw: bool) -> Value {
        let load = |e: &mut Self, addr: Value, disp: i32| {
            if raw {
                let flags = scalar::tensor_flags();
                e.b.ins().load(raw_vector(access.dtype), flags, addr, disp)
            } else {
                vector::load(e.b, access.dtype, addr, disp)
            }
        };
        let Some(condition) = at.condition else { return load(self, at.addr, at.disp) };
        // As for scalars: the frame, which is longer than a vector, is read in place of what is not there.
        let addr = self.b.ins().iadd_imm_s(at.addr, i64::from(at.disp));
        let addr = self.b.ins().select(condition, addr, self.frame_ptr);
        let elements = load(self, addr, 0);
        let otherwise = self.otherwise(access, raw);
        let mask = vector::mask(self.b, condition);
        vector::blend(self.b, mask, elements, otherwise)
    }

    fn otherwise(&mut self, access: &Access, raw: bool) -> Value {
        if !raw {
            return vector::constant(self.b, access.otherwise);
        }
        let bytes = access.dtype.bytes();
        let pattern = access.otherwise.bits.to_le_bytes()[..bytes].repeat(VECTOR_BYTES / bytes);
        let handle = self.b.func.dfg.constants.insert(pattern.into());
        let ty: Type = raw_vector(access.dtype);
        self.b.ins().vconst(ty, handle)
    }

    /// Lanes from elements 0, 2, 4, 6; nothing beyond the last is read.
    fn read_every_other(&mut self, access: &Access, at: Cursor) -> Value {
        let lower = self.read_neighbours(access, at, false);
        let upper = at.shifted(12).expect("vectors are near");
        let upper = self.read_neighbours(access, upper, false);
        vector::even_lanes(self.b, lower, upper)
    }

    /// Lanes read one by one.
    fn read_apart(
        &mut self,
        access: &Access,
        cursor: Cursor,
        lanes: &Lanes,
        copy: i64,
        linear: bool,
    ) -> Value {
        let nest = self.nest;
        let axis = lanes.axis;
        let bytes = access.dtype.bytes() as i64;
        let first = self.axes[axis].expect("the axis in lanes is open");
        let mut scalars = Vec::with_capacity(lanes.width);
        for lane in 0..lanes.width as i64 {
            let lane = copy * lanes.width as i64 + lane;
            let step: Extent = access.coefficients[axis].scale(lane * bytes);
            let mut at = match step.as_const().and_then(|c| cursor.shifted(c)) {
                Some(at) => at,
                None => Cursor { addr: self.plus(cursor.addr, &step), ..cursor },
            };
            if !linear {
                self.axes[axis] = Some(self.b.ins().iadd_imm_s(first, lane));
                for extra in access.extra.iter().filter(|e| nest.ix_varies(&e.index, axis)) {
                    at.addr = self.add_extra(at.addr, extra, bytes);
                }
                if !nest.covered(access, axis) {
                    let on_axis = access.conditions.iter().filter(|c| nest.ix_varies(&c.index, axis));
                    at.condition = self.all_conditions(on_axis, at.condition);
                }
            }
            scalars.push(self.load_if(access, at.addr, at.disp, at.condition));
        }
        self.axes[axis] = Some(first);
        vector::assemble(self.b, access.dtype.compute(), &scalars)
    }

    /// Writes a result: a scalar, or the vectors at once.
    pub(super) fn write(&mut self, access: &Access, cursor: Cursor, values: &[Val]) {
        let Some(lanes) = self.lanes.clone() else {
            let Val::One(value) = values[0] else { unreachable!("without lanes there are scalars only") };
            scalar::store(self.b, access.dtype, value, cursor.addr, cursor.disp);
            return;
        };
        let bytes = access.dtype.bytes() as i64;
        let dtype = access.dtype;
        for (copy, &value) in values.iter().enumerate() {
            let first = copy as i64 * lanes.width as i64;
            let stride = &access.coefficients[lanes.axis];
            if lanes.raw {
                let at = cursor.shifted(first * bytes).expect("vectors are near");
                let value = match value {
                    Val::Lanes(v) => v,
                    Val::One(x) => self.b.ins().splat(raw_vector(dtype), x),
                };
                self.b.ins().store(scalar::tensor_flags(), value, at.addr, at.disp);
                continue;
            }
            let value = vector::spread(self.b, dtype.compute(), value);
            if stride.is(1) {
                let at = cursor.shifted(first * bytes).expect("vectors are near");
                vector::store(self.b, dtype, value, at.addr, at.disp);
                continue;
            }
            for lane in 0..4u8 {
                let step = stride.scale((first + i64::from(lane)) * bytes);
                let addr = self.plus(cursor.addr, &step);
                let x = vector::extract(self.b, dtype, value, lane);
                scalar::store(self.b, dtype, x, addr, cursor.disp);
            }
        }
    }
}
