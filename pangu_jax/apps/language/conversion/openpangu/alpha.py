"""From the weights of PanGu-alpha (arXiv 2104.12369) to a run directory.

They come without a description: sizes are those of the tensors, heads are known by the width, and what no
tensor says is as published: eps 1e-5, and a GELU of which the sources do not agree (docs/openpangu.md).
"""

import hashlib
import re
from pathlib import Path
from typing import Any, Literal

from data_pipelines.errors import DataError
from data_pipelines.text.vocabulary import PANGU_ALPHA, Vocabulary, published
from pangu_jax.apps.language.conversion.openpangu import alpha_tensors, classes, importing
from pangu_jax.apps.language.conversion.openpangu.importing import ImportableDecoder
from pangu_jax.errors import UserError
from pangu_jax.runs import room
from pangu_jax.runs.exchange import parts
from pangu_jax.runs.exchange.tensors import Tensors
from pangu_jax.workloads.language.model.decoder import DecoderConfig

KIND = classes.Kind("PanGu-alpha", "pangu_alpha", end=PANGU_ALPHA.end)
VOCABULARY = "vocab.model"
SHA256 = "18857e86"  # the published one's begins so
HEADS = {1024: 16, 2560: 32, 5120: 40}  # of 350M, 2.6B and 13B
EPSILON = 1e-5
Gelu = Literal["tanh", "exact", "quick"]
GELUS: dict[Gelu, Any] = {"tanh": "gelu", "exact": "gelu_exact", "quick": "gelu_quick"}
OF_TRAINING = ("adam_m.", "adam_v.")  # moments beside the weights
BLOCK = re.compile(re.escape(alpha_tensors.BLOCK).replace(r"\{\}", r"(\d{1,4})"))


def import_alpha(
    source: str | Path,
    run_dir: str | Path,
    vocabulary: str | Path | None = None,
    heads: int | None = None,
    gelu: Gelu = "tanh",
) -> dict[str, Any]:
    """Make a run directory of PanGu-alpha's weights; returns and raises as `importing.import_openpangu`.

    Args:
      source: a folder with a .npy of each parameter, or a .ckpt of MindSpore, alone or in its folder.
      run_dir: a new folder; there whole or not at all.
      vocabulary: vocab.model; that of the folder where None.
      heads: of attention; by the width where None.
      gelu: "tanh", "exact" by the error function, or "quick", x sigmoid(1.702 x).
    """
    file = None if vocabulary is None else Path(vocabulary)
    room.require_for_import(Path(source), Path(run_dir))
    found = examine(Path(source), file, heads, gelu)
    return importing.write_run(found, run_dir)


def examine(
    source: Path, vocabulary: Path | None = None, heads: int | None = None, gelu: Gelu = "tanh"
) -> ImportableDecoder:
    """Whether and as what weights can be imported.

    Raises:
      UserError, DataError: they cannot.
    """
    file = vocabulary or (source if source.is_dir() else source.parent) / VOCABULARY
    if not file.is_file():
        raise UserError(f"there is no {file}: give the published {VOCABULARY} by --vocabulary FILE")
    held = Tensors(source, "", unread=lambda name: name.startswith(OF_TRAINING), files=_files(source))
    config = _config(held, heads, gelu)
    table = alpha_tensors.table(config)
    parts.require_same(held, table, f"a {KIND.name} of {config.layers} layers of {config.d_model}")
    content = file.read_bytes()
    ours = published(content, PANGU_ALPHA)
    try:
        ids = Vocabulary(file, ours).size
    except DataError:  # its ids of marks are bytes
        raise UserError(f"{file} is no vocabulary of {KIND.name}: bring its {VOCABULARY}") from None
    if ids > config.vocab_size:
        raise UserError(
            f"{file} has {ids} ids and the model {config.vocab_size} rows: it is another model's vocabulary; "
            "bring this model's own"
        )
    notes = [f"GELU is {gelu} (--gelu) and eps {EPSILON:g}: the weights do not say it"]
    if held.left_out:
        notes.append(f"{len(held.left_out)} moments of an optimizer were left out")
    if not hashlib.sha256(content).hexdigest().startswith(SHA256):
        notes.append(f"{file} is not the published {VOCABULARY} (sha256 {SHA256}...)")
    return ImportableDecoder(KIND, {}, config, held, table, [], ours, None, tuple(notes))


def _files(source: Path) -> list[Path]:
    """The files with tensors."""
    if source.is_file() and source.suffix == ".ckpt":
        return [source]
    arrays = sorted(source.glob("*.npy")) if source.is_dir() else []
    checkpoints = sorted(source.glob("*.ckpt")) if source.is_dir() else []
    if (arrays and checkpoints) or len(checkpoints) > 1:
        both = ", ".join(file.name for file in (*checkpoints[:2], *arrays[:1]))
        raise UserError(f"{source} has {both}: leave the weights of one model, or give one .ckpt")
    if not arrays and not checkpoints:
        raise UserError(
            f"{source} has no .npy of each parameter, and no .ckpt of MindSpore; give a folder that has"
        )
    return arrays or checkpoints


def _config(held: Tensors, heads: int | None, gelu: Gelu) -> DecoderConfig:
    """What the tensors say of the model; that they are all there is looked at later."""
    rows, width = _matrix(held, alpha_tensors.WORDS)
    positions, _ = _matrix(held, alpha_tensors.POSITIONS)
    _, d_ff = _matrix(held, alpha_tensors.TOP + alpha_tensors.MAPPING)
    blocks = {int(found[1]) for name in held.shapes if (found := BLOCK.match(name))}
    if not blocks or max(blocks) >= len(held.shapes):
        raise UserError(f"{held.folder}: there are no blocks 0, 1, ... of {KIND.name}; bring all its files")
    heads = heads or HEADS.get(width)
    if heads is None or width % heads:
        asked = "no published model is so wide" if heads is None else f"and not of {heads} heads"
        raise UserError(f"{held.folder}: the model is {width} wide, {asked}: say its heads by --heads N")
    return DecoderConfig(
        vocab_size=rows,
        d_model=width,
        d_ff=d_ff,
        heads=heads,
        kv_heads=heads,
        layers=max(blocks) + 2,
        query_layer=True,
        position="learned",
        positions=positions,
        norm="layer",
        activation=GELUS[gelu],
        gated=False,
        biases=True,
        feed_forward_biases=True,
        epsilon=EPSILON,
    )


def _matrix(held: Tensors, name: str) -> tuple[int, ...]:
    shape = held.shapes.get(name)
    if shape is None or len(shape) != 2 or not all(shape):
        how = "is missing" if shape is None else f"is {parts.by(shape)} instead of a matrix"
        raise UserError(f"{held.folder}: {name} {how}; bring all files of one {KIND.name}")
    return shape
