"""CTranslate2: variables, scales folded into their weights, aliases, and how its files are told from PyTorch's."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.hostile import craft_pytorch
from tests.hostile.craft_ctranslate2 import FLOAT16, INT16, INT32, model, old, small, variable
from weigh import formats
from weigh.cost.params import count
from weigh.families.identify import identify
from weigh.formats import ctranslate2
from weigh.types import Inventory, Limits, Tensor, WeighError


def _read(folder: Path, content: bytes, **limits: int) -> Inventory:
    (folder / "model.bin").write_bytes(content)
    return formats.read(folder / "model.bin", Limits(**limits))


def _by_name(inventory: Inventory) -> dict[str, Tensor]:
    return {found.name: found for found in inventory.tensors}


@pytest.mark.parametrize(("limits", "rule"), [({"tensors": 1}, "CT2-TENSORS"), ({"header_bytes": 60}, "CT2-BUDGET")])
def test_a_limit_is_not_passed(limits: dict[str, int], rule: str, tmp_path: Path) -> None:
    with pytest.raises(WeighError) as caught:
        _read(tmp_path, small(), **limits)
    assert (caught.value.rule, caught.value.exit_code) == (rule, 5)
    assert caught.value.hint


def test_its_reader_refuses_what_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"\xde\xad\xbe\xef" * 16)
    with pytest.raises(WeighError) as caught:
        ctranslate2.read(tmp_path / "model.bin", Limits())
    assert caught.value.rule == "CT2-MAGIC"


def test_scales_belong_to_their_weights_and_flags_are_buffers(tmp_path: Path) -> None:
    inventory = _read(tmp_path, small())
    found = _by_name(inventory)
    weight = found["decoder/embeddings/weight"]
    assert (weight.codec, weight.shape, weight.nbytes, weight.buffer) == ("i8", (4, 2), 8 + 16, False)
    assert [(piece.kind, piece.shape, piece.codec) for piece in weight.pieces[1:]] == [("scale", (4, 1), "f32")]
    assert {name for name, tensor in found.items() if tensor.buffer} == {"decoder/num_heads"}
    assert inventory.metadata["shared"] == {"decoder/projection/weight": "decoder/embeddings/weight"}
    assert count(identify(inventory)).total == 8 + 2


def test_sixteen_bits_have_one_scale_or_none(tmp_path: Path) -> None:
    new = _read(tmp_path, model([variable("w", (2, 3), INT16), variable("w_scale")])).tensors
    assert [(t.name, t.buffer, t.nbytes, t.pieces[1].shape) for t in new] == [("w", False, 16, (1, 1))]
    (before,) = _read(tmp_path, model([old("w", (2, 3), 2, b"\0" * 12)], version=2)).tensors
    assert (before.codec, before.buffer) == ("i16", False)


@pytest.mark.parametrize(
    ("kind", "stored", "scale", "zero", "shape"),
    [(1, (128, 8), (1, 64), (1, 8), (64, 128)), (2, (64, 16), (64, 1), (64, 1), (64, 128))],
)
def test_packed_words_of_awq_stand_for_their_matrix(
    kind: int, stored: Any, scale: Any, zero: Any, shape: Any, tmp_path: Path
) -> None:
    parts = [variable("w", stored, INT32), variable("w_scale", scale, FLOAT16), variable("w_zero", zero, INT32)]
    (tmp_path / "config.json").write_text(json.dumps({"quantization_type": kind}))
    (found,) = _read(tmp_path, model(parts)).tensors
    assert (found.name, found.shape, found.codec, found.parameters) == ("w", shape, "u4", 64 * 128)
    (tmp_path / "config.json").write_text("{}")
    assert _by_name(_read(tmp_path, model(parts)))["w"].parameters is None


def test_zeros_in_place_of_a_bias_that_whisper_has_not_are_a_buffer(tmp_path: Path) -> None:
    values = struct.pack("<6f", 1, 2, 0, 0, 3, 4)
    content = model([variable("encoder/layer_0/self_attention/linear_0/bias", (6,), data=values)], layout="WhisperSpec")
    inventory = _read(tmp_path, content)
    assert [(t.shape, t.buffer) for t in inventory.tensors] == [((4,), False), ((2,), True)]
    assert formats.values(inventory, inventory.tensors[0]).tolist() == [1, 2, 3, 4]
    other = _read(tmp_path, content.replace(b"WhisperSpec", b"AnotherSpec"))
    assert [t.shape for t in other.tensors] == [(6,)]


def test_a_folder_is_told_from_one_of_pytorch_by_content(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"bos_token": "<s>", "layer_norm_epsilon": None}))
    _read(tmp_path, small())
    inventory = formats.read(tmp_path)
    assert (inventory.format, inventory.configuration) == ("ctranslate2", None)
    assert inventory.metadata["config.bos_token"] == "<s>"
    assert dict(inventory.files)["config.json"]
    (tmp_path / "model.bin").write_bytes(craft_pytorch.checkpoint({"a": craft_pytorch.tensor()}))
    assert formats.read(tmp_path).format == "pytorch"


# ------------------------------------------------------------------------------------------ the converter itself


class Tokens:
    """What the converter asks of a tokenizer."""

    unk_token = bos_token = eos_token = pad_token = "t1"

    def __init__(self, size: int) -> None:
        self.size = size

    def get_vocab(self) -> dict[str, int]:
        return {f"t{number}": number for number in range(self.size)}

    def convert_ids_to_tokens(self, number: int) -> str:
        return f"t{number}"

    def convert_tokens_to_ids(self, _token: str) -> int:
        return 1


def _models(transformers: Any) -> Iterator[Any]:
    """Small ones of each kind: decoders, with and without grouped heads, and encoders with decoders."""
    ids = {"vocab_size": 60, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    yield transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=16, **ids))
    yield transformers.LlamaForCausalLM(transformers.LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, **ids,
    ))  # fmt: skip
    yield transformers.T5ForConditionalGeneration(
        transformers.T5Config(d_model=32, d_ff=48, num_layers=2, num_heads=2, d_kv=16, **ids)
    )
    yield transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(
        d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=48, decoder_ffn_dim=48, num_mel_bins=8, max_source_positions=20, max_target_positions=16,
        decoder_start_token_id=2, suppress_tokens=None, begin_suppress_tokens=None, **ids,
    ))  # fmt: skip


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_total_is_that_of_the_model_that_was_converted(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    converters = pytest.importorskip("ctranslate2.converters")
    for number, original in enumerate(_models(transformers)):
        for parameter in original.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter)
        original.save_pretrained(tmp_path / f"{number}")
        total = sum(parameter.numel() for parameter in original.parameters())
        for quantization in (None, "int8", "int8_float16", "float16", "int16"):
            converter = converters.TransformersConverter(str(tmp_path / f"{number}"))
            converter.load_model = lambda *_, model=original, **__: copy.deepcopy(model)
            with mock.patch.object(transformers.AutoTokenizer, "from_pretrained", lambda *_, **__: Tokens(60)):
                out = converter.convert(str(tmp_path / f"{number}-{quantization}"), quantization=quantization)
            assert count(identify(formats.read(out))).total == total, (type(original).__name__, quantization)


def test_the_builder_writes_what_the_reader_expects(tmp_path: Path) -> None:
    """A sentence of the format by hand, so that builder and reader cannot be wrong together."""
    head = b"\6\0\0\0\2\0S\0\1\0\0\0\1\0\0\0"
    by_hand = head + b"\2\0w\0\1\2\0\0\0\4\4\0\0\0abcd\0\0\0\0"
    assert (
        model([variable("w", (2,), FLOAT16, b"abcd")], layout="S", version=6).replace(b"\x08\0\0\0", b"\1\0\0\0")
        == by_hand
    )
    (found,) = _read(tmp_path, by_hand).tensors
    assert (found.codec, found.shape, found.pieces[0].offset) == ("f16", (2,), len(by_hand) - 8)
