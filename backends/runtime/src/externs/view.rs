//! view - an extern call as checked slices, the one place here that follows raw pointers.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::abi::{Context, ExternCall, ExternTensor, MAX_RANK, fault};
use crate::arena::Plain;
use crate::elem::{ElemType, tensor_bytes};

/// Most operands, results and attributes a call may have.
const MAX_OPERANDS: usize = 8;

/// Why a function stopped: a number of [`fault`], a value and its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: i64,
    pub(super) value: i64,
    pub(super) limit: i64,
}

/// The caller broke the contract of the function.
pub(super) const INTERNAL: Fault = Fault { code: fault::INTERNAL, value: 0, limit: 0 };

impl Fault {
    /// E0807: an operand's value.
    pub(super) fn bad_value(value: i64) -> Self {
        Self { code: fault::BAD_VALUE, value, limit: 0 }
    }

    /// E0802: an operand's extent.
    pub(super) fn bad_extent(value: i64) -> Self {
        Self { code: fault::BAD_EXTENT, value, limit: 0 }
    }

    /// E0501: no memory for this many elements of `T`.
    pub(super) fn no_memory<T>(elements: usize) -> Self {
        let bytes = elements.saturating_mul(size_of::<T>());
        Self { code: fault::OUT_OF_MEMORY, value: i64::try_from(bytes).unwrap_or(i64::MAX), limit: 0 }
    }
}

/// What a function of the allowlist is.
pub(super) trait Function {
    /// Does the work.
    fn run(call: Call<'_>) -> Result<(), Fault>;
}

/// An operand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a> {
    pub(super) elem: ElemType,
    pub(super) dims: &'a [i64],
    /// `None` when it is absent.
    pub(super) bytes: Option<&'a [u8]>,
}

/// A result.
#[derive(Debug)]
pub(super) struct Output<'a> {
    pub(super) elem: ElemType,
    pub(super) dims: &'a mut [i64],
    /// Room for the elements; `None` when nobody wants them (extents are written all the same).
    pub(super) bytes: Option<&'a mut [u8]>,
}

/// A call's attributes, operands and results.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) attrs: &'a [i64],
    inputs: [Option<Input<'a>>; MAX_OPERANDS],
    outputs: [Option<Output<'a>>; MAX_OPERANDS],
}

impl<'a> Call<'a> {
    /// Operand `k`, which must have been passed (absent or not).
    pub(super) fn input(&self, k: usize) -> Result<Input<'a>, Fault> {
        self.inputs.get(k).copied().flatten().ok_or(INTERNAL)
    }

    /// Takes result `k`, which must have been passed (wanted or not).
    pub(super) fn output(&mut self, k: usize) -> Result<Output<'a>, Fault> {
        self.outputs.get_mut(k).and_then(Option::take).ok_or(INTERNAL)
    }

    /// Attribute `k`.
    pub(super) fn attr(&self, k: usize) -> Result<i64, Fault> {
        self.attrs.get(k).copied().ok_or(INTERNAL)
    }
}

impl<'a> Input<'a> {
    /// The elements, which must be there and be of the size of `T`.
    pub(super) fn elements<T: Plain>(&self) -> Result<&'a [T], Fault> {
        let bytes = self.bytes.ok_or(INTERNAL)?;
        if size_of::<T>() != self.elem.size() {
            return Err(INTERNAL);
        }
        cast(bytes).ok_or(INTERNAL)
    }

    /// The only element of a scalar operand, or `None` when the operand is absent.
    pub(super) fn scalar<T: Plain>(&self, elem: ElemType) -> Result<Option<T>, Fault> {
        if self.bytes.is_none() {
            return Ok(None);
        }
        if self.elem != elem {
            return Err(INTERNAL);
        }
        let elements = self.elements::<T>()?;
        elements.first().copied().map(Some).ok_or(Fault::bad_extent(0))
    }
}

