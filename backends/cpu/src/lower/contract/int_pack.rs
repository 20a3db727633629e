//! int_pack - copies integers of 32 bits to scratch memory as the bytes or words that tiles multiply.
//!
//! Bytes are the elements less the least of them all, which is found first. Their sums, one a row, are made where weights
//! have offsets (`int_weights`).

use cranelift_codegen::ir::{
    Endianness, InstBuilder, MemFlagsData, Type, Value,
    types::{I8X16, I16X8, I32, I32X4, I64, I64X2},
};
use nnc_ir::extent::Extent;
use nnc_tile::product::Product;

use super::{emit::Gen, pack::flags};

/// What is done with so many elements, by the values carried along a row; gives the last of them.
type Body<'a> = &'a mut dyn FnMut(&mut Gen<'_, '_>, i64, &[Value]) -> Vec<Value>;

/// What is copied: rows of elements.
pub(super) struct Rows {
    /// Elements of a row.
    pub(super) length: i64,
    /// Elements from one to the next, and from one row to the next.
    pub(super) step: Extent,
    pub(super) row: Extent,
    /// What a row becomes.
    pub(super) product: Product,
    /// Bytes from one row of the copy to the next.
    pub(super) row_bytes: i64,
}

/// Where it goes.
#[derive(Clone, Copy)]
pub(super) struct To {
    /// Address of the bytes or words.
    pub(super) packed: Value,
    /// Address of the number that bytes are less by.
    pub(super) offset: Value,
    /// Address of the sums of rows, if they are wanted.
    pub(super) sums: Option<Value>,
}

impl Rows {
    /// Emits the copy of `count` rows.
    pub(super) fn emit(&self, g: &mut Gen<'_, '_>, from: Value, count: Value, to: To) {
        let offset = match self.product {
            Product::Bytes => {
                let least = self.least(g, from, count);
                g.b.ins().store(flags(), least, to.offset, 0);
                Some(g.b.ins().splat(I32X4, least))
            }
            _ => None,
        };
        let zero = g.int(0);
        let mut convert = |g: &mut Gen<'_, '_>, lanes: i64, at: &[Value]| {
            let parts = self.read(g, lanes, at[0]);
            let parts: Vec<Value> = match offset {
                Some(offset) => parts.iter().map(|&v| g.b.ins().isub(v, offset)).collect(),
                None => parts,
            };
            self.write(g, lanes, &parts, at[1]);
            let sum = match (to.sums, lanes) {
                (None, _) => at[2],
                (Some(_), 1) => {
                    // One lane counts.
                    let one = g.b.ins().extractlane(parts[0], 0);
                    let lane = g.b.ins().scalar_to_vector(I32X4, one);
                    g.b.ins().iadd(at[2], lane)
                }
                (Some(_), _) => parts.iter().fold(at[2], |sum, &v| g.b.ins().iadd(sum, v)),
            };
            vec![sum]
        };
        let bytes = [self.element_bytes()];
        if to.sums.is_none() && self.is_dense() && self.row_bytes == self.length * bytes[0] {
            let (all, none) = (g.times(count, &Extent::Const(self.length)), zeros(g));
            self.walk_dense(g, all, &[from, to.packed, none], &bytes, &mut convert);
            return;
        }
        let init = [&[from, to.packed][..], to.sums.as_slice()].concat();
        g.carry((zero, count), 1, &init, |g, _, at| {
            let sum = zeros(g);
            let end = self.walk(g, &[at[0], at[1], sum], &bytes, &mut convert);
            if let Some(sums) = at.get(2) {
                let lanes = (0..4u8).map(|i| g.b.ins().extractlane(end[2], i)).collect::<Vec<_>>();
                let sum = lanes[1..].iter().fold(lanes[0], |sum, &x| g.b.ins().iadd(sum, x));
                g.b.ins().store(flags(), sum, *sums, 0);
            }
            let mut next =
                vec![g.plus(at[0], &self.row.scale(4)), g.b.ins().iadd_imm_s(at[1], self.row_bytes)];
            next.extend(at.get(2).map(|&sums| g.b.ins().iadd_imm_s(sums, 4)));
            next
        });
    }

    fn element_bytes(&self) -> i64 {
        if self.product == Product::Bytes { 1 } else { 2 }
    }

    /// The least element.
    fn least(&self, g: &mut Gen<'_, '_>, from: Value, count: Value) -> Value {
        let most = g.b.ins().iconst(I32, i64::from(i32::MAX));
        let most = g.b.ins().splat(I32X4, most);
        let mut lesser = |g: &mut Gen<'_, '_>, lanes: i64, at: &[Value]| {
            let parts = self.read(g, lanes, at[0]);
            vec![parts.into_iter().fold(at[1], |least, v| g.b.ins().smin(least, v))]
        };
        let found = if self.is_dense() {
            let all = g.times(count, &Extent::Const(self.length));
            self.walk_dense(g, all, &[from, most], &[], &mut lesser)
        } else {
            let zero = g.int(0);
            g.carry((zero, count), 1, &[from, most], |g, _, at| {
                let found = self.walk(g, &[at[0], at[1]], &[], &mut lesser);
                vec![g.plus(at[0], &self.row.scale(4)), found[1]]
            })
        };
        let lanes: Vec<Value> = (0..4u8)
            .map(|i| {
                let lane = g.b.ins().extractlane(found[1], i);
                g.b.ins().sextend(I64, lane)
            })
            .collect();
        let least = lanes[1..].iter().fold(lanes[0], |least, &x| g.min(least, x));
        g.b.ins().ireduce(I32, least)
    }

