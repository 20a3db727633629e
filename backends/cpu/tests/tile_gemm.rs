//! tile_gemm - emitted matrix-product tiles against the scalar reference, bit for bit, between guard pages.
//!
//! All emissions of a spec are compared with its reference, and so with each other: CLIF, CLIF without multiply-adds, AVX2 and
//! AVX-512. Random specs in a run of the tests: 2000 in CLIF and over 1000 a wide level here, 1200 and over 3000 in
//! `tile_lane_conv`, 600 in `tile_row_conv`, 600 and some hundreds in `tile_separable`, 2600 a level in `tile_stream`: over 10,000
//! on a machine with AVX2 alone, over 18,000 with AVX-512.

mod support;

use nnc_cpu::tile::{Arithmetic, Schedule, gemm_tile_function};
use nnc_tile::Tile;
use nnc_tile::epilogue::{EpilogueInput, EpilogueOperand};
use nnc_tile::gemm::{Ahead, BRows, Chains, Cols, GemmArg, GemmOperands, GemmOutput, GemmTile, Init, Stride};
use nnc_tile::product::Product;
use nnc_tile::program::LaneType;
use nnc_tile::stream::Element;
use nnc_x86::Level;
use support::random::{
    random_bits, random_elements, random_epilogue, random_groups, random_int_epilogue, random_results, span,
};
use support::{Guarded, Rng, call, compile_function, host_isa, load, plain_isa, step_of};

const POISON: f32 = 1e30;

