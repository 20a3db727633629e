"""peers - one model under another engine, as a process that stays loaded and is asked for slices of time.

    python peers.py onnxruntime|openvino MODEL INPUTS-DIR THREADS OUTPUTS-DIR
    python peers.py compare DIR DIR

Prints one line of JSON when loaded and one for each line `SECONDS` that it reads; `compare` prints the worst difference
of two folders of outputs over the greatest magnitude of each. Needs numpy and the engine.
"""
import json
import pathlib
import sys
import time

import numpy as np


def status_mb(key):
    for line in open("/proc/self/status"):
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    return None


def say(**fields):
    print(json.dumps(fields), flush=True)


def read_inputs(folder, names):
    """NAME.npy, or 0.npy, 1.npy ... in the model's order."""
    folder = pathlib.Path(folder)
    paths = [[folder / f"{n.replace('/', '_')}.npy", folder / f"{i}.npy"] for i, n in enumerate(names)]
    return {n: np.load(next(p for p in both if p.is_file())) for n, both in zip(names, paths)}


def with_onnxruntime(model, inputs, threads):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    feeds = read_inputs(inputs, [i.name for i in session.get_inputs()])
    values = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in feeds.items()}
    for name, array in values.items():
        binding.bind_ortvalue_input(name, array)
    for output in session.get_outputs():
        binding.bind_output(output.name)
    return lambda: session.run_with_iobinding(binding), lambda: binding.copy_outputs_to_cpu(), ort.__version__


def with_openvino(model, inputs, threads):
    import openvino as ov
    core = ov.Core()
    read = core.read_model(model)
    names = [i.get_any_name() for i in read.inputs]
    feeds = read_inputs(inputs, names)
    read.reshape({i: list(feeds[n].shape) for i, n in zip(read.inputs, names)})
    config = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
              "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(read, "CPU", config)
    request = compiled.create_infer_request()
    for i, name in enumerate(names):
        request.set_input_tensor(i, ov.Tensor(feeds[name]))
    outputs = lambda: [request.get_output_tensor(i).data.copy() for i in range(len(compiled.outputs))]
    return request.infer, outputs, ov.__version__.split("-")[0]


def compare(wanted, given):
    worst = 0.0
    for path in sorted(pathlib.Path(wanted).glob("*.npy")):
        want, got = (np.load(p).astype(np.float64) for p in (path, pathlib.Path(given) / path.name))
        if want.shape != got.shape:
            return say(rel=None, error=f"{path.name}: {got.shape} instead of {want.shape}")
        if want.size:
            worst = max(worst, float(np.max(np.abs(got - want)) / max(np.max(np.abs(want)), 1e-30)))
    return say(rel=worst)


def main():
    if sys.argv[1] == "compare":
        return compare(*sys.argv[2:4])
    engine, model, inputs, threads, out = sys.argv[1:6]
    base = status_mb("VmRSS")
    make = {"onnxruntime": with_onnxruntime, "openvino": with_openvino}[engine]
    start = time.perf_counter()
    run, outputs, version = make(model, inputs, int(threads))
    load_ms = (time.perf_counter() - start) * 1e3
    start = time.perf_counter()
    run()
    first_ms = (time.perf_counter() - start) * 1e3
    folder = pathlib.Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for i, array in enumerate(outputs()):
        np.save(folder / f"{i}.npy", array)
    say(load_ms=load_ms, first_ms=first_ms, version=version, base_rss_mb=base)
    for line in sys.stdin:
        seconds, times = float(line), []
        end = time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            call = time.perf_counter()
            run()
            times.append((time.perf_counter() - call) * 1e3)
        q = np.quantile(times, [0.1, 0.5, 0.9])
        say(p10_ms=q[0], median_ms=q[1], p90_ms=q[2], calls=len(times), peak_rss_mb=status_mb("VmHWM"))


main()
