//! gemm - the inner block of matrix products: C\[rows x cols\] (+)= A\[rows x k\] * B\[k x cols\].
//!
//! ```text
//!              B  +--------------------+       element (p, n) at  p * b_k + n, or table[p] + n  (packed: b_k = panel)
//!               k |   panel columns    |
//!                 +--------------------+
//!   A    k          C
//!   +---------+   +--------------------+       A: element (m, p) at  m * a_row + p * a_k  (packed: a_row 1, a_k mr)
//!   |         |   |                    | rows  C: element (m, n) at  m * ldc + n
//!   +---------+   +--------------------+
//! ```
//!
//! With runs, A's element (m, p) is at  m * a_row + table[p / run] + (p % run) * a_k: the taps of a window in the table and
//! its channels in the run make a convolution over an input with its channels last.
//!
//! Every element of C is one chain of fused multiply-adds in the order of k, starting from zero or from C as it is, and
//! then the epilogue. So all emitters give the same bits, and a product blocked along k has the bits of one
//! that is not.
//!
//! B may consist of several groups of columns, of which the epilogue joins one column each: the gates of a recurrent cell.
//! Element (p, n) of group g is then `g * panel` elements behind that of group 0, and C has the columns of one group.
//!
//! An epilogue may have several results, and results of bytes: the first is C, each other one an output of its own, whose
//! element (m, n) is at  m * stride + n.
//!
//! A tile whose sums have chains, but not in parts, is done for several blocks of rows, one below the other: columns are so few that a
//! call for each block would take too long.
//!
//! A may be *spread*: each element lies there four times, so that it is in all lanes of a vector of four by one load.
//!
//! Elements of A and B are f32, or groups of small integers whose sums are i32 ([`crate::product`]).
//!
//! Strides and counts are in elements. A, B and C need no alignment beyond that of f32.

mod chains;

pub use chains::{Chains, Part};

use crate::{
    epilogue::{Epilogue, EpilogueInput, EpilogueOperand, epilogue_args, results},
    product::Product,
    stream::Element,
};

/// Distance between neighbours along an axis, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stride {
    /// Known when the kernel is made.
    Const(u32),
    /// An argument of the tile.
    Arg,
}

impl Stride {
    /// The distance, where `arg` is what the argument says.
    pub(crate) fn or(self, arg: usize) -> usize {
        match self {
            Stride::Const(s) => s as usize,
            Stride::Arg => arg,
        }
    }
}

/// How rows of B are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BRows {
    /// At a distance above zero: the panel's width if B is packed, the length of a row if it is read as it lies.
    Apart(Stride),
    /// Row p is `table[p]` elements from the pointer to B; the table of i64 is an argument. With the taps of a window
    /// in the table, a convolution is a matrix product over its padded input, without unfolding that first.
    Table,
}

/// How many columns of the panel belong to C.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cols {
    /// This many, at least 1 and at most the panel.
    Const(u16),
    /// An argument of the tile, at least 1 and at most the panel: slower, since rows go through scratch memory.
    Arg,
}

/// What the accumulators start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Init {
    /// Zero.
    Zero,
    /// C as it is: for all blocks of k but the first.
    Load,
}

/// What a tile asks for from farther caches or from memory before anyone reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ahead {
    /// Nothing.
    Nothing,
    /// What the tile itself reads of B so many bytes later: of a B that few rows use.
    Own(u32),
    /// What later tiles read: so many cache lines for every four steps of k, from a place on that is an argument. It
    /// need not be there.
    Lines(u16),
}

/// One inner block of a matrix product. B has `panel` readable columns whatever [`Cols`] says (packing pads them); of A
/// and C no element outside the tile is touched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GemmTile {
    /// What elements of A and B are.
    pub product: Product,
    /// Rows of A and C; a remainder along m is a tile of fewer rows, its strides unchanged.
    pub rows: u16,
    /// Columns of B, or of each group of its columns, that are computed with: a multiple of 4 but where there are chains.
    pub panel: u16,
    /// Columns of C.
    pub cols: Cols,
    /// Stride of A along m.
    pub a_row: Stride,
    /// Stride of A along k; within a run if there are runs.
    pub a_k: Stride,
    /// Elements of A along k that one entry of a table tells the place of: `table[p / run]` elements from the pointer to A.
    /// The table of i64 is an argument, and k is a multiple of the run. Without it all of A is one run.
    pub a_runs: Option<u32>,
    /// Whether each element of A has three copies behind it, which may be read with it. Strides count the copies, too. It
    /// changes no bit, and emissions need not heed it.
    pub a_spread: bool,
    /// Rows of B.
    pub b_rows: BRows,
    /// What may be brought nearer meanwhile. It changes no bit, and emissions need not heed it.
    pub ahead: Ahead,
    /// Chains of a sum; `None` for one.
    pub chains: Option<Chains>,
    /// Start of the accumulators.
    pub init: Init,
    /// What happens to the sums before they are stored.
    pub epilogue: Option<Epilogue>,
}

