//! compiled - kernels of nests made for this machine, and run.

use super::{Symbols, value};
use crate::support::{Code, call, compile_linked, guarded::Buffer, host_isa, host_levels, plain_isa};
use nnc_cpu::{
    frame::{Frame, PointerSlot},
    kernel::{Kernel, LowerCx, NestRequest, OperandRef, Placement},
    lower::{LowerError, lower_nest},
};
use nnc_ir::{constant::Constant, extent::Extent, form::LoopForm, program::MulAdds};
use nnc_x86::Level;
use std::cell::Cell;

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

impl Machine {
    /// A form with its multiply-adds as this machine does them.
    pub(crate) fn settled(self, form: &LoopForm) -> LoopForm {
        form.settled(if self.plain { MulAdds::Separate } else { MulAdds::Fused })
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
