"""What a run keeps of its pairs beside its checkpoints, so that it can be used without them."""

import json
from pathlib import Path
from typing import Any

from data_pipelines.errors import DataError
from data_pipelines.pairs import vocabularies
from pangu_jax.errors import UserError
from pangu_jax.workloads.multimodal.data import NoPairs, PairData

FILE = "pairs.json"


def files(data: PairData) -> dict[str, bytes]:
    """Name -> contents: the vocabulary's file, and how long a caption may be."""
    name, contents = data.vocabulary.file()
    kept = {"length": data.length, "vocabulary": name}
    return {FILE: (json.dumps(kept) + "\n").encode(), name: contents}


def opened(directory: Path, image: Any) -> NoPairs:
    """What is left of a run's pairs.

    Args:
      directory: the run.
      image: the shape of its pictures' tower.

    Raises:
      UserError: a file is missing or damaged.
    """
    try:
        kept = json.loads((directory / FILE).read_text("utf-8"))
        length, name = int(kept["length"]), str(kept["vocabulary"])
        vocabulary = vocabularies.opened(directory / Path(name).name)
    except DataError as error:
        raise UserError(f"{error}: run this run's `pangu train` again, which puts it there") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{directory / FILE} is missing or damaged: run this run's `pangu train` again to get it back"
        ) from None
    return NoPairs(image.size, image.channels, length, vocabulary)
