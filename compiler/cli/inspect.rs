//! inspect - `nnc inspect`: what a program is made of.

use nnc::{
    ir::diag::escape,
    runtime::{Image, Kernel, Port},
};
use serde_json::{Value, json};

use super::{
    Outcome,
    args::{ErrorFormat, InspectArgs},
    output::say,
    source,
};

pub(crate) fn run(args: &InspectArgs, format: ErrorFormat) -> Outcome {
    let model = source::load_or_compile(&args.model, args.options.to_options()?, format)?;
    let image = model.program().image();
    if args.json {
        say!("{}", to_json(image));
        return Ok(0);
    }
    let ports = |title: &str, ports: &[Port]| {
        for port in ports {
            say!("{title} {}: {}", escape(&port.name), escape(&port.type_text(&image.signature.symbols)));
        }
    };
    ports("input ", &image.signature.inputs);
    ports("output", &image.signature.outputs);
    say!("code    {} bytes, weights {} bytes", image.code.len(), image.weights.total_bytes());
    for (key, value) in &image.notes {
        say!("{key} {value}");
    }
    say!("kernels {}", image.kernels.len());
    for kernel in &image.kernels {
        let code = match shared_with(image, kernel) {
            // Names begin with the number.
            Some(first) => format!("as {}", first.name.split('_').next().unwrap_or(&first.name)),
            None => format!("{} bytes", kernel.len),
        };
        let nodes = nodes(image, &kernel.nodes).join(", ");
        say!("  {:<28} {code:>13}  {}", kernel.name, escape(&nodes));
    }
    let externs: Vec<&str> = image.externs.iter().map(|e| e.name()).collect();
    say!("runtime functions: {}", if externs.is_empty() { "none".to_owned() } else { externs.join(", ") });
    Ok(0)
}

/// The kernel before whose function a kernel calls too.
fn shared_with<'a>(image: &'a Image, kernel: &Kernel) -> Option<&'a Kernel> {
    let first = image.kernels.iter().find(|k| k.offset == kernel.offset)?;
    (first.name != kernel.name).then_some(first)
}

fn nodes<'a>(image: &'a Image, numbers: &[u32]) -> Vec<&'a str> {
    numbers.iter().filter_map(|&n| image.nodes.get(n as usize)).map(String::as_str).collect()
}

fn to_json(image: &Image) -> Value {
    let symbols = &image.signature.symbols;
    let port = |p: &Port| json!({ "name": p.name, "type": p.type_text(symbols) });
    json!({
        "inputs": image.signature.inputs.iter().map(port).collect::<Vec<_>>(),
        "outputs": image.signature.outputs.iter().map(port).collect::<Vec<_>>(),
        "symbols": symbols.iter().map(|s| json!({ "name": s.name, "min": s.min, "max": s.max })).collect::<Vec<_>>(),
        "target": { "triple": image.target.triple, "features": image.target.features },
        "code_bytes": image.code.len(),
        "weight_bytes": image.weights.total_bytes(),
        "kernels": image.kernels.iter().map(|k| json!({
            "name": k.name, "bytes": k.len, "shared_with": shared_with(image, k).map(|first| &first.name),
            "nodes": nodes(image, &k.nodes),
        })).collect::<Vec<_>>(),
        "runtime_functions": image.externs.iter().map(|e| e.name()).collect::<Vec<_>>(),
        "notes": image.notes.iter().map(|(k, v)| (k.clone(), json!(v))).collect::<serde_json::Map<_, _>>(),
    })
}
