"""Classes by their names alone: a picture is of the class whose text is nearest to it.

A class's text is put into several templates, and its vector is the mean of their vectors, each of length 1
(Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021, section 3.1.4).
"""

import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pangu_jax.apps.multimodal.vector_index import unit
from pangu_jax.errors import UserError
from pangu_jax.evaluation import bootstrap
from pangu_jax.workloads.multimodal import ranks

# fp32 vectors [texts, E].
EmbedTexts = Callable[[Sequence[str]], np.ndarray]
OWN = Path(__file__).with_suffix(".toml")


class ZeroShotScores(NamedTuple):
    """Percent of pictures whose class is nearest, or among the nearest five; ties are against the model."""

    accuracy: float
    interval_95: tuple[float, float]  # by the bootstrap over pictures
    accuracy_at_5: float
    commonest: float  # percent of pictures that are of the commonest class
    by_class: dict[str, float]  # accuracy over the pictures of a class; without those that have none
    pictures: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return self._asdict() | {"interval_95": list(self.interval_95)}


def read_templates(path: Path | None = None) -> list[str]:
    """Templates of a TOML file with `templates = ["一张{}的照片。", ...]`; those beside this module if None.

    Raises:
      UserError: it cannot be read, has none, or one has not exactly one {}, named by its number from 1.
    """
    path = path or OWN
    try:
        found = tomllib.loads(path.read_text("utf-8")).get("templates")
    except OSError as error:
        raise UserError(f"cannot read templates from {path}: {error.strerror}") from None
    except ValueError as error:  # also of bytes that are no UTF-8
        raise UserError(f"{path} is no TOML file of templates: {' '.join(str(error).split())}") from None
    if not isinstance(found, list) or not found:
        raise UserError(f'{path} has no list of templates: templates = ["一张{{}}的照片。"]')
    for number, template in enumerate(found, start=1):
        if not isinstance(template, str) or template.count("{}") != 1:
            raise UserError(
                f"{path}: template {number}, {template!r}, must have {{}} once, for the class's name"
            )
    return found


def class_vectors(classes: Sequence[str], embed: EmbedTexts, templates: Sequence[str]) -> np.ndarray:
    """fp32 [classes, E] of length 1.

    Args:
      classes: names, in Chinese for a Chinese model.
      embed: of texts; called once a class, so that its programs see one shape.
      templates: of `read_templates`.

    Raises:
      UserError: there are fewer than two classes, or one is there twice.
    """
    twice = (
        {name for name in classes if list(classes).count(name) > 1}
        if len(set(classes)) < len(classes)
        else ()
    )
    if len(classes) < 2 or twice:
        lack = f"{sorted(twice)[0]!r} is there twice" if twice else f"there is {len(classes)}"
        raise UserError(f"zero-shot classes: {lack}; name two or more, each once")
    means = [
        unit(embed([template.replace("{}", name) for template in templates])).mean(axis=0) for name in classes
    ]
    return unit(np.stack(means))


def evaluate(
    picture_PxE: np.ndarray,
    class_CxE: np.ndarray,
    label_P: np.ndarray,
    classes: Sequence[str],
    resamples: int = bootstrap.RESAMPLES,
) -> ZeroShotScores:
    """Scores of pictures whose class is known.

    Args:
      picture_PxE: fp32; brought to length 1.
      class_CxE: of `class_vectors`.
      label_P: int, the number of each picture's class.
      classes: names.
      resamples: of the bootstrap.

    Raises:
      UserError: there is no picture.
    """
    if not len(label_P):
        raise UserError("zero-shot accuracy: there is no picture with a label")
    links_Px2 = np.stack([np.arange(len(label_P)), np.asarray(label_P)], axis=1)
    rank_P = ranks.ranks(unit(picture_PxE), class_CxE, links_Px2)
    right_P = 100.0 * (rank_P <= 1)
    counts = np.bincount(label_P, minlength=len(classes))
    return ZeroShotScores(
        accuracy=ranks.recall(rank_P, 1),
        interval_95=bootstrap.interval(right_P, resamples),
        accuracy_at_5=ranks.recall(rank_P, 5),
        commonest=100 * float(counts.max() / counts.sum()),
        by_class={name: float(right_P[label_P == i].mean()) for i, name in enumerate(classes) if counts[i]},
        pictures=len(label_P),
    )
