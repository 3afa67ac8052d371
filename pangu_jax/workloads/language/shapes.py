"""An encoder-decoder in numbers (`pangu_jax.workloads.shape`)."""

from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from pangu_jax.workloads.shape import Attention, End, Product, Shape, Tower


def shape_of(m: EncoderDecoderConfig, encoder: int, decoder: int) -> Shape:
    """A model in numbers, for windows of so many tokens."""
    d, joined = m.d_model, m.heads * m.width
    biased = m.position == "relative"

    def layer(tokens: int) -> tuple[Product, ...]:
        return (
            Product(d, 3 * joined, tokens, "columns", saved=True),
            Product(joined, d, tokens, "rows", saved=False),
            *[Product(d, m.d_ff, tokens, "columns", saved=True)] * (2 if m.gated else 1),
            Product(m.d_ff, d, tokens, "rows", saved=False),
        )

    cross = (
        Product(d, joined, decoder, "columns", saved=True),
        Product(d, 2 * joined, encoder, "columns", saved=True),
        Product(joined, d, decoder, "rows", saved=False),
    )
    attention = lambda *pair: Attention(m.heads, m.width, *pair)  # noqa: E731
    towers = (
        Tower("encoder", m.encoder_layers, encoder, d, layer(encoder),
              (attention(encoder, encoder, False, biased),), 2),
        Tower("decoder", m.decoder_layers, decoder, d, (*layer(decoder), *cross),
              (attention(decoder, decoder, True, biased), attention(decoder, encoder, False, False)), 3,
              memory_tokens=encoder, memory_width=d),
    )  # fmt: skip
    ends = (
        End("encoder_embedding", m.vocab_size, d, encoder, "lookup", "rows"),
        End("decoder_embedding", m.vocab_size, d, decoder, "lookup", "rows", tied=True),
        End("head", d, m.vocab_size, decoder, "product", "columns", m.loss_chunks, tied=m.tied_head),
    )
    return Shape(towers, ends)
