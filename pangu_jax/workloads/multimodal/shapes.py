"""A model of pictures and captions in numbers (`pangu_jax.workloads.shape`): both towers and what joins them."""

from pangu_jax.workloads.multimodal.model.image_text import ImageTextConfig
from pangu_jax.workloads.shape import End, Shape
from pangu_jax.workloads.vision import shapes as of_vision


def shape_of(config: ImageTextConfig, length: int) -> Shape:
    """For captions of so many tokens."""
    units = config.image.units
    seen, ends = of_vision.of_trunk(config.image, (units,))
    read, of_text = config.text.towers(length, config.queries or units)
    towers = tuple(tower._replace(name=f"image {tower.name}", staged=False) for tower in seen) + read
    wide, text = config.widths
    join: tuple[End, ...] = ()
    if config.contrast != "none":
        both = zip(("image", "text"), (wide, text), config.projected, strict=True)
        join = tuple(
            End(f"{name} projection", own, config.width, 1, "product") for name, own, projected in both if projected
        )
    if config.queries:
        join += (End("queries", wide, 2 * wide, units, "product"),)
    if memory := config.text.memory_width:
        join += (End("memory", wide, memory, config.queries or units, "product"),)
    return Shape(towers, (*ends, *of_text, *join), config.width if config.contrast != "none" else 0)
