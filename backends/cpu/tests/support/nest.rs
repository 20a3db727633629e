//! nest - compiles kernels of nests, runs them on guarded buffers, and evaluates nests one point after another.
#![allow(dead_code, reason = "each test uses its own part")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use crate::support::{Code, Rng, call, compile_linked, host_isa, host_levels, plain_isa};
use memmap2::{MmapMut, MmapOptions};
use nnc_cpu::{
    frame::{Frame, PointerSlot},
    kernel::{Kernel, LowerCx, NestRequest, OperandRef, Placement},
    lower::{LowerError, lower_nest},
};
use nnc_ir::{
    constant::Constant,
    dtype::{DType, Scalar},
    entity::EntityId,
    eval::program::eval_program,
    extent::{Extent, SymbolId},
    form::{Bounds, Combine, Ix, Load, LoopForm},
    math,
    program::{Binary, Builder, MulAdds, Ref},
};
use nnc_x86::Level;
use std::cell::Cell;
use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Values of the symbols of a test.
pub(crate) type Symbols = Vec<i64>;

/// The value of an extent.
pub(crate) fn value(e: &Extent, symbols: &Symbols) -> i64 {
    e.eval(&|s: SymbolId| Some(symbols[s.index()])).unwrap()
}

const PAGE: usize = 4096;
const CANARY: u8 = 0xa5;

/// Bytes that end where an unmapped page begins, with canaries before them.
pub(crate) struct Buffer {
    map: MmapMut,
    start: usize,
    len: usize,
}

impl Buffer {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let pages = (bytes.len() + 64).div_ceil(PAGE) * PAGE;
        let name = format!("nnc-nest-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.set_len(pages as u64).unwrap();
        // SAFETY: the file has no name any more, so nobody else changes it; touching what is mapped beyond its end
        // kills the process, which is what the test is for.
        let mut map = unsafe { MmapOptions::new().len(pages + PAGE).map_mut(&file).unwrap() };
        let start = pages - bytes.len();
        map[..start].fill(CANARY);
        map[start..pages].copy_from_slice(bytes);
        Self { map, start, len: bytes.len() }
    }
    pub(crate) fn address(&self) -> i64 {
        self.map[self.start..].as_ptr() as i64
    }
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map[self.start..self.start + self.len]
    }
    /// Checks that nothing was written before the buffer.
    pub(crate) fn check(&self) {
        assert!(self.map[..self.start].iter().all(|&b| b == CANARY), "written before the buffer");
    }
}

/// A kernel made for this host, with its frame.
pub(crate) struct Compiled {
    pub(crate) code: Code,
    pub(crate) items: Extent,
    pub(crate) may_fault: bool,
    pub(crate) scratch_bytes: Extent,
    /// Whether tiles do it.
    pub(crate) scheduled: bool,
    /// Wide tiles that it calls.
    pub(crate) tiles: usize,
    /// Whether it is made for a target without multiply-adds.
    pub(crate) plain: bool,
    frame: Frame,
    pointers: usize,
    packed: Vec<(PointerSlot, Buffer)>,
}

/// Workers that a test runs at most.
const WORKERS: usize = 4;

thread_local! {
    /// What the next kernel is made for, by its position.
    static NEXT: Cell<usize> = const { Cell::new(0) };
}

/// What a kernel is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Wide code that it may call.
    level: Option<Level>,
    /// Whether the target has no multiply-adds.
    plain: bool,
}

impl From<Option<Level>> for Machine {
    fn from(level: Option<Level>) -> Self {
        Machine { level, plain: false }
    }
}

/// What this machine can do: the kernels of a test are made with each in turn.
pub(crate) fn next_machine() -> Machine {
    let plain = Machine { level: None, plain: true };
    let levels = std::iter::once(None).chain(host_levels().into_iter().map(Some));
    let machines: Vec<Machine> = levels.map(Machine::from).chain([plain]).collect();
    let machine = machines[NEXT.get() % machines.len()];
    NEXT.set(NEXT.get() + 1);
    println!("for {machine:?}");
    machine
}

