"""models - times of whole models under nnc and under what other engines are installed, side by side."""
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import typing

import common
import inputs as make_inputs

# Measured unless --peers says otherwise, and all that there are.
USUAL = ("onnxruntime", "openvino")
ENGINES = (*USUAL, "rten", "tract", "ncnn", "iree", "tvm")
RUST = ("rten", "tract")
PINNED = {
    "onnxruntime": ("onnxruntime==1.31.1",), "openvino": ("openvino==2026.4.1",), "rten": (), "tract": (),
    "ncnn": ("ncnn==1.0.20261020", "onnx==1.23.2"), "iree": ("iree-base-compiler[onnx]==3.13.0", "iree-base-runtime==3.13.0"),
    "tvm": ("apache-tvm==0.27.0.post1", "onnx==1.23.2"),
}
# An engine whose outputs are farther from those of ONNX Runtime, over the greatest magnitude, has computed something else.
WRONG = 1e-2
# Seconds that an engine may take to compile ahead.
PATIENCE = 600


def peers_python(engines):
    """The Python that has the other engines: PEERS_PYTHON, or an environment of our own."""
    if "PEERS_PYTHON" in os.environ:
        return os.environ["PEERS_PYTHON"]
    venv = common.WORK / "venv"
    python, complete = venv / "bin" / "python", venv / "complete"
    wanted = sorted({"numpy==2.4.6", *(p for e in engines for p in PINNED[e])})
    present = complete.read_text().splitlines() if complete.is_file() else []
    if not set(wanted) <= set(present):
        common.note(f"making {venv}")
        subprocess.run(["python3", "-m", "venv", venv], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
        if "ncnn" in engines:
            # Its program needs none of the packages that it asks for.
            subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "pnnx==20261020"], check=True)
        complete.write_text("\n".join(sorted({*wanted, *present})))
    return str(python)


def runner(engines):
    """The program that runs the engines written in Rust, built if one of them is wanted."""
    if not set(engines) & set(RUST):
        return None
    target = common.WORK / "runner"
    command = ["cargo", "build", "--release", "--quiet", "--manifest-path", common.HERE / "runner" / "Cargo.toml"]
    subprocess.run([*command, "--target-dir", target], check=True)
    return target / "release" / "bench-runner"


def find(folders, names):
    """Models by name: (file, shapes, fills, folder of inputs)."""
    found = {}
    for folder in map(pathlib.Path, folders):
        listed = folder / "models.json"
        described = json.loads(listed.read_text()) if listed.is_file() else {}
        for path in sorted(folder.glob("*.onnx")) + sorted(folder.glob("*/model.onnx")):
            name = path.parent.name if path.name == "model.onnx" else path.stem
            said = described.get(name, {})
            data = [path.parent / "test_data_set_0", common.ROOT / "models" / "reference" / name / "test_data_set_0"]
            data = next((d for d in data if (d / "input_0.pb").is_file()), None)
            found[name] = (path, said.get("shapes", {}), said.get("fills", {}), data)
    return {name: found[name] for name in (names or found) if name in found}


def prepare(nnc, name, path, shapes, fills, data):
    """Inputs as .npy; gives their folder and the extents by name."""
    folder = common.WORK / "inputs" / name
    listed = json.loads(subprocess.run([nnc, "inspect", path, "-O0", "--json"], capture_output=True, text=True,
                                       check=True).stdout)
    ports = [(p["name"], p["type"]) for p in listed["inputs"]]
    if data is None:
        return folder, make_inputs.make(folder, ports, shapes, fills)
    folder.mkdir(parents=True, exist_ok=True)
    dims = {}
    for i, (port, _) in enumerate(ports):
        make_inputs.pb_to_npy(data / f"input_{i}.pb", folder / f"{i}.npy")
        dims[port] = make_inputs.npy_dims(folder / f"{i}.npy")
    return folder, dims


