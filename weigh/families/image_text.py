"""Models that read images beside text: a known decoder, a vision tower, and a projector between them.

LLaVA, LLaVA-NeXT, LLaVA-OneVision, PaliGemma, Gemma 3, Mistral 3, Idefics 3, SmolVLM and InternVL. FLOPs and states are
those of text alone. To add one: what it documents in `MODELS`, its names at the foot, and, if it has a projector or a
tower of its own, a function in `PROJECTORS` or `towers.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from weigh.families import gemma, llama, qwen, towers
from weigh.families.config import Config
from weigh.families.encoder import class_of, number, section
from weigh.families.llama_kin import LLAMA_DEFAULTS
from weigh.families.mixtral import MIXTRAL
from weigh.parts import Applied, Array, Linear, Norm, part
from weigh.types import Architecture, Family

STEMS = {
    **llama.STEMS,
    **qwen.STEMS,
    **gemma.STEMS,
    "olmo2": "Olmo2",
    "phi3": "Phi3",
    "mixtral": "Mixtral",
    "ministral3": "Ministral3",
}
"""Types that the text may be of, and what the names of their classes begin with."""

_FAMILIES = (
    llama.LLAMA,
    llama.OLMO2,
    llama.PHI3,
    qwen.QWEN,
    qwen.QWEN_MOE,
    gemma.GEMMA,
    gemma.GEMMA2,
    MIXTRAL,
    LLAMA_DEFAULTS,
)
DECODERS = {kind: family for family in _FAMILIES for kind in family.model_types if kind in STEMS}
ALIKE = ("llama", "qwen", "gemma", "llama_defaults")
"""Families whose tables of names agree with each other; the layers of the others are told apart by their path."""


def _documented(vocabulary: int, width: int, hidden: int, layers: int, heads: int) -> dict[str, int]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }


TEXT_DEFAULTS: Mapping[str, Mapping[str, int]] = {
    "llama": _documented(32000, 4096, 11008, 32, 32),
    "mistral": _documented(32000, 4096, 14336, 32, 32),
    "qwen2": _documented(151936, 4096, 22016, 32, 32),
    "qwen3": _documented(151936, 4096, 22016, 32, 32),
    "gemma": _documented(256000, 3072, 24576, 28, 16),
    "gemma2": _documented(256000, 2304, 9216, 26, 8),
    "gemma3_text": _documented(262208, 2304, 9216, 26, 8),
}
"""Sizes that a section may leave out, since it is saved as its differences from these: transformers 5.23,
configuration_*.py of each type."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a composite type documents."""

    stem: str
    text: str
    """Type of the text where its section does not name it."""
    tower: str
    """The same of the tower."""
    projector: Callable[[Config, int, int], Iterator[tuple[str, object]]]
    """(whole configuration, width of the tower, width of the text) to the layers between them."""
    images: Mapping[str, Any] = field(default_factory=dict)
    """The tower where there is no `vision_config`."""
    tied: bool = False
    text_ties: bool = False
    """The text's own `tie_word_embeddings` ties the head as well."""


def _tower_layers(config: Config) -> int:
    """How many layers of the tower are read, side by side."""
    chosen = config.values.get("vision_feature_layer")
    return len(chosen) if isinstance(chosen, list | tuple) else 1


def _two_matrices(config: Config, images: int, text: int) -> Iterator[tuple[str, object]]:
    """LLaVA: two matrices; Mistral 3's have no biases unless written down."""
    biased = config.switch("multimodal_projector_bias", default=config.values["model_type"] != "mistral3")
    yield "up", Linear(images * _tower_layers(config), text, bias=biased)
    yield "down", Linear(text, text, bias=biased)


def _with_newline(config: Config, images: int, text: int) -> Iterator[tuple[str, object]]:
    """And a row that stands between the lines of tiles."""
    yield from _two_matrices(config, images, text)
    yield "newline", Array((text,))


def _merging(config: Config, images: int, text: int) -> Iterator[tuple[str, object]]:
    """Mistral 3: neighbouring patches become one by a matrix behind a norm."""
    step = config.integer("spatial_merge_size", default=2)
    yield "norm", Norm(images)
    yield "merger", Linear(images * step**2, images)
    yield from _two_matrices(config, images, text)


def _one_matrix(config: Config, images: int, _text: int) -> Iterator[tuple[str, object]]:
    """PaliGemma: to `projection_dim`, which has to be the text's width for the model to run."""
    yield "up", Linear(images, config.integer("projection_dim", default=2048), bias=True)


