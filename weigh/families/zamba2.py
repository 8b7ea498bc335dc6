"""Zamba 2: Mamba-2 in every layer, and before some of them one of a few transformer blocks that the layers share."""

from __future__ import annotations

from collections.abc import Iterator

from weigh.families.config import Config
from weigh.families.decoder import Sizes, assemble, head
from weigh.families.glm_moe import per_layer
from weigh.families.mamba import mixer2_names
from weigh.parts import Applied, Attention, Linear, Mamba2, Mlp, Norm, part
from weigh.types import Architecture, Family, Part

KINDS = ("mamba", "linear_attention", "hybrid")


def _hybrid(config: Config, layers: int) -> list[bool]:
    """Which layers have a transformer block. The class documents a pattern of 54 alone: the list is needed."""
    listed = per_layer(config, "layers_block_type", KINDS, layers)
    if listed is None:
        raise config.missing("layers_block_type")
    return [kind == "hybrid" for kind in listed]


def zamba2(config: Config) -> Architecture:
    """A shared block reads the stream beside the embeddings, so it is twice as wide inside; its output goes through a
    matrix of the layer's own. Every layer keeps keys and values of its own, and has adapters of its own.

    The convolution always has a bias. Source: transformers 5.23, {configuration,modeling}_zamba2.py.
    """
    width = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    inner = 2 * width
    hidden = config.optional_integer("intermediate_size")
    sizes = Sizes(
        layers=config.layers("num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=config.integer("num_key_value_heads", default=heads),
        head_dim=config.divide(inner, heads, "2 x hidden_size / num_attention_heads"),
        hidden=4 * width if hidden is None else hidden,
        vocabulary=config.integer("vocab_size"),
        context=config.integer("max_position_embeddings", default=4096),
    )
    config.divide(heads, sizes.kv_heads, "num_attention_heads / num_key_value_heads")
    biased = config.switch("add_bias_linear", default=False)
    mamba_heads = config.integer("n_mamba_heads")
    mixer = Mamba2(
        width=width,
        heads=mamba_heads,
        head_dim=config.divide(
            config.integer("mamba_expand", default=2) * width, mamba_heads, "mamba_expand x hidden_size / n_mamba_heads"
        ),
        groups=config.integer("mamba_ngroups", default=1),
        state=config.integer("mamba_d_state", default=64),
        kernel=config.integer("mamba_d_conv", default=4),
        bias=biased,
    )
    shared = _hybrid(config, sizes.layers)
    tied = config.switch("tie_word_embeddings", default=True)
    places = [i for i, has in enumerate(shared) if has]
    blocks = _blocks(config, sizes, places, biased=biased, tied=tied)
    layers = []
    for i in range(sizes.layers):
        path = "hybrid_" if shared[i] else ""
        own = [part(f"{path}mamba_norm", Norm(width), i), part(f"{path}mamba", mixer, i)]
        layers.append([*blocks.get(i, []), *own])
    behind = head(config, "Zamba2", width, sizes.vocabulary, tied=tied)
    return assemble(config, sizes, layers, head=behind, final_norm=Norm(width), state=mixer.state)


def _blocks(config: Config, sizes: Sizes, places: list[int], *, biased: bool, tied: bool) -> dict[int, list[Part]]:
    """The transformer block of each layer. The first `num_mem_blocks` own theirs, the others take turns with them.

    A block holds the adapters of all layers that it serves; each of them runs one. With `tie_word_embeddings` off the
    class ties nothing at all: every layer has a block of its own.
    """
    count = config.integer("num_mem_blocks", default=1)
    rank = config.integer("adapter_rank", default=128)
    adapted = config.switch("use_shared_attention_adapter", default=False)
    attention = Attention(
        2 * sizes.width,
        sizes.heads,
        sizes.kv_heads,
        sizes.head_dim,
        sizes.head_dim,
        outputs=sizes.width,
    )
    if adapted and sizes.kv_heads != sizes.heads:
        raise config.variant("num_key_value_heads", "as many as heads where attention has adapters", sizes.kv_heads)
    layers: dict[str, object] = {
        "attention_norm": Norm(2 * sizes.width),
        "attention": attention,
        "mlp_norm": Norm(sizes.width),
        "mlp": Mlp(sizes.width, sizes.hidden, gated=True, up_bias=biased, down_bias=biased),
    }
    found: dict[int, list[Part]] = {}
    for number, place in enumerate(places):
        owner = "" if number < count or not tied else f"layers.{places[number % count]}."
        held = [
            part(name, Applied(layer, tied=f"{owner}{name}") if owner else layer, place)
            for name, layer in layers.items()
        ]
        for each in range(number % count, len(places), count):
            per = "pass" if each == number else "never"
            for name, layer in _adapters(sizes, rank, adapted=adapted):
                path = name.format(each)
                held.append(part(path, Applied(layer, per, tied=f"{owner}{path}" if owner else ""), place))
        found[place] = [*held, part("joined", Linear(sizes.width, sizes.width), place)]
    return found


def _adapters(sizes: Sizes, rank: int, *, adapted: bool) -> Iterator[tuple[str, Linear]]:
    """A pair of matrices beside gate and up, and, where asked for, beside q, k and v."""
    yield "mlp_adapter.{}.down", Linear(sizes.width, rank)
    yield "mlp_adapter.{}.up", Linear(rank, 2 * sizes.hidden)
    for name in "qkv" if adapted else "":
        yield f"{name}_adapter.{{}}.down", Linear(2 * sizes.width, rank)
        yield f"{name}_adapter.{{}}.up", Linear(rank, 2 * sizes.width)


_LAYER = "model.layers.{layer}."
_SHARED = _LAYER + "shared_transformer."
_MLP_ADAPTER = _SHARED + "feed_forward.gate_up_proj_adapter_list.{}."
_ADAPTER = _SHARED + "self_attn.linear_"

ZAMBA2 = Family(
    id="zamba2",
    model_types=("zamba2",),
    build=zamba2,
    names={
        "hf": {
            "embedding": "model.embed_tokens",
            "mamba_norm": _LAYER + "input_layernorm",
            **mixer2_names("mamba", _LAYER + "mamba"),
            "hybrid_mamba_norm": _LAYER + "mamba_decoder.input_layernorm",
            **mixer2_names("hybrid_mamba", _LAYER + "mamba_decoder.mamba"),
            "joined": _LAYER + "linear",
            "attention_norm": _SHARED + "input_layernorm",
            **{f"attention.{name}": f"{_SHARED}self_attn.{name}_proj" for name in "qkvo"},
            "mlp_norm": _SHARED + "pre_ff_layernorm",
            "mlp.gate": _SHARED + "feed_forward.gate_up_proj",
            "mlp.up": _SHARED + "feed_forward.gate_up_proj",
            "mlp.down": _SHARED + "feed_forward.down_proj",
            "mlp_adapter.{}.down": _MLP_ADAPTER + "0",
            "mlp_adapter.{}.up": _MLP_ADAPTER + "1",
            **{f"{name}_adapter.{{}}.down": f"{_ADAPTER}{name}_adapter_list.{{}}.0" for name in "qkv"},
            **{f"{name}_adapter.{{}}.up": f"{_ADAPTER}{name}_adapter_list.{{}}.1" for name in "qkv"},
            "final_norm": "model.final_layernorm",
            "head": "lm_head",
            "score": "score",
        },
    },
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2411.15242",),
)