    /// Walks along a row, sixteen elements at a time, then four, then one. Carried are the address in the row, addresses
    /// that move by `bytes` an element, and what `body` gives.
    fn walk(&self, g: &mut Gen<'_, '_>, init: &[Value], bytes: &[i64], body: Body<'_>) -> Vec<Value> {
        let mut at = init.to_vec();
        let mut done = 0;
        let sizes: &[i64] = if self.step.is(1) { &[16, 4, 1] } else { &[1] };
        for &lanes in sizes {
            let turns = (self.length - done) / lanes;
            if turns == 0 {
                continue;
            }
            if turns <= 2 {
                (0..turns).for_each(|_| at = self.turn(g, lanes, &at, bytes, body));
            } else {
                let (zero, end) = (g.int(0), g.int(turns));
                at = g.carry((zero, end), 1, &at, |g, _, at| self.turn(g, lanes, at, bytes, body));
            }
            done += turns * lanes;
        }
        at
    }

    /// Whether rows are one piece of whole vectors.
    fn is_dense(&self) -> bool {
        self.step.is(1) && self.row.is(self.length) && self.length % 4 == 0
    }

    /// Walks along `all` elements in one piece, likewise.
    fn walk_dense(
        &self,
        g: &mut Gen<'_, '_>,
        all: Value,
        init: &[Value],
        bytes: &[i64],
        body: Body<'_>,
    ) -> Vec<Value> {
        let (mut done, mut at) = (g.int(0), init.to_vec());
        for lanes in [16, 4] {
            let end = g.b.ins().iadd_imm_s(all, 1 - lanes);
            (done, at) =
                g.carry_index((done, end), lanes, &at, |g, _, at| self.turn(g, lanes, at, bytes, body));
        }
        at
    }

    /// What is carried after so many more elements.
    fn turn(
        &self,
        g: &mut Gen<'_, '_>,
        lanes: i64,
        at: &[Value],
        bytes: &[i64],
        body: Body<'_>,
    ) -> Vec<Value> {
        let made = body(g, lanes, at);
        let mut next = vec![g.plus(at[0], &self.step.scale(4 * lanes))];
        next.extend(bytes.iter().zip(&at[1..]).map(|(n, &p)| g.b.ins().iadd_imm_s(p, n * lanes)));
        next.extend(made);
        next
    }

    /// Elements as vectors of four; a single one is in all lanes.
    fn read(&self, g: &mut Gen<'_, '_>, lanes: i64, from: Value) -> Vec<Value> {
        if lanes == 1 {
            let one = g.b.ins().load(I32, flags(), from, 0);
            return vec![g.b.ins().splat(I32X4, one)];
        }
        (0..lanes as i32 / 4).map(|i| g.b.ins().load(I32X4, flags(), from, 16 * i)).collect()
    }

    /// Writes them as bytes or words; all of them fit.
    fn write(&self, g: &mut Gen<'_, '_>, lanes: i64, parts: &[Value], to: Value) {
        let words: Vec<Value> = match parts {
            [one] => vec![g.b.ins().snarrow(*one, *one)],
            _ => parts.chunks(2).map(|p| g.b.ins().snarrow(p[0], p[1])).collect(),
        };
        let packed: Vec<Value> = match self.product {
            Product::Bytes => words.chunks(2).map(|p| g.b.ins().unarrow(p[0], p[p.len() - 1])).collect(),
            _ => words,
        };
        match lanes * self.element_bytes() {
            1 => {
                let low = self.low(g, packed[0], I32X4);
                g.b.ins().istore8(flags(), low, to, 0);
            }
            2 => {
                let low = self.low(g, packed[0], I32X4);
                g.b.ins().istore16(flags(), low, to, 0);
            }
            4 => {
                let low = self.low(g, packed[0], I32X4);
                g.b.ins().store(flags(), low, to, 0);
            }
            8 => {
                let low = self.low(g, packed[0], I64X2);
                g.b.ins().store(flags(), low, to, 0);
            }
            _ => {
                for (i, &v) in packed.iter().enumerate() {
                    g.b.ins().store(flags(), v, to, 16 * i as i32);
                }
            }
        }
    }

    /// The lowest lane of a vector seen as lanes of `ty`.
    fn low(&self, g: &mut Gen<'_, '_>, v: Value, ty: Type) -> Value {
        debug_assert!([I8X16, I16X8].contains(&g.b.func.dfg.value_type(v)), "integers were narrowed");
        let little = MemFlagsData::new().with_endianness(Endianness::Little);
        let v = g.b.ins().bitcast(ty, little, v);
        g.b.ins().extractlane(v, 0)
    }
}

fn zeros(g: &mut Gen<'_, '_>) -> Value {
    let zero = g.b.ins().iconst(I32, 0);
    g.b.ins().splat(I32X4, zero)
}