class Peer:
    """Another engine, loaded once and asked for slices."""

    def __init__(self, tools, engine, model, inputs, threads, cpus, out):
        pin = (lambda: os.sched_setaffinity(0, cpus)) if cpus else None
        self.errors = tempfile.TemporaryFile("w+")
        said = [engine, model, inputs, str(threads), out]
        if engine in RUST:
            command = [tools.runner, *said]
        else:
            command = [tools.python, common.HERE / "peers.py", *said]
            convert = [tools.python, common.HERE / "peers.py", "convert", *said]
            self.ahead_ms = common.call(list(map(str, convert)), timeout=PATIENCE)["ahead_ms"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        stderr=self.errors, preexec_fn=pin)
        self.loaded, self.rows = self.answer(), []

    def answer(self):
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                return json.loads(line)
        self.errors.seek(0)
        raise RuntimeError(self.errors.read().strip().splitlines()[-1:] or "ended")

    def slice(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        self.rows.append(self.answer())

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def result(self):
        row = summary(self.rows)
        return {**row, "load_ms": self.loaded["load_ms"], "first_ms": self.loaded["first_ms"],
                "version": self.loaded["version"]}


class Tools(typing.NamedTuple):
    """What runs other engines."""
    python: str
    runner: pathlib.Path | None


def summary(rows):
    middle = lambda key: statistics.median(r[key] for r in rows)
    return {"median_ms": middle("median_ms"), "p10_ms": middle("p10_ms"), "p90_ms": middle("p90_ms"),
            "peak_rss_mb": max(r["peak_rss_mb"] for r in rows), "calls": sum(r["calls"] for r in rows)}


def one(nnc, tools, engines, name, found, args, threads):
    path, shapes, fills, data = found
    inputs, dims = prepare(nnc, name, path, shapes, fills, data)
    cpus = set(sorted(os.sched_getaffinity(0))[:threads])
    outputs = common.WORK / "outputs" / name
    fixed = [f"--shape={port}={','.join(map(str, d))}" for port, d in dims.items() if d]
    command = [nnc, "bench", path, "--inputs", inputs, "--threads", threads, "--seconds", args.seconds, "--json",
               "--outputs", outputs / "nnc", *fixed]
    result, peers = {}, {}
    for engine in engines:
        try:
            peers[engine] = Peer(tools, engine, path, inputs, threads, cpus, outputs / engine)
        except Exception as error:
            result[engine] = {"error": str(error)[:200]}
    rows = []
    try:
        for _ in range(args.rounds):
            rows.append(common.call(list(map(str, command)), cpus))
            for peer in peers.values():
                peer.slice(args.seconds)
        result["nnc"] = {**summary(rows), "load_ms": statistics.median(r["compile_ms"] for r in rows),
                         "first_ms": statistics.median(r["first_ms"] for r in rows),
                         "page_faults": max(r["page_faults"] for r in rows)}
    except Exception as error:
        result["nnc"] = {"error": str(error)[:300]}
    for engine, peer in peers.items():
        if peer.rows:
            result[engine] = peer.result()
        peer.close()
    if "onnxruntime" in peers:
        for engine in result.keys() - {"onnxruntime"}:
            if "error" not in result[engine]:
                check = [tools.python, common.HERE / "peers.py", "compare", outputs / "onnxruntime", outputs / engine]
                result[engine]["rel"] = common.call(list(map(str, check)))["rel"]
    result["compiled"] = compiled(nnc, path, fixed, inputs, outputs, threads, cpus)
    return result


def compiled(nnc, path, fixed, inputs, outputs, threads, cpus):
    """Load time and memory of the program compiled ahead, in a process that does not compile."""
    program = outputs / "program.nnc"
    subprocess.run([nnc, "compile", path, *fixed, "-o", program], check=True, capture_output=True)
    command = [nnc, "bench", program, "--inputs", inputs, "--threads", threads, "--seconds", 0.1, "--json"]
    row = common.call(list(map(str, command)), cpus)
    program.unlink()
    return {"load_ms": row["compile_ms"], "first_ms": row["first_ms"], "peak_rss_mb": row["peak_rss_mb"]}


def run(args):
    nnc = common.nnc_path()
    engines = ENGINES if args.peers == "all" else tuple(args.peers.split(",")) if args.peers else USUAL
    if unknown := set(engines) - set(ENGINES):
        raise SystemExit(f"no engine {', '.join(sorted(unknown))}; there are {', '.join(ENGINES)}")
    tools = None
    try:
        tools = Tools(peers_python(engines), runner(engines))
    except (OSError, subprocess.CalledProcessError) as error:
        common.note(f"without other engines: {error}")
        engines = ()
    folders = args.models or [common.ROOT / "models" / "cache", common.ROOT / "models"]
    found = find(folders, args.names)
    for threads in args.threads:
        results = {}
        for name, model in found.items():
            results[name] = one(nnc, tools, engines, name, model, args, threads)
            times = {e: r.get("median_ms", r.get("error")) for e, r in results[name].items()}
            common.note(f"{name}, {threads} threads: {times}")
            common.save(f"models-{threads}", {"threads": threads, "seconds": args.seconds, "rounds": args.rounds,
                                              "models": results})


def is_right(row):
    """Whether an engine ran and computed what ONNX Runtime did, which itself has no difference."""
    return "median_ms" in row and ("rel" not in row or (row["rel"] is not None and row["rel"] <= WRONG))


def tables(threads):
    """Markdown of the last results: times, then load times and memory."""
    result = common.load(f"models-{threads}")
    if result is None:
        return None
    engines = [e for e in ENGINES if any(e in m for m in result["models"].values())]
    times, costs, ratios, of_each = [], [], [], {e: [] for e in engines}
    for name, rows in result["models"].items():
        ours = rows.get("nnc", {})
        right = {e: rows[e]["median_ms"] for e in engines if is_right(rows.get(e, {}))}
        ratio = ours["median_ms"] / min(right.values()) if right and "median_ms" in ours else None
        ratios += [ratio] if ratio else []
        for engine, time in right.items():
            of_each[engine] += [ours["median_ms"] / time] if ratio else []
        show = lambda e, key, digits=3: common.significant(rows.get(e, {}).get(key), digits)
        mark = lambda e: " wrong" if "median_ms" in rows.get(e, {}) and e not in right else ""
        times.append([name, show("nnc", "median_ms"), *(show(e, "median_ms") + mark(e) for e in engines),
                      common.significant(ratio, 3), show("nnc", "rel", 2)])
        triple = lambda e: f"{show(e, 'load_ms')} / {show(e, 'first_ms')} / {show(e, 'peak_rss_mb')}"
        costs.append([name, *(triple(e) for e in ("nnc", "compiled", *engines))])
    versions = {e: next((m[e]["version"] for m in result["models"].values() if "version" in m.get(e, {})), "?")
                for e in engines}
    times.append(["geometric mean of nnc / it", "", *(common.significant(common.geomean(of_each[e])) for e in engines),
                  common.significant(common.geomean(ratios)), ""])
    heads = [f"{e} {versions[e]}" for e in engines]
    place = result["machine"]
    words = f"{place['cpu']}, {place['cores']} cores, Linux {place['system']}, nnc {place['nnc']}, load {place['load']}"
    return "\n\n".join([
        f"{words}; medians in ms of {result['rounds']} rounds of {result['seconds']} s, {threads} thread"
        f"{'s' if threads > 1 else ''}.",
        common.table(["model", "nnc", *heads, "nnc / best", "difference"], times),
        "From file to program ms / first call ms / peak RSS MB; *compiled* is nnc with a program compiled ahead:",
        common.table(["model", "nnc", "compiled", *engines], costs),
    ])
