//! conformance - imports conformance cases and evaluates them.
//!
//! `NNC_CASES` names a folder of cases (each a folder with `model.onnx` and `test_data_set_0`); without it nothing is
//! done. `NNC_CASE` chooses those whose name contains it. Cases with types that no tensor here can hold are refused.
//!
//! Many cases feed axes, sizes and shapes as inputs, which models have as constants: a case that does not pass as it is
//! is tried again with its inputs of rank 0 and 1 as constants (but not floats that come first), and counted apart.

use std::{collections::BTreeMap, env, path::Path};

use nnc_ir::eval::{EvalLimits, evaluate};
use nnc_kit::{
    cases::{self, Item},
    compare::{Tolerance, compare},
};
use nnc_onnx::{
    import::{ImportOptions, import},
    load::{LoadOptions, load_file},
    pb::read_tensor_pb,
};

/// Why a case did not pass.
enum Miss {
    /// It is outside of what nnc takes, and nnc says so.
    Refused(String),
    /// It should have passed.
    Failed(String),
}

#[test]
fn cases_evaluate_to_what_they_say() {
    let Some(folder) = env::var_os("NNC_CASES") else { return };
    let chosen = env::var("NNC_CASE").unwrap_or_default();
    let mut tally: BTreeMap<String, [usize; 4]> = BTreeMap::new();
    let mut misses = Vec::new();
    for path in cases::folders(Path::new(&folder)).expect("the folder can be read") {
        let name = path.file_name().expect("a folder has a name").to_string_lossy().into_owned();
        if !name.contains(&chosen) {
            continue;
        }
        let first = case(&path, false);
        let outcome = if first.is_ok() { first } else { case(&path, true).map(|(op, _)| (op, 3)) };
        let (op, column) = match outcome {
            Ok((op, column)) => (op, column),
            Err((op, Miss::Refused(why))) => {
                misses.push(format!("refused {name}: {why}"));
                (op, 1)
            }
            Err((op, Miss::Failed(why))) => {
                misses.push(format!("FAILED  {name}: {why}"));
                (op, 2)
            }
        };
        tally.entry(op).or_default()[column] += 1;
    }
    for (op, [passed, refused, failed, fixed]) in &tally {
        println!("{op:32} passed {passed:4} with constants {fixed:4} refused {refused:4} failed {failed:4}");
    }
    for miss in &misses {
        println!("{miss}");
    }
    let sum = |i: usize| tally.values().map(|t| t[i]).sum::<usize>();
    println!("passed {} with constants {} refused {} failed {}", sum(0), sum(3), sum(1), sum(2));
    assert_eq!(sum(2), 0, "cases fail");
}

/// Runs a case, perhaps with small inputs as constants; gives the operator it is about, and 0.
fn case(path: &Path, constants: bool) -> Result<(String, usize), (String, Miss)> {
    let case = cases::read(path).map_err(|e| ("(types)".to_owned(), Miss::Refused(e)))?;
    let op = case.ops.join("+");
    let op = if op.len() > 32 { "(several)".to_owned() } else { op };
    let refused = |list: Vec<nnc_ir::diag::Diagnostic>| {
        let first = list.iter().find(|d| d.is_error()).map_or_else(String::new, ToString::to_string);
        let first = first.replace('\n', " ");
        (op.clone(), if first.contains("E04") { Miss::Refused(first) } else { Miss::Failed(first) })
    };
    let failed = |why: String| (op.clone(), Miss::Failed(why));
    let mut model = load_file(&case.model, &LoadOptions::default()).map_err(refused)?;
    let tensors = |items: &[Item]| -> Option<Vec<_>> { items.iter().map(|i| i.tensor().cloned()).collect() };
    let no_tensor = || (op.clone(), Miss::Refused("an input is no tensor".to_owned()));
    let mut inputs = tensors(&case.inputs).ok_or_else(no_tensor)?;
    if constants {
        for i in (0..inputs.len()).rev() {
            if inputs[i].dims.len() > 1 || (i == 0 && inputs[i].dtype.is_float()) {
                continue;
            }
            let file = path.join("test_data_set_0").join(format!("input_{i}.pb"));
            let bytes = std::fs::read(file).map_err(|e| failed(e.to_string()))?;
            let mut tensor = read_tensor_pb(bytes).map_err(|e| failed(e.to_string()))?;
            tensor.name = model.graph.inputs.remove(i).name;
            model.graph.initializers.push(tensor);
            inputs.remove(i);
        }
    }
    let (module, _) = import(&model, &ImportOptions::as_declared()).map_err(refused)?;
    let got =
        evaluate(&module, &inputs, &EvalLimits::GENEROUS).map_err(|e| failed(format!("evaluation: {e}")))?;
    for (i, (got, want)) in got.iter().zip(&case.outputs).enumerate() {
        let want = want.tensor().ok_or_else(|| failed("an output is no tensor".into()))?;
        compare(got, want, Tolerance::CONFORMANCE).map_err(|e| failed(format!("output {i} {e}")))?;
    }
    Ok((op, 0))
}
