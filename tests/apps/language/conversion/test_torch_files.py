"""pytorch_model.bin is read as data: tensors come back to the bit, and nothing in it is ever run."""

import json
import pickle
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pangu_jax.errors import UserError
from pangu_jax.runs.exchange import torch_state
from pangu_jax.runs.exchange.tensors import Shards, Tensors
from pangu_jax.runs.exchange.torch_state import ForeignState
from tests.apps.language.conversion import t5_folders
from tests.runs.torch_archives import described, plain, save, stored, tensor, text


def read(folder: Path) -> dict[str, np.ndarray]:
    tensors = Tensors(folder, "convert {0}")
    with tensors.reading() as get:
        return {name: get(name) for name in tensors.shapes}


ARRAYS = {
    "fp32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fp16": np.linspace(0, 1, 5, dtype=np.float16),
    "bf16": np.linspace(0, 9, 4).astype(ml_dtypes.bfloat16).reshape(4, 1),
    "turned": np.arange(12, dtype=np.float32).reshape(3, 4).T,
    "one": np.float32(7).reshape(()),
    "none": np.zeros((0, 3), np.float32),
}


def test_tensors_come_back_to_the_bit(tmp_path):
    found = read(save(tmp_path / "pytorch_model.bin", ARRAYS))
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


def test_tensors_may_share_an_array(tmp_path):
    whole = np.arange(10, dtype=np.float32)
    parts = {"a": tensor(stored("w", whole), [2, 2], [1, 2], 3), "b": tensor(stored("w", whole), [10], [1])}
    parts["c"] = b"ctorch._utils\n_rebuild_parameter\n(" + parts["b"] + b"\x88}tR"
    found = read(save(tmp_path / "pytorch_model.bin", {"w": whole}, described(parts)))
    assert found["a"].tolist() == [[3, 5], [4, 6]]
    assert found["b"].tolist() == found["c"].tolist() == whole.tolist()


def test_shards_and_a_whole_model_come_as_safetensors_do(tmp_path, spiece):
    from pangu_jax.apps.language.conversion import importing

    given = t5_folders.tensors_of("t5")
    (folder := tmp_path / "a").mkdir()
    weight_map = {}
    for number in range(2):
        part = dict(list(given.items())[number::2])
        save(folder / f"pytorch_model-{number}.bin", part)
        weight_map |= dict.fromkeys(part, f"pytorch_model-{number}.bin")
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(t5_folders.config_of("t5")))
    (folder / "spiece.model").write_bytes(spiece)
    assert importing.examine(folder).vocabulary.size == 210
    found = read(folder)
    assert all(np.array_equal(found[name], given[name]) for name in given)


