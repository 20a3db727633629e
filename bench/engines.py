"""engines - one model under each of the engines that have a Python interface.

`with_ENGINE(model, inputs, threads, ahead)` loads the model and gives what runs it, what reads its outputs, and the
engine's version. Engines that compile ahead have a `convert_ENGINE(model, inputs, threads, ahead)` too, which is called
before, in a process of its own, and leaves its result in the folder `ahead`.
"""
import json
import os
import pathlib
import subprocess
import sys

import numpy as np


def read_inputs(folder, names):
    """NAME.npy, or 0.npy, 1.npy ... in the model's order."""
    folder = pathlib.Path(folder)
    paths = [[folder / f"{n.replace('/', '_')}.npy", folder / f"{i}.npy"] for i, n in enumerate(names)]
    return {n: np.load(next(p for p in both if p.is_file())) for n, both in zip(names, paths)}


def with_onnxruntime(model, inputs, threads, ahead):
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


def with_openvino(model, inputs, threads, ahead):
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


def fixed(model, inputs, folder):
    """A copy of the model whose inputs have the extents of the arrays, and these arrays in the model's order."""
    import onnx
    read = onnx.load(model)
    constants = {i.name for i in read.graph.initializer}
    ports = [i for i in read.graph.input if i.name not in constants]
    feeds = read_inputs(inputs, [i.name for i in ports])
    for port in ports:
        dims = port.type.tensor_type.shape.dim
        for dim, extent in zip(dims, feeds[port.name].shape):
            dim.ClearField("dim_param")
            dim.dim_value = extent
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "fixed.onnx"
    big = pathlib.Path(model).stat().st_size > 1 << 30
    onnx.save(read, str(path), save_as_external_data=big, location="fixed.data")
    return path, feeds


def tool(command, folder):
    """Runs a converter in the folder; what it says goes into the error."""
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr or done.stdout).strip()[-300:])


def keep_inputs(ahead, feeds):
    np.savez(ahead / "inputs.npz", **{str(i): a for i, a in enumerate(feeds.values())})


def kept_inputs(ahead):
    with np.load(ahead / "inputs.npz") as kept:
        return [kept[str(i)] for i in range(len(kept.files))]


def version_of(package):
    from importlib import metadata
    return metadata.version(package)


# ---- ncnn: the model converted by pnnx, in f32.

def convert_ncnn(model, inputs, threads, ahead):
    import importlib.util
    path, feeds = fixed(model, inputs, ahead)
    short = {"float32": "f32", "int64": "i64", "int32": "i32"}
    shapes = ",".join("[" + ",".join(map(str, a.shape)) + "]" + short[str(a.dtype)] for a in feeds.values())
    # The package imports more than its program needs.
    program = pathlib.Path(importlib.util.find_spec("pnnx").origin).parent / "pnnx"
    try:
        tool([program, path.name, f"inputshape={shapes}", "fp16=0"], ahead)
    except RuntimeError:
        # It ends badly after writing models that its last step cannot check.
        if not (ahead / "fixed.ncnn.param").is_file():
            raise
    keep_inputs(ahead, feeds)


def with_ncnn(model, inputs, threads, ahead):
    import ncnn
    net = ncnn.Net()
    net.opt.num_threads = threads
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, option, False)
    if net.load_param(str(ahead / "fixed.ncnn.param")) or net.load_model(str(ahead / "fixed.ncnn.bin")):
        raise RuntimeError("ncnn does not load what pnnx wrote")

    def mat(array):
        array = array[0] if array.ndim > 1 and array.shape[0] == 1 else array
        array = array.astype(np.int32) if array.dtype == np.int64 else array
        return ncnn.Mat(np.ascontiguousarray(array)).clone()

    mats, last = [mat(a) for a in kept_inputs(ahead)], []

    def run():
        with net.create_extractor() as extractor:
            for name, value in zip(net.input_names(), mats):
                extractor.input(name, value)
            results = [extractor.extract(name) for name in net.output_names()]
        if any(code for code, _ in results):
            raise RuntimeError("ncnn gives no outputs")
        last[:] = [value for _, value in results]

    return run, lambda: [np.array(value) for value in last], version_of("ncnn")