impl GemmTile {
    /// A full tile over a packed B and an A packed in panels of `rows`, without epilogue.
    #[must_use]
    pub fn packed(rows: u16, panel: u16) -> Self {
        GemmTile {
            product: Product::F32,
            rows,
            panel,
            cols: Cols::Const(panel),
            a_row: Stride::Const(1),
            a_k: Stride::Const(u32::from(rows)),
            a_runs: None,
            a_spread: false,
            b_rows: BRows::Apart(Stride::Const(u32::from(panel))),
            ahead: Ahead::Nothing,
            chains: None,
            init: Init::Zero,
            epilogue: None,
        }
    }

    /// A matrix-vector tile: one row of contiguous A times a packed panel. B is read once from memory, so the panel is
    /// as wide as registers allow.
    #[must_use]
    pub fn matrix_vector(panel: u16) -> Self {
        GemmTile { a_k: Stride::Const(1), ..Self::packed(1, panel) }
    }

    /// Checks what every emitter relies on.
    ///
    /// # Panics
    /// If the spec does not say a possible tile: a spec is made by a compiler, never by a user.
    pub fn check(&self) {
        assert!(self.rows > 0, "a tile has rows");
        let whole = self.chains.is_some() || self.panel.is_multiple_of(4);
        assert!(self.panel > 0 && whole, "a panel is a multiple of 4 columns");
        if let Some(chains) = self.chains {
            assert!(
                matches!(chains.count, 2 | 4 | 8 | 16) && chains.rest < chains.count,
                "chains are 2, 4, 8 or 16"
            );
            let b = BRows::Apart(Stride::Const(u32::from(self.panel)));
            let dense = self.a_k == Stride::Const(1) && self.a_runs.is_none() && !self.a_spread;
            assert!(dense && self.b_rows == b, "chains walk along what is dense");
            assert!(self.cols == Cols::Const(self.panel), "chains have no columns too many");
            let sums = self.product == Product::F32 && self.init == Init::Zero && self.groups() == 1;
            assert!(sums, "chains are sums of f32 from zero on");
        }
        if let Cols::Const(n) = self.cols {
            assert!((1..=self.panel).contains(&n), "the columns of C are within the panel");
        }
        assert!(self.b_rows != BRows::Apart(Stride::Const(0)), "B advances along k");
        assert!(self.a_runs != Some(0), "a run has elements");
        if let Some(epilogue) = &self.epilogue {
            epilogue.check();
            let sums = epilogue.program.input_type(0);
            assert!(sums.is_none_or(|ty| ty == self.product.lane_type()), "an epilogue takes the sums");
        }
        assert!(self.init == Init::Zero || self.stores()[0] == self.product.element(), "sums go on from C");
        if self.groups() > 1 {
            assert!(self.init == Init::Zero, "C has no sums of several groups");
        }
        let behind = |e: &Epilogue| e.inputs.iter().any(|i| matches!(i, EpilogueInput::Behind { .. }));
        if self.groups() > 1 || self.epilogue.as_ref().is_some_and(behind) {
            assert!(self.cols != Cols::Arg, "the columns of groups are known");
        }
    }

    /// Groups of columns of B, of which the epilogue joins one column each.
    #[must_use]
    pub fn groups(&self) -> u16 {
        self.epilogue.as_ref().map_or(1, |e| e.sums)
    }

    /// What lies in memory of C and of further outputs.
    #[must_use]
    pub fn stores(&self) -> &[Element] {
        let sums: &[Element] = if self.product == Product::F32 { &[Element::F32] } else { &[Element::I32] };
        self.epilogue.as_ref().map_or(sums, |e| &e.stores)
    }

