"""The shape of a model of pictures and captions, of what a recipe gives."""

from typing import Any

from pangu_jax.errors import UserError
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from pangu_jax.workloads.multimodal.model.image_text import Contrast, ImageTextConfig
from pangu_jax.workloads.multimodal.model.language_tower import LanguageTower, without_dropout
from pangu_jax.workloads.multimodal.towers import TowerOrigins


def config_of(
    image: Any,
    text: Any,
    width: int = 256,
    contrast: Contrast = "clip",
    caption_weight: float = 0.0,
    queries: int = 0,
    projected: tuple[bool, bool] = (True, True),
    blind: bool = False,
) -> ImageTextConfig:
    """The shape that `ImageTextModel` has by these arguments; UserError where they contradict."""
    _, both = TowerOrigins.of(image=image, text=text)
    image, text = both["image"], both["text"]
    if isinstance(text, EncoderDecoderConfig):
        text = LanguageTower(without_dropout(text), writes=caption_weight > 0)
    if caption_weight and not text.memory_width:
        raise UserError(
            "ImageTextModel.caption_weight: the text tower has no decoder; give @EncoderDecoder()"
        )
    try:
        queries = queries if caption_weight else 0
        return ImageTextConfig(
            image, text, width, contrast, queries, (bool(projected[0]), bool(projected[1])), blind
        )
    except ValueError as error:
        raise UserError(f"ImageTextModel: {error}") from None
