"""The recipes of serving runtimes such as vLLM: the linear layers as integers or fp8 with scales, the rest untouched.

Only matrices of linear layers inside the model's layers are quantized: attention, MLP and experts. Embeddings, head,
norms, biases, convolutions and routers stay in the model's type, which is what these tools do or their own examples
ask for; the matrices of GPT-2, which are no linear layers to all of them, count as such. A matrix that the layout
cannot hold stays too, where some tools would stop. A new recipe is a line in `_ALL`; a new way to store a matrix is a
line in `codecs/group_int.py`.

Sources: presets in compressed-tensors 0.20.0 quantization/quant_scheme.py (W4A16, W4A16_ASYM, W8A16, W8A8, FP8,
FP8_DYNAMIC, FP8_BLOCK); auto-gptq 0.7.1 modeling/_base.py (inside_layer_modules); AutoAWQ at 88e4c76
awq/models/mixtral.py (modules_to_not_convert); bitsandbytes 0.50.2.
"""

from __future__ import annotations

from functools import partial

from weigh.codecs.group_int import LAYOUTS
from weigh.recipes.tensors import Stored, tensors
from weigh.types import Allotment, Model, Plan, Recipe

__all__ = ["BY_CODEC", "RECIPES"]

_LINEAR = frozenset(
    {
        "attention_q",
        "attention_k",
        "attention_v",
        "attention_o",
        "mlp_gate",
        "mlp_up",
        "mlp_down",
        "expert",
        "shared_expert",
    }
)

_WORDS = {"embedding": "embedding", "position": "position table", "head": "head", "router": "router", "norm": "norm"}

_COMPRESSED = "https://github.com/vllm-project/compressed-tensors/tree/main/src/compressed_tensors"
_GPTQ = "https://github.com/AutoGPTQ/AutoGPTQ"
_AWQ = "https://github.com/casper-hansen/AutoAWQ"
_BITSANDBYTES = "https://github.com/bitsandbytes-foundation/bitsandbytes"

_ALL = (
    ("w4a16", "INT4, groups of 128 (compressed-tensors W4A16)", "int4_g128", _COMPRESSED),
    ("w4a16_asym", "INT4 with zeros, groups of 128 (compressed-tensors W4A16_ASYM)", "int4_g128_asym", _COMPRESSED),
    ("w8a16", "INT8, groups of 128 (compressed-tensors W8A16)", "int8_g128", _COMPRESSED),
    ("w8a16_channel", "INT8, a scale a row (compressed-tensors, packed)", "int8_channel_packed", _COMPRESSED),
    ("w8a8", "INT8, a scale a row (compressed-tensors W8A8)", "int8_channel", _COMPRESSED),
    ("fp8", "FP8, a scale a matrix (compressed-tensors FP8)", "fp8_tensor", _COMPRESSED),
    ("fp8_dynamic", "FP8, a scale a row (compressed-tensors FP8_DYNAMIC)", "fp8_channel", _COMPRESSED),
    ("fp8_block", "FP8, a scale for 128 x 128 (compressed-tensors FP8_BLOCK)", "fp8_block128", _COMPRESSED),
    ("gptq_int4", "GPTQ INT4, groups of 128 (AutoGPTQ)", "gptq_int4_g128", _GPTQ),
    ("gptq_int8", "GPTQ INT8, groups of 128 (AutoGPTQ)", "gptq_int8_g128", _GPTQ),
    ("awq_int4", "AWQ INT4, groups of 128 (AutoAWQ)", "awq_int4_g128", _AWQ),
    ("bnb_int8", "LLM.int8() (bitsandbytes)", "bnb_int8", _BITSANDBYTES),
    ("bnb_nf4", "NF4 without double quantization (bitsandbytes)", "bnb_nf4", _BITSANDBYTES),
)


BY_CODEC = {codec: recipe for recipe, _, codec, _ in _ALL if codec != recipe}
"""Recipe id by the codec that it gives, where they are called differently."""


def _plan(recipe: str, codec: str, model: Model) -> Plan:
    return Plan(recipe, {tensor.name: _allotment(tensor, codec) for tensor in tensors(model, "hf")})


def _allotment(tensor: Stored, codec: str) -> Allotment:
    left = _left_alone(tensor)
    if left:
        return Allotment(tensor.codec, f"{left} stays {tensor.codec}")
    layout = LAYOUTS[codec]
    for size, multiple, what in ((tensor.inputs, layout.inputs, "width"), (tensor.outputs, layout.outputs, "outputs")):
        if size % multiple:
            return Allotment(tensor.codec, f"{what} {size} is no multiple of {multiple}: stays {tensor.codec}")
    return Allotment(codec, f"linear layers get {codec}")


def _left_alone(tensor: Stored) -> str:
    """What the tensor is that stays as it is; empty where it is the matrix of a linear layer."""
    if tensor.name.endswith("bias"):
        return "bias"
    if tensor.role not in _LINEAR or tensor.layer is None:
        return _WORDS.get(tensor.role, "what is no linear layer of a block")
    if tensor.outputs == 1:
        return "gate of the shared expert" if tensor.role == "shared_expert" else "vector"
    return ""


RECIPES = tuple(
    Recipe(recipe, name, "vllm", partial(_plan, recipe, codec), source) for recipe, name, codec, source in _ALL
)
