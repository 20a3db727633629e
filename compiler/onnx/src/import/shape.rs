//! shape - broadcasting, run-time constraints, and shapes that data decide.

use nnc_ir::{
    dtype::DType,
    extent::{Atom, Extent, Symbol, SymbolOrigin, product},
    graph::{Constraint, ConstraintKind, ValueId},
    ops,
};

use super::{Problem, cx::OpCx, known, value::Imported};

/// Greatest extent of an axis that a symbol may take.
pub(crate) const MAX_EXTENT: i64 = i32::MAX as i64;

/// The atom an extent consists of.
fn bare_atom(extent: &Extent) -> Option<&Atom> {
    let Extent::Expr(p) = extent else { return None };
    match &p.terms[..] {
        [term] if p.constant == 0 && term.coefficient == 1 => match &term.atoms[..] {
            [atom] => Some(atom),
            _ => None,
        },
        _ => None,
    }
}

/// Whether `part` is one of those that broadcast to `whole`.
fn within_broadcast(whole: &Extent, part: &Extent) -> bool {
    match bare_atom(whole) {
        _ if whole == part => true,
        Some(Atom::Bcast(a, b)) => within_broadcast(a, part) || within_broadcast(b, part),
        _ => false,
    }
}

/// Whether `y` is `min(c, x)` with a constant above 1.
fn is_cut(x: &Extent, y: &Extent) -> bool {
    match bare_atom(y) {
        Some(Atom::Min(Extent::Const(c), other) | Atom::Min(other, Extent::Const(c))) => *c > 1 && other == x,
        _ => false,
    }
}

