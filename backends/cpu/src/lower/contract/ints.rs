//! ints - products of small integers by a constant matrix: what quantized models consist of.
//!
//! ```text
//! for item = (loops around, block of rows, group of panels):
//!   the rows of A as bytes or words, once for all groups       (int_pack)
//!   for panel in group:    packed when compiling                (int_weights)
//!     for rows in block:   tile, over all of k, with the epilogue
//! ```
//!
//! How large the elements of A are is known of the nest that makes them ([`crate::range`]). The epilogue begins with what the
//! offsets of bytes make of the sum.

use cranelift_codegen::ir::{InstBuilder, Value, condcodes::IntCC};
use nnc_ir::{
    extent::{Extent, product},
    form::Bounds,
};
use nnc_tile::{
    Tile,
    epilogue::EpilogueInput,
    gemm::{GemmTile, Stride},
    product::Product,
    program::{LaneType, Op, Ref as Lane, VectorProgram},
};
use nnc_x86::Level;

use super::{
    Refusal,
    analyze::{BFrom, Problem},
    emit::{Gen, kernel_function},
    epilogue,
    int_pack::{Rows, To},
    int_weights::{self, Matrix, Offset, Way},
    panel::{Panels, RowBlocks},
    tiles::{BPanel, Tiles},
    weights::places,
};
use crate::{
    frame::PointerSlot,
    kernel::{Kernel, LowerCx, NestRequest},
    tile::has_feature,
};

/// Rows assumed where their number is not known: few, since a single row is then as wide as several.
const ROWS: i64 = 6;
/// Bytes of rows that stay in the second-level cache.
const BLOCK: i64 = 128 << 10;
/// Terms an item should have at least.
const ITEM_WORK: i64 = 1 << 18;
/// Items there should be where there is enough work.
const ITEMS: i64 = 16;

const ONE_MATRIX: Refusal = "tiles multiply integers by one matrix of known size";
const SIZE: Refusal = "its integers may have more than 16 bits";

/// Terms and columns of a product that tiles can do, whatever its integers are.
pub(super) fn possible(p: &Problem) -> Result<(i64, i64), Refusal> {
    let BFrom::Linear { at, .. } = &p.b_from else { return Err(ONE_MATRIX) };
    if p.outer.iter().any(|&a| !at.coefficients[a].is(0)) || p.prologue.is_some() {
        return Err(ONE_MATRIX);
    }
    let known = |axes: &[usize]| p.extent(axes).as_const().filter(|&e| e > 0);
    known(&p.k).zip(known(&p.n)).ok_or(ONE_MATRIX)
}

/// A product with what is constant about it.
pub(super) struct Whole {
    /// The same over groups.
    pub(super) problem: Problem,
    pub(super) way: Way,
    pub(super) panels: Panels,
    weight: PointerSlot,
    /// Sums of the columns, and their offsets.
    columns: Vec<PointerSlot>,
}

/// Where an item has the numbers that correct its sums.
#[derive(Clone, Copy)]
pub(super) struct Corrections {
    /// What bytes of A are less by.
    pub(super) offset: Value,
    /// Sums of rows.
    pub(super) sums: Value,
}

impl Whole {
    /// Decides how to multiply, and packs; `terms` are numbers of terms in the order of the tiles, with none where a group
    /// has one too many, and `rows` how many rows there are.
    pub(super) fn new(
        p: &Problem,
        request: &NestRequest,
        terms: &dyn Fn(usize) -> Vec<Option<usize>>,
        rows: Option<i64>,
        cx: &mut LowerCx<'_>,
    ) -> Result<Whole, Refusal> {
        let BFrom::Linear { at, .. } = &p.b_from else { return Err(ONE_MATRIX) };
        let operand = |load: usize| &request.operands[p.nest.loads[load].operand];
        let range = operand(p.a).range.ok_or(SIZE)?;
        // Padding is an element, too.
        let padded = p.nest.loads[p.a].bounds != Bounds::Inside;
        let range = match padded && (range.greatest > range.spread || range.least < -range.spread) {
            true => crate::range::Range::between(range.least.min(0), range.greatest.max(0)),
            false => range,
        };
        let constant = operand(p.b).constant.as_ref().ok_or(ONE_MATRIX)?;
        let extents = &p.nest.extents;
        let base = at.base.as_const().and_then(|b| usize::try_from(b).ok()).ok_or(ONE_MATRIX)?;
        let (k, n) = places(at, extents, &p.k).zip(places(at, extents, &p.n)).ok_or(ONE_MATRIX)?;
        let matrix = Matrix::of(constant, base, &k, &n).ok_or(ONE_MATRIX)?;
        let wide = cx.tiles.level();
        let dot = has_feature(cx.isa, "has_avx512vnni") && wide == Some(Level::Avx512);
        let of = |bytes: bool| -> Result<(Way, Problem), Refusal> {
            let way = matrix.way(range, bytes).ok_or(SIZE)?;
            let mut problem = corrected(p, &way)?;
            problem.level = problem.wide_level(wide);
            Ok((way, problem))
        };
        let (mut way, mut problem) = of(dot)?;
        if way.product == Product::Bytes && problem.level.is_none() {
            (way, problem) = of(false)?;
        }
        let m = rows.or(problem.level.map(|_| ROWS));
        let panels = Panels::new(m, i64::try_from(n.len()).ok(), problem.code());
        let panels = with_registers(panels, &problem);
        let packed = matrix.pack(&way, &panels, &terms(way.product.group())).ok_or(ONE_MATRIX)?;
        let weight = cx.add_weight(packed);
        let mut columns = Vec::new();
        let mut add = |values: &[i32]| -> Result<(), Refusal> {
            columns.push(cx.add_weight(int_weights::constant(values).ok_or(ONE_MATRIX)?));
            Ok(())
        };
        if way.product == Product::Bytes {
            add(&matrix.sums())?;
            if let Offset::Each(offsets) = &way.offset {
                add(offsets)?;
            }
        }
        Ok(Whole { problem, way, panels, weight, columns })
    }

