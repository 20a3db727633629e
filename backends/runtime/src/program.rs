//! program - a compiled model in memory, ready to run.

use std::ffi::c_void;

use crate::abi::{self, ALIGN, Context, FloatState};
use crate::arena::{AlignedBytes, RunBlocks};
use crate::code::Code;
use crate::elem::tensor_bytes;
use crate::error::{Error, Result, out_of_memory};
use crate::externs;
use crate::fault::{self, internal};
use crate::image::Image;
use crate::known::ProgramNumber;
use crate::profile::Recorder;
use crate::session::Session;
use crate::signature::{BoundAt, Signature};
use crate::tensor::{Tensor, TensorView, TensorViewMut};
use crate::threads::Pool;

/// Loaded code with its manifest and weights. It does not change, so threads can share one, each with a session.
///
/// # Trust
/// A program is machine code: running one is as good as running any other program from the same source. The checks of
/// a run protect from wrong calls, those of an artefact from damage; neither makes code from a stranger harmless.
#[derive(Debug)]
pub struct Program {
    image: Image,
    code: Code,
    number: ProgramNumber,
}

/// Pointer tables of a call, kept by the session so that a run does not allocate.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    symbols: Vec<i64>,
    bound_at: Vec<BoundAt>,
    input_dims: Vec<*const i64>,
    inputs: Vec<*const c_void>,
    /// Aligned copies of inputs that were not.
    copies: Vec<Option<AlignedBytes>>,
    outputs: Vec<*mut c_void>,
    /// All extents of all outputs, one output after the other.
    extents: Vec<i64>,
    output_dims: Vec<*mut i64>,
}

// SAFETY: the pointers are written and used within one call that has the session to itself; between calls nobody
// reads them.
unsafe impl Send for Tables {}
// SAFETY: as above; nothing can be done with a shared `Tables`.
unsafe impl Sync for Tables {}

/// The context of a run with what its functions need behind it.
#[repr(C)]
struct RunState {
    context: Context,
    blocks: *const RunBlocks,
}

/// The `alloc` of a context.
///
/// # Safety
/// `context` is the first field of a live [`RunState`].
unsafe extern "C" fn alloc(context: *mut Context, bytes: i64) -> *mut u8 {
    // SAFETY: by this function's contract; `blocks` outlives the run.
    let blocks = unsafe { &*(*context.cast::<RunState>()).blocks };
    blocks.take(bytes)
}

