//! program - vector programs as CLIF.
//!
//! Scalar code is the vector code with one lane in use: both widths have the same bits by construction, and the one
//! lane costs no more than scalar instructions would (`scalar_to_vector` and `extractlane` of lane 0 are at most a
//! move).

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32X4, I32, I32X4};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value};
use cranelift_frontend::FunctionBuilder;
use nnc_tile::program::{LaneType, Op, Ref, VectorProgram};

use super::arithmetic::Arithmetic;

/// How many lanes the inputs and results of an emitted program have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lanes {
    /// One: values are of type F32 or I32.
    One,
    /// Four: values are of type F32X4 or I32X4.
    Four,
}

/// Emits a program at the builder's current block and returns its results.
///
/// Min and Max become one instruction each on x86-64; Floor, Ceil, Trunc and Nearest too. `TruncF32ToI32` takes about
/// six, since it saturates.
///
/// # Panics
/// If `inputs` is shorter than [`VectorProgram::n_inputs`].
pub fn emit_program(
    builder: &mut FunctionBuilder,
    arithmetic: Arithmetic,
    program: &VectorProgram,
    lanes: Lanes,
    inputs: &[Value],
) -> Vec<Value> {
    let mut results = emit_programs(builder, arithmetic, program, lanes, &[inputs]);
    results.pop().expect("one of each")
}

/// Likewise for several inputs, an op of each in turn: a program is a chain of instructions that wait for each other.
///
/// # Panics
/// If any of the inputs are fewer than [`VectorProgram::n_inputs`].
pub(super) fn emit_programs(
    builder: &mut FunctionBuilder,
    arithmetic: Arithmetic,
    program: &VectorProgram,
    lanes: Lanes,
    inputs: &[&[Value]],
) -> Vec<Vec<Value>> {
    assert!(inputs.iter().all(|i| i.len() >= program.n_inputs()), "a value for every input of the program");
    let mut values: Vec<Vec<Value>> = vec![Vec::with_capacity(program.ops().len()); inputs.len()];
    for (idx, op) in program.ops().iter().enumerate() {
        let mut shared = None;
        for (inputs, values) in inputs.iter().zip(&mut values) {
            let value = match (op, lanes) {
                (Op::ConstF32(_) | Op::ConstI32(_), _) => {
                    *shared.get_or_insert_with(|| emit_op(builder, arithmetic, program, op, values))
                }
                (Op::Input(k, _), Lanes::Four) => inputs[usize::from(*k)],
                (Op::Input(k, ty), Lanes::One) => {
                    builder.ins().scalar_to_vector(vector_type(*ty), inputs[usize::from(*k)])
                }
                _ => emit_op(builder, arithmetic, program, op, values),
            };
            debug_assert!(
                builder.func.dfg.value_type(value)
                    == vector_type(program.lane_type(Ref(u16::try_from(idx).unwrap_or(u16::MAX)))),
                "the emitted value has the type of the op"
            );
            values.push(value);
        }
    }
    let mut all = Vec::with_capacity(inputs.len());
    for values in values {
        let results = program.results().iter().map(|r| values[usize::from(r.0)]);
        all.push(match lanes {
            Lanes::Four => results.collect(),
            Lanes::One => results.map(|v| builder.ins().extractlane(v, 0)).collect(),
        });
    }
    all
}

/// CLIF type of four lanes.
pub(super) fn vector_type(ty: LaneType) -> Type {
    match ty {
        LaneType::F32 => F32X4,
        LaneType::I32 => I32X4,
    }
}

/// The same f32 in four lanes, from the constant pool.
pub(super) fn splat_f32(builder: &mut FunctionBuilder, bits: u32) -> Value {
    let handle = builder.func.dfg.constants.insert(bits.to_le_bytes().repeat(4).into());
    builder.ins().vconst(F32X4, handle)
}

fn splat_i32(builder: &mut FunctionBuilder, x: i32) -> Value {
    let handle = builder.func.dfg.constants.insert(x.to_le_bytes().repeat(4).into());
    builder.ins().vconst(I32X4, handle)
}

fn bitcast(builder: &mut FunctionBuilder, ty: Type, value: Value) -> Value {
    builder.ins().bitcast(ty, MemFlagsData::new(), value)
}

/// `a < b ? a : b`.
pub(crate) fn least(builder: &mut FunctionBuilder, a: Value, b: Value) -> Value {
    let mask = builder.ins().fcmp(FloatCC::LessThan, a, b);
    let mask = bitcast(builder, F32X4, mask);
    builder.ins().bitselect(mask, a, b)
}

/// `a > b ? a : b`.
pub(crate) fn greatest(builder: &mut FunctionBuilder, a: Value, b: Value) -> Value {
    let mask = builder.ins().fcmp(FloatCC::LessThan, b, a);
    let mask = bitcast(builder, F32X4, mask);
    builder.ins().bitselect(mask, a, b)
}

/// `x` where it is no number, else the greater or the lesser of it and a constant.
pub(crate) struct Bound {
    /// Bits of the constant: a number, and not -0.
    bits: u32,
    upper: bool,
}

impl Bound {
    /// With that constant, if it may be one.
    pub(crate) fn new(bits: u32, upper: bool) -> Option<Bound> {
        (!f32::from_bits(bits).is_nan() && bits != (-0.0f32).to_bits()).then_some(Bound { bits, upper })
    }

