"""Names of stored tensors: the tables that most families share, and how a slot's name is formed.

A table maps the stem of a slot (`attention.q`) to the stem of a tensor (`model.layers.{layer}.self_attn.q_proj`);
the last word of the slot's key (`weight`, `bias`) is appended. `{expert}` stands for one tensor an expert;
`^T` at the end says that the matrix is stored inputs first. Slots that map to the same stem lie in one tensor, those
of stacked experts side by side within each expert. An entry with a slot's whole key (`attention.sinks.weight`) gives
the whole name. An entry `*`, or `*.q` for the slot q, serves every part that has no entry of its own; `{path}` stands
for the part's path, which is then what the dialect calls it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from weigh.types import Family, Part, Slot

LLAMA_HF: Mapping[str, str] = {
    "embedding": "model.embed_tokens",
    "attention_norm": "model.layers.{layer}.input_layernorm",
    "attention.q": "model.layers.{layer}.self_attn.q_proj",
    "attention.k": "model.layers.{layer}.self_attn.k_proj",
    "attention.v": "model.layers.{layer}.self_attn.v_proj",
    "attention.o": "model.layers.{layer}.self_attn.o_proj",
    "attention.q_norm": "model.layers.{layer}.self_attn.q_norm",
    "attention.k_norm": "model.layers.{layer}.self_attn.k_norm",
    "mlp_norm": "model.layers.{layer}.post_attention_layernorm",
    "mlp.gate": "model.layers.{layer}.mlp.gate_proj",
    "mlp.up": "model.layers.{layer}.mlp.up_proj",
    "mlp.down": "model.layers.{layer}.mlp.down_proj",
    "final_norm": "model.norm",
    "head": "lm_head",
    "score": "score",
    "classifier": "score",
    "qa_outputs": "qa_outputs",
}

GGML: Mapping[str, str] = {
    "embedding": "token_embd",
    "embedding_norm": "token_embd_norm",
    "position": "position_embd",
    "token_type": "token_types",
    "attention_norm": "blk.{layer}.attn_norm",
    "attention.q": "blk.{layer}.attn_q",
    "attention.k": "blk.{layer}.attn_k",
    "attention.v": "blk.{layer}.attn_v",
    "attention.o": "blk.{layer}.attn_output",
    "attention.q_norm": "blk.{layer}.attn_q_norm",
    "attention.k_norm": "blk.{layer}.attn_k_norm",
    "attention_post_norm": "blk.{layer}.post_attention_norm",
    "mlp_norm": "blk.{layer}.ffn_norm",
    "mlp_post_norm": "blk.{layer}.post_ffw_norm",
    "mlp.gate": "blk.{layer}.ffn_gate",
    "mlp.up": "blk.{layer}.ffn_up",
    "mlp.down": "blk.{layer}.ffn_down",
    "moe.router": "blk.{layer}.ffn_gate_inp",
    "moe.experts.gate": "blk.{layer}.ffn_gate_exps",
    "moe.experts.up": "blk.{layer}.ffn_up_exps",
    "moe.experts.down": "blk.{layer}.ffn_down_exps",
    "moe.shared.gate": "blk.{layer}.ffn_gate_shexp",
    "moe.shared.up": "blk.{layer}.ffn_up_shexp",
    "moe.shared.down": "blk.{layer}.ffn_down_shexp",
    "moe.shared_gate": "blk.{layer}.ffn_gate_inp_shexp",
    "final_norm": "output_norm",
    "head": "output",
}
"""Source: github.com/ggml-org/llama.cpp, gguf-py/gguf/constants.py, TENSOR_NAMES."""

DIFFUSERS: Mapping[str, str] = {
    "*": "{path}",
    **{f"*.{x}": f"{{path}}.to_{x}" for x in "qkv"},
    "*.o": "{path}.to_out.0",
    "*.q_norm": "{path}.norm_q",
    "*.k_norm": "{path}.norm_k",
    **{f"*.add_{x}": f"{{path}}.add_{x}_proj" for x in "qkv"},
    "*.add_o": "{path}.to_add_out",
    "*.add_q_norm": "{path}.norm_added_q",
    "*.add_k_norm": "{path}.norm_added_k",
    "*.gate": "{path}.net.0.proj",
    "*.up": "{path}.net.0.proj",
    "*.down": "{path}.net.2",
}
"""Source: diffusers 0.42, models/attention_processor.py (Attention) and models/attention.py (FeedForward)."""


def fused(stems: Mapping[str, str], target: str, *keys: str) -> dict[str, str]:
    """The table with `keys` all stored in the tensor `target`."""
    return {**stems, **dict.fromkeys(keys, target)}


def key(part: Part, slot: Slot) -> str:
    """What a slot is called in the tables, without its last word: `attention.q`, `final_norm`."""
    stem, _, _ = slot.key.rpartition(".")
    return f"{part.path}.{stem}" if stem else part.path


_NUMBER = re.compile(r"(?<![^.])[0-9]+(?![^.])")
"""A number between two dots."""


def _entry(table: Mapping[str, str], path: str, slot: Slot) -> tuple[str, bool] | None:
    """What the table says of the slot of a part at this path, and whether that is a whole name."""
    whole = table.get(f"{path}.{slot.key}")
    if whole is not None:
        return whole, True
    stem, _, _ = slot.key.rpartition(".")
    found = table.get(f"{path}.{stem}" if stem else path)
    return None if found is None else (found, False)


def _numbered(table: Mapping[str, str], path: str, slot: Slot) -> tuple[str, bool] | None:
    """The same, with the numbers of the path left open in the table."""
    numbers = _NUMBER.findall(path)
    found = _entry(table, _NUMBER.sub("{}", path), slot) if numbers else None
    if found is None:
        return None
    name = found[0]
    for number in numbers:
        name = name.replace("{}", number, 1)
    return name, found[1]


def stored(family: Family, dialect: str, part: Part, slot: Slot) -> tuple[str, bool] | None:
    """Name of the tensor that holds the slot, still with `{expert}`, and whether it is stored inputs first.

    None where the dialect has no name for it.
    """
    table = family.names.get(dialect, {})
    found = _entry(table, part.path, slot) or _numbered(table, part.path, slot) or _entry(table, "*", slot)
    if found is None:
        return None
    stem, whole = found
    transposed = stem.endswith("^T")
    word = slot.key.rpartition(".")[2]
    name = stem.removesuffix("^T")
    name = (name if whole else f"{name}.{word}").replace("{path}", part.path)
    if part.layer is not None:
        name = name.replace("{layer}", str(part.layer))
    return name, transposed and word == "weight"