impl<'a> Output<'a> {
    /// Writes extents and gives room for just that many elements, as bytes.
    pub(super) fn with_bytes(self, dims: &[i64]) -> Result<Option<&'a mut [u8]>, Fault> {
        let Self { elem, dims: into, bytes } = self;
        if into.len() != dims.len() {
            return Err(INTERNAL);
        }
        let len = tensor_bytes(elem, dims).ok_or(INTERNAL)?;
        let room = match bytes {
            None => None,
            Some(bytes) => Some(bytes.get_mut(..len).ok_or(INTERNAL)?),
        };
        into.copy_from_slice(dims);
        Ok(room)
    }

    /// As [`Output::with_bytes`], as elements of the size of `T`.
    pub(super) fn with_dims<T: Plain>(self, dims: &[i64]) -> Result<Option<&'a mut [T]>, Fault> {
        if size_of::<T>() != self.elem.size() {
            return Err(INTERNAL);
        }
        match self.with_bytes(dims)? {
            None => Ok(None),
            Some(bytes) => cast_mut(bytes).map(Some).ok_or(INTERNAL),
        }
    }
}

/// The entry of a function in the context's table.
///
/// # Safety
/// `context` is a live context. `call` and all it points to are as [`ExternCall`] says: arrays of the given lengths,
/// operands that nobody writes and results that nobody else touches during the call.
pub(super) unsafe extern "C" fn entry<F: Function>(context: *mut Context, call: *const ExternCall) -> i32 {
    // SAFETY: by this function's contract.
    let node = unsafe { (*call).node };
    // SAFETY: by this function's contract; the borrow ends with this call.
    let result = unsafe { view(&*call) };
    let result = result.and_then(|call| {
        // A panic must not cross compiled code.
        catch_unwind(AssertUnwindSafe(|| F::run(call))).unwrap_or(Err(INTERNAL))
    });
    let Err(Fault { code, value, limit }) = result else { return 0 };
    // SAFETY: by this function's contract.
    let context = unsafe { &mut *context };
    if context.fault_code == 0 {
        context.fault_code = code;
        context.fault_node = node;
        context.fault_value = value;
        context.fault_limit = limit;
    }
    code as i32
}

/// Turns pointers and lengths into slices.
///
/// # Safety
/// As for [`entry`].
unsafe fn view(call: &ExternCall) -> Result<Call<'_>, Fault> {
    // SAFETY: by this function's contract, the three arrays have these lengths.
    let (attrs, inputs, outputs) = unsafe {
        (
            slice(call.attrs, call.n_attrs)?,
            slice(call.inputs, call.n_inputs)?,
            slice(call.outputs, call.n_outputs)?,
        )
    };
    let mut view =
        Call { attrs, inputs: [const { None }; MAX_OPERANDS], outputs: [const { None }; MAX_OPERANDS] };
    if inputs.len() > MAX_OPERANDS || outputs.len() > MAX_OPERANDS {
        return Err(INTERNAL);
    }
    for (into, tensor) in view.inputs.iter_mut().zip(inputs) {
        let (elem, rank) = kind(tensor)?;
        // SAFETY: by this function's contract, `dims` has `rank` extents and `data` `bytes` bytes unless null.
        let (dims, bytes) = unsafe {
            let bytes = if tensor.data.is_null() {
                None
            } else {
                Some(slice(tensor.data.cast_const(), tensor.bytes)?)
            };
            (slice(tensor.dims.cast_const(), rank)?, bytes)
        };
        let bytes = match bytes {
            None => None,
            Some(bytes) => Some(tensor_bytes(elem, dims).and_then(|len| bytes.get(..len)).ok_or(INTERNAL)?),
        };
        *into = Some(Input { elem, dims, bytes });
    }
    for (into, tensor) in view.outputs.iter_mut().zip(outputs) {
        let (elem, rank) = kind(tensor)?;
        // SAFETY: by this function's contract, `dims` has room for `rank` extents and `data` for `bytes` bytes unless
        // null, and both are this call's alone.
        let (dims, bytes) = unsafe {
            let bytes =
                if tensor.data.is_null() { None } else { Some(slice_mut(tensor.data, tensor.bytes)?) };
            (slice_mut(tensor.dims, rank)?, bytes)
        };
        *into = Some(Output { elem, dims, bytes });
    }
    Ok(view)
}