impl OpCx<'_> {
    /// The common shape of several, aligned at the last axis (E0229). What only the run can tell becomes a constraint.
    pub(crate) fn broadcast_shapes(&mut self, shapes: &[Vec<Extent>]) -> Result<Vec<Extent>, Problem> {
        let rank = shapes.iter().map(Vec::len).max().unwrap_or(0);
        let mut out = vec![Extent::ONE; rank];
        for shape in shapes {
            let lead = rank - shape.len();
            for (i, extent) in shape.iter().enumerate() {
                let Some(joint) = self.joint_extent(&out[lead + i], extent) else {
                    let axis = i64::try_from(shape.len() - i).unwrap_or(0);
                    return self.error(
                        229,
                        format!("{} joins extents {} and {extent} at axis -{axis}", self.op(), out[lead + i]),
                    );
                };
                out[lead + i] = joint;
            }
        }
        for shape in shapes {
            let lead = rank - shape.len();
            for (have, want) in shape.iter().zip(&out[lead..]) {
                if want.as_const().is_some() && have.as_const().is_none() {
                    self.constrain(ConstraintKind::Broadcasts(have.clone(), want.clone()));
                }
            }
        }
        Ok(out)
    }

    /// The common extent of two axes that broadcast.
    ///
    /// `x` with `min(c, x)`, where `c` is not 1, are equal or do not broadcast: a constraint says so.
    fn joint_extent(&mut self, a: &Extent, b: &Extent) -> Option<Extent> {
        if within_broadcast(a, b) {
            return Some(a.clone());
        } else if within_broadcast(b, a) {
            return Some(b.clone());
        }
        for (x, y) in [(a, b), (b, a)] {
            if is_cut(x, y) {
                self.constrain(ConstraintKind::Equal(y.clone(), x.clone()));
                return Some(x.clone());
            }
        }
        a.broadcast(b)
    }

    /// Both values at their common shape.
    pub(crate) fn broadcast_pair(&mut self, a: ValueId, b: ValueId) -> Result<(ValueId, ValueId), Problem> {
        let both = self.broadcast_all(&[a, b])?;
        Ok((both[0], both[1]))
    }

    /// Every value at the common shape of all.
    pub(crate) fn broadcast_all(&mut self, values: &[ValueId]) -> Result<Vec<ValueId>, Problem> {
        let shapes: Vec<Vec<Extent>> = values.iter().map(|&v| self.shape(v)).collect();
        let shape = self.broadcast_shapes(&shapes)?;
        values.iter().map(|&v| self.broadcast_to(v, &shape)).collect()
    }

    /// The value repeated to `shape`; the value itself if it has that shape.
    pub(crate) fn broadcast_to(&mut self, x: ValueId, shape: &[Extent]) -> Result<ValueId, Problem> {
        if self.ty(x).shape == shape {
            return Ok(x);
        }
        if let (Some(constant), Some(dims)) =
            (self.constant(x), shape.iter().map(Extent::as_const).collect::<Option<Vec<_>>>())
            && constant.elements() == 1
        {
            let (dtype, scalar) = (constant.dtype(), constant.element(0));
            let splat = nnc_ir::constant::Payload::Splat(scalar);
            if let Some(splat) = nnc_ir::constant::Constant::new(dtype, &dims, splat) {
                return Ok(self.constant_value(splat));
            }
        }
        self.emit(ops::Broadcast { shape: shape.to_vec() }, &[x])
    }

    /// The value repeated to `shape`, which no axis of it may exceed (E0229).
    pub(crate) fn broadcast_to_checked(&mut self, x: ValueId, shape: &[Extent]) -> Result<ValueId, Problem> {
        let joint = self.broadcast_shapes(&[self.shape(x), shape.to_vec()])?;
        if joint.len() != shape.len() || joint.iter().zip(shape).any(|(j, s)| j.same(s) == Some(false)) {
            return self.error(229, format!("{} does not broadcast to {shape:?}", self.ty(x)));
        }
        self.broadcast_to(x, shape)
    }

    /// Records what the run must check.
    pub(crate) fn constrain(&mut self, kind: ConstraintKind) {
        if self.importer.conditional > 0 {
            if let Err(problem) = self.check_here(&kind) {
                self.importer.problems.push(*problem);
            }
            return;
        }
        if let ConstraintKind::Equal(a, b) = &kind {
            for (a, b) in [(a, b), (b, a)] {
                if let (Some(Atom::Symbol(s)), Some(c)) = (bare_atom(a), b.as_const()) {
                    self.importer.fixed.insert(*s, c);
                }
            }
        }
        let constraint = Constraint { kind, loc: self.loc.clone() };
        let constraints = &mut self.importer.module.constraints;
        if !constraints.iter().rev().take(64).any(|c| c.kind == constraint.kind) {
            constraints.push(constraint);
        }
    }

    /// Checks it where nodes go now, which may be a branch that is not taken: a number that is 1 if it does not hold is
    /// read as an extent that can only be 0.
    fn check_here(&mut self, kind: &ConstraintKind) -> Result<(), Problem> {
        let (ConstraintKind::Equal(a, b) | ConstraintKind::Broadcasts(a, b) | ConstraintKind::AtMost(a, b)) =
            kind;
        let name = match kind {
            ConstraintKind::Equal(..) => format!("{a} = {b}"),
            ConstraintKind::Broadcasts(..) => format!("{a} = 1 or {b}"),
            ConstraintKind::AtMost(..) => format!("{a} <= {b}"),
        };
        let (x, y) =
            (self.extents(vec![a.clone()], DType::I64, 1)?, self.extents(vec![b.clone()], DType::I64, 1)?);
        let holds = match kind {
            ConstraintKind::Equal(..) => self.eq(x.id, y.id)?,
            ConstraintKind::AtMost(..) => self.le(x.id, y.id)?,
            ConstraintKind::Broadcasts(..) => {
                let unit = self.int_scalar(DType::I64, 1);
                let (same, single) = (self.eq(x.id, y.id)?, self.eq(x.id, unit)?);
                self.or(same, single)?
            }
        };
        let broken = self.not(holds)?;
        let broken = self.cast(broken, DType::I64)?;
        let symbol = Symbol { name, min: 0, max: 0, origin: SymbolOrigin::Data, bound: None };
        let symbols = vec![self.importer.module.symbols.push(symbol)];
        self.emit_all(ops::ReadExtents { symbols }, &[broken])?;
        Ok(())
    }

    /// Whether an extent is 1 at every run that constraints allow.
    pub(crate) fn is_single(&self, extent: &Extent) -> bool {
        let fixed = &self.importer.fixed;
        extent.substitute(&|s| fixed.get(&s).map_or_else(|| Extent::symbol(s), |&c| Extent::Const(c))).is(1)
    }

    /// Checks that two extents are equal: now (error `code`, with `message`) or, where unknown, when running.
    pub(crate) fn need_equal(
        &mut self,
        code: u16,
        a: &Extent,
        b: &Extent,
        message: impl FnOnce() -> String,
    ) -> Result<(), Problem> {
        match a.same(b) {
            Some(true) => Ok(()),
            Some(false) => self.error(code, message()),
            None => {
                self.constrain(ConstraintKind::Equal(a.clone(), b.clone()));
                Ok(())
            }
        }
    }

    /// A symbol that a node of this import defines.
    pub(crate) fn data_symbol(&mut self, name: &str, bound: Option<Extent>) -> Extent {
        let max =
            bound.as_ref().map_or(MAX_EXTENT, |b| known::bounds(self.module(), b).1.clamp(0, MAX_EXTENT));
        let name = format!("{}.{name}", self.loc.first().map_or("", |n| n));
        let symbol = Symbol { name, min: 0, max, origin: SymbolOrigin::Data, bound };
        Extent::symbol(self.importer.module.symbols.push(symbol))
    }

    /// Elements of an integer vector or scalar as extents: known ones, or data symbols that the run reads.
    ///
    /// Use for extents only: a negative element fails the run (E0224).
    pub(crate) fn read_extents(&mut self, value: &Imported) -> Result<Vec<Extent>, Problem> {
        if let Some(known) = &value.known {
            return Ok(known.clone());
        }
        if let Some(ints) = self.ints_of(value) {
            return Ok(ints.into_iter().map(Extent::Const).collect());
        }
        if let Some(read) = self.importer.extents_read.get(&value.id) {
            return Ok(read.clone());
        }
        if !self.dtype(value.id).is_int() {
            return self.error(210, format!("{} reads extents from {}", self.op(), self.ty(value.id)));
        }
        let Some(count) = self.ty(value.id).elements().as_const() else {
            return self.unsupported(format!("{}: the number of extents is decided by data", self.op()));
        };
        let vector = self.cast(value.id, DType::I64)?;
        let vector = self.reshape(vector, vec![Extent::Const(count)])?;
        let extents: Vec<Extent> = (0..count).map(|i| self.data_symbol(&i.to_string(), None)).collect();
        let mut symbols = Vec::new();
        extents.iter().for_each(|e| e.for_each_symbol(&mut |s| symbols.push(s)));
        self.emit_all(ops::ReadExtents { symbols }, &[vector])?;
        self.importer.extents_read.insert(value.id, extents.clone());
        Ok(extents)
    }

    /// Number of elements of a shape, refused if it does not fit (E0223).
    pub(crate) fn elements(&self, shape: &[Extent]) -> Result<Extent, Problem> {
        let constants = shape.iter().filter_map(Extent::as_const);
        let product_of_known = constants.filter(|&c| c != 0).try_fold(1i64, i64::checked_mul);
        if product_of_known.is_none() {
            return self
                .error(223, format!("{}: a shape of {shape:?} has more elements than fit", self.op()));
        }
        Ok(product(shape))
    }
}
