"""From a run directory of PanGu-alpha's form to a folder of .npy: `alpha`, backwards."""

from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.text.vocabulary import original, tokenizer_json
from data_pipelines.text.vocabulary.as_published import is_published
from pangu_jax.apps.language.conversion.openpangu import alpha_tensors
from pangu_jax.apps.language.conversion.openpangu.alpha import KIND, VOCABULARY
from pangu_jax.apps.language.conversion.openpangu.exporting import is_decoder, opened
from pangu_jax.apps.language.conversion.openpangu.importing import KEY
from pangu_jax.errors import UserError
from pangu_jax.runs import opening
from pangu_jax.runs.exchange import folders, parts
from pangu_jax.runs.exchange.tensors import DTYPES, NAMES
from pangu_jax.runs.inference_layout import ANY, Devices

FORM = {"query_layer": True, "norm": "layer", "gated": False, "biases": True, "feed_forward_biases": True}


def export_alpha(
    run_dir: str | Path, out: str | Path, step: int | None = None, devices: Devices = ANY
) -> dict[str, Any]:
    """Write a checkpoint as it was imported, in the dtypes that it had; arguments and what is returned as of
    `exporting.export_hugging_face`.

    Raises:
      UserError, DataError, BackendError: the checkpoint is damaged or of another form, or `out` is taken.
    """
    out = Path(out).absolute()
    folders.require_empty(out, "--out")
    with opening.find(run_dir, step, devices) as found:
        where = str(found.directory.checkpoints / str(found.step))
        if not is_decoder(found):
            raise UserError(f"{where} is no decoder alone, as {KIND.name} is; --format hf may serve")
        config, vocabulary, ours = opened(found)
        other = [name for name, wanted in FORM.items() if getattr(config, name) != wanted]
        if other or not config.tied_head or config.sandwich or config.kv_heads != config.heads:
            raise UserError(f"{where} is not of the form of {KIND.name}; --format hf may serve")
        content = vocabulary.file.read_bytes()
        if not is_published(content) or tokenizer_json.is_json(content):
            raise UserError(
                f"{where}: its vocabulary was made here, and no published {VOCABULARY} can say it: export a "
                "model that was imported"
            )
        imported = found.manifest.get(KEY, {}).get("dtypes", {})
        dtypes, files, size = set(), [], 0
        with folders.made(out, "--out") as unfinished:
            for each in parts.array_by_array(alpha_tensors.table(config)):
                tensor = parts.written(each, ours)
                if each.name in imported:
                    tensor = tensor.astype(DTYPES[imported[each.name]])
                np.save(unfinished / f"{each.name}.npy", tensor, allow_pickle=False)
                files.append(f"{each.name}.npy")
                dtypes.add(NAMES[tensor.dtype])
                size += tensor.nbytes
            (unfinished / VOCABULARY).write_bytes(original(content))
    return {
        "out": str(out),
        "step": found.step,
        "files": files,
        "tensors": len(files),
        "bytes": size,
        "dtypes": sorted(dtypes),
    }
