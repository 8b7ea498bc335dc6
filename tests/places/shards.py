"""Models of many shards whose data take no room on the disk: the headers are real, the rest of each file is a hole."""

from __future__ import annotations

import json
import struct
from pathlib import Path

CONFIGURATION = {"model_type": "no-such-type", "architectures": ["NoSuchModel"]}


def safetensors(folder: Path, shards: int, tensors: int, shard_bytes: int) -> int:
    """`shards` files of `tensors` tensors each with their index and configuration; the bytes of all."""
    weight_map = {}
    values = shard_bytes // tensors // 2
    for shard in range(shards):
        name = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        header = {}
        for i in range(tensors):
            key = f"model.layers.{shard}.experts.{i}.down_proj.weight"
            begin = 2 * values * i
            header[key] = {"dtype": "BF16", "shape": [values], "data_offsets": [begin, begin + 2 * values]}
            weight_map[key] = name
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with (folder / name).open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.truncate(8 + len(text) + 2 * values * tensors)
    index = {"metadata": {"total_size": 2 * values * tensors * shards}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(CONFIGURATION))
    return sum(path.stat().st_size for path in folder.iterdir())


def gguf(path: Path, tensors: int, tokens: int, nbytes: int) -> int:
    """A file with a vocabulary of that many tokens; its bytes."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    values = nbytes // tensors // 4 // 8 * 8
    vocabulary = struct.pack("<IIQ", 9, 8, tokens) + b"".join(text(f"token-{i:07d}") for i in range(tokens))
    keys = text("general.architecture") + struct.pack("<I", 8) + text("none")
    keys += text("tokenizer.ggml.tokens") + vocabulary
    infos = b"".join(
        text(f"blk.{i}.weight") + struct.pack("<IQIQ", 1, values, 0, 4 * values * i) for i in range(tensors)
    )
    head = b"GGUF" + struct.pack("<IQQ", 3, tensors, 2) + keys + infos
    with path.open("wb") as file:
        file.write(head + bytes(-len(head) % 32))
        file.truncate(file.tell() + 4 * values * tensors)
    return path.stat().st_size