    /// Whether it is done for several blocks of rows, one below the other.
    #[must_use]
    pub fn is_stacked(&self) -> bool {
        self.chains.is_some_and(|chains| !chains.in_parts)
    }

    /// Run-time arguments of the tile in the order of its stand-alone function, all 64-bit.
    #[must_use]
    pub fn args(&self) -> Vec<GemmArg> {
        let mut args = vec![GemmArg::A, GemmArg::B, GemmArg::C, GemmArg::K, GemmArg::Ldc];
        args.extend(self.is_stacked().then_some(GemmArg::Blocks));
        let optional = [
            (self.a_row == Stride::Arg, GemmArg::ARow),
            (self.a_k == Stride::Arg, GemmArg::AK),
            (self.a_runs.is_some(), GemmArg::ATable),
            (self.b_rows == BRows::Apart(Stride::Arg), GemmArg::BK),
            (self.b_rows == BRows::Table, GemmArg::BTable),
            (self.cols == Cols::Arg, GemmArg::Cols),
            (matches!(self.ahead, Ahead::Lines(_)), GemmArg::Ahead),
        ];
        args.extend(optional.into_iter().filter_map(|(used, arg)| used.then_some(arg)));
        args.extend(epilogue_args(self.epilogue.as_ref(), GemmArg::Epilogue, |idx| {
            vec![GemmArg::EpilogueStride(idx)]
        }));
        for idx in 1..self.stores().len() {
            args.extend([GemmArg::Output(idx), GemmArg::OutputStride(idx)]);
        }
        args
    }

    /// Computes the tile, element by element: what every emitter is tested against.
    ///
    /// # Panics
    /// If an operand is too short.
    pub fn reference(&self, operands: &mut GemmOperands) {
        self.reference_by(operands, f32::mul_add);
    }

    /// Likewise with the step that adds `x * y` to a sum: fused, or a product and a sum where a target has no such
    /// instruction.
    ///
    /// # Panics
    /// If an operand is too short.
    pub fn reference_by(&self, operands: &mut GemmOperands, step: fn(f32, f32, f32) -> f32) {
        let a_row = self.a_row.or(operands.a_row);
        let a_k = self.a_k.or(operands.a_k);
        let from_table = |table: &[i64], at: usize| {
            usize::try_from(table[at]).expect("the reference takes operands from their lowest element")
        };
        let a_along = |operands: &GemmOperands, p: usize| match self.a_runs {
            Some(run) => from_table(operands.a_table, p / run as usize) + p % run as usize * a_k,
            None => p * a_k,
        };
        let b_row = |operands: &GemmOperands, p: usize| match self.b_rows {
            BRows::Apart(b_k) => p * b_k.or(operands.b_k),
            BRows::Table => from_table(operands.b_table, p),
        };
        let cols = match self.cols {
            Cols::Const(n) => usize::from(n),
            Cols::Arg => operands.cols,
        };
        let blocks = if self.is_stacked() { operands.blocks } else { 1 };
        for m in 0..blocks * usize::from(self.rows) {
            for n in 0..cols {
                let at = m * operands.ldc + n;
                let start = match self.init {
                    Init::Zero => 0.0,
                    Init::Load => Element::F32.read(operands.c, 4 * at).f32(),
                };
                let chain = |chains: Chains, count: usize, first: usize| {
                    (first..operands.k.next_multiple_of(count)).step_by(count).fold(0.0, |acc, p| {
                        let a = if p < operands.k { operands.a[m * a_row + p] } else { 0.0 };
                        step(a, operands.b[chains.place(usize::from(self.panel), p, n)], acc)
                    })
                };
                let sum = |group: usize| {
                    if let Some(chains) = self.chains {
                        let parts = chains.parts(usize::from(self.panel));
                        let part = parts.iter().find(|part| n < part.first + part.cols);
                        let count = part.map_or(1, |part| part.chains);
                        return Chains::added((0..count).map(|j| chain(chains, count, j)).collect());
                    }
                    (0..operands.k).fold(start, |acc, p| {
                        let a = operands.a[m * a_row + a_along(operands, p)];
                        let column = group * usize::from(self.panel) + n;
                        self.product.step(step, a, operands.b[b_row(operands, p) + column], acc)
                    })
                };
                let sums: Vec<f32> = (0..usize::from(self.groups())).map(sum).collect();
                let values = results(self.epilogue.as_ref(), &operands.epilogue, &sums, m, n);
                for (idx, (value, element)) in values.into_iter().zip(self.stores()).enumerate() {
                    match idx.checked_sub(1) {
                        None => element.write(value, operands.c, element.bytes() * at),
                        Some(further) => {
                            let output = &mut operands.outputs[further];
                            element.write(value, output.bytes, element.bytes() * (m * output.stride + n));
                        }
                    }
                }
            }
        }
    }
}

