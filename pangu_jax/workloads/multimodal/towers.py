"""Towers that begin as another run left them, each locked or not (LiT, Zhai et al., arXiv 2111.07991).

What is locked is extra state: a checkpoint is whole without the other run, and no gradient is taken of it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import jax

from data_pipelines.pairs.vocabulary import CaptionVocabulary
from pangu_jax.errors import UserError
from pangu_jax.workloads import NOTHING, Tree, Variables
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from pangu_jax.workloads.multimodal.model.image_text import ImageTextConfig
from pangu_jax.workloads.multimodal.model.language_tower import LanguageTower
from pangu_jax.workloads.multimodal.model.text_transformer import TextTransformerConfig
from pangu_jax.workloads.vision import stored_trunk

FILE = "towers.json"  # beside the run's checkpoints: the shapes of its towers, and what is locked
LOCKED = "locked"  # the extra state
# Text towers by the names that recipes hold; `LanguageTower` is the first.
TEXTS: dict[str, Any] = {"EncoderDecoder": EncoderDecoderConfig, "TextTransformer": TextTransformerConfig}


class LearntTower(Protocol):
    """A tower of a finished run."""

    @property
    def config(self) -> Any:
        """Its shape, as `ImageTextModel` takes one."""
        ...

    @property
    def locked(self) -> bool:
        """Whether it stays as it is."""
        ...

    @property
    def named(self) -> str:
        """The run, for messages."""
        ...

    @property
    def identity(self) -> str:
        """A hash of the checkpoint that it is from."""
        ...

    @property
    def vocabulary(self) -> CaptionVocabulary | None:
        """What its texts are cut into; None of a tower of pictures."""
        ...

    def restore(self, shardings: Tree) -> Tree:
        """Its parameters, those that `shardings` names, fp32, where they are to be."""
        ...


@dataclass(frozen=True)
class StoredTower:
    """What a finished run of both knows of a tower that was another run's.

    Attributes:
      config: its shape.
      locked: whether it is extra state.
      identity: of the checkpoint that it was from; "" where it began with nothing learnt.
    """

    config: Any
    locked: bool = False
    identity: str = ""


@dataclass(frozen=True)
class TowerOrigins:
    """Where the towers of a model are from.

    Attributes:
      learnt: those of other runs, by "image" and "text".
      identities: of the checkpoints of those that are locked, by the same names.
    """

    learnt: Mapping[str, LearntTower] = field(default_factory=dict)
    identities: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, **given: Any) -> tuple["TowerOrigins", dict[str, Any]]:
        """Of `image` and `text` as a recipe gives them: these, and the shapes of both."""
        learnt = {name: one for name, one in given.items() if hasattr(one, "restore")}
        stored = {name: one for name, one in given.items() if isinstance(one, StoredTower)}
        identities = {name: one.identity for name, one in stored.items() if one.locked}
        shapes = {name: one.config if name in {*learnt, *stored} else one for name, one in given.items()}
        return cls(learnt, identities), shapes

    @property
    def locked(self) -> tuple[str, ...]:
        """Names of those that stay as they are."""
        return tuple(
            name
            for name in ("image", "text")
            if name in self.identities or (name in self.learnt and self.learnt[name].locked)
        )

    def fingerprint(self) -> dict[str, str]:
        """Of what is locked: a run goes on with the same."""
        own = {name: one.identity for name, one in self.learnt.items() if one.locked}
        return {f"locked_{name}": identity for name, identity in {**self.identities, **own}.items()}

    def given(self, config: ImageTextConfig) -> Tree:
        """Shapes of the parameters that other runs have, by tower."""
        parts: dict[str, Any] = {"image": config.image, "text": config.text}
        return {name: jax.eval_shape(parts[name].init, jax.random.key(0)) for name in self.learnt}

    def split(self, tree: Tree) -> Variables:
        """A model's tree of parameters, or of their axes: what learns, and what is locked."""
        learns = {name: own for name, own in tree.items() if name not in self.locked}
        stays = {name: tree[name] for name in self.locked}
        return Variables(learns, {LOCKED: stays} if stays else NOTHING)

    def complete(self, variables: Variables) -> Tree:
        """The inverse of `split`; nothing is differentiated with respect to what is locked."""
        if not self.locked:
            return variables.params
        return {**variables.params, **jax.lax.stop_gradient(variables.extra[LOCKED])}

    def file(self, config: ImageTextConfig) -> dict[str, bytes]:
        """What `opened` reads; nothing where both towers are the recipe's."""
        if not self.learnt and not self.identities:
            return {}
        image: Any = config.image
        told = {
            "image": stored_trunk.described(image),
            "text": _described(config.text),
            **self.fingerprint(),
        }
        return {FILE: (json.dumps(told, indent=1) + "\n").encode()}


def opened(directory: Path) -> dict[str, StoredTower]:
    """The towers of a finished run, by "image" and "text"; {} where its recipe alone says what they are.

    Raises:
      UserError: the file is damaged.
    """
    file = directory / FILE
    if not file.is_file():
        return {}
    try:
        told = json.loads(file.read_text("utf-8"))
        shapes = {"image": stored_trunk.made(told["image"]), "text": _made(told["text"])}
        identity = {name: str(told.get(f"locked_{name}", "")) for name in shapes}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{file} is damaged: run this run's `pangu train` again to get it back") from None
    return {name: StoredTower(shape, bool(identity[name]), identity[name]) for name, shape in shapes.items()}


def _described(text: Any) -> dict[str, Any]:
    shape = text.config if isinstance(text, LanguageTower) else text
    name = next(name for name, kind in TEXTS.items() if type(shape) is kind)
    return {"name": name, **vars(shape)}


def _made(description: Mapping[str, Any]) -> Any:
    settings = {name: tuple(v) if isinstance(v, list) else v for name, v in description.items()}
    return TEXTS[str(settings.pop("name"))](**settings)
