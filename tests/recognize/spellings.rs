//! spellings - operators of ONNX, and what exporters write in their place.

use crate::steps::{
    Attr::{Float, Int, Ints, Text},
    Step,
};

/// ONNX's own operator, and spellings of it.
pub(crate) const SPELLINGS: &[(&[Step], &[&[Step]])] = &[
    (
        &[("HardSwish", &["x"], "y", &[])],
        &[
            &[
                ("Add", &["x", "3"], "a", &[]),
                ("Clip", &["a", "0", "6"], "b", &[]),
                ("Mul", &["x", "b"], "c", &[]),
                ("Div", &["c", "6"], "y", &[]),
            ],
            &[("HardSigmoid", &["x"], "a", &[("alpha", Float(1.0 / 6.0))]), ("Mul", &["a", "x"], "y", &[])],
        ],
    ),
    (
        &[("HardSigmoid", &["x"], "y", &[("alpha", Float(1.0 / 6.0))])],
        &[&[
            ("Add", &["3", "x"], "a", &[]),
            ("Clip", &["a", "0", "6"], "b", &[]),
            ("Div", &["b", "6"], "y", &[]),
        ]],
    ),
    (
        &[("Sigmoid", &["x"], "y", &[])],
        &[&[
            ("Neg", &["x"], "a", &[]),
            ("Exp", &["a"], "b", &[]),
            ("Add", &["1", "b"], "c", &[]),
            ("Reciprocal", &["c"], "y", &[]),
        ]],
    ),
    (
        &[("Swish", &["x"], "y", &[])],
        &[
            &[("Sigmoid", &["x"], "a", &[]), ("Mul", &["a", "x"], "y", &[])],
            &[
                ("Neg", &["x"], "a", &[]),
                ("Exp", &["a"], "b", &[]),
                ("Add", &["1", "b"], "c", &[]),
                ("Div", &["x", "c"], "y", &[]),
            ],
        ],
    ),
    (
        &[("Softplus", &["x"], "y", &[])],
        &[&[("Exp", &["x"], "a", &[]), ("Add", &["a", "1"], "b", &[]), ("Log", &["b"], "y", &[])]],
    ),
    (
        &[("Mish", &["x"], "y", &[])],
        &[&[
            ("Exp", &["x"], "a", &[]),
            ("Add", &["a", "1"], "b", &[]),
            ("Log", &["b"], "c", &[]),
            ("Tanh", &["c"], "d", &[]),
            ("Mul", &["d", "x"], "y", &[]),
        ]],
    ),
    (
        &[("Gelu", &["x"], "y", &[])],
        &[
            &[
                ("Div", &["x", "sqrt2"], "a", &[]),
                ("Erf", &["a"], "b", &[]),
                ("Add", &["b", "1"], "c", &[]),
                ("Mul", &["x", "c"], "d", &[]),
                ("Mul", &["d", "0.5"], "y", &[]),
            ],
            &[
                ("Mul", &["rsqrt2", "x"], "a", &[]),
                ("Erf", &["a"], "b", &[]),
                ("Add", &["1", "b"], "c", &[]),
                ("Mul", &["0.5", "x"], "d", &[]),
                ("Mul", &["c", "d"], "y", &[]),
            ],
        ],
    ),
    (
        &[("Gelu", &["x"], "y", &[("approximate", Text("tanh"))])],
        &[
            &[
                ("Pow", &["x", "3"], "a", &[]),
                ("Mul", &["a", "0.044715"], "b", &[]),
                ("Add", &["x", "b"], "c", &[]),
                ("Mul", &["sqrt2/pi", "c"], "d", &[]),
                ("Tanh", &["d"], "e", &[]),
                ("Add", &["e", "1"], "f", &[]),
                ("Mul", &["x", "f"], "g", &[]),
                ("Mul", &["g", "0.5"], "y", &[]),
            ],
            &[
                ("Mul", &["0.044715", "x"], "a", &[]),
                ("Mul", &["a", "x"], "b", &[]),
                ("Add", &["1", "b"], "c", &[]),
                ("Mul", &["sqrt2/pi", "x"], "d", &[]),
                ("Mul", &["c", "d"], "e", &[]),
                ("Tanh", &["e"], "f", &[]),
                ("Add", &["1", "f"], "g", &[]),
                ("Mul", &["0.5", "g"], "h", &[]),
                ("Mul", &["x", "h"], "y", &[]),
            ],
        ],
    ),
    (
        &[("LayerNormalization", &["x", "scale", "bias"], "y", &[])],
        &[
            &[
                ("ReduceMean", &["x", "last"], "a", &[]),
                ("Sub", &["x", "a"], "b", &[]),
                ("Pow", &["b", "2"], "c", &[]),
                ("ReduceMean", &["c", "last"], "d", &[]),
                ("Add", &["d", "1e-5"], "e", &[]),
                ("Sqrt", &["e"], "f", &[]),
                ("Div", &["b", "f"], "g", &[]),
                ("Mul", &["scale", "g"], "h", &[]),
                ("Add", &["h", "bias"], "y", &[]),
            ],
            &[
                ("ReduceSum", &["x", "last"], "a0", &[]),
                ("Mul", &["a0", "0.125"], "a", &[]),
                ("Mul", &["x", "x"], "c", &[]),
                ("ReduceMean", &["c", "last"], "d", &[]),
                ("Mul", &["a", "a"], "d0", &[]),
                ("Sub", &["d", "d0"], "d1", &[]),
                ("Add", &["d1", "1e-5"], "e", &[]),
                ("Sqrt", &["e"], "f", &[]),
                ("Reciprocal", &["f"], "g", &[]),
                ("Mul", &["g", "scale"], "h", &[]),
                ("Sub", &["x", "a"], "b", &[]),
                ("Mul", &["b", "h"], "i", &[]),
                ("Add", &["i", "bias"], "y", &[]),
            ],
        ],
    ),
    (
        &[("GroupNormalization", &["image", "scale", "bias"], "y", &[("num_groups", Int(4))])],
        &[
            // As PyTorch exports it.
            &[
                ("Reshape", &["image", "groups"], "a", &[]),
                ("InstanceNormalization", &["a", "ones", "zeros"], "b", &[]),
                ("Reshape", &["b", "whole"], "c", &[]),
                ("Mul", &["c", "channel scale"], "d", &[]),
                ("Add", &["d", "channel bias"], "y", &[]),
            ],
            &[
                ("Reshape", &["image", "flat groups"], "a", &[]),
                ("ReduceMean", &["a", "last"], "b", &[]),
                ("Sub", &["a", "b"], "c", &[]),
                ("Mul", &["c", "c"], "d", &[]),
                ("ReduceMean", &["d", "last"], "e", &[]),
                ("Add", &["e", "1e-5"], "f", &[]),
                ("Sqrt", &["f"], "g", &[]),
                ("Div", &["c", "g"], "h", &[]),
                ("Reshape", &["h", "whole"], "i", &[]),
                ("Mul", &["i", "channel scale"], "j", &[]),
                ("Add", &["j", "channel bias"], "y", &[]),
            ],
        ],
    ),
    (
        &[("RMSNormalization", &["x", "scale"], "y", &[])],
        &[&[
            ("Pow", &["x", "2"], "a", &[]),
            ("ReduceMean", &["a", "last"], "b", &[]),
            ("Add", &["b", "1e-5"], "c", &[]),
            ("Sqrt", &["c"], "d", &[]),
            ("Div", &["x", "d"], "e", &[]),
            ("Mul", &["scale", "e"], "y", &[]),
        ]],
    ),
    (
        &[("Softmax", &["x"], "y", &[])],
        &[
            &[
                ("Exp", &["x"], "a", &[]),
                ("ReduceSum", &["a", "last"], "b", &[]),
                ("Div", &["a", "b"], "y", &[]),
            ],
            &[
                ("ReduceMax", &["x", "last"], "a", &[]),
                ("Sub", &["x", "a"], "b", &[]),
                ("Exp", &["b"], "c", &[]),
                ("ReduceSum", &["c", "last"], "d", &[]),
                ("Reciprocal", &["d"], "e", &[]),
                ("Mul", &["c", "e"], "y", &[]),
            ],
        ],
    ),
    (
        &[("LogSoftmax", &["x"], "y", &[])],
        &[
            &[("Softmax", &["x"], "a", &[]), ("Log", &["a"], "y", &[])],
            &[("ReduceLogSumExp", &["x", "last"], "a", &[]), ("Sub", &["x", "a"], "y", &[])],
        ],
    ),
    (
        &[("Attention", &["q", "k", "v"], "y", &[])],
        &[&[
            ("Transpose", &["k"], "kt", &[("perm", Ints(&[0, 1, 3, 2]))]),
            ("MatMul", &["q", "kt"], "a", &[]),
            ("Div", &["a", "2"], "b", &[]),
            ("Softmax", &["b"], "c", &[]),
            ("MatMul", &["c", "v"], "y", &[]),
        ]],
    ),
    (
        &[("RotaryEmbedding", &["q", "cosines", "sines"], "y", &[])],
        &[
            &[
                ("Unsqueeze", &["cosines", "one"], "c", &[]),
                ("Unsqueeze", &["sines", "one"], "s", &[]),
                ("Slice", &["q", "zero", "two", "last"], "a", &[]),
                ("Slice", &["q", "two", "four", "last"], "b", &[]),
                ("Mul", &["c", "a"], "ca", &[]),
                ("Mul", &["s", "b"], "sb", &[]),
                ("Sub", &["ca", "sb"], "real", &[]),
                ("Mul", &["s", "a"], "sa", &[]),
                ("Mul", &["b", "c"], "bc", &[]),
                ("Add", &["bc", "sa"], "imaginary", &[]),
                ("Concat", &["real", "imaginary"], "y", &[("axis", Int(-1))]),
            ],
            // As Hugging Face's models spell it.
            &[
                ("Concat", &["cosines", "cosines"], "cc", &[("axis", Int(-1))]),
                ("Concat", &["sines", "sines"], "ss", &[("axis", Int(-1))]),
                ("Unsqueeze", &["cc", "one"], "c", &[]),
                ("Unsqueeze", &["ss", "one"], "s", &[]),
                ("Mul", &["q", "c"], "qc", &[]),
                ("Slice", &["q", "zero", "two", "last"], "a", &[]),
                ("Slice", &["q", "two", "four", "last"], "b", &[]),
                ("Neg", &["b"], "n", &[]),
                ("Concat", &["n", "a"], "r", &[("axis", Int(-1))]),
                ("Mul", &["r", "s"], "rs", &[]),
                ("Add", &["qc", "rs"], "y", &[]),
            ],
        ],
    ),
    (
        &[("ReduceMean", &["x", "last"], "y", &[])],
        &[&[("ReduceSum", &["x", "last"], "a", &[]), ("Mul", &["a", "0.125"], "y", &[])]],
    ),
    (
        &[("LpNormalization", &["x"], "y", &[])],
        &[
            &[("ReduceL2", &["x", "last"], "a", &[]), ("Div", &["x", "a"], "y", &[])],
            &[
                ("Mul", &["x", "x"], "a", &[]),
                ("ReduceSum", &["a", "last"], "b", &[]),
                ("Sqrt", &["b"], "c", &[]),
                ("Div", &["x", "c"], "y", &[]),
            ],
        ],
    ),
    (
        &[("DepthToSpace", &["image"], "y", &[("blocksize", Int(2))])],
        &[&[
            ("Reshape", &["image", "blocks"], "a", &[]),
            ("Transpose", &["a"], "b", &[("perm", Ints(&[0, 3, 4, 1, 5, 2]))]),
            ("Reshape", &["b", "wide"], "y", &[]),
        ]],
    ),
];

/// Group normalization and the activation behind it, as they stand in diffusion models.
pub(crate) const GROUP_NORM_SILU: &[Step] = &[
    ("Reshape", &["image", "groups"], "a", &[]),
    ("InstanceNormalization", &["a", "ones", "zeros"], "b", &[]),
    ("Reshape", &["b", "whole"], "c", &[]),
    ("Mul", &["c", "channel scale"], "d", &[]),
    ("Add", &["d", "channel bias"], "e", &[]),
    ("Sigmoid", &["e"], "f", &[]),
    ("Mul", &["e", "f"], "y", &[]),
];