    /// Whether sums of rows are wanted.
    pub(super) fn sums_rows(&self) -> bool {
        self.way.offset != Offset::Zero
    }

    /// Address of the packed weights.
    pub(super) fn weights(&self, g: &mut Gen<'_, '_>) -> Value {
        g.pointer(self.weight)
    }

    /// Addresses of the epilogue's own operands, in the order of [`corrected`].
    pub(super) fn operands(&self, g: &mut Gen<'_, '_>, at: Corrections) -> Vec<Value> {
        if self.way.product != Product::Bytes {
            return vec![];
        }
        let mut all = vec![at.offset, g.pointer(self.columns[0])];
        if self.sums_rows() {
            all.push(at.sums);
        }
        all.extend(self.columns.get(1).map(|&slot| g.pointer(slot)));
        all
    }
}

/// The problem over groups, with an epilogue that corrects sums of bytes.
fn corrected(p: &Problem, way: &Way) -> Result<Problem, Refusal> {
    let problem = Problem { product: way.product, ..p.clone() };
    if way.product != Product::Bytes {
        return Ok(problem);
    }
    let mut further = vec![EpilogueInput::Scalar, EpilogueInput::Col];
    match way.offset {
        Offset::Zero => {}
        Offset::One(_) => further.push(EpilogueInput::Row),
        Offset::Each(_) => further.extend([EpilogueInput::Row, EpilogueInput::Col]),
    }
    let first = u16::try_from(p.operands.len() + 1).map_err(|_| SIZE)?;
    let sum = |program: &mut VectorProgram| -> Lane {
        let input = |program: &mut VectorProgram, number: u16| program.push(Op::Input(number, LaneType::I32));
        let acc = input(program, 0);
        let (offset, columns) = (input(program, first), input(program, first + 1));
        let term = program.push(Op::IMul(offset, columns));
        let sum = program.push(Op::IAdd(acc, term));
        let by = match way.offset {
            Offset::Zero => return sum,
            Offset::One(c) => program.i32(c),
            Offset::Each(_) => input(program, first + 3),
        };
        let rows = input(program, first + 2);
        let term = program.push(Op::IMul(rows, by));
        program.push(Op::IAdd(sum, term))
    };
    let splat = |load: usize| p.splats.iter().find(|(l, _)| *l == load).map(|(_, c)| *c);
    let operand = |load: usize| {
        let found = p.operands.iter().find(|(o, _)| o.load == load);
        found.map(|(o, _)| o.clone()).ok_or("what follows reads something else than before")
    };
    let (epilogue, _) = epilogue::translate(&p.nest.finish, &splat, &operand, Some(&sum))?;
    let epilogue = epilogue.map(|mut e| {
        e.inputs.extend(&further);
        e
    });
    Ok(Problem { epilogue, further_operands: further, ..problem })
}

/// Tiles of fewer rows where the product of words needs one more register.
fn with_registers(panels: Panels, p: &Problem) -> Panels {
    let (Panels::Fixed(runs), Some(level)) = (&panels, p.level) else { return panels };
    let fits = |rows: u16, width: u16| {
        let (product, epilogue) = (p.product, p.epilogue.clone());
        let spec = GemmTile { product, epilogue, ..GemmTile::packed(rows, width) };
        nnc_x86::supports(&Tile::Gemm(spec), level)
    };
    let mut runs = runs.clone();
    for run in &mut runs {
        while run.rows > 1 && !fits(run.rows, run.width) {
            run.rows -= 1;
        }
    }
    Panels::Fixed(runs)
}

