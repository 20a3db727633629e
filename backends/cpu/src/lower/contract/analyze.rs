//! analyze - which axes of a contraction are rows, columns, sums and loops around.
//!
//! Operand B is the one whose columns are vectors: the only one that the result's contiguous axis belongs to. Then
//!
//! * columns (n) are the trailing space axes that only B has,
//! * rows (m) are space axes that only A has,
//! * sums (k) are the reduction axes,
//! * all other space axes are loops around the product, whether one operand has them or both.
//!
//! Where a matrix with dense rows is multiplied by a vector, the result's axis belongs to the matrix. Wide tiles of chains then do better
//! with the vector as a single column and the matrix as A ([`Problem::of_one_column`]): its rows are read as they lie, and not copied to be columns.

use nnc_ir::{
    dtype::{DType, Scalar},
    extent::{Extent, product},
    form::Bounds,
    program::{Inst, Program},
};
use nnc_tile::{
    Tile,
    epilogue::{Epilogue, EpilogueInput},
    gemm::GemmTile,
    product::Product,
    stream::Element,
};
use nnc_x86::Level;

use super::{
    Refusal,
    epilogue::{self, Operand},
    panel::Code,
    prologue::Prologue,
    split::{self, Nest},
    window::{self, Window},
};
use crate::{
    kernel::{NestRequest, Placement},
    lower::access::Access,
    tile::Arithmetic,
};

/// Steps of sums from which on one column is worth its own way.
const ONE_COLUMN_K: i64 = 16;

/// A contraction with the roles of its axes.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    /// What is computed.
    pub(super) nest: Nest,
    /// Axes of the loops around the product.
    pub(super) outer: Vec<usize>,
    /// Axes of rows, which together are one.
    pub(super) m: Vec<usize>,
    /// Axes of columns.
    pub(super) n: Vec<usize>,
    /// Whether the result and what the epilogue reads walk all of them as one; else only the last.
    pub(super) flat: bool,
    /// Axes that are summed over.
    pub(super) k: Vec<usize>,
    /// Numbers of the loads.
    pub(super) a: usize,
    pub(super) b: usize,
    /// Where A is.
    pub(super) a_at: Linear,
    /// Distances in A along m and along k.
    pub(super) a_row: Extent,
    pub(super) a_k: Extent,
    /// Where B is.
    pub(super) b_from: BFrom,
    /// What is done to B first: its load is then one of those that are read for it.
    pub(super) prologue: Option<Prologue>,
    /// Where the result is, and the distance of its rows.
    pub(super) c_at: Linear,
    pub(super) c_row: Extent,
    /// Likewise of each further result.
    pub(super) further: Vec<(Linear, Extent)>,
    /// What is done to sums, and where its operands are.
    pub(super) epilogue: Option<Epilogue>,
    pub(super) operands: Vec<(Operand, Linear)>,
    /// Instructions of its tiles, if they are wide.
    pub(super) level: Option<Level>,
    /// How the target multiplies and adds where they are not.
    pub(super) arithmetic: Arithmetic,
    /// First columns of the groups of columns of B that the epilogue joins; `[0]` where it joins none.
    pub(super) groups: Vec<i64>,
    /// Loads that are one constant everywhere, which the epilogue has instead of them.
    pub(super) splats: Vec<(usize, Scalar)>,
    /// What tiles multiply: elements of A and B are f32, or groups of integers that have been packed.
    pub(super) product: Product,
    /// Operands of the epilogue that no load reads; they come after the others.
    pub(super) further_operands: Vec<EpilogueInput>,
}

/// An element's place: `base + sum of coefficient * position`.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    pub(super) base: Extent,
    pub(super) coefficients: Vec<Extent>,
}

/// Where columns come from.
#[derive(Clone, Debug)]
pub(super) enum BFrom {
    /// Every element is at a linear place; the columns are `n_stride` apart.
    Linear { at: Linear, n_stride: Extent },
    /// Windows over a tensor that may be padded.
    Window(Window),
}

impl Linear {
    /// Where an access is, if nothing about it is checked or computed.
    pub(super) fn of(access: &Access) -> Option<Linear> {
        let plain = access.conditions.is_empty() && access.extra.is_empty();
        plain.then(|| Linear { base: access.base.clone(), coefficients: access.coefficients.clone() })
    }

