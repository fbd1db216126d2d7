"""Writes and reads the part of GGUF v3 that a small Llama needs: metadata, and tensors in F32 and Q8_0."""
import struct

import numpy as np

F32, Q8_0 = 0, 8
U32, I32, FLOAT, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", U32: "<I", I32: "<i", FLOAT: "<f", BOOL: "<?", 10: "<Q", 11: "<q", 12: "<d"}
ALIGNMENT = 32


def quantize(weights):
    """Quantises to Q8_0: blocks of 32 along a row, each with a half-precision scale and 32 signed bytes."""
    blocks = weights.astype(np.float32).reshape(-1, 32)
    scale = np.abs(blocks).max(1) / 127
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    scaled = blocks * inverse[:, None]
    whole = np.trunc(scaled + np.copysign(0.5, scaled)).astype(np.int8)      # rounds halves away from zero, as ggml does
    return np.concatenate((scale.astype(np.float16)[:, None].view(np.uint8), whole.view(np.uint8)), 1).tobytes()


def dequantize(raw, count):
    blocks = np.frombuffer(raw, np.uint8, count // 32 * 34).reshape(-1, 34)
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    return (blocks[:, 2:].copy().view(np.int8) * scale).reshape(-1)


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value_bytes(value):
    """Encodes a metadata value by its Python type. Whole numbers become unsigned, lists of them signed."""
    if isinstance(value, bool):
        return struct.pack("<I?", BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", U32, value)
    if isinstance(value, float):
        return struct.pack("<If", FLOAT, value)
    if isinstance(value, str):
        return struct.pack("<I", STRING) + text(value)
    if isinstance(value[0], str):
        return struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(map(text, value))
    return struct.pack("<IIQ", ARRAY, I32, len(value)) + np.array(value, "<i4").tobytes()


def write(path, metadata, tensors):
    """Writes a file. Matrices become Q8_0, vectors F32. `tensors` maps names to numpy arrays of shape [rows, columns]."""
    infos, data, offset = b"", [], 0
    for name, weights in tensors.items():
        kind = Q8_0 if weights.ndim == 2 else F32
        raw = quantize(weights) if kind == Q8_0 else weights.astype("<f4").tobytes()
        raw += b"\0" * (-len(raw) % ALIGNMENT)
        infos += text(name) + struct.pack("<I", weights.ndim) + b"".join(struct.pack("<Q", size) for size in weights.shape[::-1])
        infos += struct.pack("<IQ", kind, offset)
        data.append(raw)
        offset += len(raw)
    with open(path, "wb") as out:
        out.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)))
        for key, value in metadata.items():
            out.write(text(key) + value_bytes(value))
        out.write(infos)
        out.write(b"\0" * (-out.tell() % ALIGNMENT))
        out.write(b"".join(data))


class Reader:
    """A cursor over the bytes of a file."""

    def __init__(self, raw):
        self.raw, self.at = raw, 0

    def take(self, form):
        value, = struct.unpack_from(form, self.raw, self.at)
        self.at += struct.calcsize(form)
        return value

    def text(self):
        size = self.take("<Q")
        self.at += size
        return self.raw[self.at - size:self.at].decode()

    def value(self, kind):
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            kind, size = self.take("<I"), self.take("<Q")
            return [self.value(kind) for _ in range(size)]
        return self.take(SCALARS[kind])


def read(path):
    """Reads the metadata and the de-quantised tensors of a file."""
    with open(path, "rb") as file:
        reader = Reader(file.read())
    assert reader.take("<I") == struct.unpack("<I", b"GGUF")[0] and reader.take("<I") == 3
    count, pairs = reader.take("<Q"), reader.take("<Q")
    metadata = {}
    for _ in range(pairs):
        key = reader.text()
        metadata[key] = reader.value(reader.take("<I"))
    infos = []
    for _ in range(count):
        name, dimensions = reader.text(), reader.take("<I")
        shape = [reader.take("<Q") for _ in range(dimensions)][::-1]
        infos.append((name, shape, reader.take("<I"), reader.take("<Q")))
    base = reader.at + -reader.at % ALIGNMENT
    tensors = {}
    for name, shape, kind, offset in infos:
        size, raw = int(np.prod(shape)), reader.raw[base + offset:]
        weights = dequantize(raw, size) if kind == Q8_0 else np.frombuffer(raw, "<f4", size)
        tensors[name] = weights.reshape(shape)
    return metadata, tensors
