//! kernels - it is a compiler: what follows a contraction is in its kernel, or a recorded reason says why not.

use nnc::{
    Compiler, Options,
    ir::{
        Module,
        form::{Class, Form},
        graph::{NodeId, RegionId, ValueId},
        ops::Op,
    },
};

/// The class of the nest that a node is.
fn class(module: &Module, node: NodeId) -> Option<Class> {
    match &module.node(node).op {
        Op::Fusion(_) => {
            let region = module.node(node).regions[0];
            nnc::ir::compose::fuse_region(module, region).ok().map(|form| form.class())
        }
        _ => match module.form(node) {
            Form::Loops(form) => Some(form.class()),
            _ => None,
        },
    }
}

fn readers(module: &Module, region: RegionId, value: ValueId) -> usize {
    let region = module.region(region);
    let nodes = region.nodes.iter().filter(|&&n| module.node(n).operands.contains(&value)).count();
    nodes + region.results.iter().filter(|&&v| v == value).count()
}

/// Regions that run as such: all but the bodies of fusions.
fn running_regions(module: &Module) -> Vec<RegionId> {
    let mut out = vec![module.body()];
    let mut at = 0;
    while at < out.len() {
        for &node in &module.region(out[at]).nodes {
            if !matches!(module.node(node).op, Op::Fusion(_)) {
                out.extend(&module.node(node).regions);
            }
        }
        at += 1;
    }
    out
}

#[test]
fn no_single_use_pointwise_node_behind_a_contraction_is_a_kernel_without_a_reason() {
    let mut contractions = 0;
    for name in ["mnist_cnn_dynamo", "mtcnn_pnet", "ppocr_cls", "mbconv", "vit"] {
        let compiler = Compiler::new(Options::default());
        let path = format!("{}/models/{name}/model.onnx", env!("CARGO_MANIFEST_DIR"));
        let imported = compiler.import_file(path).unwrap_or_else(|e| panic!("{name}: {e}"));
        let lowered = compiler.optimize(imported.module).unwrap();
        let module = &lowered.module;
        let misses: Vec<_> =
            lowered.reports.iter().filter(|r| r.name == "fuse").flat_map(|r| &r.misses).collect();
        for region in running_regions(module) {
            for &node in &module.region(region).nodes {
                contractions += usize::from(class(module, node) == Some(Class::Contraction));
                if class(module, node) != Some(Class::Pointwise) {
                    continue;
                }
                for &operand in &module.node(node).operands {
                    let Some(producer) = module.def_node(operand) else { continue };
                    let behind = class(module, producer) == Some(Class::Contraction);
                    if behind && readers(module, region, operand) == 1 {
                        let names = &module.node(node).loc;
                        let reason = misses.iter().find(|m| m.loc.iter().any(|n| names.contains(n)));
                        assert!(
                            reason.is_some(),
                            "{name}: {names:?} has a kernel of its own for no stated reason"
                        );
                    }
                }
            }
        }
    }
    assert!(contractions > 100, "only {contractions} contractions were looked at");
}

#[test]
fn no_contraction_of_a_model_is_left_to_plain_loops() {
    for name in ["mnist_cnn_dynamo", "mtcnn_pnet", "ppocr_cls", "mbconv", "vit"] {
        let compiler = Compiler::new(Options::default());
        let path = format!("{}/models/{name}/model.onnx", env!("CARGO_MANIFEST_DIR"));
        let imported = compiler.import_file(path).unwrap_or_else(|e| panic!("{name}: {e}"));
        let lowered = compiler.optimize(imported.module).unwrap();
        let plain = compiler.generate(&lowered.module).unwrap().report.plain_products;
        assert!(plain.is_empty(), "{name}: {plain:?}");
    }
}