    /// Where the results of a nest are.
    pub(super) fn of_results(nest: &Nest) -> Vec<Linear> {
        let of = |place: &Placement| {
            let mut coefficients = place.strides.clone();
            coefficients.resize(nest.extents.len(), Extent::ZERO);
            Linear { base: place.offset.clone(), coefficients }
        };
        nest.results.iter().map(of).collect()
    }

    /// The distance of neighbours along `axes` as if they were one axis; 0 if there are none.
    pub(super) fn stride(&self, axes: &[usize], extents: &[Extent]) -> Option<Extent> {
        let Some((&last, rest)) = axes.split_last() else { return Some(Extent::ZERO) };
        let mut below = last;
        for &axis in rest.iter().rev() {
            if self.coefficients[axis] != &self.coefficients[below] * &extents[below] {
                return None;
            }
            below = axis;
        }
        Some(self.coefficients[last].clone())
    }
}

/// The loads that a program reads.
pub(super) fn reads(program: &Program) -> Vec<usize> {
    let of = |(inst, _): &(Inst, DType)| if let Inst::Load(k) = inst { Some(*k) } else { None };
    program.insts().iter().filter_map(of).collect()
}

/// The load that a program is, if it is nothing else.
pub(super) fn single(program: &Program) -> Option<usize> {
    match program.insts() {
        [(Inst::Load(k), _)] => Some(*k),
        _ => None,
    }
}

/// Which axes are columns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Columns {
    /// The last ones of the result.
    Last,
    /// None: there is one column.
    One,
}

impl Problem {
    /// Extent of axes taken together.
    pub(super) fn extent(&self, axes: &[usize]) -> Extent {
        product(axes.iter().map(|&a| &self.nest.extents[a]))
    }

    /// The axes of its space from the outermost loop to the innermost.
    pub(super) fn walk(&self) -> Vec<usize> {
        [&self.outer[..], &self.m, &self.n].concat()
    }

    /// Whether it has one f32 result and no other, which is all that some ways can do.
    pub(super) fn is_single(&self) -> bool {
        !self.is_whole() && self.epilogue.as_ref().is_none_or(Epilogue::is_single)
    }

    /// How each result is stored.
    pub(super) fn stores(&self) -> &[Element] {
        let sums: &[Element] = if self.is_whole() { &[Element::I32] } else { &[Element::F32] };
        self.epilogue.as_ref().map_or(sums, |e| &e.stores)
    }

    /// Whether it sums integers.
    pub(super) fn is_whole(&self) -> bool {
        self.nest.loads[self.a].dtype == DType::I32
    }

    /// What the code of its tiles is.
    pub(super) fn code(&self) -> Code {
        self.level.map_or(Code::Clif(self.arithmetic), Code::Wide)
    }

    /// The level, if the epilogue can be done there.
    pub(super) fn wide_level(&self, level: Option<Level>) -> Option<Level> {
        // Where groups are joined, several rows take more registers than one.
        let rows = if self.groups.len() > 1 && !self.extent(&self.m).is(1) { 2 } else { 1 };
        level.filter(|&level| {
            let panel = if rows == 1 { 16 } else { u16::try_from(level.lanes()).unwrap_or(16) };
            let (product, epilogue) = (self.product, self.epilogue.clone());
            let tile = GemmTile { product, epilogue, ..GemmTile::packed(rows, panel) };
            nnc_x86::supports(&Tile::Gemm(tile), level)
        })
    }

    /// The nest of a request as a contraction that tiles can do.
    pub(super) fn of(request: &NestRequest) -> Result<Problem, Refusal> {
        Self::with(request, Columns::Last)
    }

    /// Likewise as a product with one column, if it is one of a matrix that is no constant, has dense rows of a known length, and is as such
    /// not multiplied as fast.
    pub(super) fn of_one_column(&self, request: &NestRequest) -> Option<Problem> {
        let BFrom::Linear { at, n_stride } = &self.b_from else { return None };
        let matrix = request.operands.get(self.nest.loads[self.b].operand)?;
        let rows = !n_stride.is(1) && at.stride(&self.k, &self.nest.extents)?.is(1);
        let known = self.extent(&self.k).as_const().is_some_and(|k| k >= ONE_COLUMN_K);
        let vector = self.m.is_empty() && self.prologue.is_none() && !self.is_whole();
        if !(rows && known && vector) || matrix.constant.is_some() {
            return None;
        }
        let other = Self::with(request, Columns::One).ok()?;
        // The result is one line, as its operands are.
        (other.a_k.is(1) && other.extent(&other.m) == self.extent(&self.n)).then_some(other)
    }

