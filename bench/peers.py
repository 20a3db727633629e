"""peers - one model under another engine, as a process that stays loaded and is asked for slices of time.

    python peers.py ENGINE MODEL INPUTS-DIR THREADS OUTPUTS-DIR
    python peers.py convert ENGINE MODEL INPUTS-DIR THREADS OUTPUTS-DIR
    python peers.py compare DIR DIR

Prints one line of JSON when loaded and one for each line `SECONDS` that it reads. `convert` does what an engine does ahead
of time, if it does. `compare` prints the worst difference of two folders of outputs over the greatest magnitude of each.
Needs numpy and the engine (engines.py).
"""
import json
import pathlib
import sys
import time

import numpy as np

import engines


def status_mb(key):
    for line in open("/proc/self/status"):
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    return None


def say(**fields):
    print(json.dumps(fields), flush=True)


def compare(wanted, given):
    worst = 0.0
    for path in sorted(pathlib.Path(wanted).glob("*.npy")):
        if not (pathlib.Path(given) / path.name).is_file():
            return say(rel=None, error=f"{path.name} is missing")
        want, got = (np.load(p).astype(np.float64) for p in (path, pathlib.Path(given) / path.name))
        # Some engines leave out axes of extent 1.
        if want.shape != got.shape and [d for d in want.shape if d != 1] != [d for d in got.shape if d != 1]:
            return say(rel=None, error=f"{path.name}: {got.shape} instead of {want.shape}")
        if want.size:
            difference = np.abs(got.reshape(want.shape) - want)
            worst = max(worst, float(np.max(difference) / max(np.max(np.abs(want)), 1e-30)))
    return say(rel=worst if np.isfinite(worst) else None)


def convert(engine, model, inputs, threads, out):
    start = time.perf_counter()
    function = getattr(engines, f"convert_{engine}", None)
    if function is not None:
        folder = pathlib.Path(out) / "ahead"
        folder.mkdir(parents=True, exist_ok=True)
        function(model, inputs, int(threads), folder)
    say(ahead_ms=(time.perf_counter() - start) * 1e3)


def serve(engine, model, inputs, threads, out):
    base, folder = status_mb("VmRSS"), pathlib.Path(out)
    start = time.perf_counter()
    run, outputs, version = getattr(engines, f"with_{engine}")(model, inputs, int(threads), folder / "ahead")
    load_ms = (time.perf_counter() - start) * 1e3
    start = time.perf_counter()
    run()
    first_ms = (time.perf_counter() - start) * 1e3
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


if __name__ == "__main__":
    {"compare": lambda: compare(*sys.argv[2:4]), "convert": lambda: convert(*sys.argv[2:7])}.get(
        sys.argv[1], lambda: serve(*sys.argv[1:6]))()
