//! ops - the closed set of operations: one line in the table here, one file each.

#[macro_use]
mod table;
pub mod attr;
#[macro_use]
mod nest;

use crate::{form::Form, types::TensorType};

pub use arg_reduce::ArgKind;
pub use control::check_carried;
pub use pad::PadMode;
pub use pool::PoolKind;
pub use reduce::ReduceKind;
pub use tiled::TiledKind;
pub use training::TrainingKind;

/// What inference may look at.
pub struct InferCx<'a> {
    /// Types of the operands.
    pub operands: &'a [&'a TensorType],
    /// Types of the regions' parameters and results.
    pub regions: &'a [RegionTypes<'a>],
}

/// Types of a region's parameters and results.
pub struct RegionTypes<'a> {
    /// Of the parameters.
    pub params: Vec<&'a TensorType>,
    /// Of the results.
    pub results: Vec<&'a TensorType>,
}

/// What an operation knows about itself, independent of any target.
pub trait OpDef: std::fmt::Debug {
    /// Types of the results. The number of operands has been checked against the table.
    ///
    /// # Errors
    /// Names the violated constraint (`C1`, `C2`, ...) of the operation's header: "conv (C2): input has 3 channels,
    /// weight expects 5".
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String>;

    /// How the operation iterates; lowering and evaluation dispatch on this, never on the opcode. The operands have
    /// types that `infer` accepts.
    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form;
}

/// Implemented by every operation's struct.
pub trait OpStruct: OpDef + Sized {
    /// The struct, if that is the operation.
    fn from_op(op: &Op) -> Option<&Self>;
}

impl Op {
    /// Checks the number of operands against the table.
    ///
    /// # Errors
    /// Says how many there should be.
    pub fn check_arity(&self, operands: usize) -> Result<(), String> {
        let named = self.operand_names().len();
        if operands == named || (self.is_variadic() && operands > named) {
            return Ok(());
        }
        let more = if self.is_variadic() { " or more" } else { "" };
        Err(format!("{}: needs {named}{more} operands, has {operands}", self.mnemonic()))
    }
}

mod control;
mod window;

ops! {
    // Variant            mnemonic               operands                         file
    ConstantOp        = "constant"             ()                               in constant;
    Extents           = "extents"              ()                               in extents;
    ReadExtents       = "read_extents"         (extents)                        in read_extents;
    Iota              = "iota"                 ()                               in iota;

    Abs               = "abs"                  (input)                          in abs;
    Neg               = "neg"                  (input)                          in neg;
    Sign              = "sign"                 (input)                          in sign;
    Relu              = "relu"                 (input)                          in relu;
    Sqrt              = "sqrt"                 (input)                          in sqrt;
    Exp               = "exp"                  (input)                          in exp;
    Log               = "log"                  (input)                          in log;
    Tanh              = "tanh"                 (input)                          in tanh;
    Erf               = "erf"                  (input)                          in erf;
    Sigmoid           = "sigmoid"              (input)                          in sigmoid;
    Gelu              = "gelu"                 (input)                          in gelu;
    Sin               = "sin"                  (input)                          in sin;
    Cos               = "cos"                  (input)                          in cos;
    Tan               = "tan"                  (input)                          in tan;
    Asin              = "asin"                 (input)                          in asin;
    Acos              = "acos"                 (input)                          in acos;
    Atan              = "atan"                 (input)                          in atan;
    Sinh              = "sinh"                 (input)                          in sinh;
    Cosh              = "cosh"                 (input)                          in cosh;
    Asinh             = "asinh"                (input)                          in asinh;
    Acosh             = "acosh"                (input)                          in acosh;
    Atanh             = "atanh"                (input)                          in atanh;
    Floor             = "floor"                (input)                          in floor;
    Ceil              = "ceil"                 (input)                          in ceil;
    Trunc             = "trunc"                (input)                          in trunc;
    Round             = "round"                (input)                          in round;
    Not               = "not"                  (input)                          in not;
    BitNot            = "bit_not"              (input)                          in bit_not;
    IsNan             = "is_nan"               (input)                          in is_nan;
    IsInf             = "is_inf"               (input)                          in is_inf;

    Add               = "add"                  (lhs, rhs)                       in add;
    Sub               = "sub"                  (lhs, rhs)                       in sub;
    Mul               = "mul"                  (lhs, rhs)                       in mul;
    Div               = "div"                  (lhs, rhs)                       in div;
    Rem               = "rem"                  (lhs, rhs)                       in rem;
    Pow               = "pow"                  (lhs, rhs)                       in pow;
    Max               = "max"                  (lhs, rhs)                       in max;
    Min               = "min"                  (lhs, rhs)                       in min;
    And               = "and"                  (lhs, rhs)                       in and;
    Or                = "or"                   (lhs, rhs)                       in or;
    Xor               = "xor"                  (lhs, rhs)                       in xor;
    Shl               = "shl"                  (lhs, rhs)                       in shl;
    Shr               = "shr"                  (lhs, rhs)                       in shr;
    Equal             = "eq"                   (lhs, rhs)                       in eq;
    Less              = "lt"                   (lhs, rhs)                       in lt;
    LessOrEqual       = "le"                   (lhs, rhs)                       in le;

    Select            = "select"               (condition, on_true, on_false)   in select;
    Cast              = "cast"                 (input)                          in cast;

    Broadcast         = "broadcast"            (input)                          in broadcast;
    Transpose         = "transpose"            (input)                          in transpose;
    Reshape           = "reshape"              (input)                          in reshape;
    Concat            = "concat"               (first; rest)                    in concat;
    Slice             = "slice"                (input)                          in slice;
    Pad               = "pad"                  (input)                          in pad;
    Dilate            = "dilate"               (input)                          in dilate;
    UpsampleNearest   = "upsample_nearest"     (input)                          in upsample_nearest;
    Gather            = "gather"               (input, indices)                 in gather;
    GatherElements    = "gather_elements"      (input, indices)                 in gather_elements;
    GatherNd          = "gather_nd"            (input, indices)                 in gather_nd;
    ScatterElements   = "scatter_elements"     (input, indices, updates)        in scatter_elements;
    ScatterNd         = "scatter_nd"           (input, indices, updates)        in scatter_nd;

    Reduce            = "reduce"               (input)                          in reduce;
    ArgReduce         = "arg_reduce"           (input)                          in arg_reduce;
    Pool              = "pool"                 (input)                          in pool;
    ArgPool           = "arg_pool"             (input)                          in arg_pool;
    CumSum            = "cumsum"               (input)                          in cumsum;
    MatMul            = "matmul"               (lhs, rhs)                       in matmul;
    Contract          = "contract"             (lhs, rhs)                       in contract;
    Conv              = "conv"                 (input, weight)                  in conv;

    TopK              = "top_k"                (input, count)                   in top_k;
    NonZero           = "non_zero"             (input)                          in non_zero;
    Unique            = "unique"               (input)                          in unique;
    Compress          = "compress"             (input, condition)               in compress;
    NonMaxSuppression = "non_max_suppression"  (boxes, scores, max_boxes, max_overlap, min_score) in non_max_suppression;

    Fusion            = "fusion"               (; captures)                     in fusion;
    Tiled             = "tiled"                (; captures)                     in tiled;
    If                = "if"                   (condition; captures)            in if_op;
    Loop              = "loop"                 (trips, condition; rest)         in loop_op;
    Scan              = "scan"                 (; rest)                         in scan;
    Training          = "training"             (; operands)                     in training;
}