fn bytes_of(elements: &[f32]) -> Vec<u8> {
    elements.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn floats_of(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// A spec and the values of its run-time strides.
struct Case {
    spec: GemmTile,
    k: usize,
    ldc: usize,
    /// Blocks of rows, of tiles of chains.
    blocks: usize,
    a_row: usize,
    a_k: usize,
    /// Entries of the table of A are so far apart, in reverse.
    a_run: usize,
    b_k: usize,
    cols: usize,
    schedule: Schedule,
}

impl Case {
    /// Where the runs of A are: in reverse.
    fn a_table(&self) -> Vec<i64> {
        let entries = self.spec.a_runs.map_or(0, |run| self.k / run as usize);
        (0..entries).rev().map(|entry| (entry * self.a_run) as i64).collect()
    }
}

/// What makes the code of a tile.
#[derive(Clone, Copy)]
enum Emitter {
    /// nnc-cpu, at an optimisation level of Cranelift.
    Clif(&'static str),
    /// Likewise, for a target without multiply-adds.
    Plain(&'static str),
    /// nnc-x86.
    Wide(Level),
}

fn random_case(rng: &mut Rng, most_rows: usize, most_panel: usize) -> Case {
    let rows = 1 + rng.below(most_rows) as u16;
    let panel = 4 * (1 + rng.below(most_panel / 4) as u16);
    let cols = if rng.below(2) == 0 { panel } else { 1 + rng.below(usize::from(panel)) as u16 };
    let k = [0, 1, 2, 3, 4, 5, 7, 8, 31, 100][rng.below(10)];
    let runs = (rng.below(3) == 0).then(|| [1, 2, 3, 5, 8, 9, 16, 21][rng.below(8)]);
    let k = runs.map_or(k, |run| run as usize * rng.below(5));
    let (a_row, a_k) = match rng.below(3) {
        0 => (1, usize::from(rows) + rng.below(3)),
        1 => (k + rng.below(3), 1),
        _ => (1 + rng.below(5), 9),
    };
    // What is spread lies four times as far apart.
    let spread = rng.below(4) == 0;
    let copies = if spread { 4 } else { 1 };
    let (a_row, a_k) = (copies * a_row, copies * a_k);
    let b_k = usize::from(panel) + [0, 0, 3][rng.below(3)];
    let from_table = rng.below(3) == 0;
    let mut stride = |n: usize| if rng.below(2) == 0 { Stride::Const(n as u32) } else { Stride::Arg };
    let spec = GemmTile {
        product: Product::F32,
        rows,
        panel,
        a_row: stride(a_row),
        a_k: stride(a_k),
        a_runs: runs,
        a_spread: spread,
        b_rows: if from_table { BRows::Table } else { BRows::Apart(stride(b_k)) },
        ahead: [Ahead::Nothing, Ahead::Own(1 << 13), Ahead::Lines(1), Ahead::Lines(7)][rng.below(4)],
        chains: None,
        cols: if rng.below(3) == 0 { Cols::Arg } else { Cols::Const(cols) },
        init: if rng.below(2) == 0 { Init::Zero } else { Init::Load },
        epilogue: (rng.below(3) > 0).then(|| random_epilogue(rng)),
    };
    let spec = match rng.below(4) {
        0 => {
            let elements = [Element::F32, Element::U8, Element::I8];
            let mut stores: Vec<Element> = (0..1 + rng.below(3)).map(|_| elements[rng.below(3)]).collect();
            if spec.init == Init::Load {
                stores[0] = Element::F32;
            }
            GemmTile { epilogue: Some(random_results(rng, &stores)), ..spec }
        }
        _ => spec,
    };
    let (spec, b_k) = match rng.below(5) {
        0 => {
            // Groups of columns, in half of the cases of whole vectors.
            let epilogue = random_groups(rng);
            let panel = if rng.below(2) == 0 { panel } else { panel.next_multiple_of(16) };
            let b_k = usize::from(panel * epilogue.sums) + [0, 3][rng.below(2)];
            let b_rows = match spec.b_rows {
                BRows::Apart(Stride::Const(_)) => BRows::Apart(Stride::Const(b_k as u32)),
                other => other,
            };
            let (cols, init) = (Cols::Const(cols), Init::Zero);
            (GemmTile { panel, b_rows, cols, init, epilogue: Some(epilogue), ..spec }, b_k)
        }
        _ => (spec, b_k),
    };
    let schedule = match rng.below(3) {
        0 => Schedule::of(&spec, Arithmetic { fused: rng.below(2) == 0 }),
        _ => Schedule {
            unroll: [1, 2, 4][rng.below(3)],
            vector_first: rng.below(2) == 0,
            cols_outer: rng.below(2) == 0,
            reload: rng.below(2) == 0,
            copied: rng.below(4),
        },
    };
    Case {
        spec,
        k,
        ldc: usize::from(cols) + rng.below(5),
        blocks: 1,
        a_row,
        a_k,
        a_run: runs.map_or(1, |run| run as usize) * a_k + copies * rng.below(4),
        b_k,
        cols: usize::from(cols),
        schedule,
    }
}

/// Likewise with several chains of sums.
fn random_chains_case(rng: &mut Rng, most_rows: usize, most_panel: usize) -> Case {
    let case = random_case(rng, most_rows, most_panel);
    let count = [2, 4, 8, 16][rng.below(4)];
    let part = 16 / count;
    let cols = part * (1 + rng.below(most_panel / part));
    // In parts there may be any number of columns.
    let in_parts = rng.below(2) == 0;
    let (count, cols) =
        if in_parts { ([8, 16, 16][rng.below(3)], 1 + rng.below(3 * most_panel)) } else { (count, cols) };
    let k = case.k + rng.below(20);
    let panel = cols as u16;
    let a_row = k + rng.below(3);
    let epilogue = case.spec.epilogue.filter(|e| e.sums == 1);
    let spec = GemmTile {
        panel,
        cols: Cols::Const(panel),
        chains: Chains::of(count as u16, k).map(|chains| if in_parts { chains.in_parts() } else { chains }),
        a_row: if rng.below(2) == 0 { Stride::Const(a_row as u32) } else { Stride::Arg },
        a_k: Stride::Const(1),
        a_runs: None,
        a_spread: false,
        b_rows: BRows::Apart(Stride::Const(u32::from(panel))),
        init: Init::Zero,
        epilogue,
        ..case.spec
    };
    let (ldc, blocks) = (cols + [0, 0, 0, 1, 4][rng.below(5)], if in_parts { 1 } else { 1 + rng.below(3) });
    Case { spec, k, ldc, blocks, a_row, a_k: 1, b_k: cols, cols, ..case }
}

/// Likewise of groups of integers.
fn random_int_case(rng: &mut Rng, most_rows: usize, most_panel: usize) -> Case {
    let case = random_case(rng, most_rows, most_panel);
    let product = [Product::Bytes, Product::Words][rng.below(2)];
    let epilogue = (rng.below(4) > 0).then(|| random_int_epilogue(rng));
    let init = match &epilogue {
        Some(e) if e.stores[0] != Element::I32 => Init::Zero,
        _ => case.spec.init,
    };
    Case { spec: GemmTile { product, epilogue, init, ..case.spec }, ..case }
}

fn run(case: &Case, rng: &mut Rng, emitter: Emitter, what: &str) {
    let Case { spec, k, ldc, blocks, a_row, a_k, a_run, b_k, cols, schedule } = case;
    let rows = blocks * usize::from(spec.rows);
    let a_table = case.a_table();
    let along = match (spec.a_runs, a_table.len()) {
        (Some(run), entries) => span(entries, *a_run, run as usize, *a_k),
        (None, _) => span(*k, *a_k, 1, 1),
    };
    let elements = if spec.product == Product::F32 { random_elements } else { random_bits };
    let copies = if spec.a_spread { 4 } else { 1 };
    let mut a = elements(rng, if along == 0 { 0 } else { (rows - 1) * a_row + along + copies - 1 });
    for i in 0..a.len() {
        a[i] = a[i / copies * copies];
    }
    let mut b = elements(rng, span(*k, *b_k, usize::from(spec.panel * spec.groups()), 1));
    if let Some(chains) = spec.chains {
        let count = usize::from(chains.count);
        b = elements(rng, k.next_multiple_of(count) * cols);
        for p in *k..k.next_multiple_of(count) {
            (0..*cols).for_each(|n| b[chains.place(*cols, p, n)] = 0.0);
        }
    }
    // Rows of B in reverse.
    let table: Vec<i64> = (0..*k).rev().map(|p| (p * b_k) as i64).collect();
    // Poison between the rows of C and before it; a guard page after. C of bytes has poison alone.
    let mut c = vec![POISON; 16 + span(rows, *ldc, *cols, 1)];
    for m in 0..rows {
        c[16 + m * ldc..][..*cols].fill_with(|| rng.unit());
    }
    let stores = spec.stores();
    let mut c = match stores[0].bytes() {
        4 => bytes_of(&c),
        _ => vec![0xa5; 64 + span(rows, *ldc, *cols, 1)],
    };
    // Rows of everything are often dense where those of C are.
    let dense = ldc == cols && rng.below(3) > 0;
    let apart = cols + if dense { 0 } else { 2 };
    let mut further: Vec<Vec<u8>> =
        stores[1..].iter().map(|e| vec![0xa5; e.bytes() * span(rows, apart, *cols, 1)]).collect();
    let kinds = spec.epilogue.as_ref().map_or(vec![], |e| e.inputs.clone());
    let stride = cols + if dense { 0 } else { 3 };
    // Columns that an operand has further on.
    let behind = |at: usize| {
        let by = |kind: &EpilogueInput| match *kind {
            EpilogueInput::Behind { input, by } if usize::from(input) == at => by as usize,
            _ => 0,
        };
        kinds.iter().map(by).max().unwrap_or(0)
    };
    let inputs: Vec<Vec<f32>> = kinds
        .iter()
        .enumerate()
        .map(|(at, kind)| {
            let n = match kind {
                EpilogueInput::Row => rows,
                EpilogueInput::Col => *cols + behind(at),
                EpilogueInput::Tile => span(rows, stride, *cols, 1) + behind(at),
                EpilogueInput::Scalar => 1,
                EpilogueInput::Behind { .. } => 0,
            };
            let program = spec.epilogue.as_ref().map(|e| &e.program);
            let whole = program.and_then(|p| p.input_type(at + 1)) == Some(LaneType::I32);
            if whole { random_bits(rng, n) } else { random_elements(rng, n) }
        })
        .collect();

    let mut step: fn(f32, f32, f32) -> f32 = f32::mul_add;
    let code = match emitter {
        Emitter::Clif(opt_level) => {
            let isa = host_isa(opt_level);
            compile_function(&*isa, gemm_tile_function(spec, &*isa, *schedule))
        }
        Emitter::Plain(opt_level) => {
            let isa = plain_isa(opt_level);
            step = step_of(&*isa);
            compile_function(&*isa, gemm_tile_function(spec, &*isa, *schedule))
        }
        Emitter::Wide(level) => {
            let bytes = nnc_x86::emit(&Tile::Gemm(spec.clone()), level);
            load(&bytes.unwrap_or_else(|e| panic!("{what}: {e:?}\n{spec:?}")), String::new())
        }
    };
    let (ga, gb, mut gc) = (Guarded::from(&a), Guarded::from(&b), Guarded::of_bytes(&c));
    let mut outputs: Vec<Guarded> = further.iter().map(|x| Guarded::of_bytes(x)).collect();
    let guarded: Vec<Guarded> = inputs.iter().map(|x| Guarded::from(x)).collect();
    let int = |n: usize| n as i64;
    let args: Vec<i64> = spec
        .args()
        .into_iter()
        .map(|arg| match arg {
            GemmArg::A => ga.address(),
            GemmArg::B => gb.address(),
            GemmArg::C => gc.address() + 64,
            GemmArg::K => int(*k),
            GemmArg::Ldc => int(*ldc),
            GemmArg::Blocks => int(*blocks),
            GemmArg::ARow => int(*a_row),
            GemmArg::AK => int(*a_k),
            GemmArg::ATable => a_table.as_ptr() as i64,
            GemmArg::BK => int(*b_k),
            GemmArg::BTable => table.as_ptr() as i64,
            GemmArg::Cols => int(*cols),
            // What is asked for need not be there.
            GemmArg::Ahead => gb.address() + (1 << 40),
            GemmArg::Epilogue(i) => guarded[i].address(),
            GemmArg::EpilogueStride(_) => int(stride),
            GemmArg::Output(i) => outputs[i - 1].address(),
            GemmArg::OutputStride(_) => int(apart),
        })
        .collect();
    // SAFETY: the operands are as large as the spec and the strides say.
    unsafe { call(&code, &args) };

    let before = c.clone();
    let epilogue = inputs.iter().map(|x| EpilogueOperand { elements: x, stride }).collect();
    let operands = &mut GemmOperands {
        a: &a,
        b: &b,
        c: &mut c[64..],
        k: *k,
        ldc: *ldc,
        blocks: *blocks,
        a_row: *a_row,
        a_k: *a_k,
        a_table: &a_table,
        b_k: *b_k,
        b_table: &table,
        cols: *cols,
        epilogue,
        outputs: further.iter_mut().map(|bytes| GemmOutput { bytes, stride: apart }).collect(),
    };
    spec.reference_by(operands, step);
    for (idx, (want, got)) in c.iter().zip(gc.bytes()).enumerate() {
        assert!(
            want == got,
            "{what}: byte {idx} of C is {got}, expected {want}\n{spec:?} {schedule:?} k {k} ldc {ldc} cols {cols}"
        );
    }
    for (idx, (want, got)) in further.iter().zip(&mut outputs).enumerate() {
        assert!(want == got.bytes(), "{what}: output {} differs\n{spec:?} {schedule:?} k {k}", idx + 1);
    }
    if kinds.is_empty() && spec.epilogue.is_none() && spec.product == Product::F32 {
        check_against_exact_sum(
            case,
            emitter,
            (&a, &b),
            (&floats_of(&before[64..]), &floats_of(&c[64..])),
            what,
        );
    }
}

/// A chain of k fused multiply-adds errs by at most gamma_k * (|c| + sum |a b|), gamma_k = k u / (1 - k u), u = 2^-24
/// (Higham, Accuracy and Stability of Numerical Algorithms, s. 3.1: one rounding a step). Where products are rounded
/// too, a term has one rounding more: gamma_(k + 1). Of chains, no term takes part in more than k steps, and in four sums of chains.
fn check_against_exact_sum(
    case: &Case,
    emitter: Emitter,
    (a, b): (&[f32], &[f32]),
    (before, after): (&[f32], &[f32]),
    what: &str,
) {
    let u = 2f64.powi(-24);
    let sums = if case.spec.chains.is_some() { 4 } else { 0 };
    let n = (case.k + sums + usize::from(matches!(emitter, Emitter::Plain(_)))) as f64;
    let gamma = n * u / (1.0 - n * u);
    let a_table = case.a_table();
    let a_along = |p: usize| match case.spec.a_runs.map(|run| run as usize) {
        Some(run) => a_table[p / run] as usize + p % run * case.a_k,
        None => p * case.a_k,
    };
    let b_at = |p: usize, n: usize| match (case.spec.chains, case.spec.b_rows) {
        (Some(chains), _) => chains.place(case.cols, p, n),
        (None, BRows::Table) => case.b_k * (case.k - 1 - p) + n,
        (None, BRows::Apart(_)) => case.b_k * p + n,
    };
    for m in 0..case.blocks * usize::from(case.spec.rows) {
        for n in 0..case.cols {
            let at = m * case.ldc + n;
            let start = if case.spec.init == Init::Load { f64::from(before[at]) } else { 0.0 };
            let (mut sum, mut magnitude) = (start, start.abs());
            for p in 0..case.k {
                let product = f64::from(a[m * case.a_row + a_along(p)]) * f64::from(b[b_at(p, n)]);
                sum += product;
                magnitude += product.abs();
            }
            // The f64 sum has an error of its own, 2^29 times smaller.
            let bound = gamma * magnitude * (1.0 + 1e-6);
            let error = (sum - f64::from(after[at])).abs();
            assert!(error <= bound, "{what}: C[{m}, {n}] errs by {error}, bound {bound}");
        }
    }
}

#[test]
fn random_tiles_have_the_bits_of_the_reference() {
    for seed in 0..1000 {
        let mut rng = Rng::new(seed);
        let case = random_case(&mut rng, 6, 32);
        let opt_level = if rng.below(4) == 0 { "speed" } else { "none" };
        run(&case, &mut rng, Emitter::Clif(opt_level), &format!("seed {seed}"));
    }
}

#[test]
fn random_tiles_of_chains_have_the_bits_of_the_reference() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let case = random_chains_case(&mut rng, 6, 20);
        let opt_level = if rng.below(4) == 0 { "speed" } else { "none" };
        let emitter = if rng.below(3) > 0 { Emitter::Clif(opt_level) } else { Emitter::Plain(opt_level) };
        run(&case, &mut rng, emitter, &format!("chains, seed {seed}"));
    }
}

#[test]
fn wide_tiles_of_chains_have_the_bits_of_the_reference() {
    for level in support::host_levels() {
        let (mut done, mut in_parts) = (0, 0);
        for seed in 0..6000 {
            let mut rng = Rng::new(seed);
            let most_rows = [4, 12, 28][rng.below(3)];
            let case = random_chains_case(&mut rng, most_rows, 20);
            if nnc_x86::supports(&Tile::Gemm(case.spec.clone()), level) {
                run(&case, &mut rng, Emitter::Wide(level), &format!("chains, {level:?} seed {seed}"));
                done += 1;
                in_parts += usize::from(case.spec.chains.is_some_and(|chains| chains.in_parts));
            }
        }
        assert!(done - in_parts > 500, "only {done} of the random tiles have wide code");
        assert!(level == Level::Avx2 || in_parts > 300, "only {in_parts} in parts have wide code");
    }
}

#[test]
fn random_tiles_of_integers_have_the_bits_of_the_reference() {
    for seed in 0..1000 {
        let mut rng = Rng::new(seed);
        let case = random_int_case(&mut rng, 6, 32);
        let opt_level = if rng.below(4) == 0 { "speed" } else { "none" };
        let emitter = if rng.below(2) == 0 { Emitter::Clif(opt_level) } else { Emitter::Plain(opt_level) };
        run(&case, &mut rng, emitter, &format!("integers, seed {seed}"));
    }
}

#[test]
fn wide_tiles_of_integers_have_the_bits_of_the_reference() {
    for level in support::host_levels() {
        let mut done = 0;
        for seed in 0..6000 {
            let mut rng = Rng::new(seed);
            let case = random_int_case(&mut rng, 16, 96);
            if case.spec.product == Product::Bytes && !std::arch::is_x86_feature_detected!("avx512vnni") {
                continue;
            }
            if nnc_x86::supports(&Tile::Gemm(case.spec.clone()), level) {
                run(&case, &mut rng, Emitter::Wide(level), &format!("integers, {level:?} seed {seed}"));
                done += 1;
            }
        }
        assert!(done > 500, "only {done} of the random tiles have wide code");
    }
}

#[test]
fn tiles_without_multiply_adds_have_the_bits_of_products_and_sums() {
    for seed in 0..1000 {
        let mut rng = Rng::new(seed);
        let case = random_case(&mut rng, 6, 32);
        let opt_level = if rng.below(4) == 0 { "speed" } else { "none" };
        run(&case, &mut rng, Emitter::Plain(opt_level), &format!("without multiply-adds, seed {seed}"));
    }
}

#[test]
fn wide_tiles_have_the_bits_of_the_reference() {
    for level in support::host_levels() {
        let mut done = 0;
        for seed in 0..6000 {
            let mut rng = Rng::new(seed);
            let case = random_case(&mut rng, 16, 96);
            if nnc_x86::supports(&Tile::Gemm(case.spec.clone()), level) {
                run(&case, &mut rng, Emitter::Wide(level), &format!("{level:?} seed {seed}"));
                done += 1;
            }
        }
        assert!(done > 1000, "only {done} of the random tiles have wide code");
    }
}

#[test]
fn tiles_compile_for_arm() {
    let isa = support::arm_isa();
    for seed in 0..50 {
        let mut rng = Rng::new(seed);
        let case = if seed % 2 == 0 { random_case } else { random_int_case }(&mut rng, 6, 32);
        let func = gemm_tile_function(&case.spec, &*isa, case.schedule);
        let (bytes, _) = support::machine_code(&*isa, cranelift_codegen::Context::for_function(func));
        assert!(!bytes.is_empty());
    }
}