# ---- IREE: its strongest settings that compile the model.

def convert_iree(model, inputs, threads, ahead):
    path, feeds = fixed(model, inputs, ahead)
    programs = pathlib.Path(sys.executable).parent
    tool([programs / "iree-import-onnx", path, "-o", "model.mlir", "--opset-version", "17"], ahead)
    command = [programs / "iree-compile", "model.mlir", "-o", "model.vmfb", "--iree-hal-target-device=local",
               "--iree-hal-local-target-device-backends=llvm-cpu", "--iree-llvmcpu-target-cpu=host",
               "--iree-opt-level=O3", "--iree-llvmcpu-stack-allocation-limit=1048576"]
    further = ["--iree-global-opt-use-im2col-for-convs", "--iree-llvmcpu-enable-ukernels=all"]
    for count in (2, 1, 0):
        try:
            tool(command + further[:count], ahead)
            break
        except RuntimeError:
            if not count:
                raise
    keep_inputs(ahead, feeds)


def with_iree(model, inputs, threads, ahead):
    import iree.runtime as runtime
    runtime.flags.parse_flags(f"--task_topology_group_count={threads}")
    config = runtime.Config("local-sync" if threads == 1 else "local-task")
    context = runtime.SystemContext(config=config)
    context.add_vm_module(runtime.VmModule.mmap(config.vm_instance, str(ahead / "model.vmfb")))
    module = context.modules.module.vm_module
    name = next(n for n in module.function_names if not n.startswith("_") and not n.endswith("$async"))
    function = module.lookup_function(name)
    arrays = [runtime.asdevicearray(config.device, a) for a in kept_inputs(ahead)]
    arguments, last = runtime.VmVariantList(len(arrays)), []
    for array in arrays:
        arguments.push_ref(array._buffer_view)

    def run():
        results = runtime.VmVariantList(4)
        context.vm_context.invoke(function, arguments, results)
        last[:] = [arrays, results]

    def outputs():
        results = last[1]
        views = (results.get_as_object(i, runtime.HalBufferView) for i in range(len(results)))
        return [runtime.DeviceArray(config.device, view).to_host() for view in views]

    return run, outputs, version_of("iree-base-runtime")


# ---- TVM: its standard pipeline, without tuning.

def processor():
    """LLVM's name of this processor, as near as instructions tell."""
    text = pathlib.Path("/proc/cpuinfo").read_text()
    amd, wide = "AuthenticAMD" in text, " avx512f " in text
    return ("znver4" if amd else "skylake-avx512") if wide else ("znver3" if amd else "haswell")


def convert_tvm(model, inputs, threads, ahead):
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx
    path, feeds = fixed(model, inputs, ahead)
    target = tvm.target.Target({"kind": "llvm", "mcpu": processor(), "num-cores": threads})
    module = relax.get_pipeline("zero")(from_onnx(onnx.load(path), keep_params_in_input=False))
    tvm.compile(module, target).export_library(str(ahead / "model.so"))
    keep_inputs(ahead, feeds)


def with_tvm(model, inputs, threads, ahead):
    os.environ["TVM_NUM_THREADS"] = str(threads)
    import tvm
    from tvm import relax
    machine = relax.VirtualMachine(tvm.runtime.load_module(str(ahead / "model.so")), tvm.cpu())
    machine.set_input("main", *[tvm.runtime.tensor(a) for a in kept_inputs(ahead)])

    def outputs():
        given = machine.get_outputs("main")
        return [t.numpy() for t in ([given] if hasattr(given, "numpy") else given)]

    return lambda: machine.invoke_stateful("main"), outputs, version_of("apache-tvm")