/// A run-time argument of a [`GemmTile`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GemmArg {
    /// Pointer to the first element of A.
    A,
    /// Pointer to the first element of B.
    B,
    /// Pointer to the first element of C.
    C,
    /// Length of the sum.
    K,
    /// Row stride of C.
    Ldc,
    /// Blocks of rows, if there may be several.
    Blocks,
    /// Stride of A along m, if it is not constant.
    ARow,
    /// Stride of A along k, if it is not constant.
    AK,
    /// Pointer to the table of runs of A, if there is one.
    ATable,
    /// Stride of B along k, if it is not constant.
    BK,
    /// Pointer to the table of rows of B, if there is one.
    BTable,
    /// Columns of C, if they are not constant.
    Cols,
    /// Pointer to what later tiles read, if the tile asks for it.
    Ahead,
    /// Pointer of an epilogue input, by its index.
    Epilogue(usize),
    /// Row stride of an epilogue input of kind [`EpilogueInput::Tile`](crate::epilogue::EpilogueInput::Tile).
    EpilogueStride(usize),
    /// Pointer to the first element of a further output, by the index of the epilogue's result: 1, 2, ...
    Output(usize),
    /// Its row stride.
    OutputStride(usize),
}

/// A further output, for the reference.
#[derive(Debug)]
pub struct GemmOutput<'a> {
    /// Bytes from its first element.
    pub bytes: &'a mut [u8],
    /// Row stride in elements.
    pub stride: usize,
}

/// What the reference computes with; a stride is read only where the spec leaves it to the caller.
#[derive(Debug)]
pub struct GemmOperands<'a> {
    /// A from its first element, by its bits where it is no f32.
    pub a: &'a [f32],
    /// B from its first element, likewise.
    pub b: &'a [f32],
    /// The bytes of C from its first element.
    pub c: &'a mut [u8],
    /// Length of the sum.
    pub k: usize,
    /// Row stride of C.
    pub ldc: usize,
    /// Blocks of rows, of tiles that have several.
    pub blocks: usize,
    /// Stride of A along m.
    pub a_row: usize,
    /// Stride of A along k.
    pub a_k: usize,
    /// Where the runs of A are.
    pub a_table: &'a [i64],
    /// Stride of B along k.
    pub b_k: usize,
    /// Where the rows of B are.
    pub b_table: &'a [i64],
    /// Columns of C.
    pub cols: usize,
    /// Operands of the epilogue.
    pub epilogue: Vec<EpilogueOperand<'a>>,
    /// Results of the epilogue but the first.
    pub outputs: Vec<GemmOutput<'a>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_in_blocks_has_the_bits_of_one_sum() {
        let spec = GemmTile::packed(2, 8);
        let next = GemmTile { init: Init::Load, ..spec.clone() };
        let elements = |n: usize| -> Vec<f32> { (0..n).map(|i| (i as f32 * 0.7).sin()).collect() };
        let (a, b) = (elements(2 * 50), elements(8 * 50));
        let product = |spec: &GemmTile, c: &mut [u8], from: usize, to: usize| {
            spec.reference(&mut GemmOperands {
                a: &a[2 * from..2 * to],
                b: &b[8 * from..8 * to],
                c,
                k: to - from,
                ldc: 8,
                blocks: 1,
                a_row: 0,
                a_k: 0,
                a_table: &[],
                b_k: 0,
                b_table: &[],
                cols: 0,
                epilogue: vec![],
                outputs: vec![],
            });
        };
        let (mut whole, mut blocked) = (vec![0; 64], vec![0; 64]);
        product(&spec, &mut whole, 0, 50);
        product(&spec, &mut blocked, 0, 17);
        product(&next, &mut blocked, 17, 50);
        assert_eq!(whole, blocked);
    }
}
