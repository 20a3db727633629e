//! one_program - one compiled program for many shapes and threads: the bits of a program made for just that shape.
//!
//! A symbolic and a pinned program take the same sums in the same order where the backend chooses the same tiles; where it
//! does not, sums are reordered, and the outputs agree within a multiple of the rounding unit times the greatest
//! magnitude. The models are 30 layers deep with sums of at most a few thousand terms, well conditioned: 1e-4 of the
//! greatest output is far above what reordering can do and far below what a wrong index does.

use nnc::{CompiledModel, Compiler, ElemType, Options, Session, SessionOptions, Tensor};

fn compile(model: &str, shapes: &[(&str, &[i64])]) -> CompiledModel {
    let shapes = shapes.iter().map(|(name, dims)| ((*name).to_owned(), dims.to_vec())).collect();
    let options = Options { shapes, ..Options::default() };
    let path = format!("{}/models/{model}/model.onnx", env!("CARGO_MANIFEST_DIR"));
    Compiler::new(options).compile_file(path).unwrap_or_else(|e| panic!("{model}: {e}"))
}

/// Numbers in -1..1 that depend on the seed only.
fn noise(dims: &[i64], mut seed: u64) -> Tensor {
    let n = usize::try_from(dims.iter().product::<i64>()).expect("dims are positive");
    let values: Vec<f32> = (0..n)
        .map(|_| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_slice(dims, &values).expect("as many values as dims say")
}

fn run(model: &CompiledModel, threads: usize, input: &Tensor) -> Vec<Tensor> {
    let mut session = Session::new(&SessionOptions { threads, ..SessionOptions::host() });
    model.run_in(&mut session, std::slice::from_ref(input)).expect("the input fits")
}

fn close(a: &Tensor, b: &Tensor) -> bool {
    let (a_values, b_values) = (a.view().to_f64s(), b.view().to_f64s());
    let scale = b_values.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    a.dims() == b.dims() && a_values.iter().zip(&b_values).all(|(x, y)| (x - y).abs() <= 1e-4 * scale)
}

#[test]
fn a_symbolic_program_agrees_with_programs_made_for_one_shape() {
    for (name, input, shapes) in [
        ("ppocr_cls", "x", [[1, 3, 48, 192], [2, 3, 48, 64], [3, 3, 48, 100]]),
        ("mtcnn_pnet", "input_1", [[1, 24, 24, 3], [2, 37, 51, 3], [1, 120, 64, 3]]),
    ] {
        let symbolic = compile(name, &[]);
        let input = symbolic.signature().inputs.first().map_or(input, |p| &p.name);
        for (seed, shape) in (1u64..).zip(shapes) {
            let x = noise(&shape, seed * 977);
            let pinned = compile(name, &[(input, &shape)]);
            let (general, special) = (run(&symbolic, 1, &x), run(&pinned, 1, &x));
            assert!(general.iter().zip(&special).all(|(a, b)| close(a, b)), "{name} {shape:?}");
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let model = compile("ppocr_cls", &[]);
    let x = noise(&[3, 3, 48, 192], 7);
    let one = run(&model, 1, &x);
    for threads in [2, 4] {
        let more = run(&model, threads, &x);
        assert!(one.iter().zip(&more).all(|(a, b)| a.bytes() == b.bytes()), "{threads} threads");
    }
    assert_eq!(one[0].elem(), ElemType::F32);
}

#[test]
fn two_compilations_give_the_same_bytes() {
    let bytes = || nnc::runtime::artefact::to_bytes(compile("ppocr_cls", &[]).program().image()).unwrap();
    assert!(bytes() == bytes());
}
