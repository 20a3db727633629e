#!/usr/bin/env python3
"""compare_graphs - nodes and traffic of ONNX Runtime's optimized graphs beside nnc's kernels, as a table for docs/graphs.md.

    python3 -m pip install onnx onnxruntime
    cargo build --release && python3 models/fetch.py
    python3 models/compare_graphs.py > docs/graphs.md

For every model with test data: ONNX nodes; the nodes of the graph that ONNX Runtime saves after all of its optimizations
(ORT_ENABLE_ALL, CPU), those that only reshape left out; nnc's kernels. Bytes written: the sizes of all values that those
nodes, or those kernels, write, for the shapes of the test data; bodies of loops count once on both sides.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

# They give another shape to the same bytes, or read a shape: no work on either side.
FREE = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Shape", "Size", "Constant"}

HERE = Path(__file__).resolve().parent


def graphs(graph):
    """The graph and those inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from graphs(inner)


def nodes(model):
    return [node for graph in graphs(model.graph) for node in graph.node]


def inputs_of(folder):
    """The arrays of a test data folder by the names their files give."""
    arrays = {}
    for path in sorted(folder.glob("input_*.pb"), key=lambda p: int(p.stem.split("_")[1])):
        tensor = onnx.TensorProto.FromString(path.read_bytes())
        arrays[tensor.name] = numpy_helper.to_array(tensor)
    return arrays


def optimized(path, folder):
    """The model as ONNX Runtime optimizes it."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return onnx.load(options.optimized_model_filepath)


def written(model, feeds, folder):
    """Bytes that the nodes of the main graph write, from a run with every value an output."""
    worth = [n for n in model.graph.node if n.op_type not in FREE]
    names = [name for n in worth for name in n.output if name]
    known = {o.name for o in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in known)
    path = folder / "all.onnx"
    onnx.save(model, path)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    values = session.run(names, feeds)
    return sum(v.nbytes for v in values if isinstance(v, np.ndarray))


def nnc_report(nnc, path, feeds, folder):
    shapes = [f"--shape={name}={','.join(map(str, a.shape))}" for name, a in feeds.items() if a.ndim]
    command = [nnc, "compile", path, "--json", "-o", folder / "model.nnc", *shapes]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().splitlines()[0])
    return json.loads(done.stdout)


def cases(reference):
    """Models with a folder of inputs: the fixtures, then those that fetch.py brought."""
    for fixture in sorted(HERE.glob("*/model.onnx")):
        yield fixture.parent.name, fixture, fixture.parent / "test_data_set_0"
    fixtures = {fixture.parent.name for fixture in HERE.glob("*/model.onnx")}
    for path in sorted((HERE / "cache").glob("*.onnx")):
        if path.stem in fixtures:
            continue
        for base in [HERE / "reference", *reference]:
            data = base / path.stem / "test_data_set_0"
            if data.is_dir():
                yield path.stem, path, data
                break


def row(nnc, name, path, data):
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = onnx.load(path)
        initializers = {i.name for i in model.graph.initializer}
        names = [i.name for i in model.graph.input if i.name not in initializers]
        arrays = inputs_of(data)
        feeds = arrays if set(arrays) <= set(names) else dict(zip(names, arrays.values()))
        report = nnc_report(nnc, path, feeds, folder)
        best = optimized(path, folder)
        theirs = [n for n in nodes(best) if n.op_type not in FREE]
        try:
            their_bytes = written(best, feeds, folder)
        except Exception as error:  # a graph that ONNX Runtime does not load again
            print(f"{name}: {str(error).splitlines()[0]}", file=sys.stderr)
            their_bytes = None
        return {
            "name": name,
            "onnx": len(nodes(model)),
            "ort": len(theirs),
            "kernels": report["program"]["kernels"],
            "ort_bytes": their_bytes,
            "bytes": report["passes"][-1]["bytes_written"][1],
            "sum": report["program"]["intermediate_bytes"],
            "arena": report["program"]["arena_bytes"],
        }


def mega(bytes_):
    return "?" if bytes_ is None else f"{bytes_ / 1e6:.3f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nnc", default=HERE.parent / "target/release/nnc", type=Path)
    parser.add_argument("--reference", action="append", default=[], type=Path, help="more folders of test data")
    parser.add_argument("--only", default="", help="names of models, with commas between")
    args = parser.parse_args()
    only = set(filter(None, args.only.split(",")))
    print("| model | ONNX nodes | ORT nodes | nnc kernels | ORT MB written | nnc MB written | sum of intermediates MB | arena MB |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for name, path, data in cases(args.reference):
        if only and name not in only or not data.is_dir():
            continue
        try:
            r = row(args.nnc, name, path, data)
        except Exception as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        figures = [r["onnx"], r["ort"], r["kernels"], *map(mega, (r["ort_bytes"], r["bytes"], r["sum"], r["arena"]))]
        print("|", " | ".join([name, *map(str, figures)]), "|", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