class Hostile:
    """What an attack looks like; harmless, and never reached."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


W = ARRAYS["fp32"]
BY_HAND = {
    "eval": b"\x80\x02cbuiltins\neval\n" + text("1") + b"\x85R.",
    "a storage that is none": described({"w": b"ctorch\nload\n"}),
    "a name by its stack": b"\x80\x04" + text("os") + text("system") + b"\x93.",
    "an instance": b"\x80\x02(ios\nsystem\n.",
    "an object": b"\x80\x02(cos\nsystem\no.",
    "a new object": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "an extension": b"\x80\x02\x82\x01.",
    "attributes of text": b"\x80\x02" + text("x") + b"}b.",
    "a tensor as a function": described({"w": plain("w", W) + b")R"}),
    "a list": b"\x80\x02].",
    "a number": described({"w": b"K\x01"}),
    "a key that is no text": b"\x80\x02}K\x01" + plain("w", W) + b"s.",
    "nothing": b"",
    "no end": described({"w": plain("w", W)})[:-1],
    "an empty stack": b"\x80\x02R.",
    "a memo that is none": b"\x80\x02h\x09.",
    "strides": described({"w": tensor(stored("w", W), [2, 3], [1])}),
    "beyond": described({"w": tensor(stored("w", W), [2, 3], [3, 1], 1)}),
    "before": described({"w": tensor(stored("w", W), [2, 3], [3, 1], -1)}),
    "backwards": described({"w": tensor(stored("w", W), [2, 3], [3, -1], 5)}),
    "blown up": described({"w": tensor(stored("w", W), [2**30, 2**30], [0, 0])}),
    "a count that is none": described({"w": tensor(stored("w", W, 7), [2, 3], [3, 1])}),
    "elsewhere": described({"w": tensor(stored("../../etc/hostname", W), [2, 3], [3, 1])}),
    "doubles": described({"w": plain("w", W.astype(np.float64))}),
}


@pytest.mark.parametrize("what", BY_HAND)
def test_what_is_no_tensor_is_refused(tmp_path, what):
    with pytest.raises(UserError, match=r"is not read, because|only F32, F16, BF16 are read") as said:
        read(save(tmp_path / "pytorch_model.bin", {"w": W}, BY_HAND[what]))
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_in_it_is_run(tmp_path, protocol):
    marker = tmp_path / "was_run"
    for value in (Hostile(marker), {"w": Hostile(marker)}, [Hostile(marker)]):
        description = pickle.dumps(value, protocol)
        with pytest.raises(UserError, match="no code in it is ever run here"):
            read(save(tmp_path / "pytorch_model.bin", {"w": W}, description))
    assert not marker.exists()
    pickle.loads(pickle.dumps(Hostile(marker)))  # the control: pickle would have
    assert marker.exists()


@settings(max_examples=300)
@given(st.data())
def test_a_changed_byte_is_read_or_refused(data):
    """In all the ways that a description can be wrong, there is no other end."""
    whole = bytearray(described({"w": plain("w", W), "v": plain("v", W)}))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert all(isinstance(name, str) for name in torch_state.read(bytes(whole)))
    except ForeignState as error:
        assert str(error)


def big_endian(file: Path) -> None:
    save(file, {"w": W}, order=b"big")


def short(file: Path) -> None:
    save(file, {"w": W}, w=W.tobytes()[:-1])


def packed(file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", described({"w": plain("w", W)}))
        archive.writestr("archive/data/w", W.tobytes())


def changed(file: Path) -> None:
    save(file, {"w": W})
    file.write_bytes(file.read_bytes().replace(W.tobytes(), W[::-1].tobytes()))


def crumpled(file: Path) -> None:
    """A compressed description of bytes that are none: zlib has an error of its own."""
    packed(file)
    content = bytearray(file.read_bytes())
    start = content.index(b"archive/data.pkl") + len("archive/data.pkl")
    content[start : start + 30] = b"\xff" * 30
    file.write_bytes(content)


def two(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name in "ab":
            archive.writestr(f"{name}/data.pkl", described({}))


FILES = {
    "older": (
        lambda file: file.write_bytes(pickle.dumps(0, 2)),
        "is no zip archive, as torch has written since",
    ),
    "cut": (
        lambda file: file.write_bytes(save(file, {"w": W}) and file.read_bytes()[:-30]),
        "is no zip archive",
    ),
    "big-endian": (big_endian, "its numbers are not little-endian"),
    "short": (short, "the array of w is missing or has another size"),
    "compressed": (packed, "the array of w is missing or has another size"),
    "changed": (changed, "is damaged (Bad CRC-32"),
    "crumpled": (crumpled, "is damaged (Error -3 while decompressing"),
    "two": (two, "it has no description of tensors"),
}


@pytest.mark.parametrize("what", FILES)
def test_a_damaged_file_is_said(tmp_path, what):
    make, message = FILES[what]
    make(tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError) as said:
        read(tmp_path)
    assert message in str(said.value) and "\n" not in str(said.value)


def test_a_transposed_array_is_written_as_it_reads(tmp_path):
    """safetensors 0.8.0 writes memory in its order under the shape of the view."""
    given = {"a": W.T, "b": np.arange(24, dtype=np.float32).reshape(2, 3, 4)[:, ::2], "c": ARRAYS["one"]}
    shards = Shards(tmp_path, 10**6)
    for name, array in given.items():
        shards.add(name, array)
    shards.finish()
    found = read(tmp_path)
    assert all(
        np.array_equal(found[name], array) and found[name].shape == array.shape
        for name, array in given.items()
    )


def test_torch_itself(tmp_path):
    torch = pytest.importorskip("torch")
    given = {
        "a": torch.arange(6.0).reshape(2, 3).T,
        "b": torch.nn.Parameter(torch.ones(3)),
        "c": torch.ones(2).half(),
    }
    given["d"] = given["a"][1:]
    for protocol in (2, 4):
        torch.save(given, tmp_path / "pytorch_model.bin", pickle_protocol=protocol)
        found = read(tmp_path)
        assert all(np.array_equal(found[name], value.detach().numpy()) for name, value in given.items())
