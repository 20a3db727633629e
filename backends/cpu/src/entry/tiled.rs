//! tiled - the kernel of a tiled region: calls the kernels of its members by turns.
//!
//! ```text
//! copy the frame
//! for turn in begin..end
//!   for member in members
//!     if its result does not fit behind what is there:   move what is still wanted to the start
//!     member's items that this turn needs and that were not done before
//! ```
//!
//! Kernels find their operands in the frame; of what passes between members each worker has its own, so each has a frame of its
//! own. The address of a result that is there in part is that of its first element, were it there: members index it as if it
//! all were.

use cranelift_codegen::ir::{InstBuilder, Value, condcodes::IntCC, types::I64};

use super::{
    functions::{Body, FuncId, Functions},
    helpers::copy_bytes,
};
use crate::frame::{PointerSlot, SCRATCH, SCRATCH_BYTES, offset};

/// A member of a region.
pub(crate) struct Member {
    /// Its kernel.
    pub(crate) function: FuncId,
    /// Where the address of its result is, and for how many bytes there is room; none for the last.
    pub(crate) inner: Option<(PointerSlot, i64)>,
}

/// A region whose kernel is to be written.
pub(crate) struct Region {
    /// In order.
    pub(crate) members: Vec<Member>,
    /// Where the address of the table of turns is.
    pub(crate) table: PointerSlot,
    /// Slots of the frame that kernels may read.
    pub(crate) slots: usize,
}

/// Numbers of a member in a row of the table.
pub(crate) const COLUMNS: usize = 6;

/// Where things are in the scratch memory of a worker: in bytes.
struct Layout {
    /// Three numbers a member: items done, first byte of its result that is there, byte after the last.
    state: i64,
    /// Results, one a member.
    inner: Vec<i64>,
    /// What members use as scratch memory.
    rest: i64,
}

impl Region {
    fn layout(&self) -> Layout {
        let up = |bytes: i64| (bytes + 63) / 64 * 64;
        let state = up(i64::from(offset(self.slots)));
        let mut at = state + up(i64::from(offset(3 * self.members.len())));
        let place = |member: &Member| {
            let here = at;
            at += up(member.inner.map_or(0, |(_, bytes)| bytes));
            here
        };
        let inner = self.members.iter().map(place).collect();
        Layout { state, inner, rest: at }
    }

    /// Bytes of scratch memory that the region needs besides that of its members.
    pub(crate) fn scratch_bytes(&self) -> i64 {
        self.layout().rest
    }

    /// Writes the kernel.
    pub(crate) fn emit(&self, functions: &mut Functions, name: &str) -> FuncId {
        let id = functions.declare(name, 4, None);
        functions.define(id, |functions, body| self.write(functions, body));
        id
    }

    fn write(&self, functions: &Functions, body: &mut Body<'_>) {
        let (frame, begin, end, worker) = (body.params[0], body.params[1], body.params[2], body.params[3]);
        let layout = self.layout();
        let (base, bytes) =
            (body.load(I64, frame, offset(SCRATCH)), body.load(I64, frame, offset(SCRATCH_BYTES)));
        let own = body.b.ins().imul(worker, bytes);
        let own = body.b.ins().iadd(base, own);
        let frame_bytes = body.int(i64::from(offset(self.slots)));
        copy_bytes(body, own, frame, frame_bytes);
        let rest = body.b.ins().iadd_imm_s(base, layout.rest);
        body.store(rest, own, offset(SCRATCH));
        let table = body.load(I64, frame, offset(self.table.0));
        let row_bytes = i64::from(offset(COLUMNS * self.members.len()));
        let at = Place { own, worker, layout: &layout };
        body.count(begin, end, 1, |body, turn| {
            let distance = body.b.ins().imul_imm_s(turn, row_bytes);
            let row = body.b.ins().iadd(table, distance);
            let first = body.b.ins().icmp(IntCC::Equal, turn, begin);
            for (number, member) in self.members.iter().enumerate() {
                member.turn(functions, body, &at, number, (row, first));
            }
        });
        body.b.ins().return_(&[]);
    }
}

/// Where a worker's memory is.
struct Place<'a> {
    own: Value,
    worker: Value,
    layout: &'a Layout,
}

impl Member {
    fn turn(
        &self,
        functions: &Functions,
        body: &mut Body<'_>,
        at: &Place<'_>,
        number: usize,
        (row, first): (Value, Value),
    ) {
        let column = |body: &mut Body<'_>, k: usize| body.load(I64, row, offset(COLUMNS * number + k));
        let (fresh, least, end) = (column(body, 0), column(body, 1), column(body, 2));
        let state = body.b.ins().iadd_imm_s(at.own, at.layout.state + i64::from(offset(3 * number)));
        let done = body.load(I64, state, 0);
        let later = body.b.ins().smax(done, least);
        let start = body.b.ins().select(first, fresh, later);
        if let Some((slot, room)) = self.inner {
            let (fresh_from, from, to) = (column(body, 3), column(body, 4), column(body, 5));
            let from = body.b.ins().select(first, fresh_from, from);
            let (begins, there) = (body.load(I64, state, 8), body.load(I64, state, 16));
            let length = body.b.ins().isub(to, begins);
            let over = body.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, length, room);
            let moves = body.b.ins().bor(first, over);
            let memory = body.b.ins().iadd_imm_s(at.own, at.layout.inner[number]);
            body.when(moves, |body| {
                let (zero, kept) = (body.int(0), body.b.ins().isub(there, from));
                let kept = body.b.ins().smax(kept, zero);
                let kept = body.b.ins().select(first, zero, kept);
                let distance = body.b.ins().isub(from, begins);
                let source = body.b.ins().iadd(memory, distance);
                copy_bytes(body, memory, source, kept);
                body.store(from, state, 8);
                let address = body.b.ins().isub(memory, from);
                body.store(address, at.own, offset(slot.0));
            });
            body.store(to, state, 16);
        }
        body.store(end, state, 0);
        let more = body.b.ins().icmp(IntCC::SignedLessThan, start, end);
        body.when(more, |body| {
            body.call(functions, self.function, &[at.own, start, end, at.worker]);
        });
    }
}
