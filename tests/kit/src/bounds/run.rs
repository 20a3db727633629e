//! run - modules on bounds, node by node, beside what the evaluator gives.

use std::collections::BTreeMap;

use nnc_ir::{
    constant::Constant,
    definitions::bare_symbol,
    dtype::{DType, Scalar},
    entity::EntityId,
    eval::{EvalLimits, Tensor, eval_program, evaluate},
    extent::{Extent, SymbolId, SymbolOrigin},
    form::{Class, Combine, Form, LoopForm},
    graph::{Module, Node, NodeId, RegionId, ValueId},
    ops::Op,
};

use super::{element::Bound, nest};

/// A tensor of bounds.
#[derive(Clone, Debug)]
pub struct BoundTensor {
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub dims: Vec<i64>,
    /// One a element, row-major.
    pub elements: Vec<Bound>,
}

impl From<&Tensor> for BoundTensor {
    fn from(t: &Tensor) -> Self {
        Self {
            dtype: t.dtype,
            dims: t.dims.clone(),
            elements: t.scalars().into_iter().map(Bound::Point).collect(),
        }
    }
}

/// What the results of a run on `inputs` may be.
///
/// # Errors
/// The run fails, or the module has something that is not followed here (an extern call on ranges in a region).
pub fn bounds(module: &Module, inputs: &[Tensor]) -> Result<Vec<BoundTensor>, String> {
    bounds_of(module, inputs, 0.0)
}

/// What the results may be after rewrites that round otherwise: every float that arithmetic reads, and every float that
/// leaves, may be off by so many roundings.
///
/// Reassociating, distributing, or computing with constants beforehand gives what the module as written gives in exact
/// arithmetic for operands that are perturbed so (mixed forward and backward stability: Higham 2002, 1.5), and the ranges
/// hold that.
///
/// # Errors
/// As [`bounds`]; also where a perturbed float decides how often a loop runs.
pub fn bounds_of_rewrites(
    module: &Module,
    inputs: &[Tensor],
    roundings: f64,
) -> Result<Vec<BoundTensor>, String> {
    let mut results = bounds_of(module, inputs, roundings)?;
    results.iter_mut().for_each(|t| perturb(t, roundings));
    Ok(results)
}

/// Widens what a float may be by so many roundings in its storage type.
fn perturb(tensor: &mut BoundTensor, roundings: f64) {
    let unit = match tensor.dtype {
        DType::F64 => f64::EPSILON / 2.0,
        DType::F32 => f64::from(f32::EPSILON) / 2.0,
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        _ => return,
    };
    // Below the normal numbers a rounding is not relative.
    let tiny = match tensor.dtype {
        DType::F64 => f64::from_bits(1),
        DType::F16 => 2f64.powi(-24),
        _ => 2f64.powi(-149),
    };
    for element in &mut tensor.elements {
        if let Some((lo, hi)) = element.ends().filter(|(lo, hi)| lo.is_finite() && hi.is_finite()) {
            let by = |x: f64| roundings * (unit * x.abs() + tiny);
            *element = Bound::range(tensor.dtype.compute(), lo - by(lo), hi + by(hi));
        }
    }
}

fn bounds_of(module: &Module, inputs: &[Tensor], roundings: f64) -> Result<Vec<BoundTensor>, String> {
    let trace = trace(module, inputs)?;
    let mut symbols = BTreeMap::new();
    for (s, symbol) in module.symbols.iter() {
        if let SymbolOrigin::Input { input, axis } = symbol.origin {
            symbols.insert(s.index(), inputs[input].dims[axis]);
        }
    }
    let mut run = Run { module, trace, symbols, roundings };
    run.region(module.body(), inputs.iter().map(BoundTensor::from).collect(), true)
}

/// What the evaluator gives for every value of the main region.
fn trace(module: &Module, inputs: &[Tensor]) -> Result<BTreeMap<usize, Tensor>, String> {
    let mut all = module.clone();
    let body = all.region(all.body());
    let values: Vec<ValueId> = body.nodes.iter().flat_map(|&n| all.node(n).results.clone()).collect();
    let outputs: Vec<(String, ValueId)> = values.iter().map(|&v| (String::new(), v)).collect();
    all.set_outputs(&outputs);
    let results = evaluate(&all, inputs, &EvalLimits::GENEROUS).map_err(|e| e.to_string())?;
    Ok(values.into_iter().map(EntityId::index).zip(results).collect())
}