/// The kernel of a product, or why tiles cannot do it.
pub(super) fn lower(p: &Problem, request: &NestRequest, cx: &mut LowerCx<'_>) -> Result<Kernel, Refusal> {
    let (k, n) = possible(p)?;
    let rounded = |group: usize| (k as usize).next_multiple_of(group);
    let terms = |group: usize| (0..rounded(group)).map(|t| (t < k as usize).then_some(t)).collect::<Vec<_>>();
    let m = p.extent(&p.m);
    let whole = Whole::new(p, request, &terms, m.as_const(), cx)?;
    let groups =
        i64::try_from(rounded(whole.way.product.group()) / whole.way.product.group()).map_err(|_| SIZE)?;
    let problem = Problem { a_row: Extent::Const(groups), a_k: Extent::ONE, ..whole.problem.clone() };
    let blocks = row_blocks(&m, groups, &whole.panels);
    let rows = blocks.block.as_const().unwrap_or(1).max(1);
    let n_panels = whole.panels.count(&Extent::Const(n)).as_const().unwrap_or(1).max(1);
    let panel_work = rows.saturating_mul(whole.panels.widest()).saturating_mul(k).max(1);
    let wanted = (n_panels + ITEMS - 1) / ITEMS;
    let group = wanted.max(ITEM_WORK / panel_work).clamp(1, n_panels);
    let copied = Rows {
        length: k,
        step: p.a_k.clone(),
        row: p.a_row.clone(),
        product: whole.way.product,
        row_bytes: 4 * groups,
    };
    let extents = &p.nest.extents;
    let mut digits: Vec<Extent> = p.outer.iter().map(|&a| extents[a].clone()).collect();
    let loops = digits.len();
    digits.push(blocks.count());
    let n_groups = (n_panels + group - 1) / group;
    // The offset, the sums of rows, the rows; vectors may be written beyond the last.
    let sums_bytes = (4 * rows + 63) / 64 * 64;
    let scratch_bytes = (64 + sums_bytes + 4 * groups * rows + 64 + 63) / 64 * 64;
    let function = kernel_function(cx, |g, begin, end, worker| {
        let k_groups = g.int(groups);
        let tiles = Tiles::new(g, &problem).with_terms(k_groups);
        let scratch = g.scratch(worker);
        let sums = g.b.ins().iadd_imm_s(scratch, 64);
        let packed = g.b.ins().iadd_imm_s(sums, sums_bytes);
        let (columns, last_panel, none) = (g.int(n), g.int(n_panels), g.int(-1));
        g.carry((begin, end), 1, &[none], |g, item, carried| {
            let (place, number) = g.div_rem(item, &Extent::Const(n_groups));
            let at = g.digits(place, &digits);
            let around: Vec<(usize, Value)> = p.outer.iter().copied().zip(at.iter().copied()).collect();
            let (first_row, count) = blocks.at(g, at[loops]);
            let stale = g.b.ins().icmp(IntCC::NotEqual, place, carried[0]);
            g.when(stale, |g| {
                let slot = request.operands[p.nest.loads[p.a].operand].pointer;
                let rows = (!p.m.is_empty()).then_some((first_row, &p.a_row));
                let from = p.a_at.address(g, slot, &around, rows, 4);
                let sums = whole.sums_rows().then_some(sums);
                copied.emit(g, from, count, To { packed, offset: scratch, sums });
            });
            let mut origin = tiles.origin(g, request, &around, first_row);
            origin.a = packed;
            origin.operands.extend(whole.operands(g, Corrections { offset: scratch, sums }));
            let weights = whole.weights(g);
            let from = g.b.ins().imul_imm_s(number, group);
            let to = g.b.ins().iadd_imm_s(from, group);
            let to = g.min(to, last_panel);
            whole.panels.each(g, columns, (from, to), &mut |g, at| {
                let start = g.address(weights, &[(at.start, Extent::Const(groups))]);
                let b = BPanel::Apart(start, Stride::Const(u32::from(at.width)), None);
                tiles.panel(g, &origin, at, b, &blocks, count);
            });
            vec![place]
        });
    });
    Ok(Kernel {
        function,
        name: request.name.clone(),
        items: product(&digits).scale(n_groups),
        item_cost: Extent::Const(
            rows.saturating_mul(groups).saturating_mul(group * whole.panels.widest()) / 4,
        ),
        scratch_bytes: Extent::Const(scratch_bytes),
        may_fault: false,
        scheduled: true,
        plain: None,
        pace: None,
    })
}

/// Rows of a block: all, if that is not too much.
fn row_blocks(m: &Extent, groups: i64, panels: &Panels) -> RowBlocks {
    let multiple = panels.rows_multiple();
    let most = (BLOCK / (4 * groups).max(1)).clamp(1, 256);
    let most = (most / multiple).max(1) * multiple;
    let block = match m.as_const() {
        Some(m) if m <= most => Extent::Const(m),
        _ => Extent::Const(most),
    };
    RowBlocks { m: m.clone(), block }
}
