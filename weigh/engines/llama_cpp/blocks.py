"""Pieces of a decoder layer that llama.cpp puts together: norms, linear maps, feed-forward blocks, experts.

Each function appends what llama.cpp's builder of the same piece would, given the tensors that the layer has.
Source: llama.cpp as packed in xllamacpp 2026.10.11549, src/llama-graph.cpp (`build_norm`, `build_ffn`,
`build_moe_ffn`), src/models/qwen2moe.cpp (shared experts).
"""

from __future__ import annotations

from collections.abc import Mapping

from weigh.engines.llama_cpp.allocator import Array, Graph, apply, like, matmul, view, weight

Shape = tuple[int, ...]


def norm(current: Array, tensors: Mapping[str, Shape], name: str, *, layer_norm: bool, bare: bool = False) -> Array:
    """Normalise, multiply by the weight, add the bias; nothing where the layer has no such norm.

    `bare`: the architecture normalises without any weight. A norm with a bias is a layer norm in any case.
    """
    biased = f"{name}.bias" in tensors
    operation = "norm" if biased or layer_norm else "rms_norm"
    if f"{name}.weight" not in tensors:
        return like(operation, current) if bare else current
    current = like("mul", like(operation, current), weight(*reversed(tensors[f"{name}.weight"])))
    return like("add", current, weight(current.dims[0])) if biased else current


def linear(tensors: Mapping[str, Shape], name: str, current: Array) -> Array:
    """The matrix of that name applied, and its bias where there is one."""
    shape = tensors[f"{name}.weight"]
    outputs = shape[0] if len(shape) > 1 else 1
    current = matmul(weight(shape[-1], outputs), current)
    return like("add", current, weight(current.dims[0])) if f"{name}.bias" in tensors else current


def feed_forward(tensors: Mapping[str, Shape], current: Array, ending: str = "") -> Array:
    """Up (and gate, apart or joined with it), activation, down."""
    inner = tensors[f"ffn_down{ending}.weight"][1]
    up = linear(tensors, f"ffn_up{ending}", current)
    if f"ffn_gate{ending}.weight" in tensors:
        hidden = like("glu", linear(tensors, f"ffn_gate{ending}", current), up)
    elif up.dims[0] == 2 * inner:
        hidden = apply("glu", (inner, *up.dims[1:]), up)
    else:
        hidden = like("unary", up)
    return linear(tensors, f"ffn_down{ending}", hidden)


def experts(graph: Graph, tensors: Mapping[str, Shape], used: int, current: Array, *, norms_weights: bool) -> Array:
    """Scores of all experts, the best few a token, their outputs side by side, weighted and added up."""
    width, tokens = current.dims[:2]
    held, inner, _ = tensors["ffn_up_exps.weight"]
    chances = like("soft_max", linear(tensors, "ffn_gate_inp", current))
    chosen = view(like("argsort", chances), used, tokens, packed=False)
    shares = apply("get_rows", (1, used, tokens), view(chances, 1, held, tokens), chosen)
    if norms_weights:
        flat = view(shares, used, tokens)
        whole = like("clamp", apply("sum_rows", (1, tokens), flat))
        shares = view(like("div", flat, whole), 1, used, tokens)
    graph.expand(shares)
    rows = view(current, width, 1, tokens)
    wide = (inner, used, tokens)
    up = apply("mul_mat_id", wide, weight(width, inner, held), rows, chosen)
    gate = apply("mul_mat_id", wide, weight(width, inner, held), rows, chosen)
    hidden = like("glu", gate, up)
    outputs = apply("mul_mat_id", (width, used, tokens), weight(inner, width, held), hidden, chosen)
    outputs = graph.expand(like("mul", outputs, shares))
    slices = [graph.expand(view(outputs, width, tokens, packed=False)) for _ in range(used)]
    result = slices[0]
    for other in slices[1:]:
        result = graph.expand(apply("add", (width, tokens), result, other))
    result = apply("cont", (width, tokens), result) if used == 1 else result
    if "ffn_down_shexp.weight" not in tensors:
        return result
    return like("add", result, _shared_expert(tensors, current))


def _shared_expert(tensors: Mapping[str, Shape], current: Array) -> Array:
    """The block that runs for every token, scaled by a sigmoid where the layer has the vector for it."""
    if "ffn_gate_inp_shexp.weight" not in tensors:
        return feed_forward(tensors, current, "_shexp")
    score = linear(tensors, "ffn_gate_inp_shexp", current)
    share = like("div", like("unary", score), score)
    return like("mul", feed_forward(tensors, current, "_shexp"), share)
