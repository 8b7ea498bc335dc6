"""The ten-second tour on a model of 20 kB, written here: read it, count it, hold it against its configuration."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from weigh.commands import show
from weigh.types import WeighError

VOCABULARY, WIDTH, HIDDEN, LAYERS = 64, 16, 24, 2
CONFIGURATION = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "tie_word_embeddings": True,
    "dtype": "float32",
}
LAYER = {
    "input_layernorm": (WIDTH,),
    "self_attn.q_proj": (WIDTH, WIDTH),
    "self_attn.k_proj": (WIDTH // 2, WIDTH),
    "self_attn.v_proj": (WIDTH // 2, WIDTH),
    "self_attn.o_proj": (WIDTH, WIDTH),
    "post_attention_layernorm": (WIDTH,),
    "mlp.gate_proj": (HIDDEN, WIDTH),
    "mlp.up_proj": (HIDDEN, WIDTH),
    "mlp.down_proj": (WIDTH, HIDDEN),
}
SHAPES = {
    "model.embed_tokens.weight": (VOCABULARY, WIDTH),
    **{f"model.layers.{i}.{name}.weight": shape for i in range(LAYERS) for name, shape in LAYER.items()},
    "model.norm.weight": (WIDTH,),
}
TABLE = VOCABULARY * WIDTH
ATTENTION = WIDTH * WIDTH * 2 + WIDTH * WIDTH // 2 * 2
MLP = 3 * WIDTH * HIDDEN
TOTAL = TABLE + LAYERS * (ATTENTION + MLP + 2 * WIDTH) + WIDTH


def write(folder: Path, shapes: dict[str, tuple[int, ...]], configuration: dict[str, Any] | None) -> Path:
    """A safetensors file by hand: length of the header, header, values."""
    header: dict[str, Any] = {}
    offset = 0
    for name, shape in shapes.items():
        size = 4
        for length in shape:
            size *= length
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))
    if configuration is not None:
        (folder / "config.json").write_text(json.dumps(configuration), encoding="utf-8")
    return path


# ------------------------------------------------------------------------------------------- what is refused


def test_a_file_that_ends_early_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, SHAPES, CONFIGURATION)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeighError) as caught:
        show.run(str(path))
    assert caught.value.exit_code == 3


def test_a_layer_that_is_missing_is_named(tmp_path: Path) -> None:
    lost = "model.layers.1.mlp.up_proj.weight"
    path = write(tmp_path, {name: shape for name, shape in SHAPES.items() if name != lost}, CONFIGURATION)
    answer = show.run(str(path))
    assert answer.result["audit"] == {"missing": [lost]}
    assert answer.result["parameters"]["total"] == TOTAL - WIDTH * HIDDEN
    assert any(lost in warning for warning in answer.warnings)


# ------------------------------------------------------------------------------------------------- the tour


def test_read_and_count(tmp_path: Path) -> None:
    path = write(tmp_path, SHAPES, CONFIGURATION)
    assert 18_000 < path.stat().st_size < 25_000
    for named in (path, tmp_path):
        result = show.run(str(named)).result
        assert (result["format"], result["family"], result["audit"]) == ("safetensors", "llama", {})
        assert result["bytes"] == 4 * TOTAL
        assert result["file_bytes"] >= path.stat().st_size
        assert result["bits_per_parameter"] == 32
        assert result["codecs"] == {"f32": {"tensors": len(SHAPES), "parameters": TOTAL, "bytes": 4 * TOTAL}}
        counts = result["parameters"]
        assert counts["total"] == counts["active"] == counts["trainable"] == TOTAL
        assert counts["embedding"] == TABLE
        assert counts["active_without_embedding"] == TOTAL - TABLE
        assert counts["by_role"]["norm"]["parameters"] == (2 * LAYERS + 1) * WIDTH
        assert [row["layer"] for row in counts["by_layer"]] == [None, 0, 1]


def test_the_file_and_its_configuration_alone_count_alike(tmp_path: Path) -> None:
    of_file = show.run(str(write(tmp_path, SHAPES, CONFIGURATION)), tensors=True).result
    of_words = show.run(str(tmp_path / "config.json"), tensors=True).result
    # The tied head is a role without parameters of its own, and no tensor of the file.
    assert of_words["parameters"]["by_role"].pop("head") == {"parameters": 0, "bytes": 0}
    assert of_words["parameters"] == of_file["parameters"]
    assert of_words["bytes"] == of_file["bytes"]
    assert of_words["file_bytes"] is None
    described = ("name", "shape", "role", "layer", "parameters", "bytes")
    listed = [{key: row[key] for key in described} for row in of_words["tensors"]]
    assert sorted(listed, key=lambda row: row["name"]) == sorted(
        ({key: row[key] for key in described} for row in of_file["tensors"]), key=lambda row: row["name"]
    )


def test_the_command_says_the_same_in_json(tmp_path: Path) -> None:
    path = write(tmp_path, SHAPES, CONFIGURATION)
    ran = subprocess.run(
        [sys.executable, "-c", "from weigh.cli import main; main()", "show", str(path), "--json"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout)["result"]["parameters"]["total"] == TOTAL