    /// The same with the constant as the first operand: then what is no number comes out as it is. So does a zero beside
    /// another one; -0 becomes 0 by a sum.
    pub(crate) fn emit(&self, builder: &mut FunctionBuilder, x: Value) -> Value {
        let constant = splat_f32(builder, self.bits);
        let bounded = if self.upper { least(builder, constant, x) } else { greatest(builder, constant, x) };
        if self.bits == 0 { builder.ins().fadd(bounded, constant) } else { bounded }
    }
}

/// A select that is one.
fn bound(program: &VectorProgram, [mask, x, other]: [Ref; 3]) -> Option<Bound> {
    let op = |r: Ref| program.ops()[usize::from(r.0)];
    let (upper, limit) = match (op(mask), op(other)) {
        (Op::Ne(a, b), Op::Max(c, limit)) if [a, b, c] == [x; 3] => (false, limit),
        (Op::Ne(a, b), Op::Min(c, limit)) if [a, b, c] == [x; 3] => (true, limit),
        _ => return None,
    };
    match op(limit) {
        Op::ConstF32(bits) => Bound::new(bits, upper),
        _ => None,
    }
}

fn emit_op(
    builder: &mut FunctionBuilder,
    arithmetic: Arithmetic,
    program: &VectorProgram,
    op: &Op,
    values: &[Value],
) -> Value {
    let v = |r: Ref| values[usize::from(r.0)];
    let compare = |builder: &mut FunctionBuilder, a: Ref, b: Ref, on_f32, on_i32| match program.lane_type(a) {
        LaneType::F32 => builder.ins().fcmp(on_f32, v(a), v(b)),
        LaneType::I32 => builder.ins().icmp(on_i32, v(a), v(b)),
    };
    match *op {
        Op::Input(..) => unreachable!("inputs are given by the caller"),
        Op::ConstF32(bits) => splat_f32(builder, bits),
        Op::ConstI32(x) => splat_i32(builder, x),
        Op::Add(a, b) => builder.ins().fadd(v(a), v(b)),
        Op::Sub(a, b) => builder.ins().fsub(v(a), v(b)),
        Op::Mul(a, b) => builder.ins().fmul(v(a), v(b)),
        Op::Div(a, b) => builder.ins().fdiv(v(a), v(b)),
        // Cranelift's own fmin and fmax treat NaN and zeros as Wasm does, at ten instructions; these two shapes it
        // recognises as minps and maxps.
        Op::Min(a, b) => least(builder, v(a), v(b)),
        Op::Max(a, b) => greatest(builder, v(a), v(b)),
        Op::Fma(a, b, c) => arithmetic.fma(builder, v(a), v(b), v(c)),
        Op::Sqrt(a) => builder.ins().sqrt(v(a)),
        Op::Neg(a) => builder.ins().fneg(v(a)),
        Op::Abs(a) => builder.ins().fabs(v(a)),
        Op::Floor(a) => builder.ins().floor(v(a)),
        Op::Ceil(a) => builder.ins().ceil(v(a)),
        Op::Trunc(a) => builder.ins().trunc(v(a)),
        Op::Nearest(a) => builder.ins().nearest(v(a)),
        Op::Lt(a, b) => compare(builder, a, b, FloatCC::LessThan, IntCC::SignedLessThan),
        Op::Le(a, b) => compare(builder, a, b, FloatCC::LessThanOrEqual, IntCC::SignedLessThanOrEqual),
        Op::Eq(a, b) => compare(builder, a, b, FloatCC::Equal, IntCC::Equal),
        Op::Ne(a, b) => compare(builder, a, b, FloatCC::NotEqual, IntCC::NotEqual),
        Op::Select(mask, a, b) if let Some(bound) = bound(program, [mask, a, b]) => bound.emit(builder, v(a)),
        Op::Select(mask, a, b) => match program.lane_type(a) {
            LaneType::I32 => builder.ins().bitselect(v(mask), v(a), v(b)),
            LaneType::F32 => {
                let mask = bitcast(builder, F32X4, v(mask));
                builder.ins().bitselect(mask, v(a), v(b))
            }
        },
        Op::And(a, b) => builder.ins().band(v(a), v(b)),
        Op::Or(a, b) => builder.ins().bor(v(a), v(b)),
        Op::Xor(a, b) => builder.ins().bxor(v(a), v(b)),
        Op::Not(a) => builder.ins().bnot(v(a)),
        Op::Shl(a, n) => {
            let n = builder.ins().iconst(I32, i64::from(n));
            builder.ins().ishl(v(a), n)
        }
        Op::ShrU(a, n) => {
            let n = builder.ins().iconst(I32, i64::from(n));
            builder.ins().ushr(v(a), n)
        }
        Op::ShrS(a, n) => {
            let n = builder.ins().iconst(I32, i64::from(n));
            builder.ins().sshr(v(a), n)
        }
        Op::IAdd(a, b) => builder.ins().iadd(v(a), v(b)),
        Op::ISub(a, b) => builder.ins().isub(v(a), v(b)),
        Op::IMul(a, b) => builder.ins().imul(v(a), v(b)),
        Op::Bitcast(a) => match program.lane_type(a) {
            LaneType::F32 => bitcast(builder, I32X4, v(a)),
            LaneType::I32 => bitcast(builder, F32X4, v(a)),
        },
        Op::ConvI32ToF32(a) => builder.ins().fcvt_from_sint(F32X4, v(a)),
        Op::TruncF32ToI32(a) => builder.ins().fcvt_to_sint_sat(I32X4, v(a)),
    }
}