def _normed_matrix(_config: Config, images: int, text: int) -> Iterator[tuple[str, object]]:
    """Gemma 3: patches are averaged, normalised and multiplied."""
    yield "up", Linear(images, text)
    yield "norm", Norm(images)


def _shuffled(config: Config, images: int, text: int) -> Iterator[tuple[str, object]]:
    """Idefics 3: squares of patches side by side, then one matrix."""
    yield "up", Linear(images * config.integer("scale_factor", default=2) ** 2, text)


def _shuffled_and_normed(config: Config, images: int, text: int) -> Iterator[tuple[str, object]]:
    """InternVL: squares of patches side by side, a norm, two matrices."""
    ratio = number(config, "downsample_ratio", default=0.5)
    joined = images * int(1 / ratio) ** 2 if 0 < ratio <= 1 else 0
    if not joined:
        raise config.variant("downsample_ratio", "a number from 0 to 1", ratio)
    yield "norm", Norm(joined, bias=True)
    yield "up", Linear(joined, text, bias=True)
    yield "down", Linear(text, text, bias=True)


def _vit(width: int, hidden: int, layers: int, patch: int, image: int, **more: Any) -> dict[str, Any]:
    sizes = {"hidden_size": width, "intermediate_size": hidden, "num_hidden_layers": layers, "num_attention_heads": 16}
    return {**sizes, "patch_size": patch, "image_size": image, **more}


_CLIP_L = _vit(1024, 4096, 24, 14, 336)
_SIGLIP = {"vision_use_head": False}

MODELS = {
    "llava": Kind("Llava", "llama", "clip_vision_model", _two_matrices, _CLIP_L, text_ties=True),
    "llava_next": Kind("LlavaNext", "llama", "clip_vision_model", _with_newline, _CLIP_L),
    "llava_onevision": Kind(
        "LlavaOnevision",
        "qwen2",
        "siglip_vision_model",
        _with_newline,
        _vit(1152, 4304, 26, 14, 384, **_SIGLIP),
        text_ties=True,
    ),
    "paligemma": Kind(
        "PaliGemma",
        "gemma",
        "siglip_vision_model",
        _one_matrix,
        _vit(1152, 4096, 27, 14, 224, **_SIGLIP),
        tied=True,
    ),
    "gemma3": Kind("Gemma3", "gemma3_text", "siglip_vision_model", _normed_matrix, tied=True),
    "mistral3": Kind("Mistral3", "mistral", "pixtral", _merging, _vit(1024, 4096, 24, 14, 1540), tied=True),
    "idefics3": Kind("Idefics3", "llama", "idefics3_vision", _shuffled),
    "smolvlm": Kind("SmolVLM", "llama", "smolvlm_vision", _shuffled),
    "internvl": Kind("InternVL", "qwen2", "internvl_vision", _shuffled_and_normed, tied=True),
}
"""Source: transformers 5.23, models/*/{configuration,modeling}_*.py of each type."""


def text_of(config: Config, default: str) -> tuple[str, dict[str, Any]]:
    """Type and keys of `text_config`; the sizes that it leaves out are the class's, and told."""
    words = section(config, "text_config")
    kind = words.choice("model_type", tuple(DECODERS), default=default)
    missing = {key: size for key, size in TEXT_DEFAULTS.get(kind, {}).items() if words.values.get(key) is None}
    if missing:
        config.assumed.extend(f"text_config.{key} = {size}" for key, size in missing.items())
        config.warnings.append(
            f"`text_config` leaves out {', '.join(missing)}: taken from the defaults of `{kind}`, as saved sections do"
        )
    return kind, {**words.values, **missing}


def decoder(config: Config, kind: str, values: Mapping[str, Any], *, tied: bool) -> Architecture:
    """The decoder with its head; its assumptions and warnings join the whole's."""
    inner = Config(
        {
            **values,
            "model_type": kind,
            "architectures": [STEMS[kind] + "ForCausalLM"],
            "tie_word_embeddings": tied,
        },
        config.source,
        limits=config.limits,
    )
    inner.assumed, inner.warnings = config.assumed, config.warnings
    family = DECODERS[kind]
    text = family.build(inner)
    if family.id in ALIKE:
        return text
    parts = [each if each.layer is None else replace(each, path=f"{family.id}.{each.path}") for each in text.parts]
    return replace(text, parts=tuple(parts))


