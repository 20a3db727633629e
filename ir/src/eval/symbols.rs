//! symbols - values of the symbols of a run, and the constraints they must satisfy.

use crate::{
    definitions::bare_symbol,
    entity::EntityId,
    eval::{error::EvalError, tensor::Tensor},
    extent::{Extent, SymbolId, SymbolOrigin},
    graph::{Constraint, ConstraintKind, Module},
};

/// The symbols of a run.
pub(super) struct Symbols<'m> {
    module: &'m Module,
    values: Vec<Option<i64>>,
}

impl<'m> Symbols<'m> {
    /// Binds the symbols that inputs decide and checks the inputs' types.
    pub(super) fn bind(module: &'m Module, inputs: &[Tensor]) -> Result<Self, EvalError> {
        let mut symbols = Self { module, values: vec![None; module.symbols.len()] };
        let params = &module.region(module.body()).params;
        if params.len() != inputs.len() {
            return Err(EvalError::new(
                801,
                format!("{} inputs given, needs {}", inputs.len(), params.len()),
            ));
        }
        let name = |i: usize| module.input_names.get(i).map_or("?", String::as_str);
        for (i, (&param, input)) in params.iter().zip(inputs).enumerate() {
            let ty = module.ty(param);
            if ty.dtype != input.dtype || ty.rank() != input.dims.len() {
                return Err(EvalError::new(
                    802,
                    format!("input '{}' is {ty}, given {}", name(i), input.ty()),
                ));
            }
        }
        for (s, symbol) in module.symbols.iter() {
            if let SymbolOrigin::Input { input, axis } = symbol.origin {
                let dim = inputs.get(input).and_then(|t| t.dims.get(axis));
                let dim = *dim.ok_or_else(|| EvalError::bug(format!("no axis {axis} of input {input}")))?;
                symbols.define(s, dim, 802)?;
            }
        }
        for (i, (&param, input)) in params.iter().zip(inputs).enumerate() {
            for (axis, (extent, &dim)) in module.ty(param).shape.iter().zip(&input.dims).enumerate() {
                let want = symbols.extent(extent)?;
                if want != dim {
                    let code = if extent.as_const().is_some() { 802 } else { 236 };
                    let message = format!("input '{}': dim {axis} is {want}, given {dim}", name(i));
                    return Err(EvalError::new(code, message));
                }
            }
        }
        // What mentions no symbol is never met by a definition.
        for constraint in &module.constraints {
            symbols.check(constraint)?;
        }
        Ok(symbols)
    }

    /// Value of an extent.
    pub(super) fn extent(&self, extent: &Extent) -> Result<i64, EvalError> {
        extent.eval(&|s| self.value(s)).ok_or_else(|| match self.unknown_in(extent) {
            Some(s) => EvalError::bug(format!("symbol s{} of {extent} is not defined yet", s.index())),
            None => EvalError::new(236, format!("extents of {extent} do not broadcast")),
        })
    }

    /// Defines a symbol; `code` is the problem of one out of its range.
    pub(super) fn define(&mut self, symbol: SymbolId, value: i64, code: u16) -> Result<(), EvalError> {
        let known =
            self.module.symbols.get(symbol).ok_or_else(|| EvalError::bug(format!("no symbol {symbol:?}")))?;
        let bound = known.bound.as_ref().and_then(|b| b.eval(&|s| self.value(s)));
        if value < known.min || value > known.max || bound.is_some_and(|b| value > b) {
            let greatest = bound.map_or(known.max, |b| b.min(known.max));
            let message =
                format!("extent '{}' is {value}, must be in {}..={greatest}", known.name, known.min);
            return Err(EvalError::new(code, message));
        }
        self.values[symbol.index()] = Some(value);
        let module = self.module;
        module.constraints.iter().filter(|c| mentions(c, symbol)).try_for_each(|c| self.check(c))
    }

    /// Defines the symbols among `defined` that axes of `shape` consist of.
    pub(super) fn define_shape(
        &mut self,
        defined: &[SymbolId],
        shape: &[Extent],
        dims: &[i64],
    ) -> Result<(), EvalError> {
        for (extent, &dim) in shape.iter().zip(dims) {
            if let Some(s) = bare_symbol(extent)
                && defined.contains(&s)
                && self.value(s) != Some(dim)
            {
                self.define(s, dim, 236)?;
            }
        }
        Ok(())
    }

    /// Forgets what the last iteration defined.
    pub(super) fn forget(&mut self, symbols: &[SymbolId]) {
        for s in symbols {
            self.values[s.index()] = None;
        }
    }

    fn value(&self, s: SymbolId) -> Option<i64> {
        self.values.get(s.index()).copied().flatten()
    }

    fn unknown_in(&self, extent: &Extent) -> Option<SymbolId> {
        let mut unknown = None;
        extent.for_each_symbol(&mut |s| {
            if self.value(s).is_none() {
                unknown = unknown.or(Some(s));
            }
        });
        unknown
    }

    /// Checks a constraint, if its symbols are known.
    fn check(&self, constraint: &Constraint) -> Result<(), EvalError> {
        let (a, b) = sides(&constraint.kind);
        if self.unknown_in(a).or(self.unknown_in(b)).is_some() {
            return Ok(());
        }
        let at = |e: EvalError| e.at(&constraint.loc);
        let (x, y) = (self.extent(a).map_err(at)?, self.extent(b).map_err(at)?);
        let (holds, what) = match constraint.kind {
            ConstraintKind::Equal(..) => (x == y, "must equal"),
            ConstraintKind::Broadcasts(..) => (x == y || x == 1, "must be 1 or equal"),
            ConstraintKind::AtMost(..) => (x <= y, "must be at most"),
        };
        if holds {
            Ok(())
        } else {
            Err(EvalError::new(236, format!("{a} = {x} {what} {b} = {y}")).at(&constraint.loc))
        }
    }
}

fn sides(kind: &ConstraintKind) -> (&Extent, &Extent) {
    match kind {
        ConstraintKind::Equal(a, b) | ConstraintKind::Broadcasts(a, b) | ConstraintKind::AtMost(a, b) => {
            (a, b)
        }
    }
}

fn mentions(constraint: &Constraint, symbol: SymbolId) -> bool {
    let (a, b) = sides(&constraint.kind);
    let mut found = false;
    for side in [a, b] {
        side.for_each_symbol(&mut |s| found |= s == symbol);
    }
    found
}
