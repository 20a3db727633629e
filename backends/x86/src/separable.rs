//! separable - transforms of squares: columns to scratch memory, then rows of that to the results.
//!
//! One turn of the loop does a vector of channels; what remains of the channels is done by the same code under a mask. With
//! AVX-512 the constants of the transform stay in registers.

use iced_x86::{Code, Register};
use nnc_tile::{
    epilogue::EpilogueInput,
    gemm::Stride,
    program::Op,
    separable::{Separable, SeparableArg},
};

use crate::{
    Level,
    asm::{Asm, EncodeError, K, Lanes, Mem, V},
    frame::{Frame, POOL, TEMP},
    program::{self, Input},
};

const X: Register = Register::RDI;
const Y: Register = Register::RSI;
/// Bytes of channels that are done.
const DONE: Register = Register::RCX;

/// Constants that stay in registers.
fn constants(spec: &Separable, level: Level) -> Vec<(u32, V)> {
    if level != Level::Avx512 {
        return vec![];
    }
    let top = level.registers() as u8 - 1;
    let bits = spec.program.ops().iter().filter_map(|op| match op {
        Op::ConstF32(bits) => Some(*bits),
        _ => None,
    });
    bits.take(8).zip((0..top).rev()).map(|(bits, register)| (bits, V(register))).collect()
}

/// Registers for whole programs; AVX2's mask is in the last.
fn free(spec: &Separable, level: Level) -> Vec<V> {
    let held = constants(spec, level).len() + 1;
    (0..(level.registers() - held) as u8).map(V).collect()
}

/// General-purpose registers that multiples of a step up to `count - 1` take.
fn multiples(step: Stride, count: usize) -> usize {
    if step == Stride::Arg { count / 2 } else { 0 }
}

/// Whether there are registers for the tile.
pub(crate) fn supports(spec: &Separable, level: Level) -> bool {
    let (n, m) = (spec.n(), spec.m());
    let free = free(spec, level).len();
    let walk = |steps: [Stride; 2]| usize::from(steps.contains(&Stride::Arg));
    let inputs = spec.epilogue.iter().flat_map(|e| &e.inputs);
    let operands: usize = inputs.map(|i| 1 + usize::from(*i == EpilogueInput::Tile)).sum();
    let general = multiples(spec.x[0], n) + walk(spec.x) + multiples(spec.y[1], m) + walk(spec.y) + operands;
    let epilogue = spec.epilogue.as_ref().is_none_or(|e| program::registers(&e.program) + m < free);
    general <= POOL.len() && program::registers(&spec.program) < free && epilogue
}

/// The function of a tile.
pub(crate) fn emit(spec: &Separable, level: Level) -> Result<Vec<u8>, EncodeError> {
    spec.check();
    if !supports(spec, level) {
        return Err(EncodeError("more registers than there are".into()));
    }
    let (lanes, channels) = (level.lanes(), spec.channels as usize);
    let mut asm = Asm::new(level);
    let frame = Frame::open(&mut asm, spec.args(), spec.n() * spec.m() * 4 * lanes);
    let constants = constants(spec, level);
    for (bits, register) in &constants {
        asm.constant(*register, *bits);
    }
    let free = free(spec, level);
    let mut pool = POOL.to_vec();
    let mut gen_ = Gen {
        x: Side { base: X, walk: None, odd: vec![], steps: [None; 2] },
        y: Side { base: Y, walk: None, odd: vec![], steps: [None; 2] },
        operands: vec![],
        asm: &mut asm,
        spec,
        frame,
        constants,
        free,
    };
    gen_.x = gen_.side(X, spec.x, 1, [SeparableArg::XRow, SeparableArg::XCol], &mut pool);
    gen_.y = gen_.side(Y, spec.y, 0, [SeparableArg::YRow, SeparableArg::YCol], &mut pool);
    gen_.bind(&mut pool);
    gen_.asm.mov_imm(DONE, 0);
    let (whole, rest) = (channels / lanes, channels % lanes);
    if whole > 0 {
        let again = gen_.asm.here();
        gen_.turn(Lanes::All);
        if whole > 1 || rest > 0 {
            gen_.asm.add_imm(DONE, 4 * lanes as i64);
        }
        if whole > 1 {
            gen_.asm.mov(TEMP, DONE);
            gen_.asm.add_imm(TEMP, -((4 * lanes * whole) as i64));
            gen_.asm.jump(Code::Jl_rel32_64, again);
        }
    }
    if rest > 0 {
        let signs = V(level.registers() as u8 - 1);
        let mask = gen_.asm.first_lanes(rest, K(1), signs, TEMP);
        gen_.turn(mask);
    }
    gen_.frame.close(gen_.asm);
    asm.finish()
}

