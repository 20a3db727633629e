"""onnx_file - writes small ONNX models with nothing but the standard library: just enough of protobuf."""
import random
import struct

FLOAT, INT64 = 1, 7


def varint(x):
    x &= (1 << 64) - 1
    out = bytearray()
    while x >= 0x80:
        out.append(x & 0x7F | 0x80)
        x >>= 7
    out.append(x)
    return bytes(out)


def number(field, x):
    return varint(field << 3) + varint(x)


def block(field, data):
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def value(name, dims, kind=FLOAT):
    shape = b"".join(block(1, number(1, d)) for d in dims)
    tensor_type = number(1, kind) + block(2, shape)
    return block(1, name) + block(2, block(1, tensor_type))


def tensor(name, dims, seed=1, scale=1.0):
    """A float tensor of seeded random numbers."""
    count = 1
    for d in dims:
        count *= d
    rng = random.Random(f"{name} {seed}")
    data = struct.pack(f"<{count}f", *(scale * (2 * rng.random() - 1) for _ in range(count)))
    return b"".join(number(1, d) for d in dims) + number(2, FLOAT) + block(8, name) + block(9, data)


def integers(name, values):
    data = struct.pack(f"<{len(values)}q", *values)
    return number(1, len(values)) + number(2, INT64) + block(8, name) + block(9, data)


def attribute(name, x):
    if isinstance(x, float):
        return block(1, name) + varint(2 << 3 | 5) + struct.pack("<f", x) + number(20, 1)
    if isinstance(x, list):
        return block(1, name) + b"".join(number(8, i) for i in x) + number(20, 7)
    return block(1, name) + number(3, x) + number(20, 2)


def node(op, inputs, outputs, **attributes):
    parts = [block(1, i) for i in inputs] + [block(2, o) for o in outputs]
    parts += [block(3, f"{op}_{outputs[0]}"), block(4, op)]
    return b"".join(parts + [block(5, attribute(k, v)) for k, v in attributes.items()])


def model(nodes, inputs, outputs, weights=(), opset=20):
    """Bytes of a model; inputs and outputs are (name, dims)."""
    parts = [block(1, n) for n in nodes] + [block(2, "bench")] + [block(5, w) for w in weights]
    parts += [block(11, value(*i)) for i in inputs] + [block(12, value(*o)) for o in outputs]
    return number(1, 8) + block(7, b"".join(parts)) + block(8, number(2, opset))


# ---------------------------------------------------------------- models that the benches use

def matmul(m, n, k):
    return model([node("MatMul", ["x", "w"], ["y"])], [("x", [m, k])], [("y", [m, n])], [tensor("w", [k, n])])


def dense_relu(m, n, k):
    nodes = [node("Gemm", ["x", "w", "b"], ["t"]), node("Relu", ["t"], ["y"])]
    return model(nodes, [("x", [m, k])], [("y", [m, n])], [tensor("w", [k, n]), tensor("b", [n])])


def conv(channels, filters, size, kernel, stride=1, group=1, relu=True):
    out = (size - 1) // stride + 1
    last = "t" if relu else "y"
    pads = [kernel // 2] * 4
    nodes = [node("Conv", ["x", "w", "b"], [last], kernel_shape=[kernel, kernel], pads=pads,
                  strides=[stride, stride], group=group)]
    nodes += [node("Relu", ["t"], ["y"])] if relu else []
    weights = [tensor("w", [filters, channels // group, kernel, kernel]), tensor("b", [filters])]
    return model(nodes, [("x", [1, channels, size, size])], [("y", [1, filters, out, out])], weights)


def unary(op, dims, **attributes):
    return model([node(op, ["x"], ["y"], **attributes)], [("x", dims)], [("y", dims)])


def binary(op, dims):
    return model([node(op, ["x", "z"], ["y"])], [("x", dims), ("z", dims)], [("y", dims)])


def layer_norm(rows, width):
    weights = [tensor("s", [width]), tensor("b", [width])]
    nodes = [node("LayerNormalization", ["x", "s", "b"], ["y"], axis=-1, epsilon=1e-5)]
    return model(nodes, [("x", [rows, width])], [("y", [rows, width])], weights)


def max_pool(channels, size):
    out = (size - 1) // 2 + 1
    pool = node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    return model([pool], [("x", [1, channels, size, size])], [("y", [1, channels, out, out])])
