"""models - times of whole models under nnc and under what other engines are installed, side by side."""
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import tempfile

import common
import inputs as make_inputs

ENGINES = ("onnxruntime", "openvino")
PINNED = ("numpy==2.4.6", "onnxruntime==1.31.1", "openvino==2026.4.1")


def peers_python():
    """The Python that has the other engines: PEERS_PYTHON, or an environment of our own."""
    if "PEERS_PYTHON" in os.environ:
        return os.environ["PEERS_PYTHON"]
    venv = common.WORK / "venv"
    python = venv / "bin" / "python"
    if not (venv / "complete").is_file():
        common.note(f"making {venv}")
        subprocess.run(["python3", "-m", "venv", venv], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PINNED], check=True)
        (venv / "complete").write_text("\n".join(PINNED))
    return str(python)


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

    def __init__(self, python, engine, model, inputs, threads, cpus, out):
        pin = (lambda: os.sched_setaffinity(0, cpus)) if cpus else None
        self.errors = tempfile.TemporaryFile("w+")
        command = [python, common.HERE / "peers.py", engine, model, inputs, str(threads), out]
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


def summary(rows):
    middle = lambda key: statistics.median(r[key] for r in rows)
    return {"median_ms": middle("median_ms"), "p10_ms": middle("p10_ms"), "p90_ms": middle("p90_ms"),
            "peak_rss_mb": max(r["peak_rss_mb"] for r in rows), "calls": sum(r["calls"] for r in rows)}


def one(nnc, python, engines, name, found, args, threads):
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
            peers[engine] = Peer(python, engine, path, inputs, threads, cpus, outputs / engine)
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
    if "onnxruntime" in peers and "error" not in result["nnc"]:
        check = [python, common.HERE / "peers.py", "compare", outputs / "onnxruntime", outputs / "nnc"]
        result["nnc"]["rel"] = common.call(list(map(str, check)))["rel"]
    return result


def run(args):
    nnc = common.nnc_path()
    try:
        python, engines = peers_python(), ENGINES
    except (OSError, subprocess.CalledProcessError) as error:
        common.note(f"without other engines: {error}")
        python, engines = None, ()
    folders = args.models or [common.ROOT / "models" / "cache", common.ROOT / "models"]
    found = find(folders, args.names)
    for threads in args.threads:
        results = {}
        for name, model in found.items():
            results[name] = one(nnc, python, engines, name, model, args, threads)
            times = {e: r.get("median_ms", r.get("error")) for e, r in results[name].items()}
            common.note(f"{name}, {threads} threads: {times}")
            common.save(f"models-{threads}", {"threads": threads, "seconds": args.seconds, "rounds": args.rounds,
                                              "models": results})


def tables(threads):
    """Markdown of the last results: times, then load times and memory."""
    result = common.load(f"models-{threads}")
    if result is None:
        return None
    engines = [e for e in ENGINES if any(e in m for m in result["models"].values())]
    times, costs, ratios = [], [], []
    for name, rows in result["models"].items():
        ours = rows.get("nnc", {})
        best = min((rows[e]["median_ms"] for e in engines if "median_ms" in rows.get(e, {})), default=None)
        ratio = ours["median_ms"] / best if best and "median_ms" in ours else None
        ratios += [ratio] if ratio else []
        show = lambda e, key, digits=3: common.significant(rows.get(e, {}).get(key), digits)
        times.append([name, show("nnc", "median_ms"), *(show(e, "median_ms") for e in engines),
                      common.significant(ratio, 3), show("nnc", "rel", 2)])
        triple = lambda e: f"{show(e, 'load_ms')} / {show(e, 'first_ms')} / {show(e, 'peak_rss_mb')}"
        costs.append([name, triple("nnc"), *(triple(e) for e in engines)])
    versions = {e: next((m[e]["version"] for m in result["models"].values() if "version" in m.get(e, {})), "?")
                for e in engines}
    times.append(["geometric mean", "", *("" for _ in engines), common.significant(common.geomean(ratios)), ""])
    heads = [f"{e} {versions[e]}" for e in engines]
    place = result["machine"]
    words = f"{place['cpu']}, {place['cores']} cores, Linux {place['system']}, nnc {place['nnc']}, load {place['load']}"
    return "\n\n".join([
        f"{words}; medians in ms of {result['rounds']} rounds of {result['seconds']} s, {threads} thread"
        f"{'s' if threads > 1 else ''}.",
        common.table(["model", "nnc", *heads, "nnc / best", "difference"], times),
        "From file to program ms / first call ms / peak RSS MB:",
        common.table(["model", "nnc", *engines], costs),
    ])