/// Compiles with `lower`; buffers get the slots in order. Kernels take turns in what wide code they may call.
pub(crate) fn compile_with(
    pointers: usize,
    lower: impl FnOnce(&[PointerSlot], &mut LowerCx<'_>) -> Result<Kernel, LowerError>,
) -> Compiled {
    compile_at(next_machine(), pointers, lower)
}

/// Likewise, with what it is made for given.
pub(crate) fn compile_at(
    machine: impl Into<Machine>,
    pointers: usize,
    lower: impl FnOnce(&[PointerSlot], &mut LowerCx<'_>) -> Result<Kernel, LowerError>,
) -> Compiled {
    let Machine { level, plain } = machine.into();
    let isa_at = |opt_level| if plain { plain_isa(opt_level) } else { host_isa(opt_level) };
    let isa = isa_at("speed");
    let mut frame = Frame::new();
    let slots: Vec<PointerSlot> = (0..pointers).map(|_| frame.add_pointer()).collect();
    let mut packed = Vec::new();
    let mut tiles = nnc_cpu::wide::WideTiles::new(level);
    let mut cx = LowerCx {
        isa: &*isa,
        frame: &mut frame,
        packed: &mut packed,
        tiles: &mut tiles,
        filtering: nnc_cpu::kernel::Filtering::default(),
        choices: nnc_cpu::choice::Choices::default(),
    };
    let kernel = lower(&slots, &mut cx).unwrap();
    let isa = if kernel.scheduled { isa_at("none") } else { isa };
    let made = |tile| nnc_x86::emit(tile, level.unwrap()).unwrap_or_else(|e| panic!("{tile:?}: {e:?}"));
    let wide: Vec<Vec<u8>> = tiles.list().map(made).collect();
    Compiled {
        code: compile_linked(&*isa, kernel.function, &wide),
        tiles: wide.len(),
        plain,
        scratch_bytes: kernel.scratch_bytes,
        scheduled: kernel.scheduled,
        packed: packed.into_iter().map(|(w, slot)| (slot, Buffer::new(&w.make().unwrap().bytes()))).collect(),
        items: kernel.items,
        may_fault: kernel.may_fault,
        frame,
        pointers,
    }
}

/// Compiles a form with operands and results in the order of the slots.
pub(crate) fn compile_form(form: &LoopForm, operands: usize, placement: Vec<Option<Placement>>) -> Compiled {
    compile_known(form, &vec![None; operands], placement)
}

/// Likewise; some operands may be known when compiling.
pub(crate) fn compile_known(
    form: &LoopForm,
    operands: &[Option<Constant>],
    placement: Vec<Option<Placement>>,
) -> Compiled {
    let machine = next_machine();
    compile_known_at(machine, form, operands, placement)
}

/// Likewise, with what it is made for given.
pub(crate) fn compile_known_at(
    machine: impl Into<Machine>,
    form: &LoopForm,
    operands: &[Option<Constant>],
    placement: Vec<Option<Placement>>,
) -> Compiled {
    compile_at(machine, operands.len() + form.results.len(), |slots, cx| {
        let (inputs, results) = slots.split_at(operands.len());
        let request = NestRequest {
            name: "test".into(),
            form: form.clone(),
            operands: inputs
                .iter()
                .zip(operands)
                .map(|(&pointer, constant)| OperandRef { pointer, constant: constant.clone(), range: None })
                .collect(),
            results: results.to_vec(),
            placement,
            fault_node: 7,
        };
        lower_nest(&request, cx)
    })
}

impl Machine {
    /// A form with its multiply-adds as this machine does them.
    pub(crate) fn settled(self, form: &LoopForm) -> LoopForm {
        form.settled(if self.plain { MulAdds::Separate } else { MulAdds::Fused })
    }
}

impl Compiled {
    /// A form with its multiply-adds as what this is made for does them.
    pub(crate) fn settled(&self, form: &LoopForm) -> LoopForm {
        Machine { level: None, plain: self.plain }.settled(form)
    }

    /// Bytes of constants made while lowering.
    pub(crate) fn packed_bytes(&self) -> usize {
        self.packed.iter().map(|(_, b)| b.bytes().len()).sum()
    }

    /// The frame ends at an unmapped page, too: what kernels read in place of what is not there is at its start.
    pub(crate) fn frame_for(
        &self,
        symbols: &Symbols,
        buffers: &[&Buffer],
        context: &mut [i64; 12],
    ) -> (Buffer, Buffer) {
        let mut frame = vec![0i64; self.frame.slots()];
        frame[0] = context.as_mut_ptr() as i64;
        for (i, buffer) in buffers.iter().enumerate() {
            frame[nnc_cpu::frame::POINTERS + i] = buffer.address();
        }
        for (slot, extent) in self.frame.extents() {
            frame[slot] = value(extent, symbols);
        }
        for (slot, buffer) in &self.packed {
            frame[slot.0] = buffer.address();
        }
        // Scratch memory ends at an unmapped page; where nothing has been written it is not a number.
        let scratch_bytes = value(&self.scratch_bytes, symbols);
        assert_eq!(scratch_bytes % 64, 0);
        let scratch = Buffer::new(&vec![0xff; scratch_bytes as usize * WORKERS]);
        (frame[1], frame[2]) = (scratch.address(), scratch_bytes);
        let bytes: Vec<u8> = frame.iter().flat_map(|x| x.to_le_bytes()).collect();
        (Buffer::new(&bytes), scratch)
    }

    /// Nanoseconds of `reps` runs.
    pub(crate) fn time(&self, symbols: &Symbols, buffers: &[&Buffer], reps: usize) -> f64 {
        let mut context = [0i64; 12];
        let (frame, _scratch) = self.frame_for(symbols, buffers, &mut context);
        let items = value(&self.items, symbols);
        let start = std::time::Instant::now();
        for _ in 0..reps {
            // SAFETY: the kernel takes four parameters, and the frame describes the buffers.
            unsafe { call(&self.code, &[frame.address(), 0, items, 0]) };
        }
        start.elapsed().as_nanos() as f64
    }

    /// Runs items in `parts` parts, the last first, and gives the fault record: code, node, value.
    pub(crate) fn run(&self, symbols: &Symbols, buffers: &[&Buffer], parts: usize) -> [i64; 3] {
        assert_eq!(buffers.len(), self.pointers);
        let mut context = [0i64; 12];
        let (frame, _scratch) = self.frame_for(symbols, buffers, &mut context);
        let items = value(&self.items, symbols);
        for part in (0..parts as i64).rev() {
            let (begin, end) = (items * part / parts as i64, items * (part + 1) / parts as i64);
            // SAFETY: the kernel takes four parameters, and the frame describes the buffers.
            unsafe { call(&self.code, &[frame.address(), begin, end, (part as usize % WORKERS) as i64]) };
        }
        for buffer in buffers {
            buffer.check();
        }
        [context[8], context[9], context[10]]
    }
}

/// What a form gives, computed one point after another; the second part says whether an index was out of range.
pub(crate) fn reference(form: &LoopForm, symbols: &Symbols, operands: &[Vec<u8>]) -> (Vec<Vec<u8>>, bool) {
    let space: Vec<i64> = form.space.iter().map(|e| value(e, symbols)).collect();
    let reduce: Vec<i64> = form.reduce.iter().map(|e| value(e, symbols)).collect();
    let mut out: Vec<Vec<u8>> = vec![Vec::new(); form.results.len()];
    let fault = std::cell::Cell::new(false);
    for point in points(&space) {
        let values = |p: &nnc_ir::program::Program, at: &[i64], accs: &[Scalar]| {
            let load = |k: usize| read(form, symbols, operands, k, at, &fault);
            eval_program(p, &load, accs, &|ix| index(form, symbols, operands, ix, at, &fault))
        };
        let results = match form.combine {
            None => values(&form.body, &point, &[]),
            Some(combine) => {
                let dtype = form.body.result_dtypes().next().unwrap();
                let mut acc = Accumulator::new(combine, dtype);
                for r in points(&reduce) {
                    let at = [&point[..], &r[..]].concat();
                    acc.join(values(&form.body, &at, &[])[0]);
                }
                values(&form.finish, &point, &[acc.value()])
            }
        };
        for ((bytes, x), dtype) in out.iter_mut().zip(results).zip(&form.results) {
            let mut element = [0; 8];
            x.store(*dtype, &mut element);
            bytes.extend(&element[..dtype.bytes()]);
        }
    }
    (out, fault.get())
}

/// Every position of a space, in row-major order.
pub(crate) fn points(extents: &[i64]) -> Vec<Vec<i64>> {
    extents.iter().fold(vec![vec![]], |all, &n| {
        all.iter().flat_map(|p| (0..n).map(move |i| [&p[..], &[i]].concat())).collect()
    })
}

struct Accumulator {
    combine: Combine,
    best: Scalar,
    place: i64,
    next: i64,
}

impl Accumulator {
    fn new(combine: Combine, dtype: DType) -> Self {
        let best = match combine {
            Combine::Sum => Scalar::zero(dtype),
            Combine::Product => Scalar::int(dtype, 1),
            Combine::Max | Combine::ArgMax { .. } => Scalar::lowest(dtype),
            Combine::Min | Combine::ArgMin { .. } => Scalar::highest(dtype),
        };
        Self { combine, best, place: 0, next: 0 }
    }

    fn binary(op: Binary, x: Scalar, y: Scalar) -> Scalar {
        let mut b = nnc_ir::program::Builder::new();
        let (p, q) = (b.constant(x), b.constant(y));
        let r = b.binary(op, p, q);
        let program = b.finish([r]);
        eval_program(&program, &|_| unreachable!(), &[], &|_| unreachable!())[0]
    }

    fn join(&mut self, x: Scalar) {
        let op = match self.combine {
            Combine::Sum => Binary::Add,
            Combine::Product => Binary::Mul,
            Combine::Max => Binary::Max,
            Combine::Min => Binary::Min,
            Combine::ArgMax { last } | Combine::ArgMin { last } => {
                let greatest = matches!(self.combine, Combine::ArgMax { .. });
                let nan = |x: Scalar| x.as_f64().is_some_and(f64::is_nan);
                let less = |x, y| Self::binary(Binary::Lt, x, y).bits != 0;
                let above = if greatest { less(self.best, x) } else { less(x, self.best) };
                let same = !less(self.best, x) && !less(x, self.best) && !nan(x) && !nan(self.best);
                let better = match (nan(x), nan(self.best)) {
                    (true, true) => last,
                    (true, false) => true,
                    (false, true) => false,
                    (false, false) => above || (last && same),
                };
                if better || self.next == 0 {
                    (self.best, self.place) = (x, self.next);
                }
                self.next += 1;
                return;
            }
        };
        self.best = Self::binary(op, self.best, x);
    }

    fn value(&self) -> Scalar {
        match self.combine {
            Combine::ArgMax { .. } | Combine::ArgMin { .. } => Scalar::i64(self.place),
            _ => self.best,
        }
    }
}

pub(crate) fn index(
    form: &LoopForm,
    symbols: &Symbols,
    operands: &[Vec<u8>],
    ix: &Ix,
    at: &[i64],
    fault: &std::cell::Cell<bool>,
) -> i64 {
    let of = |ix: &Ix| index(form, symbols, operands, ix, at, fault);
    match ix {
        Ix::Axis(a) => at[*a],
        Ix::Extent(e) => value(e, symbols),
        Ix::Add(a, b) => of(a) + of(b),
        Ix::Mul(a, by) => of(a) * value(by, symbols),
        Ix::FloorDiv(a, by) => of(a).div_euclid(value(by, symbols)),
        Ix::Mod(a, by) => of(a).rem_euclid(value(by, symbols)),
        Ix::Min(a, b) => of(a).min(of(b)),
        Ix::Max(a, b) => of(a).max(of(b)),
        Ix::Bcast(a, e) => {
            if value(e, symbols) == 1 {
                0
            } else {
                of(a)
            }
        }
        Ix::Wrap(a, e) => {
            let x = of(a);
            if x < 0 { x + value(e, symbols) } else { x }
        }
        Ix::Load(k) => read(form, symbols, operands, *k, at, fault).as_i64().unwrap(),
    }
}

pub(crate) fn read(
    form: &LoopForm,
    symbols: &Symbols,
    operands: &[Vec<u8>],
    k: usize,
    at: &[i64],
    fault: &std::cell::Cell<bool>,
) -> Scalar {
    let load: &Load = &form.loads[k];
    let extents: Vec<i64> = load.extents.iter().map(|e| value(e, symbols)).collect();
    let mut offset = 0;
    for (ix, extent) in load.index.iter().zip(&extents) {
        let mut i = index(form, symbols, operands, ix, at, fault);
        if !(0..*extent).contains(&i) {
            match load.bounds {
                Bounds::Inside => panic!("index {i} of {extent}"),
                Bounds::Guard(s) => return s,
                Bounds::Check => {
                    fault.set(true);
                    i = 0;
                }
            }
        }
        offset = offset * extent + i;
    }
    if extents.contains(&0) {
        return Scalar::zero(load.dtype);
    }
    Scalar::load(load.dtype, &operands[load.operand][offset as usize * load.dtype.bytes()..])
}

/// Random elements of a storage type: small numbers, all bit patterns, and special values.
pub(crate) fn random(rng: &mut Rng, dtype: DType, n: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(n * dtype.bytes());
    for _ in 0..n {
        let bits = match (dtype, rng.below(4)) {
            (DType::Bool, _) => rng.next() >> 63,
            (_, 0) => quiet(dtype, rng.next()),
            (d, 1) if d.is_float() => {
                let specials = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e-40, 6e-8, 65520.0];
                let mut bytes = [0; 8];
                Scalar::float(d, specials[rng.below(8)]).store(d, &mut bytes);
                u64::from_le_bytes(bytes)
            }
            (d, 1) => [0, 1, u64::MAX, Scalar::lowest(d).bits, Scalar::highest(d).bits][rng.below(5)],
            (d, _) => {
                let mut bytes = [0; 8];
                let x = rng.below(41) as f64 - 20.0;
                let x = if d.is_float() { Scalar::float(d, x / 4.0) } else { Scalar::int(d, x as i64) };
                x.store(d, &mut bytes);
                u64::from_le_bytes(bytes)
            }
        };
        out.extend(&bits.to_le_bytes()[..dtype.bytes()]);
    }
    out
}

/// Bit patterns without signalling NaN: whether moving one makes it quiet is nobody's promise.
fn quiet(dtype: DType, bits: u64) -> u64 {
    let (exponent, quiet) = match dtype {
        DType::F16 => (0x7c00, 0x200),
        DType::BF16 => (0x7f80, 0x40),
        DType::F32 => (0x7f80_0000, 0x40_0000),
        DType::F64 => (0x7ff0_0000_0000_0000, 0x8_0000_0000_0000),
        _ => return bits,
    };
    if bits & exponent == exponent { bits | quiet } else { bits }
}

/// Whether two tensors have the same bits, all NaN counting as one.
pub(crate) fn same_bits(dtype: DType, a: &[u8], b: &[u8]) -> bool {
    let n = dtype.bytes();
    a.len() == b.len()
        && a.chunks(n).zip(b.chunks(n)).all(|(a, b)| {
            let (x, y) = (Scalar::load(dtype, a), Scalar::load(dtype, b));
            let nan = |s: Scalar| s.as_f64().is_some_and(f64::is_nan);
            a == b || (nan(x) && nan(y))
        })
}

/// Compiles and runs a form on random operands of the given element counts and compares all bits; `parts` is varied.
pub(crate) fn check(what: &str, form: &LoopForm, symbols: &Symbols, operands: &[Vec<u8>]) {
    let compiled = compile_form(form, operands.len(), vec![None; form.results.len()]);
    check_compiled(what, &compiled, form, symbols, operands);
}

/// See [`check`].
pub(crate) fn check_compiled(
    what: &str,
    compiled: &Compiled,
    form: &LoopForm,
    symbols: &Symbols,
    operands: &[Vec<u8>],
) {
    let (want, fault) = reference(&compiled.settled(form), symbols, operands);
    for parts in [1, 3] {
        let inputs: Vec<Buffer> = operands.iter().map(|b| Buffer::new(b)).collect();
        let outputs: Vec<Buffer> = want.iter().map(|b| Buffer::new(&vec![0xcc; b.len()])).collect();
        let all: Vec<&Buffer> = inputs.iter().chain(&outputs).collect();
        let record = compiled.run(symbols, &all, parts);
        assert_eq!(record[0] != 0, fault, "{what}: fault {record:?}, symbols {symbols:?}");
        if fault {
            assert!(compiled.may_fault, "{what}");
            assert_eq!((record[0], record[1]), (805, 7), "{what}");
        }
        for ((want, have), &dtype) in want.iter().zip(&outputs).zip(&form.results) {
            if !same_bits(dtype, want, have.bytes()) {
                let n = dtype.bytes();
                let show = |b: &[u8]| b.chunks(n).map(|c| Scalar::load(dtype, c)).collect::<Vec<_>>();
                let (w, h) = (show(want), show(have.bytes()));
                let at = (0..w.len()).find(|&i| w[i] != h[i]);
                panic!(
                    "{what}: element {at:?} of {}, symbols {symbols:?}\nwant {w:?}\nhave {h:?}\nform {form:?}",
                    w.len()
                );
            }
        }
    }
}

/// `x / 2 * (1 + erf(x / sqrt(2)))`.
pub(crate) fn gelu(b: &mut Builder, x: Ref) -> Ref {
    let scale = b.f32(std::f32::consts::FRAC_1_SQRT_2);
    let scaled = b.mul(x, scale);
    let e = math::erf(b, scaled);
    let half = b.f32(0.5);
    let h = b.mul(x, half);
    b.fma(h, e, h)
}
