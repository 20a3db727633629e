"""instructions - how many instructions ten kernels execute, counted by callgrind, against committed figures.

Counts hardly depend on the machine or on what else runs there, so a kernel that got slower shows where times would not.
A count is that of some calls more, divided by their number, so what a process does otherwise falls out.
"""
import re
import shutil
import subprocess
import tempfile
import pathlib
import tomllib

import common
import onnx_file

FIGURES = common.HERE / "instructions.toml"
# Callgrind knows AVX2 and nothing wider.
CPU = "x86-64-v3"
CALLS = 64

KERNELS = {
    "gemm_64x64x64": lambda: onnx_file.matmul(64, 64, 64),
    "gemm_odd_37x53x129": lambda: onnx_file.dense_relu(37, 53, 129),
    "gemv_512x512": lambda: onnx_file.matmul(1, 512, 512),
    "conv3x3_32_14": lambda: onnx_file.conv(32, 32, 14, 3),
    "conv1x1_64_14": lambda: onnx_file.conv(64, 64, 14, 1),
    "depthwise3x3_64_14": lambda: onnx_file.conv(64, 64, 14, 3, group=64),
    "gelu_4096": lambda: onnx_file.unary("Gelu", [4096]),
    "softmax_16x128": lambda: onnx_file.unary("Softmax", [16, 128], axis=-1),
    "layer_norm_16x256": lambda: onnx_file.layer_norm(16, 256),
    "max_pool_16_28": lambda: onnx_file.max_pool(16, 28),
}


def counted(valgrind, nnc, artefact, calls):
    command = [valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null", nnc, "bench", artefact, "--threads", "1",
               "--calls", str(calls), "--json", "--outputs", pathlib.Path(artefact).parent]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        raise RuntimeError(f"callgrind ended with {done.returncode}: {done.stderr[-400:]}")
    return int(found[1])


def count(valgrind, nnc, name):
    with tempfile.TemporaryDirectory() as folder:
        model, artefact = pathlib.Path(folder, "m.onnx"), pathlib.Path(folder, "m.nnc")
        model.write_bytes(KERNELS[name]())
        subprocess.run([nnc, "compile", model, "--cpu", CPU, "-o", artefact], check=True, capture_output=True)
        few, many = (counted(valgrind, nnc, artefact, calls) for calls in (1, 1 + CALLS))
        return round((many - few) / CALLS)


def run(args):
    """Gives the number of kernels that execute more or fewer instructions than was written down, by over the tolerance."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        print("instructions: skipped, valgrind is not installed")
        return 0
    nnc = common.nnc_path()
    figures = tomllib.loads(FIGURES.read_text()) if FIGURES.is_file() else {"tolerance_percent": 2, "kernels": {}}
    tolerance, wrong, now = figures["tolerance_percent"], 0, {}
    for name in args.names or KERNELS:
        now[name] = count(valgrind, nnc, name)
        was = figures["kernels"].get(name)
        change = 100 * (now[name] / was - 1) if was else None
        bad = change is None or abs(change) > tolerance
        wrong += bad
        words = "new" if change is None else f"{change:+.2f} % of {was}"
        print(f"{'CHANGED' if bad else 'ok':<8} {name:<22} {now[name]:>10}  {words}", flush=True)
    if args.update:
        write(tolerance, {**figures["kernels"], **now})
        return 0
    if wrong:
        print(f"{wrong} of {len(now)} differ by over {tolerance} %; if that is meant: bench/run instructions --update")
    return wrong


def write(tolerance, kernels):
    lines = [
        "# Instructions that a call of each kernel executes, as callgrind counts them, of code for " + CPU + ".",
        "# `bench/run instructions` compares, `bench/run instructions --update` writes.",
        f"tolerance_percent = {tolerance}", "", "[kernels]",
    ]
    FIGURES.write_text("\n".join(lines + [f"{name} = {kernels[name]}" for name in KERNELS if name in kernels]) + "\n")


def tables():
    if not FIGURES.is_file():
        return None
    kernels = tomllib.loads(FIGURES.read_text())["kernels"]
    return common.table(["kernel", f"instructions a call, {CPU}"], [[n, f"{c:,}"] for n, c in kernels.items()])
