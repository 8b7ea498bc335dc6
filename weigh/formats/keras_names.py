"""Turns the names of transformers' TensorFlow weights into those that the same model has in PyTorch.

`tf_bert_for_masked_lm/bert/encoder/layer_._0/attention/self/query/kernel:0` is
`bert.encoder.layer.0.attention.self.query.weight` there, turned. So the families that know the one know the other.
Source: transformers 4, src/transformers/modeling_tf_pytorch_utils.py, `convert_tf_weight_name_to_pt_weight_name` and
`apply_transpose` (github.com/huggingface/transformers; gone from transformers 5).
"""

from __future__ import annotations

import re
from math import prod

from weigh.formats.keras_layers import Variable
from weigh.types import Piece, Tensor

FIRST = re.compile(r"tf\w+/")
"""Name of the whole model, the first step of every name: `tf_bert_for_masked_lm`, `tfgp_t2lm_head_model`."""
LAST = {"kernel": "weight", "embeddings": "weight", "gamma": "weight", "beta": "bias",
        "pointwise_kernel": "pointwise.weight", "depthwise_kernel": "depthwise.weight",
        "moving_mean": "running_mean", "moving_variance": "running_var"}  # fmt: skip
TURNED = {2: (1, 0), 3: (2, 1, 0), 4: (3, 2, 0, 1)}
"""Axes of a kernel in the order of PyTorch, by their number: inputs before outputs here, extents of a kernel first."""

_STAND_IN = re.compile(r"(?:^|(?<=/))[^/]*___")


def translated(variables: list[Variable]) -> tuple[Tensor, ...] | None:
    """The same arrays under their names in PyTorch; None where these are no names of transformers."""
    if not variables or not all(FIRST.match(variable.name) for variable in variables):
        return None
    tensors = tuple(map(_tensor, variables))
    return tensors if len({tensor.name for tensor in tensors}) == len(tensors) else None


def name_of(stored: str) -> str:
    """The name in PyTorch."""
    plain = _STAND_IN.sub("", stored.removesuffix(":0")).replace("_._", "/")
    steps = [step for step in plain.split("/")[1:] if step]
    return ".".join((*steps[:-1], LAST.get(steps[-1], steps[-1]))) if steps else stored


def _tensor(variable: Variable) -> Tensor:
    dataset = variable.dataset
    name = name_of(variable.name)
    turned = variable.name.removesuffix(":0").endswith(("/kernel", "pointwise_kernel", "depthwise_kernel"))
    order = TURNED.get(len(dataset.shape)) if turned else None
    if order is None:
        return Tensor(name, dataset.shape, variable.codec, dataset.pieces, variable.buffer)
    shape = tuple(dataset.shape[axis] for axis in order)
    steps = tuple(prod(dataset.shape[axis + 1 :]) for axis in order)
    pieces = tuple(
        Piece(piece.file, piece.offset, piece.nbytes, piece.kind, shape, steps if piece.kind == "data" else ())
        for piece in dataset.pieces
    )
    return Tensor(name, shape, variable.codec, pieces, variable.buffer)