    fn with(request: &NestRequest, columns: Columns) -> Result<Problem, Refusal> {
        let form = &request.form;
        let factors = form.factors().ok_or("it sums something else than products of two operands")?;
        let [x, y] = factors.each_ref().map(reads);
        let used = [&x[..], &y[..]].concat();
        let whole = used.iter().all(|&l| form.loads[l].dtype == DType::I32);
        if !whole && used.iter().any(|&l| form.loads[l].dtype != DType::F32) {
            return Err("tiles multiply f32, and small integers");
        }
        if form.results.iter().any(|&dtype| epilogue::element(dtype, whole).is_none()) {
            return Err(epilogue::STORED);
        }
        if used.iter().any(|&l| form.loads[l].bounds == Bounds::Check) {
            return Err("data decide where an operand is read");
        }
        let nest = split::nest(request);
        let extents = nest.extents.clone();
        let last = nest.space.checked_sub(1).ok_or("the result is one number")?;
        if nest.results.iter().any(|r| !r.strides[last].is(1)) {
            return Err("neighbours of the result lie apart");
        }
        let access: Vec<Access> = nest.loads.iter().map(|l| Access::of_load(l, &extents)).collect();
        let mentions = |l: usize, axis: usize| {
            !access[l].coefficients[axis].is(0) || access[l].indices().any(|ix| ix.mentions(axis))
        };
        let any = |loads: &[usize], axis: usize| loads.iter().any(|&l| mentions(l, axis));
        let [of_x, of_y] = factors;
        let (a_factor, b_factor, b_loads) = match (any(&x, last), any(&y, last)) {
            (false, true) if columns == Columns::Last => (of_x, of_y, y),
            (true, false) if columns == Columns::Last => (of_y, of_x, x),
            (false, true) => (of_y, of_x, x),
            (true, false) => (of_x, of_y, y),
            (true, true) => return Err("both operands change along the last axis of the result"),
            (false, false) => return Err("no operand changes along the last axis of the result"),
        };
        let a = single(&a_factor).ok_or("tiles read their first operand where it lies")?;
        let is_b = |l: &usize| columns == Columns::One || mentions(*l, last);
        let b = b_loads.iter().copied().find(is_b).ok_or("a factor reads nothing")?;
        let is_computed = single(&b_factor).is_none();
        if whole && (is_computed || request.operands[form.loads[b].operand].constant.is_none()) {
            return Err("tiles multiply integers by constants");
        }
        if is_computed && b_loads.iter().any(|&l| form.loads[l].bounds != Bounds::Inside) {
            return Err("a factor is computed of what may be padding");
        }
        let only_b = |axis: &usize| any(&b_loads, *axis) && !mentions(a, *axis);
        let columns: Vec<usize> = (0..nest.space).rev().take_while(only_b).collect();
        let columns: Vec<usize> = columns.into_iter().rev().collect();
        let mut k: Vec<usize> = (nest.space..extents.len()).collect();
        let apart = "elements of its first operand lie at no linear places";
        let a_at = Linear::of(&access[a]).ok_or(apart)?;
        if a_at.stride(&k, &extents).is_none() {
            // Sums in another order may lie in one line: channels after taps.
            k.sort_by_key(|&axis| std::cmp::Reverse(a_at.coefficients[axis].as_const()));
        }
        let a_k = if k.is_empty() { Extent::ONE } else { a_at.stride(&k, &extents).ok_or(apart)? };
        let results = Linear::of_results(&nest);
        let finish: Vec<Option<Linear>> = (0..nest.loads.len())
            .map(|l| if epilogue::reads(nest.loads[l].dtype, whole) { Linear::of(&access[l]) } else { None })
            .collect();
        let finish_uses: Vec<usize> = (0..nest.loads.len())
            .filter(|&l| nest.finish.insts().iter().any(|(i, _)| *i == Inst::Load(l)))
            .collect();
        let others_of_b: Vec<Linear> =
            b_loads.iter().filter(|&&l| l != b).filter_map(|&l| Linear::of(&access[l])).collect();
        // Axes are one if all that is read and written besides the product's other operand walks them as one.
        let one = |axes: &[usize], own: Option<&Linear>| {
            let others = finish_uses.iter().filter_map(|&l| finish[l].as_ref());
            own.into_iter()
                .chain(others)
                .chain(&others_of_b)
                .chain(&results)
                .all(|at| at.stride(axes, &extents).is_some())
        };
        let linear_b = Linear::of(&access[b]);
        let (n, b_from) = match linear_b {
            Some(at) => {
                let from = (0..=columns.len()).find(|&i| one(&columns[i..], Some(&at))).ok_or(apart)?;
                let n = columns[from..].to_vec();
                let n_stride =
                    if n.is_empty() { Extent::ONE } else { at.stride(&n, &extents).ok_or(apart)? };
                (n, BFrom::Linear { at, n_stride })
            }
            None if is_computed => return Err("a factor is computed of elements at no linear places"),
            None => {
                let window = window::analyze(&nest, b, &columns, &k)
                    .ok_or("elements of its second operand lie neither at linear places nor in windows")?;
                (columns, BFrom::Window(window))
            }
        };
        let only_a: Vec<usize> =
            (0..nest.space).filter(|&x| mentions(a, x) && !any(&b_loads, x) && !n.contains(&x)).collect();
        let from = (0..=only_a.len()).find(|&i| one(&only_a[i..], Some(&a_at))).ok_or(apart)?;
        let m = only_a[from..].to_vec();
        let outer: Vec<usize> = (0..nest.space).filter(|x| !m.contains(x) && !n.contains(x)).collect();
        let a_row = a_at.stride(&m, &extents).ok_or(apart)?;
        let row = |at: &Linear| at.stride(&m, &extents).map(|row| (at.clone(), row));
        let results: Option<Vec<_>> = results.iter().map(row).collect();
        let mut results = results.ok_or("rows of the result lie at no linear places")?.into_iter();
        let (c_at, c_row) = results.next().ok_or("there is no result")?;
        let further = results.collect();
        let flat = one(&n, None);
        let inner = if flat { &n[..] } else { &n[n.len().saturating_sub(1)..] };
        let splat = |l: usize| -> Option<Scalar> {
            let operand = request.operands.get(nest.loads[l].operand)?;
            let plain = nest.loads[l].bounds == Bounds::Inside;
            let known = epilogue::splat_of(operand.constant.as_ref());
            known.filter(|c| plain && epilogue::reads(c.dtype, whole))
        };
        let prologue = is_computed.then(|| {
            let linear = |l: usize| Linear::of(&access[l]);
            Prologue::of(&b_factor, &splat, &linear, &n, &extents)
        });
        let prologue = prologue.transpose()?;
        let operand = |l: usize| -> Result<Operand, Refusal> {
            let at =
                finish[l].as_ref().ok_or("what follows reads something else than f32 at linear places")?;
            let stride = |axes: &[usize]| at.stride(axes, &extents).ok_or("what follows reads rows apart");
            let (row, col) = (stride(&m)?, stride(inner)?);
            let kind = epilogue::kind(&row, &col)?;
            Ok(Operand { load: l, kind, row_stride: row })
        };
        let (epilogue, operands) = epilogue::translate(&nest.finish, &splat, &operand, None)?;
        let operands = operands
            .into_iter()
            .map(|o| finish[o.load].clone().map(|at| (o, at)))
            .collect::<Option<Vec<_>>>()
            .ok_or(apart)?;
        let splats = (0..nest.loads.len()).filter_map(|l| Some((l, splat(l)?))).collect();
        Ok(Problem {
            outer,
            m,
            flat,
            n,
            k,
            a,
            b,
            a_at,
            a_row,
            a_k,
            b_from,
            prologue,
            c_at,
            c_row,
            further,
            epilogue,
            operands,
            nest,
            level: None,
            arithmetic: Arithmetic { fused: true },
            groups: vec![0],
            splats,
            product: Product::F32,
            further_operands: vec![],
        })
    }
}
