"""kernels - sweeps over single kernels: products of odd shapes against the peak, element-wise ones against bandwidth."""
import random

import common
import onnx_file

# M, N, K: squares, tall and flat, edges of every tile size, and some of real models.
GEMM = [
    (64, 64, 64), (128, 128, 128), (256, 256, 256), (512, 512, 512), (127, 129, 131), (100, 100, 100),
    (1, 1024, 1024), (1, 4096, 1000), (2, 1000, 1000), (3, 333, 999), (5, 768, 768), (7, 3072, 768), (13, 517, 211),
    (17, 1000, 300), (31, 63, 1023), (33, 65, 257), (49, 2048, 512), (77, 301, 150), (128, 768, 768),
    (128, 3072, 768), (196, 256, 1024), (197, 192, 768), (300, 20, 200), (784, 24, 144), (1000, 17, 100), (3136, 64, 64),
]
GEMM_QUICK = GEMM[::5]

# Random shapes: M, N, K from and to. The second kind has few columns, which leave lanes of vectors empty where nothing is done about it.
SWEEP = [((1, 2000), (1, 600), (8, 2000)), ((30, 2000), (1, 48), (16, 1000))]
SWEEP_SEED, SWEEP_COUNT, SWEEP_LEAST, SWEEP_MOST = 4, 100, 1e6, 4e8

WIDE, ROWS = [1 << 20], [256, 1024]
POINTWISE = [
    ("add", lambda: onnx_file.binary("Add", WIDE)), ("mul", lambda: onnx_file.binary("Mul", WIDE)),
    ("relu", lambda: onnx_file.unary("Relu", WIDE)), ("exp", lambda: onnx_file.unary("Exp", WIDE)),
    ("log", lambda: onnx_file.unary("Log", WIDE)), ("tanh", lambda: onnx_file.unary("Tanh", WIDE)),
    ("sigmoid", lambda: onnx_file.unary("Sigmoid", WIDE)), ("erf", lambda: onnx_file.unary("Erf", WIDE)),
    ("gelu", lambda: onnx_file.unary("Gelu", WIDE)), ("softmax", lambda: onnx_file.unary("Softmax", ROWS, axis=-1)),
    ("layer norm", lambda: onnx_file.layer_norm(*ROWS)), ("max pool", lambda: onnx_file.max_pool(64, 112)),
]


def profile(nnc, name, model, args):
    folder = common.WORK / "kernels"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name.replace(' ', '_')}.onnx"
    path.write_bytes(model)
    command = [nnc, "profile", path, "--threads", 1, "--seconds", args.seconds, "--json", "--cpu", args.cpu]
    return common.call(list(map(str, command)))


def product(nnc, m, n, k, args):
    got = profile(nnc, f"gemm_{m}_{n}_{k}", onnx_file.matmul(m, n, k), args)
    rate, peak = 2 * m * n * k / got["median_ms"] / 1e6, got["machine"]["gflops"]
    common.note(f"gemm {m} x {n} x {k}: {rate:.1f} GFLOP/s, {100 * rate / peak:.0f} % of {peak:.0f}")
    return {"m": m, "n": n, "k": k, "gflops": rate, "peak": peak, "share": rate / peak,
            "roofline": got["roofline_ms"] / got["median_ms"]}


def random_shapes(count):
    """Products of SWEEP_LEAST to SWEEP_MOST operations, as many of each kind."""
    rng = random.Random(SWEEP_SEED)
    for bounds in SWEEP:
        found = 0
        while found < count:
            m, n, k = (rng.randint(*bound) for bound in bounds)
            if SWEEP_LEAST <= 2 * m * n * k <= SWEEP_MOST:
                found += 1
                yield m, n, k


def sweep(nnc, args):
    rows = [product(nnc, *shape, args) for shape in random_shapes(10 if args.quick else SWEEP_COUNT)]
    common.save("sweep", {"cpu": args.cpu, "rows": rows})


def run(args):
    nnc = common.nnc_path()
    if args.sweep:
        return sweep(nnc, args)
    gemm = [product(nnc, *shape, args) for shape in (GEMM_QUICK if args.quick else GEMM)]
    common.save("gemm", {"cpu": args.cpu, "rows": gemm})
    pointwise = []
    for name, model in POINTWISE:
        got = profile(nnc, name, model(), args)
        rate = got["bytes"] / got["median_ms"] / 1e6
        pointwise.append({"name": name, "gb_per_s": rate, "roofline": got["roofline_ms"] / got["median_ms"],
                          "ms": got["median_ms"]})
        common.note(f"{name}: {rate:.1f} GB/s, {100 * pointwise[-1]['roofline']:.0f} % of the roofline")
    common.save("pointwise", {"cpu": args.cpu, "rows": pointwise})


def sweep_tables():
    """How many of the random products reach which share of the roofline, and those that reach the least."""
    found = common.load("sweep")
    if found is None:
        return []
    rows, place = found["rows"], found["machine"]
    bounds = [0, 0.75, 0.80, 0.85, 0.90, 0.95, 10]
    name = lambda a, b: f"below {100 * b:.0f} %" if a == 0 else f"from {100 * a:.0f} %" if b > 1 else f"{100 * a:.0f} to {100 * b:.0f} %"
    counts = [[name(a, b), str(sum(a <= r["roofline"] < b for r in rows))] for a, b in zip(bounds, bounds[1:])]
    least = sorted(rows, key=lambda r: r["roofline"])[:10]
    short = ", ".join(f"{r['m']} x {r['n']} x {r['k']} {100 * r['roofline']:.0f} %" for r in least)
    words = (f"{len(rows)} random products (`bench/run kernels --sweep`), {place['cpu']}, `--cpu {found['cpu']}`, nnc {place['nnc']}, "
             f"load {place['load']}, one thread. The least: {short}.")
    return [words, common.table(["share of the roofline", "products"], counts)]


def tables():
    gemm, pointwise = common.load("gemm"), common.load("pointwise")
    if gemm is None or pointwise is None:
        return None
    percent = lambda x: f"{100 * x:.0f} %"
    place = gemm["machine"]
    rows = [[f"{r['m']} x {r['n']} x {r['k']}", f"{r['gflops']:.1f}", percent(r["share"]), percent(r["roofline"])]
            for r in gemm["rows"]]
    others = [[r["name"], f"{r['ms']:.4f}", f"{r['gb_per_s']:.1f}", percent(r["roofline"])] for r in pointwise["rows"]]
    words = f"{place['cpu']}, `--cpu {gemm['cpu']}`, nnc {place['nnc']}, load {place['load']}, one thread."
    return "\n\n".join(sweep_tables() + [
        words, common.table(["M x N x K", "GFLOP/s", "of the peak", "of the roofline"], rows),
        common.table(["kernel, 1 Mi elements (rows: 256 x 1024)", "ms", "GB/s", "of the roofline"], others),
    ])