/// How elements of the inputs or of the results are found: along one axis a pointer walks, unless all is constant.
#[derive(Clone)]
struct Side {
    base: Register,
    walk: Option<Register>,
    /// 1, 3, 5, ... times the step of the other axis in bytes, if that is no constant.
    odd: Vec<Register>,
    /// Constant steps in bytes.
    steps: [Option<i64>; 2],
}

struct Gen<'a> {
    asm: &'a mut Asm,
    spec: &'a Separable,
    frame: Frame<SeparableArg>,
    constants: Vec<(u32, V)>,
    free: Vec<V>,
    x: Side,
    y: Side,
    operands: Vec<Operand>,
}

/// Where an operand of the epilogue is.
#[derive(Clone, Copy)]
enum Operand {
    Col(Register),
    Scalar(Register),
    /// Of this number: its row, and its pixel.
    Tile(usize, Register, Register),
}

impl Gen<'_> {
    /// A side whose pointer walks along axis `walking`.
    fn side(
        &mut self,
        base: Register,
        steps: [Stride; 2],
        walking: usize,
        args: [SeparableArg; 2],
        pool: &mut Vec<Register>,
    ) -> Side {
        let mut take = || pool.pop().expect("`supports` has counted registers");
        let constant = steps.map(|s| match s {
            Stride::Const(elements) => Some(4 * i64::from(elements)),
            Stride::Arg => None,
        });
        let walk = constant.contains(&None).then(&mut take);
        let across = 1 - walking;
        let count = if base == X { self.spec.n() } else { self.spec.m() };
        let odd: Vec<Register> = (0..multiples(steps[across], count)).map(|_| take()).collect();
        if let Some(&one) = odd.first() {
            let from = self.frame.arg(args[across]);
            self.asm.mov_load(one, from);
            self.asm.shl(one, 2);
            for pair in odd.windows(2) {
                self.asm.lea(pair[1], Mem { base: pair[0], index: Some((one, 2)), disp: 0 });
            }
        }
        Side { base, walk, odd, steps: constant }
    }

    /// Registers of the epilogue's operands.
    fn bind(&mut self, pool: &mut Vec<Register>) {
        let spec = self.spec;
        for (number, kind) in spec.epilogue.iter().flat_map(|e| &e.inputs).enumerate() {
            let mut take = || pool.pop().expect("`supports` has counted registers");
            let pointer = take();
            self.operands.push(match kind {
                EpilogueInput::Tile => Operand::Tile(number, pointer, take()),
                _ => {
                    let from = self.frame.arg(SeparableArg::Epilogue(number));
                    self.asm.mov_load(pointer, from);
                    if *kind == EpilogueInput::Col { Operand::Col(pointer) } else { Operand::Scalar(pointer) }
                }
            });
        }
    }

    /// One vector of channels.
    fn turn(&mut self, lanes: Lanes) {
        let (spec, n, m) = (self.spec, self.spec.n(), self.spec.m());
        let bytes = 4 * self.asm.level.lanes() as i64;
        let scratch = |i: usize, j: usize| Mem::at(Register::RSP, bytes * (i * n + j) as i64);
        let x = self.x.clone();
        self.start(&x);
        for j in 0..n {
            let inputs: Vec<Input> = (0..n).map(|i| Input::Lanes(element(&x, (i, j), 1), lanes)).collect();
            let results = program::emit_with(self.asm, &spec.program, &inputs, &self.constants, &self.free);
            for (i, result) in results.into_iter().enumerate() {
                self.asm.store(scratch(i, j), result, Lanes::All);
            }
            if j + 1 < n {
                self.step(&x, 1, SeparableArg::XCol);
            }
        }
        let y = self.y.clone();
        self.start(&y);
        self.start_operands();
        let done = self.asm.label();
        for i in 0..m {
            if i > 0 {
                self.stop_at(SeparableArg::Rows, i, done);
            }
            let inputs: Vec<Input> = (0..n).map(|j| Input::Lanes(scratch(i, j), Lanes::All)).collect();
            let results = program::emit_with(self.asm, &spec.program, &inputs, &self.constants, &self.free);
            self.finish_row(&y, i, &results, lanes);
            if i + 1 < m {
                self.step(&y, 0, SeparableArg::YRow);
                self.step_operands();
            }
        }
        self.asm.place(done);
    }

    /// Jumps where a count is at most `at`.
    fn stop_at(&mut self, count: SeparableArg, at: usize, to: crate::asm::Label) {
        if self.spec.partial {
            let from = self.frame.arg(count);
            self.asm.mov_load(TEMP, from);
            self.asm.add_imm(TEMP, -(at as i64));
            self.asm.jump(Code::Jle_rel32_64, to);
        }
    }

    /// The epilogue and the stores of a row.
    fn finish_row(&mut self, y: &Side, i: usize, results: &[V], lanes: Lanes) {
        let spec = self.spec;
        let row_done = self.asm.label();
        for operand in self.operands.clone() {
            if let Operand::Tile(_, row, pixel) = operand {
                self.asm.mov(pixel, row);
            }
        }
        for (j, &result) in results.iter().enumerate() {
            if j > 0 {
                self.stop_at(SeparableArg::Cols, j, row_done);
            }
            let value = match &spec.epilogue {
                None => result,
                Some(e) => {
                    let waiting = &results[j + 1..];
                    let mut free: Vec<V> =
                        self.free.iter().copied().filter(|v| *v != result && !waiting.contains(v)).collect();
                    let shared = waiting.contains(&result) || self.constants.iter().any(|c| c.1 == result);
                    let own = if shared {
                        let own = free.pop().expect("`supports` has counted registers");
                        self.asm.copy(own, result);
                        own
                    } else {
                        result
                    };
                    let of = |operand: &Operand| match *operand {
                        Operand::Col(pointer) => {
                            Input::Lanes(Mem { base: pointer, index: Some((DONE, 1)), disp: 0 }, lanes)
                        }
                        Operand::Scalar(pointer) => Input::Splat(Mem::at(pointer, 0)),
                        Operand::Tile(_, _, pixel) => Input::Lanes(Mem::at(pixel, 0), lanes),
                    };
                    let inputs: Vec<Input> =
                        std::iter::once(Input::Own(own)).chain(self.operands.iter().map(of)).collect();
                    program::emit(self.asm, &e.program, &inputs, &free)[0]
                }
            };
            self.asm.store(element(y, (i, j), 0), value, lanes);
            if j + 1 < results.len() {
                for operand in self.operands.clone() {
                    if let Operand::Tile(number, _, pixel) = operand {
                        self.advance(pixel, SeparableArg::EpilogueCol(number));
                    }
                }
            }
        }
        self.asm.place(row_done);
    }

    /// `pointer += step`, the step an argument in elements.
    fn advance(&mut self, pointer: Register, step: SeparableArg) {
        let from = self.frame.arg(step);
        self.asm.mov_load(TEMP, from);
        self.asm.lea(pointer, Mem { base: pointer, index: Some((TEMP, 4)), disp: 0 });
    }

    /// Puts the pointer of a side to its first element.
    fn start(&mut self, side: &Side) {
        if let Some(walk) = side.walk {
            self.asm.lea(walk, Mem { base: side.base, index: Some((DONE, 1)), disp: 0 });
        }
    }

    /// Moves the pointer of a side on along an axis.
    fn step(&mut self, side: &Side, axis: usize, arg: SeparableArg) {
        let Some(walk) = side.walk else { return };
        match side.steps[axis] {
            Some(bytes) => self.asm.add_imm(walk, bytes),
            None => self.advance(walk, arg),
        }
    }

    fn start_operands(&mut self) {
        for operand in self.operands.clone() {
            if let Operand::Tile(number, row, _) = operand {
                let from = self.frame.arg(SeparableArg::Epilogue(number));
                self.asm.mov_load(row, from);
                self.asm.add(row, DONE);
            }
        }
    }

    fn step_operands(&mut self) {
        for operand in self.operands.clone() {
            if let Operand::Tile(number, row, _) = operand {
                self.advance(row, SeparableArg::EpilogueRow(number));
            }
        }
    }
}

/// Where element (i, j) of a side is; its pointer, if it walks, has walked along axis `walking`.
fn element(side: &Side, (i, j): (usize, usize), walking: usize) -> Mem {
    let (along, across) = if walking == 0 { (i, j) } else { (j, i) };
    let disp = |axis: usize, by: usize| side.steps[axis].map_or(0, |bytes| bytes * by as i64);
    match side.walk {
        None => Mem {
            base: side.base,
            index: Some((DONE, 1)),
            disp: disp(walking, along) + disp(1 - walking, across),
        },
        Some(walk) => {
            let index = (!side.odd.is_empty() && across > 0).then(|| {
                let power = across.trailing_zeros();
                (side.odd[(across >> power) / 2], 1u32 << power)
            });
            Mem { base: walk, index, disp: disp(1 - walking, across) }
        }
    }
}