/// The `parallel_for` of a context whose `pool` is a [`Recorder`].
///
/// # Safety
/// `pool` points to a live `Recorder`, `arg` to at least eight aligned bytes, and the promise of [`Pool::parallel_for`] holds.
unsafe extern "C" fn record(pool: *const c_void, n: i64, body: abi::BodyFn, arg: *mut c_void) {
    // SAFETY: by this function's contract.
    let recorder = unsafe { &*pool.cast::<Recorder<'_>>() };
    // SAFETY: what kernels are called with begins with a number or an address, both of eight bytes.
    let first = unsafe { arg.cast::<i64>().read() };
    let arg = Arg(arg);
    // SAFETY: by this function's contract.
    recorder
        .run((body as usize, first), n, |begin, end, worker| unsafe { body(arg.get(), begin, end, worker) });
}

/// The argument of a body, which its caller promises may cross threads.
struct Arg(*mut c_void);

impl Arg {
    fn get(&self) -> *mut c_void {
        self.0
    }
}

// SAFETY: nothing looks into it but the body it is for; see `Pool::parallel_for`.
unsafe impl Sync for Arg {}

/// A place of the right alignment for tensors without elements.
fn nowhere() -> *mut c_void {
    std::ptr::without_provenance_mut(ALIGN)
}

impl Program {
    /// Checks an image and makes its code callable.
    ///
    /// # Errors
    /// E0703 and E0704 when this machine cannot run it, E0707 when its parts do not fit together, E0710 when the
    /// system forbids executable memory, E0501 when there is no memory.
    pub fn load(image: Image) -> Result<Self> {
        image.target.check_host()?;
        image.check()?;
        let code = Code::new(&image.code)?;
        Ok(Self { image, code, number: ProgramNumber::next() })
    }

    /// What the program was loaded from.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Inputs, outputs and symbols.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.image.signature
    }

    /// Runs the program and returns its outputs.
    ///
    /// # Errors
    /// E0801, E0802, E0803, E0236 for inputs that do not fit the signature, E0501 for a run over the memory limit,
    /// E0805 to E0808 for what happens while running, with the node.
    pub fn run(&self, session: &mut Session, inputs: &[TensorView<'_>]) -> Result<Vec<Tensor>> {
        self.prepare(session, inputs)?;
        let ports = &self.image.signature.outputs;
        let mut owned: Vec<Option<Tensor>> = Vec::with_capacity(ports.len());
        let mut output_bytes = 0;
        let mut at = 0;
        for (i, port) in ports.iter().enumerate() {
            let dims = &session.tables.extents[at..at + port.dims.len()];
            at += port.dims.len();
            let Some(bytes) = session.known.room(i) else {
                session.tables.outputs.push(std::ptr::null_mut());
                owned.push(None);
                continue;
            };
            output_bytes = add_within(session, output_bytes, bytes as u64, &port.name)?;
            let mut tensor = Tensor::zeroed(port.elem, dims)?;
            session.tables.outputs.push(tensor.start().cast());
            owned.push(Some(tensor));
        }
        self.execute(session, output_bytes)?;
        let mut at = 0;
        let mut outputs = Vec::with_capacity(ports.len());
        for (i, (port, tensor)) in ports.iter().zip(owned).enumerate() {
            let bytes = self.actual_bytes(session, i, at)?;
            let dims = &session.tables.extents[at..at + port.dims.len()];
            at += port.dims.len();
            let tensor = match tensor {
                Some(mut tensor) => {
                    tensor.set_dims(dims);
                    tensor
                }
                None => {
                    output_bytes = add_within(session, output_bytes, bytes as u64, &port.name)?;
                    let mut tensor = Tensor::zeroed(port.elem, dims)?;
                    let address = session.tables.outputs[i].addr();
                    if !session.blocks.read(address, tensor.bytes_mut()) {
                        return Err(internal(&format!(
                            "output '{}' is not in memory of this run",
                            port.name
                        )));
                    }
                    tensor
                }
            };
            outputs.push(tensor);
        }
        Ok(outputs)
    }

    /// Runs the program with the caller's output buffers. For a program without unbounded extents, a run like the
    /// one before in the same session allocates nothing. Outputs are in an unknown state after an error.
    ///
    /// # Errors
    /// As [`Program::run`]; E0801, E0802, E0803, E0804 also for outputs that do not fit.
    pub fn run_into(
        &self,
        session: &mut Session,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
    ) -> Result<()> {
        let ports = &self.image.signature.outputs;
        if outputs.len() != ports.len() {
            let message = format!("the program has {} outputs, given {}", ports.len(), outputs.len());
            return Err(Error::new(801, message));
        }
        self.prepare(session, inputs)?;
        let mut at = 0;
        for (i, (port, view)) in ports.iter().zip(&mut *outputs).enumerate() {
            let bad =
                |code: u16, what: String| Err(Error::new(code, format!("output '{}': {what}", port.name)));
            if view.elem != port.elem {
                return bad(802, format!("element type is {}, given {}", port.elem, view.elem));
            }
            if view.dims.len() != port.dims.len() {
                return bad(802, format!("rank is {}, given {}", port.dims.len(), view.dims.len()));
            }
            let dims = &session.tables.extents[at..at + port.dims.len()];
            at += port.dims.len();
            let Some(bytes) = session.known.room(i) else {
                session.tables.outputs.push(std::ptr::null_mut());
                continue;
            };
            if view.bytes.len() < bytes {
                let given = view.bytes.len();
                return bad(
                    803,
                    format!("{}{dims:?} may have {bytes} bytes, given room for {given}", port.elem),
                );
            }
            if bytes == 0 {
                session.tables.outputs.push(nowhere());
            } else if view.bytes.as_ptr().addr().is_multiple_of(port.elem.size()) {
                session.tables.outputs.push(view.bytes.as_mut_ptr().cast());
            } else {
                return bad(804, format!("the buffer is not aligned to {} bytes", port.elem.size()));
            }
        }
        self.execute(session, 0)?;
        let mut at = 0;
        for (i, (port, view)) in ports.iter().zip(outputs).enumerate() {
            let bytes = self.actual_bytes(session, i, at)?;
            let dims = &session.tables.extents[at..at + port.dims.len()];
            at += port.dims.len();
            if session.known.room(i).is_none() {
                let given = view.bytes.len();
                let Some(into) = view.bytes.get_mut(..bytes) else {
                    let what = format!("{}{dims:?} has {bytes} bytes, given room for {given}", port.elem);
                    return Err(Error::new(803, format!("output '{}': {what}", port.name)));
                };
                if !session.blocks.read(session.tables.outputs[i].addr(), into) {
                    return Err(internal(&format!("output '{}' is not in memory of this run", port.name)));
                }
            }
            view.dims.copy_from_slice(dims);
        }
        Ok(())
    }

    /// Checks inputs, binds symbols and asks the program for its outputs' extents, or knows all that from the call before;
    /// it is left in the tables.
    fn prepare(&self, session: &mut Session, inputs: &[TensorView<'_>]) -> Result<()> {
        let signature = &self.image.signature;
        let (tables, known) = (&mut session.tables, &mut session.known);
        tables.outputs.clear();
        if known.is(self.number, signature, inputs) {
            tables.extents.copy_from_slice(known.extents());
            return tables.set_inputs(inputs);
        }
        known.forget();
        tables.symbols.resize(signature.symbols.len(), 0);
        tables.bound_at.resize(signature.symbols.len(), None);
        signature.bind(inputs, &mut tables.symbols, &mut tables.bound_at)?;
        tables.set_inputs(inputs)?;

        tables.extents.clear();
        tables.extents.resize(signature.outputs.iter().map(|port| port.dims.len()).sum(), 0);
        tables.point_at_extents(signature);

        let code = {
            let _state = FloatState::enter();
            // SAFETY: `bind` is an entry of the type `BindFn`; the tables are as long as the signature says.
            unsafe {
                let bind: abi::BindFn = std::mem::transmute(self.entry(self.image.entries.bind)?);
                bind(tables.input_dims.as_ptr(), tables.inputs.as_ptr(), tables.symbols.as_mut_ptr())
            }
        };
        if code != 0 {
            return Err(fault::bind_error(code, inputs));
        }
        // SAFETY: `output_dims` is an entry of the type `OutputDimsFn`; each of its results has room for its rank.
        unsafe {
            let output_dims: abi::OutputDimsFn =
                std::mem::transmute(self.entry(self.image.entries.output_dims)?);
            output_dims(tables.symbols.as_ptr(), tables.output_dims.as_ptr());
        }
        known.keep(self.number, signature, inputs, &tables.extents, session.max_memory)
    }

    /// Runs the code with the tables as they are; `output_bytes` are what the caller has taken for outputs.
    fn execute(&self, session: &mut Session, output_bytes: u64) -> Result<()> {
        let limit = session.max_memory.saturating_sub(output_bytes);
        let workers = session.pool.threads() as i64;
        let symbols = session.tables.symbols.as_ptr();
        let bytes = match session.known.workspace {
            Some(bytes) => bytes,
            None => *session.known.workspace.insert(self.workspace_bytes(session)?),
        };
        if bytes > limit {
            return Err(out_of_memory("the workspace", bytes, Some(limit)));
        }
        let workspace = session.workspace.reserve(bytes as usize, session.poison)?;
        session.blocks.begin(limit - bytes);

        let recorder = session.profile.is_some().then(|| Recorder::new(&session.pool));
        let (parallel_for, pool): (Option<abi::ParallelForFn>, *const c_void) = match &recorder {
            Some(recorder) => (Some(record), std::ptr::from_ref(recorder).cast()),
            None if workers > 1 => (Some(Pool::hook), (&raw const *session.pool).cast()),
            None => (None, std::ptr::null()),
        };
        let mut state = RunState {
            context: Context {
                version: Context::VERSION_AND_SIZE,
                parallel_for,
                pool,
                alloc: Some(alloc),
                cancel: session.cancel.address(),
                weights: self.image.weights.table(),
                externs: externs::table(),
                max_workers: workers,
                fault_code: 0,
                fault_node: -1,
                fault_value: 0,
                fault_limit: 0,
            },
            blocks: &raw const session.blocks,
        };
        let tables = &mut session.tables;
        // Extents were read since `prepare`; what the code writes through must be newer than that.
        tables.point_at_extents(&self.image.signature);
        let returned = {
            let _float = FloatState::enter();
            // SAFETY: `run` is an entry of the type `RunFn`; the tables are as long as the signature says and point to
            // memory of the sizes that the program asked for; `state` is a `RunState` and outlives the call.
            unsafe {
                let run: abi::RunFn = std::mem::transmute(self.entry(self.image.entries.run)?);
                run(
                    (&raw mut state).cast(),
                    symbols,
                    tables.inputs.as_ptr(),
                    tables.outputs.as_mut_ptr(),
                    tables.output_dims.as_ptr(),
                    workspace.cast(),
                )
            }
        };
        if let (Some(recorder), Some(profile)) = (recorder, &mut session.profile) {
            profile.add(recorder.into_calls(), &self.code, &self.image.kernels);
        }
        if returned == 0 && state.context.fault_code == 0 {
            return Ok(());
        }
        Err(fault::run_error(returned, &state.context, session.blocks.refused(), &self.image.nodes))
    }

    /// Bytes of workspace for the symbols as they are bound.
    fn workspace_bytes(&self, session: &Session) -> Result<u64> {
        // SAFETY: `workspace_bytes` is an entry of the type `WorkspaceBytesFn`; the symbols are bound.
        let bytes = unsafe {
            let entry = self.entry(self.image.entries.workspace_bytes)?;
            let workspace_bytes: abi::WorkspaceBytesFn = std::mem::transmute(entry);
            workspace_bytes(session.tables.symbols.as_ptr(), session.pool.threads() as i64)
        };
        u64::try_from(bytes)
            .map_err(|_| out_of_memory("the workspace", "over 2^63", Some(session.max_memory)))
    }

    /// Address of an entry.
    fn entry(&self, offset: u64) -> Result<*const u8> {
        self.code.address(offset).ok_or_else(|| internal("an entry is outside of the code"))
    }

    /// Bytes that the actual extents of output `i`, which are in the table from `at` on, ask for, and which must be there.
    fn actual_bytes(&self, session: &Session, i: usize, at: usize) -> Result<usize> {
        let port = &self.image.signature.outputs[i];
        let of_output = at..at + port.dims.len();
        let (dims, room) = (&session.tables.extents[of_output.clone()], session.known.room(i));
        if let Some(room) = room
            && *dims == session.known.extents()[of_output]
        {
            return Ok(room);
        }
        let Some(bytes) = tensor_bytes(port.elem, dims) else {
            return Err(internal(&format!("output '{}' has the extents {dims:?}", port.name)));
        };
        // What the code allocated is checked when it is read.
        if let Some(room) = room
            && bytes > room
        {
            return Err(internal(&format!(
                "output '{}' has {bytes} bytes where {room} were said",
                port.name
            )));
        }
        Ok(bytes)
    }
}

impl Tables {
    /// Values of symbols in the last run.
    pub(crate) fn symbols(&self) -> &[i64] {
        &self.symbols
    }

    /// Points the tables at the inputs, or at aligned copies of them.
    fn set_inputs(&mut self, inputs: &[TensorView<'_>]) -> Result<()> {
        self.input_dims.clear();
        self.inputs.clear();
        if self.copies.len() < inputs.len() {
            self.copies.resize_with(inputs.len(), || None);
        }
        for (view, copy) in inputs.iter().zip(&mut self.copies) {
            self.input_dims.push(view.dims.as_ptr());
            let aligned = view.bytes.as_ptr().addr().is_multiple_of(view.elem.size());
            let pointer = if view.bytes.is_empty() {
                nowhere().cast_const()
            } else if aligned {
                view.bytes.as_ptr().cast()
            } else {
                let copy = match copy {
                    Some(copy) if copy.len() == view.bytes.len() => {
                        copy.copy_from_slice(view.bytes);
                        copy
                    }
                    other => other.insert(AlignedBytes::copy_of(view.bytes)?),
                };
                copy.as_ptr().cast()
            };
            self.inputs.push(pointer);
        }
        Ok(())
    }

    /// Points the table of output extents at `extents`, which is long enough.
    fn point_at_extents(&mut self, signature: &Signature) {
        self.output_dims.clear();
        let mut rest = &mut self.extents[..];
        for port in &signature.outputs {
            let (dims, after) = rest.split_at_mut(port.dims.len());
            self.output_dims.push(dims.as_mut_ptr());
            rest = after;
        }
    }
}

/// `have + more`, unless it is over the memory limit.
fn add_within(session: &Session, have: u64, more: u64, output: &str) -> Result<u64> {
    let sum = have.saturating_add(more);
    if sum > session.max_memory {
        return Err(out_of_memory(
            &format!("output '{output}' with those before"),
            sum,
            Some(session.max_memory),
        ));
    }
    Ok(sum)
}
