#!/usr/bin/env python3
"""Lays out the conformance cases that come with the Python package of ONNX, in models/cache/conformance.

    python3 models/fetch_conformance.py

Release 1.20.1 is the last one whose package holds all cases as files. Each becomes a folder
<category>/<case> with model.onnx and test_data_set_<k>/{input,output}_<i>.pb; tests/conformance.rs runs them.
Needs pip and the standard library. What was written is held to one checksum over all files, so it does not matter
for which machine the package was built.
"""
import hashlib
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile

RELEASE = "1.20.1"
CONTENT = "b6c38da379129141c7e7dafd1cfccd7e393b9383444630ca181a0deac8bbeaea"
DATA = "onnx/backend/test/data/"
TARGET = pathlib.Path(__file__).resolve().parent / "cache" / "conformance"


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def field(message, number):
    """Every value of a field of a protobuf message: numbers, or the bytes of what has a length."""
    at, found = 0, []
    while at < len(message):
        key, at = varint(message, at)
        if key & 7 == 0:
            value, at = varint(message, at)
        elif key & 7 == 2:
            size, at = varint(message, at)
            value, at = message[at:at + size], at + size
        else:
            size = 4 if key & 7 == 5 else 8
            value, at = message[at:at + size], at + size
        if key >> 3 == number:
            found.append(value)
    return found


def as_varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def ramp(name, dims):
    """A TensorProto of floats 0/n, 1/n ... (n - 1)/n: what the package's own runner feeds the `light` models."""
    n = 1
    for d in dims:
        n *= d
    raw = struct.pack(f"<{n}f", *(i / n for i in range(n)))
    out = b"".join(b"\x08" + as_varint(d) for d in dims) + b"\x10\x01"
    return out + b"\x42" + as_varint(len(name)) + name + b"\x4a" + as_varint(len(raw)) + raw


def ramps(model):
    """Inputs of a model, without those that initializers give."""
    graph = field(model, 7)[0]
    given = {field(t, 8)[0] for t in field(graph, 5)}
    for value in field(graph, 11):
        name = field(value, 1)[0]
        if name not in given:
            shape = field(field(field(value, 2)[0], 1)[0], 2)[0]
            yield ramp(name, [(field(d, 1) or [1])[0] for d in field(shape, 1)])


def unpack(wheel, folder):
    for member in wheel.namelist():
        parts = member.removeprefix(DATA).split("/")
        if not member.startswith(DATA) or parts[0] == "real":
            continue
        if parts[0] != "light":
            if len(parts) >= 3 and member.endswith((".onnx", ".pb")):
                put(folder.joinpath(*parts), wheel.read(member))
        elif member.endswith(".onnx"):
            case = folder / "light" / parts[1].removesuffix(".onnx").replace("light_", "test_", 1)
            model = wheel.read(member)
            put(case / "model.onnx", model)
            for i, data in enumerate(ramps(model)):
                put(case / "test_data_set_0" / f"input_{i}.pb", data)
            put(case / "test_data_set_0" / "output_0.pb", wheel.read(member.removesuffix(".onnx") + "_output_0.pb"))


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def content(folder):
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        total.update(path.relative_to(folder).as_posix().encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def main():
    if TARGET.exists():
        print(f"already there: {TARGET}")
        return
    TARGET.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=TARGET.parent) as tmp:
        tmp = pathlib.Path(tmp)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
        done = subprocess.run([*pip, "--only-binary", ":all:", "-d", str(tmp), f"onnx=={RELEASE}"], timeout=600)
        if done.returncode != 0:
            sys.exit("NOT FETCHED: conformance cases")
        folder = tmp / "cases"
        with zipfile.ZipFile(next(tmp.glob("*.whl"))) as wheel:
            unpack(wheel, folder)
        got = content(folder)
        if got != CONTENT:
            sys.exit(f"the cases have the checksum {got}, not {CONTENT}")
        shutil.move(folder, TARGET)
    print(f"{len(list(TARGET.glob('*/*/model.onnx')))} cases in {TARGET}")


if __name__ == "__main__":
    main()
