"""Files as torch.save writes them, made without torch."""

import struct
import zipfile
from pathlib import Path

import numpy as np

STORAGES = {"f": "FloatStorage", "e": "HalfStorage", "E": "BFloat16Storage", "d": "DoubleStorage"}
NAME, RUN = b"ctorch._utils\n_rebuild_tensor_v2\n", b"R"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def numbers(values) -> bytes:
    return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"


def stored(key: str, array: np.ndarray, count: int | None = None) -> bytes:
    """The reference to an array, as torch writes it."""
    kind = f"ctorch\n{STORAGES[array.dtype.char]}\n".encode()
    count = array.size if count is None else count
    return b"(" + text("storage") + kind + text(key) + text("cpu") + b"J" + struct.pack("<i", count) + b"tQ"


def tensor(reference: bytes, shape, strides, offset: int = 0) -> bytes:
    hooks = b"ccollections\nOrderedDict\n)R"
    place = b"J" + struct.pack("<i", offset)
    return NAME + b"(" + reference + place + numbers(shape) + numbers(strides) + b"\x89" + hooks + b"t" + RUN


def described(tensors: dict[str, bytes]) -> bytes:
    """A state dict in protocol 2, with the attributes that torch hangs on it."""
    return b"\x80\x02" + state_dict(tensors) + b"."


def nested(entries: dict[str, bytes]) -> bytes:
    """A dict in protocol 2."""
    items = b"".join(text(name) + value for name, value in entries.items())
    return b"\x80\x02}(" + items + b"u."


def state_dict(tensors: dict[str, bytes]) -> bytes:
    items = b"".join(text(name) + value for name, value in tensors.items())
    return b"ccollections\nOrderedDict\n)R(" + items + b"u}" + text("_metadata") + b"}sb"


def plain(name: str, array: np.ndarray) -> bytes:
    steps = [step // array.itemsize for step in array.strides]
    return tensor(stored(name, array), array.shape, steps)


def save(
    file: Path, tensors: dict[str, np.ndarray], description: bytes | None = None, **entries: bytes
) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        if description is None:
            description = described({name: plain(name, array) for name, array in tensors.items()})
        archive.writestr("archive/data.pkl", description)
        archive.writestr("archive/byteorder", entries.pop("order", b"little"))
        for name, array in tensors.items():
            archive.writestr(f"archive/data/{name}", entries.get(name, array.tobytes("A")))
    return file.parent