struct Run<'m> {
    module: &'m Module,
    trace: BTreeMap<usize, Tensor>,
    /// Values of the symbols defined so far.
    symbols: BTreeMap<usize, i64>,
    /// By how many roundings operands of arithmetic are perturbed.
    roundings: f64,
}

impl Run<'_> {
    fn region(
        &mut self,
        id: RegionId,
        args: Vec<BoundTensor>,
        main: bool,
    ) -> Result<Vec<BoundTensor>, String> {
        let module = self.module;
        let region = module.region(id);
        let mut values: BTreeMap<usize, BoundTensor> =
            region.params.iter().map(|p| p.index()).zip(args).collect();
        for &id in &region.nodes {
            let node = module.node(id);
            let mut operands: Vec<BoundTensor> =
                node.operands.iter().map(|v| values[&v.index()].clone()).collect();
            if self.roundings > 0.0 && self.computes(id) {
                operands.iter_mut().for_each(|t| perturb(t, self.roundings));
            }
            let results = self.node(id, operands, main)?;
            for (v, result) in node.results.iter().zip(results) {
                values.insert(v.index(), result);
            }
        }
        Ok(region.results.iter().map(|v| values[&v.index()].clone()).collect())
    }

    fn extent(&self, e: &Extent) -> Result<i64, String> {
        e.eval(&|s: SymbolId| self.symbols.get(&s.index()).copied())
            .ok_or_else(|| format!("{e} is not known"))
    }

    fn node(
        &mut self,
        id: NodeId,
        operands: Vec<BoundTensor>,
        main: bool,
    ) -> Result<Vec<BoundTensor>, String> {
        let node = self.module.node(id);
        let points = operands.iter().all(|t| t.elements.iter().all(|b| b.point().is_some()));
        if main && points && !self.rounds(id) {
            return Ok(self.traced(node));
        }
        let form = self.module.form(id);
        let extent = |e: &Extent| self.extent(e);
        match &form {
            Form::Loops(form) => match smooth(&node.op, form, &operands) {
                Some(result) => Ok(vec![result]),
                None => nest::evaluate(form, &operands, &extent),
            },
            Form::View => {
                let dims =
                    self.module.ty(node.results[0]).shape.iter().map(extent).collect::<Result<_, _>>()?;
                Ok(vec![BoundTensor { dims, ..operands[0].clone() }])
            }
            Form::Concat { axis } => Ok(vec![concat(*axis, &operands)]),
            Form::Scatter(form) => Ok(vec![nest::scatter(form, &operands, &extent)?]),
            Form::Constant => {
                let constant: &Constant =
                    self.module.as_constant(node.results[0]).ok_or("a constant without a value")?;
                Ok(vec![BoundTensor::from(&Tensor::from(constant))])
            }
            Form::Extents(extents) => {
                let values: Vec<i64> = extents.iter().map(extent).collect::<Result<_, _>>()?;
                Ok(vec![BoundTensor::from(&Tensor::i64s(&[values.len() as i64], &values))])
            }
            Form::Extern(_) | Form::ReadExtents(_) if main => {
                let mut results = self.traced(node);
                if !points {
                    results.iter_mut().for_each(|t| t.elements.fill(Bound::Any));
                }
                Ok(results)
            }
            Form::Region => self.control(node, operands),
            other => Err(format!("{other:?} is not followed")),
        }
    }

    /// Whether the node does arithmetic on elements, or rounds them.
    fn computes(&self, id: NodeId) -> bool {
        match self.module.form(id) {
            Form::Loops(form) => {
                let converts = form.loads.iter().any(|l| form.results.iter().any(|r| *r != l.dtype));
                form.class() != Class::Movement || converts
            }
            Form::Scatter(_) | Form::Extern(_) => true,
            _ => false,
        }
    }

    /// Whether somewhere in the node floats are joined so that the order may matter.
    fn rounds(&self, id: NodeId) -> bool {
        let node = self.module.node(id);
        let here = match self.module.form(id) {
            Form::Loops(form) => {
                let joins = form
                    .combine
                    .is_some_and(|c| !matches!(c, Combine::ArgMax { .. } | Combine::ArgMin { .. }));
                joins && form.body.result_dtypes().any(DType::is_float)
            }
            _ => false,
        };
        here || node.regions.iter().any(|&r| self.module.region(r).nodes.iter().any(|&n| self.rounds(n)))
    }

    /// What the evaluator gave, with the symbols that the extents of the results define.
    fn traced(&mut self, node: &Node) -> Vec<BoundTensor> {
        let results: Vec<BoundTensor> =
            node.results.iter().map(|v| BoundTensor::from(&self.trace[&v.index()])).collect();
        for (v, result) in node.results.iter().zip(&results) {
            for (extent, &dim) in self.module.ty(*v).shape.iter().zip(&result.dims) {
                if let Some(s) = bare_symbol(extent) {
                    self.symbols.entry(s.index()).or_insert(dim);
                }
            }
        }
        results
    }

    fn control(&mut self, node: &Node, mut operands: Vec<BoundTensor>) -> Result<Vec<BoundTensor>, String> {
        match &node.op {
            Op::Fusion(_) | Op::Tiled(_) => self.region(node.regions[0], operands, false),
            Op::If(_) => {
                let condition = operands.remove(0).elements[0];
                match condition.point() {
                    Some(c) => self.region(node.regions[usize::from(c.bits == 0)], operands, false),
                    None => {
                        let then = self.region(node.regions[0], operands.clone(), false)?;
                        let other = self.region(node.regions[1], operands, false)?;
                        Ok(then.into_iter().zip(other).map(|(a, b)| hull(a, &b)).collect())
                    }
                }
            }
            Op::Loop(op) => {
                let integer = |b: Bound| {
                    b.point().and_then(Scalar::as_i64).ok_or("a loop that data of unknown bits decide")
                };
                let trips = integer(operands[0].elements[0])?;
                let mut condition = operands[1].clone();
                let captures = operands.split_off(2 + op.carried);
                let mut carried = operands.split_off(2);
                let mut stacks: Vec<Vec<BoundTensor>> = Vec::new();
                let mut count = 0;
                while count < trips && integer(condition.elements[0])? != 0 {
                    let mut args = vec![BoundTensor::from(&Tensor::i64s(&[], &[count])), condition];
                    args.append(&mut carried);
                    args.extend(captures.iter().cloned());
                    let mut results = self.region(node.regions[0], args, false)?;
                    stacks.push(results.split_off(1 + op.carried));
                    condition = results.remove(0);
                    carried = results;
                    count += 1;
                }
                if let Some(s) = bare_symbol(&op.count) {
                    self.symbols.insert(s.index(), count);
                }
                self.stacked(node, carried, &stacks)
            }
            Op::Scan(op) => {
                let steps = self.extent(&op.steps)?;
                let captures = operands.split_off(op.carried + op.reversed_inputs.len());
                let scanned = operands.split_off(op.carried);
                let mut carried = operands;
                let mut stacks = Vec::new();
                for step in 0..steps {
                    let mut args = std::mem::take(&mut carried);
                    for (t, &reversed) in scanned.iter().zip(&op.reversed_inputs) {
                        args.push(slice(t, if reversed { steps - 1 - step } else { step }));
                    }
                    args.extend(captures.iter().cloned());
                    let mut results = self.region(node.regions[0], args, false)?;
                    stacks.push(results.split_off(op.carried));
                    carried = results;
                }
                let mut results = self.stacked(node, carried, &stacks)?;
                for (t, &reversed) in results[op.carried..].iter_mut().zip(&op.reversed_outputs) {
                    if reversed {
                        *t = reverse(t);
                    }
                }
                Ok(results)
            }
            op => Err(format!("{} has no regions", op.mnemonic())),
        }
    }

    fn stacked(
        &self,
        node: &Node,
        mut results: Vec<BoundTensor>,
        stacks: &[Vec<BoundTensor>],
    ) -> Result<Vec<BoundTensor>, String> {
        for i in results.len()..node.results.len() {
            let ty = self.module.ty(node.results[i]);
            let dims = ty.shape.iter().map(|e| self.extent(e)).collect::<Result<_, _>>()?;
            let first = node.results.len() - stacks.first().map_or(0, Vec::len);
            let elements = stacks.iter().flat_map(|s| s[i - first].elements.clone()).collect();
            results.push(BoundTensor { dtype: ty.dtype, dims, elements });
        }
        Ok(results)
    }
}