def image_text(config: Config) -> Architecture:
    """All of them, by the table above.

    PaliGemma's text looks ahead within images and prompts: what it keeps is the same, its FLOPs are counted as causal.
    """
    model = MODELS[str(config.values["model_type"])]
    whole = model.stem + "ForConditionalGeneration"
    class_of(config, (whole,), default=whole, what="the model for conditional generation")
    kind, values = text_of(config, model.text)
    if config.values["model_type"] == "paligemma":
        values.pop("use_bidirectional_attention", None)
    tied = config.switch("tie_word_embeddings", default=model.tied)
    if model.text_ties and not tied:
        tied = Config(values, config.source).switch("tie_word_embeddings", default=kind in gemma.STEMS)
    text = decoder(config, kind, values, tied=tied)
    images = section(config, "vision_config", default=model.images)
    tower = towers.tower(images, model.tower)
    between = [
        part(f"projector.{path}", Applied(layer, "never", role="vision"))
        for path, layer in model.projector(config, tower.width, text.dimensions["width"])
    ]
    dimensions = {**text.dimensions, "vision_layers": tower.layers}
    return Architecture(
        (*tower.parts, *between, *text.parts), dimensions, tuple(config.warnings), tuple(config.assumed)
    )


def text_names(place: Callable[[str], str]) -> dict[str, str]:
    """Names of every decoder's tensors, each put where the whole model has it."""
    names: dict[str, str] = {}
    for family in _FAMILIES:
        for key, name in family.names["hf"].items():
            apart = family.id not in ALIKE and "{layer}" in name
            names[f"{family.id}.{key}" if apart else key] = place(name)
    return names


_PROJECTOR = "multi_modal_projector."
_PROJECTORS = {
    "projector.up": _PROJECTOR + "linear_1",
    "projector.down": _PROJECTOR + "linear_2",
    "projector.newline.weight": "image_newline",
}
_INSIDE = text_names(lambda name: f"language_model.{name}")
_TOWER = "vision_tower."
_MODEL = _TOWER + "vision_model."


def _family(kind: str, names: Mapping[str, str], *sources: str) -> Family:
    return Family(id=kind, model_types=(kind,), build=image_text, names={"hf": names}, sources=sources)


_LLAVA = {**_INSIDE, **towers.contrastive(_MODEL), **_PROJECTORS}
_IDEFICS = {
    **text_names(lambda name: name.replace("model.", "model.text_model.", 1)),
    **towers.contrastive("model.vision_model."),
    "projector.up": "model.connector.modality_projection.proj",
}

LLAVA = _family("llava", _LLAVA, "https://arxiv.org/abs/2310.03744")
LLAVA_NEXT = _family("llava_next", _LLAVA, "https://huggingface.co/docs/transformers/main/model_doc/llava_next")
LLAVA_ONEVISION = _family("llava_onevision", _LLAVA, "https://arxiv.org/abs/2408.03326")
PALIGEMMA = _family(
    "paligemma",
    {**_INSIDE, **towers.contrastive(_MODEL), "projector.up": _PROJECTOR + "linear"},
    "https://arxiv.org/abs/2407.07726",
)
GEMMA3 = _family(
    "gemma3",
    {
        **_INSIDE,
        **towers.contrastive(_MODEL),
        "projector.up.weight": _PROJECTOR + "mm_input_projection_weight^T",
        "projector.norm": _PROJECTOR + "mm_soft_emb_norm",
    },
    "https://arxiv.org/abs/2503.19786",
)
MISTRAL3 = _family(
    "mistral3",
    {
        **_INSIDE,
        **towers.pixtral_names(_TOWER),
        **_PROJECTORS,
        "projector.norm": _PROJECTOR + "norm",
        "projector.merger": _PROJECTOR + "patch_merger.merging_layer",
    },
    "https://arxiv.org/abs/2410.07073",
)
IDEFICS3 = _family("idefics3", _IDEFICS, "https://arxiv.org/abs/2408.12637")
SMOLVLM = _family("smolvlm", _IDEFICS, "https://arxiv.org/abs/2504.05299")
INTERNVL = _family(
    "internvl",
    {**_INSIDE, **towers.internvl_names(_TOWER), **_PROJECTORS, "projector.norm": _PROJECTOR + "layer_norm"},
    "https://arxiv.org/abs/2504.10479",
)
