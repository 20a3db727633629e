//! index - index expressions and extents as CLIF values.

use cranelift_codegen::ir::{BlockArg, InstBuilder, Value, condcodes::IntCC, types::I64};
use nnc_ir::{dtype::DType, extent::Extent, form::Ix};
use nnc_runtime::abi::{context_offset, fault};

use super::{access::Access, nest::Emitter, numbers::Numbers, scalar};

impl<'b> Emitter<'_, 'b> {
    fn numbers(&mut self) -> Numbers<'_, 'b> {
        let (entry, frame_ptr) = (self.entry, self.frame_ptr);
        Numbers { b: self.b, frame: self.frame, entry, frame_ptr, slots: &mut self.slots }
    }

    /// A slot of the frame; read once, where the function begins.
    pub(super) fn slot(&mut self, slot: usize) -> Value {
        self.numbers().slot(slot)
    }

    /// The value of an extent.
    pub(super) fn extent(&mut self, extent: &Extent) -> Value {
        self.numbers().extent(extent)
    }

    /// `value * extent`.
    pub(super) fn times(&mut self, value: Value, extent: &Extent) -> Value {
        self.numbers().times(value, extent)
    }

    /// `value + extent`.
    pub(super) fn plus(&mut self, value: Value, extent: &Extent) -> Value {
        self.numbers().plus(value, extent)
    }

    /// The value of an index expression at the current position, as `i64`.
    pub(super) fn ix(&mut self, ix: &Ix) -> Value {
        match ix {
            Ix::Axis(a) => self.axes[*a].expect("indices are computed inside of the loops they mention"),
            Ix::Extent(e) => self.extent(e),
            Ix::Add(a, b) => match &**b {
                Ix::Extent(e) => {
                    let a = self.ix(a);
                    self.plus(a, e)
                }
                b => {
                    let (a, b) = (self.ix(a), self.ix(b));
                    self.b.ins().iadd(a, b)
                }
            },
            Ix::Mul(a, by) => {
                let a = self.ix(a);
                self.times(a, by)
            }
            Ix::FloorDiv(a, by) => {
                let a = self.ix(a);
                self.floor_div(a, by)
            }
            Ix::Mod(a, by) => {
                let a = self.ix(a);
                let quotient = self.floor_div(a, by);
                let product = self.times(quotient, by);
                self.b.ins().isub(a, product)
            }
            Ix::Min(a, b) => {
                let (a, b) = (self.ix(a), self.ix(b));
                self.b.ins().smin(a, b)
            }
            Ix::Max(a, b) => {
                let (a, b) = (self.ix(a), self.ix(b));
                self.b.ins().smax(a, b)
            }
            Ix::Bcast(a, extent) => {
                let (a, extent) = (self.ix(a), self.extent(extent));
                let zero = self.b.ins().iconst(I64, 0);
                let repeats = self.b.ins().icmp_imm_s(IntCC::Equal, extent, 1);
                self.b.ins().select(repeats, zero, a)
            }
            Ix::Wrap(a, extent) => {
                let a = self.ix(a);
                let wrapped = self.plus(a, extent);
                let negative = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, a, 0);
                self.b.ins().select(negative, wrapped, a)
            }
            Ix::Load(k) => self.load_index(*k),
        }
    }

    /// Quotient towards minus infinity; a divisor that is not positive counts as 1.
    fn floor_div(&mut self, a: Value, by: &Extent) -> Value {
        match by {
            Extent::Const(c) if *c <= 1 => a,
            Extent::Const(c) if c.count_ones() == 1 => {
                self.b.ins().sshr_imm_u(a, i64::from(c.trailing_zeros()))
            }
            _ => {
                let by = self.extent(by);
                let one = self.b.ins().iconst(I64, 1);
                let by = self.b.ins().smax(by, one);
                // Negative numerators: -1 - (-1 - a) / by rounds down.
                let sign = self.b.ins().sshr_imm_u(a, 63);
                let folded = self.b.ins().bxor(a, sign);
                let quotient = self.b.ins().udiv(folded, by);
                self.b.ins().bxor(quotient, sign)
            }
        }
    }

    /// The integer that load `k` reads here, as `i64`.
    fn load_index(&mut self, k: usize) -> Value {
        let access = self.nest.loads[k].clone();
        let value = self.load_here(k, &access);
        match access.dtype {
            DType::I64 | DType::U64 => value,
            d if d.is_signed_int() => self.b.ins().sextend(I64, value),
            _ => self.b.ins().uextend(I64, value),
        }
    }

    /// The element that an access reads, with its address computed from the start.
    pub(super) fn load_here(&mut self, k: usize, access: &Access) -> Value {
        let bytes = access.dtype.bytes() as i64;
        let pointer = self.operand_pointer(k);
        let mut addr = self.plus(pointer, &access.base.scale(bytes));
        for (axis, coefficient) in access.coefficients.iter().enumerate() {
            if !coefficient.is(0) {
                let at = self.axes[axis].expect("indices are computed inside of the loops they mention");
                let step = self.times(at, &coefficient.scale(bytes));
                addr = self.b.ins().iadd(addr, step);
            }
        }
        for extra in &access.extra {
            addr = self.add_extra(addr, extra, bytes);
        }
        let condition = self.all_conditions(&access.conditions, None);
        self.load_if(access, addr, 0, condition)
    }

    /// `addr` moved by an index that is computed.
    pub(super) fn add_extra(&mut self, addr: Value, extra: &super::access::Extra, bytes: i64) -> Value {
        let index = self.ix(&extra.index);
        let index = match &extra.check {
            Some(extent) => self.checked(index, extent),
            None => index,
        };
        let step = self.times(index, &extra.stride.scale(bytes));
        self.b.ins().iadd(addr, step)
    }

    /// Whether all conditions, and `so_far`, hold; `None` if there is none.
    pub(super) fn all_conditions<'c>(
        &mut self,
        conditions: impl IntoIterator<Item = &'c super::access::Condition>,
        so_far: Option<Value>,
    ) -> Option<Value> {
        conditions.into_iter().fold(so_far, |so_far, condition| {
            let index = self.ix(&condition.index);
            let extent = self.extent(&condition.extent);
            let holds = self.b.ins().icmp(IntCC::UnsignedLessThan, index, extent);
            Some(match so_far {
                Some(others) => self.b.ins().band(others, holds),
                None => holds,
            })
        })
    }

    /// The element at `addr`, or what stands for it where the condition fails: then the frame is read instead, which
    /// is there always, and what was read is dropped.
    pub(super) fn load_if(
        &mut self,
        access: &Access,
        addr: Value,
        disp: i32,
        condition: Option<Value>,
    ) -> Value {
        let Some(condition) = condition else { return scalar::load(self.b, access.dtype, addr, disp) };
        let addr = self.b.ins().iadd_imm_s(addr, i64::from(disp));
        let addr = self.b.ins().select(condition, addr, self.frame_ptr);
        let value = scalar::load(self.b, access.dtype, addr, 0);
        let otherwise = scalar::constant(self.b, access.otherwise);
        self.b.ins().select(condition, value, otherwise)
    }

    /// `index`, or 0 where it is outside `0..extent`: then the run has failed, and the context says why.
    fn checked(&mut self, index: Value, extent: &Extent) -> Value {
        let extent = self.extent(extent);
        let holds = self.b.ins().icmp(IntCC::UnsignedLessThan, index, extent);
        let (failed, record, go_on) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let result = self.b.append_block_param(go_on, I64);
        self.b.set_cold_block(failed);
        self.b.set_cold_block(record);
        let zero = self.b.ins().iconst(I64, 0);
        self.b.ins().brif(holds, go_on, &[BlockArg::from(index)], failed, &[]);
        self.b.switch_to_block(failed);
        let context = self.slot(crate::frame::CONTEXT);
        let flags = scalar::tensor_flags();
        let code = self.b.ins().load(I64, flags, context, context_offset::FAULT_CODE);
        self.b.ins().brif(code, go_on, &[BlockArg::from(zero)], record, &[]);
        self.b.switch_to_block(record);
        let node = self.b.ins().iconst(I64, self.fault_node);
        self.b.ins().store(flags, node, context, context_offset::FAULT_NODE);
        self.b.ins().store(flags, index, context, context_offset::FAULT_VALUE);
        self.b.ins().store(flags, extent, context, context_offset::FAULT_LIMIT);
        let code = self.b.ins().iconst(I64, fault::BAD_INDEX);
        self.b.ins().store(flags, code, context, context_offset::FAULT_CODE);
        self.b.ins().jump(go_on, &[BlockArg::from(zero)]);
        self.b.switch_to_block(go_on);
        result
    }
}
