"""inputs - tensors for a model, as .npy files that every engine reads."""
import pathlib
import random
import re
import struct

# Element types: by nnc's name, by ONNX's number; NumPy's description and bytes.
TYPES = {
    "f32": ("<f4", 4), "f64": ("<f8", 8), "f16": ("<f2", 2), "bool": ("|b1", 1),
    "i8": ("|i1", 1), "i16": ("<i2", 2), "i32": ("<i4", 4), "i64": ("<i8", 8),
    "u8": ("|u1", 1), "u16": ("<u2", 2), "u32": ("<u4", 4), "u64": ("<u8", 8),
}
ONNX = {1: "f32", 2: "u8", 3: "i8", 4: "u16", 5: "i16", 6: "i32", 7: "i64", 9: "bool", 10: "f16", 11: "f64",
        12: "u32", 13: "u64"}


def write_npy(path, kind, dims, data):
    shape = "".join(f"{d}, " for d in dims)
    header = f"{{'descr': '{TYPES[kind][0]}', 'fortran_order': False, 'shape': ({shape}), }}"
    header += " " * (-(10 + len(header) + 1) % 64) + "\n"
    pathlib.Path(path).write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data)


def npy_dims(path):
    head = pathlib.Path(path).read_bytes()[:400].decode("latin1")
    return [int(d) for d in re.search(r"'shape': \(([^)]*)\)", head)[1].replace(",", " ").split()]


def fields(data):
    """The fields of a protobuf message: (number, value)."""
    at = 0

    def varint():
        nonlocal at
        x = shift = 0
        while True:
            byte = data[at]
            at += 1
            x |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return x

    while at < len(data):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
        elif tag & 7 == 2:
            size = varint()
            at += size
            yield tag >> 3, data[at - size:at]
        else:
            size = 8 if tag & 7 == 1 else 4
            at += size
            yield tag >> 3, data[at - size:at]


def pb_to_npy(source, target):
    """A TensorProto with raw data."""
    dims, kind, raw = [], None, None
    for number, x in fields(pathlib.Path(source).read_bytes()):
        if number == 1 and isinstance(x, int):
            dims.append(x)
        elif number == 1:
            dims += [d for d in packed(x)]
        elif number == 2:
            kind = ONNX[x]
        elif number == 9:
            raw = x
    if raw is None:
        raise ValueError(f"{source} has no raw data")
    write_npy(target, kind, dims, raw)


def packed(data):
    x = shift = 0
    for byte in data:
        x |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield x
            x = shift = 0


def made_up(name, kind, dims, rng, fill=None):
    """Bytes of an input: images in 0..1, other floats in -1..1, ids below 100, masks one, types zero."""
    count = 1
    for d in dims:
        count *= d
    low = name.lower()
    if kind in ("f32", "f64"):
        if fill and fill.startswith("const"):
            values = [float(fill[6:-1])] * count
        elif "mask" in low:
            values = [1.0] * count
        elif len(dims) == 4:
            values = [rng.random() for _ in range(count)]
        else:
            values = [2 * rng.random() - 1 for _ in range(count)]
        return struct.pack(f"<{count}{'f' if kind == 'f32' else 'd'}", *values)
    if kind == "bool":
        return bytes([1]) * count
    if fill and fill.startswith("const"):
        values = [int(float(fill[6:-1]))] * count
    elif fill and fill.startswith("ids"):
        first, last = (int(x) for x in fill[4:-1].split(","))
        values = [rng.randint(first, last) for _ in range(count)]
    elif "mask" in low:
        values = [1] * count
    elif "type" in low or "segment" in low:
        values = [0] * count
    else:
        values = [rng.randrange(100) for _ in range(count)]
    return b"".join(v.to_bytes(TYPES[kind][1], "little") for v in values)


def make(folder, ports, shapes, fills):
    """Makes up inputs; `ports` are (name, type), `shapes` and `fills` by name. Gives the extents of each."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, out = random.Random(1), {}
    for i, (name, text) in enumerate(ports):
        kind, inside = re.match(r"(\w+)\[(.*)\]", text).groups()
        declared = [d.strip() for d in inside.split(",") if d.strip()]
        dims = shapes.get(name) or [int(d) if d.isdigit() else 1 for d in declared]
        write_npy(folder / f"{i}.npy", kind, dims, made_up(name, kind, dims, rng, fills.get(name)))
        out[name] = dims
    return out
