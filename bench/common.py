"""common - where things are, calling nnc, and tables."""
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
WORK = HERE / "work"
RESULTS = WORK / "results"


def nnc_path():
    """The release binary: NNC, or what cargo builds."""
    if "NNC" in os.environ:
        return os.environ["NNC"]
    path = ROOT / "target" / "release" / "nnc"
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
    return str(path)


def last_json(text):
    for line in reversed(text.strip().splitlines()):
        if line.startswith("{"):
            return json.loads(line)
    raise ValueError(f"no JSON in: {text[-300:]}")


def call(command, cpus=None, timeout=900):
    """Runs a command, on these processors only, and gives the last JSON line it prints."""
    pin = (lambda: os.sched_setaffinity(0, cpus)) if cpus else None
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, preexec_fn=pin)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command[:3]))} ended with {done.returncode}: {done.stderr[-400:]}")
    return last_json(done.stdout)


def cpu_name():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def commit():
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def machine():
    """What a figure was measured on."""
    return {
        "cpu": cpu_name(), "cores": len(os.sched_getaffinity(0)), "system": platform.release(),
        "nnc": commit(), "load": round(os.getloadavg()[0], 2),
    }


def save(name, result):
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **result}, indent=1) + "\n")
    return path


def load(name):
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def geomean(values):
    return statistics.geometric_mean(values) if values else float("nan")


def significant(x, digits=3):
    if x is None:
        return "-"
    text = f"{x:.{digits}g}"
    return f"{float(text):g}" if "e" in text else text


def table(head, rows):
    """A table in Markdown; the first column is text, the others numbers."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def note(text):
    print(text, file=sys.stderr, flush=True)
