//! op_table - what holds for every operation: attributes read back as printed, inference and forms never panic.

mod support;

use nnc_ir::{
    dtype::DType,
    extent::Extent,
    form::{Bounds, Form, Ix, LoopForm},
    ops::{InferCx, Op, OpKind, attr::Reader},
    types::TensorType,
};
use support::{samples, symbol};

#[test]
fn every_operation_has_a_sample() {
    let kinds: Vec<OpKind> = samples().iter().map(Op::kind).collect();
    for kind in OpKind::ALL {
        assert!(kinds.contains(kind), "{kind:?}");
    }
}

#[test]
fn attributes_are_read_back_as_printed() {
    for op in samples() {
        let printed = op.attrs();
        for (_, text) in &printed {
            assert!(!text.contains(char::is_whitespace), "{text}");
        }
        let attrs = printed.iter().map(|(n, t)| (*n, t.as_str())).collect();
        let mut reader = Reader { attrs, constants: None };
        assert_eq!(Op::parse(op.mnemonic(), &mut reader), Ok(op));
        assert!(reader.attrs.is_empty(), "{:?}", reader.attrs);
    }
}

#[test]
fn mnemonics_are_distinct_and_in_lower_case() {
    let mut names: Vec<&str> = OpKind::ALL.iter().map(|k| k.mnemonic()).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|w| w[0] != w[1]));
    assert!(names.iter().all(|n| n.chars().all(|c| c.is_ascii_lowercase() || c == '_')));
}

/// Pseudorandom bits (Steele, Lea & Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize % n
    }
    fn number(&mut self) -> i64 {
        const ODD: [i64; 12] = [0, 1, 2, 3, 4, -1, -2, 7, 1 << 31, i64::MAX, i64::MIN, i64::MIN + 1];
        ODD[self.below(ODD.len())]
    }
    fn extent(&mut self) -> Extent {
        match self.below(8) {
            0 => symbol(self.below(3)),
            1 => &symbol(3) + &Extent::Const(self.number()),
            2 => symbol(3).floor_div(&Extent::Const(2)),
            3 | 4 => Extent::Const(self.number()),
            _ => Extent::Const([1, 2, 3, 4][self.below(4)]),
        }
    }
    fn ty(&mut self) -> TensorType {
        let dtypes = [DType::F32, DType::F32, DType::I64, DType::Bool, DType::F16, DType::U8, DType::I32];
        let rank = self.below(6);
        let shape: Vec<Extent> = (0..rank).map(|_| self.extent()).collect();
        TensorType::new(dtypes[self.below(dtypes.len())], shape)
    }
}

/// A different operation of the same kind: every number of its attributes is replaced.
fn mutate(op: &Op, random: &mut Random) -> Option<Op> {
    let mut attrs = op.attrs();
    for (_, text) in &mut attrs {
        let mut out = String::new();
        let mut digits = String::new();
        for c in text.chars().chain([' ']) {
            if c.is_ascii_digit() || (c == '-' && digits.is_empty()) {
                digits.push(c);
                continue;
            }
            if !digits.is_empty() {
                let keep = random.below(3) > 0 || digits == "-" || out.ends_with(|c: char| c.is_alphabetic());
                out.push_str(&if keep { digits.clone() } else { random.number().to_string() });
                digits.clear();
            }
            if c == ']' && random.below(12) == 0 && out.ends_with(|c: char| c.is_ascii_digit()) {
                out.push_str(",1");
            }
            out.push(c);
        }
        *text = out.trim_end().to_owned();
    }
    let mut reader = Reader { attrs: attrs.iter().map(|(n, t)| (*n, t.as_str())).collect(), constants: None };
    Op::parse(op.mnemonic(), &mut reader).ok()
}

#[test]
fn inference_and_forms_take_anything_without_panic() {
    let mut random = Random(7);
    let mut accepted = vec![0; OpKind::ALL.len()];
    for round in 0..4000 {
        for op in samples() {
            let op = if round % 2 == 0 { op } else { mutate(&op, &mut random).unwrap_or(op) };
            let named = op.operand_names().len();
            let count = named + if op.is_variadic() { random.below(3) } else { 0 };
            let first = random.ty();
            let operands: Vec<TensorType> = (0..count)
                .map(|i| if i == 0 || random.below(2) == 0 { first.clone() } else { random.ty() })
                .collect();
            let operands: Vec<&TensorType> = operands.iter().collect();
            let cx = InferCx { operands: &operands, regions: &[] };
            match op.def().infer(&cx) {
                Ok(results) => {
                    accepted[op.kind() as usize] += 1;
                    let results: Vec<&TensorType> = results.iter().collect();
                    check_form(&op, &op.def().form(&operands, &results), &operands, &results);
                }
                Err(message) => assert!(message.contains(op.mnemonic()), "{message}"),
            }
        }
    }
    let regions = ["fusion", "tiled", "training", "if", "loop", "scan"];
    // Three boxes of the right types are too rare a find.
    let rare = ["non_max_suppression"];
    for kind in OpKind::ALL {
        let expected = !regions.contains(&kind.mnemonic()) && !rare.contains(&kind.mnemonic());
        assert!(!expected || accepted[*kind as usize] > 0, "{kind:?} was never accepted");
    }
}

fn check_form(op: &Op, form: &Form, operands: &[&TensorType], results: &[&TensorType]) {
    match form {
        Form::Loops(form) => check_loops(op, form, operands, results),
        Form::Scatter(form) => {
            assert_eq!(form.index.len(), results[0].rank(), "{op:?}");
            for load in &form.loads {
                assert_eq!(load.index.len(), operands[load.operand].rank(), "{op:?}");
            }
        }
        _ => {}
    }
}

fn check_loops(op: &Op, form: &LoopForm, operands: &[&TensorType], results: &[&TensorType]) {
    assert_eq!(form.combine.is_some(), !form.reduce.is_empty(), "{op:?}");
    assert_eq!(form.combine.is_some(), !form.finish.results.is_empty(), "{op:?}");
    assert_eq!(form.space, results[0].shape, "{op:?}");
    assert_eq!(form.results, [results[0].dtype], "{op:?}");
    let last = if form.combine.is_some() { &form.finish } else { &form.body };
    let gives: Vec<DType> = last.result_dtypes().collect();
    assert_eq!(gives, [results[0].dtype.compute()], "{op:?}");
    for (k, load) in form.loads.iter().enumerate() {
        let operand = operands[load.operand];
        assert_eq!((load.dtype, &load.extents), (operand.dtype, &operand.shape), "{op:?}");
        assert_eq!(load.index.len(), operand.rank(), "{op:?}");
        if let Bounds::Guard(value) = load.bounds {
            assert_eq!(value.dtype, operand.dtype.compute(), "{op:?}");
        }
        for ix in &load.index {
            ix.visit(&mut |part| match part {
                Ix::Axis(a) => assert!(*a < form.axes(), "{op:?}"),
                Ix::Load(j) => assert!(*j < k, "{op:?}: load {k} refers to a later one"),
                _ => {}
            });
        }
    }
}
