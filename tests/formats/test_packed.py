"""Packed matrices count as the matrices that they stand for, whatever the packer."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import pytest

from tests.hostile import craft
from weigh import formats
from weigh.cost.params import count
from weigh.families.identify import identify
from weigh.types import Inventory

WIDTH, HIDDEN, TOKENS = 128, 256, 32
CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": WIDTH, "intermediate_size": HIDDEN,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": TOKENS,
    "tie_word_embeddings": False, "dtype": "bfloat16",
}  # fmt: skip
BYTES = {"F32": 4, "F16": 2, "BF16": 2, "I32": 4, "I64": 8, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E8M0": 1}
Entries = dict[str, tuple[str, list[int], bytes]]
"""Name to dtype, shape and bytes."""


def _zeros(dtype: str, *shape: int) -> tuple[str, list[int], bytes]:
    return dtype, list(shape), b"\0" * (prod(shape) * BYTES[dtype])


def _matrices() -> dict[str, tuple[int, int]]:
    """The linear layers of the model: outputs, inputs."""
    shapes = {
        "self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (64, WIDTH), "self_attn.v_proj": (64, WIDTH),
        "self_attn.o_proj": (WIDTH, WIDTH), "mlp.gate_proj": (HIDDEN, WIDTH), "mlp.up_proj": (HIDDEN, WIDTH),
        "mlp.down_proj": (WIDTH, HIDDEN),
    }  # fmt: skip
    return {f"model.layers.{layer}.{name}": shape for layer in range(2) for name, shape in shapes.items()}


def _others() -> Entries:
    found = {
        "model.embed_tokens.weight": _zeros("BF16", TOKENS, WIDTH),
        "lm_head.weight": _zeros("BF16", TOKENS, WIDTH),
        "model.norm.weight": _zeros("BF16", WIDTH),
    }
    for layer in range(2):
        for name in ("input_layernorm", "post_attention_layernorm"):
            found[f"model.layers.{layer}.{name}.weight"] = _zeros("BF16", WIDTH)
    return found


def gptq(name: str, outputs: int, inputs: int, bits: int = 4) -> Entries:
    groups = inputs // 128
    return {
        f"{name}.qweight": _zeros("I32", inputs * bits // 32, outputs),
        f"{name}.qzeros": _zeros("I32", groups, outputs * bits // 32),
        f"{name}.scales": _zeros("F16", groups, outputs),
        f"{name}.g_idx": _zeros("I32", inputs),
    }


def awq(name: str, outputs: int, inputs: int) -> Entries:
    groups = inputs // 128
    return {
        f"{name}.qweight": _zeros("I32", inputs, outputs // 8),
        f"{name}.qzeros": _zeros("I32", groups, outputs // 8),
        f"{name}.scales": _zeros("F16", groups, outputs),
    }


def pack_quantized(name: str, outputs: int, inputs: int, bits: int = 4) -> Entries:
    shape = outputs.to_bytes(8, "little") + inputs.to_bytes(8, "little")
    return {
        f"{name}.weight_packed": _zeros("I32", outputs, -(-inputs * bits // 32)),
        f"{name}.weight_scale": _zeros("BF16", outputs, inputs // 128),
        f"{name}.weight_shape": ("I64", [2], shape),
    }


def asymmetric(name: str, outputs: int, inputs: int) -> Entries:
    zero = {f"{name}.weight_zero_point": _zeros("I32", outputs // 8, inputs // 128)}
    return pack_quantized(name, outputs, inputs) | zero


def float_quantized(name: str, outputs: int, inputs: int) -> Entries:
    return {
        f"{name}.weight": _zeros("F8_E4M3", outputs, inputs),
        f"{name}.weight_scale": _zeros("BF16", outputs, 1),
        f"{name}.input_scale": _zeros("BF16", 1),
    }


def nvfp4(name: str, outputs: int, inputs: int) -> Entries:
    return {
        f"{name}.weight_packed": _zeros("U8", outputs, inputs // 2),
        f"{name}.weight_scale": _zeros("F8_E4M3", outputs, inputs // 16),
        f"{name}.weight_global_scale": _zeros("F32", 1),
        f"{name}.input_global_scale": _zeros("F32", 1),
    }


def modelopt(name: str, outputs: int, inputs: int) -> Entries:
    return {
        f"{name}.weight": _zeros("U8", outputs, inputs // 2),
        f"{name}.weight_scale": _zeros("F8_E4M3", outputs, inputs // 16),
        f"{name}.weight_scale_2": _zeros("F32"),
        f"{name}.input_scale": _zeros("F32"),
    }


def block_scales(name: str, outputs: int, inputs: int) -> Entries:
    return {
        f"{name}.weight": _zeros("F8_E4M3", outputs, inputs),
        f"{name}.weight_scale_inv": _zeros("F32", -(-outputs // 128), -(-inputs // 128)),
    }


def bnb_4bit(name: str, outputs: int, inputs: int) -> Entries:
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [outputs, inputs]}
    text = json.dumps(state).encode()
    return {
        f"{name}.weight": _zeros("U8", outputs * inputs // 2, 1),
        f"{name}.weight.absmax": _zeros("U8", outputs * inputs // 64),
        f"{name}.weight.nested_absmax": _zeros("F32", 1),
        f"{name}.weight.nested_quant_map": _zeros("F32", 256),
        f"{name}.weight.quant_map": _zeros("F32", 16),
        f"{name}.weight.quant_state.bitsandbytes__nf4": ("U8", [len(text)], text),
    }


def bnb_int8(name: str, outputs: int, inputs: int) -> Entries:
    return {
        f"{name}.weight": _zeros("I8", outputs, inputs),
        f"{name}.SCB": _zeros("F32", outputs),
        f"{name}.weight_format": _zeros("U8"),
    }


def plain(name: str, outputs: int, inputs: int) -> Entries:
    return {f"{name}.weight": _zeros("BF16", outputs, inputs)}


PACKERS = {
    gptq: "gptq_int4_g128", awq: "awq_int4_g128", pack_quantized: "int4_g128", asymmetric: "int4_g128_asym",
    float_quantized: "fp8_channel", nvfp4: "nvfp4", modelopt: "nvfp4", block_scales: "fp8_block128",
    bnb_4bit: "bnb_nf4", bnb_int8: "bnb_int8",
}  # fmt: skip


def _written(folder: Path, entries: Entries, **settings: object) -> Inventory:
    header = {}
    data = b""
    # The format wants the data without holes; alignment is the reader's business, not the test's.
    for name, (dtype, shape, raw) in entries.items():
        header[name] = craft.entry(dtype, shape, len(data), len(data) + len(raw))
        data += raw
    (folder / "model.safetensors").write_bytes(craft.safetensors(header, data))
    (folder / "config.json").write_text(json.dumps(CONFIG | ({"quantization_config": settings} if settings else {})))
    return formats.read(folder)


def _model(folder: Path, packer: object) -> Inventory:
    entries = _others()
    for name, shape in _matrices().items():
        entries |= packer(name, *shape)  # type: ignore[operator]
    return _written(folder, entries, quant_method=packer.__name__)  # type: ignore[attr-defined]


@pytest.mark.parametrize("packer", PACKERS, ids=lambda packer: packer.__name__)
def test_a_packed_model_counts_as_its_original(packer: object, tmp_path: Path) -> None:
    for name in ("original", "packed"):
        (tmp_path / name).mkdir()
    original = count(identify(_model(tmp_path / "original", plain)))
    inventory = _model(tmp_path / "packed", packer)
    counts = count(identify(inventory))
    assert counts.total == original.total
    assert {role: tally.parameters for role, tally in counts.by_role.items() if role != "buffer"} == {
        role: tally.parameters for role, tally in original.by_role.items()
    }
    assert counts.audit is not None
    assert not (counts.audit.missing or counts.audit.extra or counts.audit.wrong_shape)
    assert set(counts.codecs) - {"bf16", "f32"} == {PACKERS[packer]}
    stored = (tmp_path / "packed" / "model.safetensors").stat().st_size
    header = int.from_bytes((tmp_path / "packed" / "model.safetensors").read_bytes()[:8], "little")
    assert counts.bytes == stored - 8 - header
    assert not inventory.warnings


@pytest.mark.parametrize(("bits", "codec"), [(2, "u2"), (3, "u3"), (8, "gptq_int8_g128")])
def test_gptq_of_other_widths(bits: int, codec: str, tmp_path: Path) -> None:
    (tensor,) = _written(tmp_path, gptq("a", 64, 256, bits), quant_method="gptq", bits=bits).tensors
    assert (tensor.name, tensor.shape, tensor.codec) == ("a.weight", (64, 256), codec)
    assert {piece.kind for piece in tensor.pieces} == {"data", "scale", "zero", "index"}


def test_a_row_that_does_not_fill_its_last_word(tmp_path: Path) -> None:
    entries = pack_quantized("a", 8, 130)
    (tensor,) = _written(tmp_path, entries).tensors
    assert tensor.shape == (8, 130)


def test_blocks_of_experts_have_the_shape_of_the_class(tmp_path: Path) -> None:
    entries = {
        "mlp.experts.gate_up_proj_blocks": _zeros("U8", 4, 256, 2, 16),
        "mlp.experts.gate_up_proj_scales": _zeros("U8", 4, 256, 2),
        "mlp.experts.gate_up_proj_bias": _zeros("BF16", 4, 256),
    }
    found = {tensor.name: tensor for tensor in _written(tmp_path, entries).tensors}
    assert set(found) == {"mlp.experts.gate_up_proj", "mlp.experts.gate_up_proj_bias"}
    packed = found["mlp.experts.gate_up_proj"]
    assert (packed.shape, packed.codec) == ((4, 64, 256), "mxfp4")
    assert 8 * packed.nbytes / prod(packed.shape) == 4.25


@pytest.mark.parametrize(
    "entries",
    [
        {"a.qweight": _zeros("I32", 16, 64)},
        {"a.qweight": _zeros("I32", 16, 64), "a.scales": _zeros("F16", 1, 100)},
        {"a.qweight": _zeros("I32", 0, 64), "a.scales": _zeros("F16", 0, 64)},
        {"a.weight_packed": _zeros("I32", 8, 16), "a.weight_scale": _zeros("BF16", 8, 1)},
        {
            "a.weight_packed": _zeros("I32", 8, 16),
            "a.weight_scale": _zeros("BF16", 8, 1),
            "a.weight_shape": ("I64", [2], (8).to_bytes(8, "little") + (2**62).to_bytes(8, "little")),
        },
        gptq("a", 64, 128) | {"a.weight": _zeros("BF16", 2)},
    ],
)
def test_what_does_not_fit_together_is_counted_as_stored_and_told(entries: Entries, tmp_path: Path) -> None:
    inventory = _written(tmp_path, entries)
    assert {tensor.name for tensor in inventory.tensors} == set(entries)
    assert inventory.warnings


@pytest.mark.parametrize(
    "state", [b"", b"{", b"[" * 4000, b'{"shape": [1e9]}', b'{"shape": [-2, 4]}', b'{"shape": [9, 9]}', b'{"shape": 3}']
)
def test_a_broken_state_of_bitsandbytes_is_left_alone(state: bytes, tmp_path: Path) -> None:
    entries = {"a.weight": _zeros("U8", 8, 1), "a.weight.quant_state.bitsandbytes__nf4": ("U8", [len(state)], state)}
    inventory = _written(tmp_path, entries)
    assert {tensor.name for tensor in inventory.tensors} == set(entries)


def test_scales_of_activations_are_buffers(tmp_path: Path) -> None:
    entries = float_quantized("a", 8, 16) | {"a.k_scale": _zeros("F32", 1)}
    found = {tensor.name: tensor.buffer for tensor in _written(tmp_path, entries).tensors}
    assert found == {"a.weight": False, "a.input_scale": True, "a.k_scale": True}
