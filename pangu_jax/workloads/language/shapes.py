"""Language models in numbers (`pangu_jax.workloads.shape`)."""

from pangu_jax.workloads.language.model.architecture import Architecture
from pangu_jax.workloads.language.model.decoder import DecoderConfig
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from pangu_jax.workloads.shape import Attention, End, Product, Routing, Shape, Tower


def shape_of(model: Architecture, encoder: int, decoder: int) -> Shape:
    """A model in numbers, for windows of so many tokens."""
    if isinstance(model, DecoderConfig):
        return _decoder(model, decoder)
    return _encoder_decoder(model, encoder, decoder)


def _decoder(m: DecoderConfig, tokens: int) -> Shape:
    d = m.d_model
    projections, attention = _latent(m, tokens) if m.latent else _grouped(m, tokens)
    dense = (*projections, *_feed_forward(d, m.d_ff, tokens, m.gated))
    one = Tower("decoder", m.tower_layers, tokens, d, dense, (attention,), 2)
    towers = (one,)
    if e := m.experts:
        products = (
            *projections,
            Product(d, e.experts, tokens, None, saved=False),
            *_feed_forward(d, e.d_ff, e.active * tokens, True, e.experts),
            *(_feed_forward(d, e.shared_d_ff, tokens, True) if e.shared_d_ff else ()),
        )
        routing = Routing(e.experts, e.active, even=e.router == "grouped")
        before = one._replace(name="dense", layers=m.dense_layers, staged=False)
        one = one._replace(products=products, routing=routing)
        towers = (before, one) if m.dense_layers else (one,)
    if m.query_layer:
        towers += (one._replace(name="query_layer", layers=1, staged=False),)
    tables = (m.position == "learned") + m.query_layer
    embedding = End("embedding", m.vocab_size, d, tokens, "lookup", "rows")
    head = End("head", d, m.vocab_size, tokens, "product", "columns", m.loss_chunks, tied=m.tied_head)
    if not m.predictions:
        return Shape(towers, (embedding, head), others=tables * m.positions * d)
    towers += (one._replace(name="prediction", layers=1, staged=False),)
    further = (
        embedding._replace(name="prediction_embedding", tied=True),
        End("prediction_join", 2 * d, d, tokens, "product"),
        head._replace(name="prediction_head", tied=True),
    )
    return Shape(towers, (embedding, head, *further))


def _feed_forward(d: int, width: int, tokens: int, gated: bool, experts: int = 1) -> tuple[Product, ...]:
    widening = Product(d, width, tokens, "columns", saved=True, experts=experts)
    return *[widening] * (2 if gated else 1), Product(width, d, tokens, "rows", saved=False, experts=experts)


def _grouped(m: DecoderConfig, tokens: int) -> tuple[tuple[Product, ...], Attention]:
    d = m.d_model
    products = (
        Product(d, m.heads * m.width, tokens, "columns", saved=True),
        Product(d, 2 * m.kv_heads * m.width, tokens, "columns", saved=True),
        Product(m.heads * m.width, d, tokens, "rows", saved=False),
    )
    return products, Attention(m.heads, m.width, tokens, tokens, causal=True, plain=False)


def _latent(m: DecoderConfig, tokens: int) -> tuple[tuple[Product, ...], Attention]:
    """Latents are made whole on every device, and kept; what its heads make of them is made again."""
    assert m.latent, "widths of latent attention"
    d, latent = m.d_model, m.latent
    read = latent.query_rank or d
    products = (
        *([Product(d, read, tokens, None, saved=True)] if latent.query_rank else ()),
        Product(read, m.heads * latent.key, tokens, "columns", saved=not latent.query_rank),
        Product(d, latent.cached, tokens, None, saved=True),
        Product(latent.rank, m.heads * (latent.plain + latent.value), tokens, "columns", saved=False),
        Product(m.heads * latent.value, d, tokens, "rows", saved=False),
    )
    width = (latent.key + latent.value) // 2
    shared = latent.cached
    return products, Attention(m.heads, width, tokens, tokens, causal=True, plain=False, shared=shared)


def _encoder_decoder(m: EncoderDecoderConfig, encoder: int, decoder: int) -> Shape:
    d, joined = m.d_model, m.heads * m.width
    biased = m.position == "relative"

    def layer(tokens: int) -> tuple[Product, ...]:
        return (
            Product(d, 3 * joined, tokens, "columns", saved=True),
            Product(joined, d, tokens, "rows", saved=False),
            *_feed_forward(d, m.d_ff, tokens, m.gated),
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
