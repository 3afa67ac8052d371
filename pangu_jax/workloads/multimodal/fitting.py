"""Pairs as the towers of other runs need them: their vocabulary, and features in the place of pictures."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from data_pipelines.pairs.pairs import ImageTextPairs
from pangu_jax.errors import UserError
from pangu_jax.workloads.multimodal import locked_features
from pangu_jax.workloads.multimodal.model.image_text import ImageTextConfig
from pangu_jax.workloads.multimodal.towers import TowerOrigins


def require_size(data: Any, image: Any, towers: TowerOrigins) -> None:
    """UserError where pictures are not of the size that their tower, of shape `image`, takes."""
    if (data.size, data.channels) == (image.size, image.channels):
        return
    learnt = towers.learnt.get("image")
    of_run = f" of {learnt.named}" if learnt else ""
    raise UserError(
        f"pairs gives pictures of {data.size} pixels and {data.channels} channels, and the pictures' tower"
        f"{of_run} has size {image.size} and channels {image.channels}: set "
        f"{'pairs.size and pairs.mode to it' if learnt else 'both alike'}"
    )


def shown(data: Any, config: ImageTextConfig, looks_once: bool) -> dict[str, jax.ShapeDtypeStruct]:
    """What a batch has of one picture."""
    if not looks_once:
        return {"image": jax.ShapeDtypeStruct((1, data.size, data.size, data.channels), jnp.uint8)}
    shapes = config.kept_shapes.items()
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes}


def with_vocabulary(data: Any, towers: TowerOrigins) -> Any:
    """Pairs that are cut into what a text tower has learnt.

    Raises:
      UserError: they have another vocabulary of their own.
    """
    tower = towers.learnt.get("text")
    if tower is None or (vocabulary := tower.vocabulary) is None:
        return data
    own = getattr(data, "given_vocabulary", None)
    if own is not None and own.hash != vocabulary.hash:
        raise UserError(
            f"pairs.vocabulary has {own.size} ids, and {tower.named}, whose text tower this is, another "
            f"vocabulary of {vocabulary.size}: leave pairs.vocabulary out"
        )
    return data.with_vocabulary(vocabulary)


def with_features(data: Any, towers: TowerOrigins, config: ImageTextConfig) -> tuple[Any, bool]:
    """Pairs, and whether they show features: where a tower of pictures is locked and sees each picture in one
    way only."""
    tower = towers.learnt.get("image")
    if tower is None or not tower.locked or not (isinstance(data, ImageTextPairs) and data.fixed_views):
        return data, False
    return data.with_features(functools.partial(locked_features.stored, config, tower)), True


def looked_again(data: Any) -> str:
    """What is told where a locked tower is run in each step."""
    return (
        "image_tower is locked, and pairs.augment makes random views: the tower is run in each step. With "
        "views as of what is held out its features are computed once: "
        "--gin.pairs.augment='[@Resize(), @CenterCrop()]' "
        f"--gin.Resize.size={data.size} --gin.CenterCrop.size={data.size}"
    )