fn hull(a: BoundTensor, b: &BoundTensor) -> BoundTensor {
    let elements = a.elements.iter().zip(&b.elements).map(|(&x, &y)| x.hull(y)).collect();
    BoundTensor { elements, ..a }
}

fn slice(t: &BoundTensor, at: i64) -> BoundTensor {
    let dims = t.dims[1..].to_vec();
    let n = dims.iter().product::<i64>() as usize;
    BoundTensor { dtype: t.dtype, dims, elements: t.elements[at as usize * n..][..n].to_vec() }
}

fn reverse(t: &BoundTensor) -> BoundTensor {
    let elements = (0..t.dims[0]).rev().flat_map(|i| slice(t, i).elements).collect();
    BoundTensor { elements, ..t.clone() }
}

fn concat(axis: usize, operands: &[BoundTensor]) -> BoundTensor {
    let mut dims = operands[0].dims.clone();
    dims[axis] = operands.iter().map(|o| o.dims[axis]).sum();
    let outer = dims[..axis].iter().product::<i64>() as usize;
    let mut elements = Vec::new();
    for i in 0..outer {
        for o in operands {
            let n = o.elements.len() / outer;
            elements.extend_from_slice(&o.elements[i * n..(i + 1) * n]);
        }
    }
    BoundTensor { dtype: operands[0].dtype, dims, elements }
}