/// Element type and rank, checked.
fn kind(tensor: &ExternTensor) -> Result<(ElemType, i64), Fault> {
    let elem = u32::try_from(tensor.elem).ok().and_then(ElemType::from_code).ok_or(INTERNAL)?;
    let rank = usize::try_from(tensor.rank).ok().filter(|&rank| rank <= MAX_RANK).ok_or(INTERNAL)?;
    Ok((elem, rank as i64))
}

/// A slice, with null or misaligned pointers found out.
///
/// # Safety
/// `pointer` is null, or has `len` elements that live and stay as they are for `'a`.
unsafe fn slice<'a, T>(pointer: *const T, len: i64) -> Result<&'a [T], Fault> {
    let len = usize::try_from(len).map_err(|_| INTERNAL)?;
    if len == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() || !pointer.is_aligned() {
        return Err(INTERNAL);
    }
    // SAFETY: not null, aligned, and by this function's contract.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// A slice to write, with null or misaligned pointers found out.
///
/// # Safety
/// `pointer` is null, or has `len` elements that live and are nobody else's for `'a`.
unsafe fn slice_mut<'a, T>(pointer: *mut T, len: i64) -> Result<&'a mut [T], Fault> {
    let len = usize::try_from(len).map_err(|_| INTERNAL)?;
    if len == 0 {
        return Ok(&mut []);
    }
    if pointer.is_null() || !pointer.is_aligned() {
        return Err(INTERNAL);
    }
    // SAFETY: not null, aligned, and by this function's contract.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, len) })
}

/// Bytes as elements, if they are aligned and whole.
fn cast<T: Plain>(bytes: &[u8]) -> Option<&[T]> {
    if bytes.is_empty() {
        return Some(&[]);
    }
    // SAFETY: every bit pattern is a valid `Plain`.
    let (before, elements, after) = unsafe { bytes.align_to::<T>() };
    (before.is_empty() && after.is_empty()).then_some(elements)
}

/// Bytes as elements to write, if they are aligned and whole.
fn cast_mut<T: Plain>(bytes: &mut [u8]) -> Option<&mut [T]> {
    if bytes.is_empty() {
        return Some(&mut []);
    }
    // SAFETY: every bit pattern is a valid `Plain`, and a `Plain` has no padding.
    let (before, elements, after) = unsafe { bytes.align_to_mut::<T>() };
    (before.is_empty() && after.is_empty()).then_some(elements)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::tensor::{Element, Tensor};

    /// What a function made of its results.
    pub(crate) struct Results(Vec<(ElemType, Vec<i64>, Vec<u8>)>);

    impl Results {
        /// Extents of result `k`.
        pub(crate) fn dims(&self, k: usize) -> &[i64] {
            &self.0[k].1
        }

        /// Elements of result `k`, as many as its extents say.
        pub(crate) fn get<T: Element>(&self, k: usize) -> Vec<T> {
            let (elem, dims, bytes) = &self.0[k];
            let len = tensor_bytes(*elem, dims).unwrap();
            Tensor::from_bytes(*elem, dims, &bytes[..len]).unwrap().as_slice().unwrap().to_vec()
        }
    }

    /// A result to ask for: element type, rank and room in elements (`None`: not wanted).
    pub(crate) type Wanted = (ElemType, usize, Option<usize>);

    /// Calls a function through its C entry.
    pub(crate) fn call<F: Function>(
        attrs: &[i64],
        inputs: &[Option<&Tensor>],
        wanted: &[Wanted],
    ) -> Result<Results, Fault> {
        let mut dims: Vec<Vec<i64>> =
            inputs.iter().map(|input| input.map_or(vec![], |t| t.dims().to_vec())).collect();
        let inputs: Vec<_> = std::iter::zip(inputs, &mut dims)
            .map(|(input, dims)| ExternTensor {
                data: input.map_or(std::ptr::null_mut(), |t| t.bytes().as_ptr().cast_mut()),
                elem: input.map_or(0, |t| i64::from(t.elem().code())),
                bytes: input.map_or(0, |t| t.bytes().len() as i64),
                rank: dims.len() as i64,
                dims: dims.as_mut_ptr(),
            })
            .collect();
        let mut out_dims: Vec<_> = wanted.iter().map(|&(_, rank, _)| vec![-7; rank]).collect();
        let mut out: Vec<_> = wanted
            .iter()
            .map(|&(elem, _, room)| room.map(|n| Tensor::zeroed(elem, &[n as i64]).unwrap()))
            .collect();
        let outputs: Vec<_> = (0..wanted.len())
            .map(|k| ExternTensor {
                data: out[k].as_mut().map_or(std::ptr::null_mut(), Tensor::start),
                elem: i64::from(wanted[k].0.code()),
                bytes: out[k].as_ref().map_or(0, |t| t.bytes().len() as i64),
                rank: out_dims[k].len() as i64,
                dims: out_dims[k].as_mut_ptr(),
            })
            .collect();
        let extern_call = ExternCall {
            node: 5,
            attrs: attrs.as_ptr(),
            n_attrs: attrs.len() as i64,
            inputs: inputs.as_ptr(),
            n_inputs: inputs.len() as i64,
            outputs: outputs.as_ptr(),
            n_outputs: outputs.len() as i64,
        };
        let mut context = Context {
            version: Context::VERSION_AND_SIZE,
            parallel_for: None,
            pool: std::ptr::null(),
            alloc: None,
            cancel: std::ptr::null(),
            weights: std::ptr::null(),
            externs: std::ptr::null(),
            max_workers: 1,
            fault_code: 0,
            fault_node: -1,
            fault_value: 0,
            fault_limit: 0,
        };
        // SAFETY: the context and all arrays of the call live until it returns and do not overlap.
        let code = unsafe { entry::<F>(&raw mut context, &raw const extern_call) };
        if code != 0 {
            assert_eq!(i64::from(code), context.fault_code);
            assert_eq!(context.fault_node, 5);
            return Err(Fault {
                code: context.fault_code,
                value: context.fault_value,
                limit: context.fault_limit,
            });
        }
        let bytes = |k: usize| out[k].as_ref().map_or(vec![], |t: &Tensor| t.bytes().to_vec());
        Ok(Results((0..wanted.len()).map(|k| (wanted[k].0, out_dims[k].clone(), bytes(k))).collect()))
    }

    struct Panics;

    impl Function for Panics {
        fn run(_: Call<'_>) -> Result<(), Fault> {
            panic!("on purpose")
        }
    }

    #[test]
    fn panics_become_faults() {
        assert_eq!(call::<Panics>(&[], &[], &[]).err(), Some(INTERNAL));
    }

    struct Fills;

    impl Function for Fills {
        fn run(mut call: Call<'_>) -> Result<(), Fault> {
            let n = call.attr(0)?;
            if let Some(room) = call.output(0)?.with_dims::<i32>(&[n])? {
                room.fill(3);
            }
            assert!(call.output(0).is_err());
            Ok(())
        }
    }

    #[test]
    fn results_are_bounded_by_their_room() {
        let results = call::<Fills>(&[2], &[], &[(ElemType::I32, 1, Some(4))]).unwrap();
        assert_eq!((results.dims(0), results.get::<i32>(0)), (&[2][..], vec![3, 3]));
        assert_eq!(call::<Fills>(&[5], &[], &[(ElemType::I32, 1, Some(4))]).err(), Some(INTERNAL));
        assert_eq!(call::<Fills>(&[-1], &[], &[(ElemType::I32, 1, Some(4))]).err(), Some(INTERNAL));
        assert_eq!(call::<Fills>(&[2], &[], &[(ElemType::I64, 1, Some(4))]).err(), Some(INTERNAL));
        assert_eq!(call::<Fills>(&[2], &[], &[(ElemType::I32, 2, Some(4))]).err(), Some(INTERNAL));
        assert_eq!(call::<Fills>(&[], &[], &[(ElemType::I32, 1, Some(4))]).err(), Some(INTERNAL));
        assert_eq!(call::<Fills>(&[9], &[], &[(ElemType::I32, 1, None)]).unwrap().dims(0), [9]);
        let nine = [(ElemType::I32, 1, None); 9];
        assert_eq!(call::<Fills>(&[9], &[], &nine).err(), Some(INTERNAL));
    }
}
