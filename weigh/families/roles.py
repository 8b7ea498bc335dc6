"""Roles and layers by the names of tensors: what is left where no family knows the architecture."""

from __future__ import annotations

import re
from functools import lru_cache

from weigh.types import Role

_LAYER = re.compile(r"(?:^|[._/])(?:layers?|h|blocks?|blk|resblocks|stages?|encoder|decoder)[._/](\d+)(?=[._/]|$)")

_PATTERNS: tuple[tuple[Role, str], ...] = (
    ("buffer", r"inv_freq|position_ids|(^|[./])(attn|attention)\.(masked_)?bias$|num_batches|running_(mean|var)"),
    ("buffer", r"rope_f(reqs|actors)"),
    ("mtp", r"(^|[._])mtp([._]|$)|nextn|eh_proj"),
    ("vision", r"vision|visual|image_|^v\.|patch_embed"),
    ("audio", r"audio|speech"),
    ("ssm", r"(^|[._])(ssm|mamba|mixer|A_log|dt_proj|dt_bias|x_proj|time_mix|linear_attn)"),
    ("norm", r"[Nn]orm|(^|[._])ln(_|\d|[._]|$)"),
    ("position", r"(wpe|positions?|pos)_?embd?|position_embeddings|embed_positions|(^|[._])wpe"),
    ("other", r"token_type|pooler|(lm_head|classifier|transform)\.dense|pre_classifier|vocab_transform"),
    ("other", r"project_(in|out)"),
    ("shared_expert", r"shared_?expert|shexp"),
    ("router", r"router|ffn_gate_inp|(mlp|moe|feed_forward)\.gate\."),
    ("expert", r"experts?[._]|_exps"),
    ("embedding", r"embed_tokens|tokens?_embd?|tok_embeddings|word_embeddings|(^|[._])wte|embed_in"),
    ("embedding", r"(^|[._])embeddings?\."),
    ("head", r"lm_head|embed_out|^output\.|^head\.|score\.|classifier|qa_outputs|^cls\.|vocab_projector"),
    ("attention_q", r"q_proj|attn_q|query(?!_key)|q_lin|(^|[._])wq|q_a_proj|q_b_proj"),
    ("attention_k", r"k_proj|attn_k|[._]key[._]|k_lin|(^|[._])wk"),
    ("attention_v", r"v_proj|attn_v|[._]value[._]|v_lin|(^|[._])wv"),
    ("attention_o", r"o_proj|out_proj|attn_output|(attn|attention)\.dense|attention\.output|out_lin|(^|[._])wo"),
    ("attention_o", r"attn\.c_proj"),
    ("mlp_gate", r"gate_proj|ffn_gate|(^|[._])w1"),
    ("mlp_up", r"up_proj|ffn_up|c_fc|fc1|fc_in|dense_h_to_4h|intermediate|lin1|(^|[._])w3"),
    ("mlp_down", r"down_proj|ffn_down|mlp\.c_proj|fc2|fc_out|dense_4h_to_h|output\.dense|lin2|(^|[._])w2"),
    ("conv", r"conv"),
)  # fmt: skip
_ANY = re.compile("|".join(f"(?P<r{i}>{pattern})" for i, (_, pattern) in enumerate(_PATTERNS)))
_SEARCHES = tuple((role, re.compile(pattern)) for role, pattern in _PATTERNS)
_NUMBERS = re.compile(r"(?<![^._/])\d+(?![^._/])")
"""A number between two separators: that of a layer or an expert, unlike those of `fc1` and `w2`."""
_DIGITS = re.compile(r"\d+")


def role_of(name: str) -> Role:
    """Role by the first pattern, in the order above, that occurs in the name; `unknown` where none does."""
    return role_and_layer(name)[0]


def role_and_layer(name: str) -> tuple[Role, int | None]:
    """Both at once: a header may hold a million names, and those of one kind differ in the layer's number alone."""
    found = _LAYER.search(name)
    if found is None:
        return _role(name, ""), None
    begin, end = found.span(1)
    layer = int(name[begin:end]) if end - begin < 10 else None
    return _role(name[:begin], name[end:]), layer


@lru_cache(maxsize=65536)
def _role(before: str, behind: str) -> Role:
    """Role by the parts of the name on both sides of the layer's number."""
    name = _NUMBERS.sub("0", f"{before}0{behind}" if behind else before)
    if not _tells(_DIGITS.sub("#", name)) or _ANY.search(name) is None:
        return "unknown"
    return next(role for role, pattern in _SEARCHES if pattern.search(name))


@lru_cache(maxsize=65536)
def _tells(skeleton: str) -> bool:
    """Whether a name could match with some digit for each number: names that only count up are looked at once."""
    return any(_ANY.search(skeleton.replace("#", digit)) for digit in "0123456789")