/// How far from the function an implementation may be, in units in the last place of its result.
const ULPS: f64 = 16.0;

/// Bounds of a function whose program decides by the bits of its operand, but which is smooth: monotone, or (`sin`,
/// `cos`) of slope 1 at most.
fn smooth(op: &Op, form: &LoopForm, operands: &[BoundTensor]) -> Option<BoundTensor> {
    let slope_one = matches!(op, Op::Sin(_) | Op::Cos(_));
    let monotone = matches!(
        op,
        Op::Exp(_)
            | Op::Log(_)
            | Op::Tanh(_)
            | Op::Erf(_)
            | Op::Sigmoid(_)
            | Op::Asin(_)
            | Op::Acos(_)
            | Op::Atan(_)
            | Op::Sinh(_)
            | Op::Asinh(_)
            | Op::Acosh(_)
            | Op::Atanh(_)
    );
    if !slope_one && !monotone {
        return None;
    }
    let input = &operands[0];
    let compute = input.dtype.compute();
    let epsilon = if compute == DType::F32 { f64::from(f32::EPSILON) } else { f64::EPSILON };
    let at = |x: f64| {
        eval_program(&form.body, &|_| Scalar::float(compute, x), &[], &|_| 0)[0].as_f64().unwrap_or(f64::NAN)
    };
    let element = |b: &Bound| match *b {
        Bound::Point(x) => Bound::Point(eval_program(&form.body, &|_| x, &[], &|_| 0)[0]),
        Bound::Range(lo, hi) => {
            let (a, b) = (at(lo), at(hi));
            let spread = if slope_one { hi - lo } else { 0.0 };
            let slack =
                a.abs().max(b.abs()) * ULPS * epsilon + f64::from(f32::MIN_POSITIVE) * epsilon + spread;
            // `f64::min` would hide a NaN.
            if a.is_nan() || b.is_nan() {
                Bound::Any
            } else {
                Bound::range(compute, a.min(b) - slack, a.max(b) + slack)
            }
        }
        Bound::Any => Bound::Any,
    };
    let elements = input.elements.iter().map(|b| element(b).stored(input.dtype)).collect();
    Some(BoundTensor { elements, ..input.clone() })
}
