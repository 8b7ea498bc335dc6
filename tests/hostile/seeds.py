"""Valid files that mutation and fuzzing start from, at least one for each reader.

A seed is the file that is changed, the files that lie beside it, and the file that is opened where it is another one.
To add one: a line in `SEEDS`; `test_mutations.py`, `test_budgets.py`, `test_what_is_opened.py` and `fuzz.py` take it
from there.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from tests.hostile import craft, craft_ctranslate2, craft_keras, craft_onnx, craft_pytorch, craft_tflite
from tests.hostile.craft import ARRAY, F32, STRING, U16, U32, array, entry, key, named, number, tensor, text


class Seed(NamedTuple):
    content: bytes
    beside: Mapping[str, bytes] = {}
    """Other files of the folder, by name."""
    opened: str = ""
    """The file that is read, where it is not the seed itself."""


def write(folder: Path, name: str, seed: Seed) -> Path:
    """Put a seed and what lies beside it into a folder; the path to read."""
    for other, content in seed.beside.items():
        (folder / other).write_bytes(content)
    (folder / name).write_bytes(seed.content)
    return folder / (seed.opened or name)


# ------------------------------------------------------------------------------------------------ safetensors

SAFETENSORS = craft.safetensors(
    {
        "__metadata__": {"format": "pt"},
        "a": entry("F32", [2, 3], 0, 24),
        "b": entry("BF16", [4], 24, 32),
        "c": entry("I64", [], 32, 40),
        "d": entry("F4", [2], 40, 41),
    },
    b"x" * 41,
)


def _packed() -> bytes:
    """A matrix in each layout that quantizers leave in safetensors."""
    state = json.dumps({"shape": [8, 8], "quant_type": "nf4", "blocksize": 64, "dtype": "float16"}).encode()
    arrays: dict[str, tuple[str, list[int], bytes]] = {
        "g.qweight": ("I32", [4, 8], bytes(128)),
        "g.qzeros": ("I32", [2, 1], bytes(8)),
        "g.scales": ("F16", [2, 8], bytes(32)),
        "g.g_idx": ("I32", [32], b"".join(struct.pack("<i", place // 16) for place in range(32))),
        "w.qweight": ("I32", [16, 1], bytes(64)),
        "w.qzeros": ("I32", [1, 1], bytes(4)),
        "w.scales": ("F16", [1, 8], bytes(16)),
        "c.weight_packed": ("I32", [2, 4], bytes(32)),
        "c.weight_scale": ("F16", [2, 1], bytes(4)),
        "c.weight_shape": ("I64", [2], struct.pack("<qq", 2, 32)),
        "n.weight": ("U8", [32, 1], bytes(32)),
        "n.weight.absmax": ("F32", [1], bytes(4)),
        "n.weight.quant_map": ("F32", [16], bytes(64)),
        "n.weight.quant_state.bitsandbytes__nf4": ("U8", [len(state)], state),
        "e.down_proj_blocks": ("U8", [1, 2, 1, 16], bytes(32)),
        "e.down_proj_scales": ("U8", [1, 2, 1], bytes(2)),
        "f.weight": ("F8_E4M3", [4, 4], bytes(16)),
        "f.weight_scale_inv": ("F32", [1, 1], bytes(4)),
        "i.weight": ("I8", [4, 4], bytes(16)),
        "i.SCB": ("F32", [4], bytes(16)),
        "v.weight": ("U8", [2, 16], bytes(32)),
        "v.weight_scale": ("F8_E4M3", [2, 2], bytes(4)),
        "v.weight_scale_2": ("F32", [], bytes(4)),
    }
    header, data = {}, b""
    for name, (dtype, shape, raw) in arrays.items():
        header[name] = entry(dtype, shape, len(data), len(data) + len(raw))
        data += raw
    return craft.safetensors(header, data)


SHARDS = {
    f"s-{number:05d}-of-00002.safetensors": craft.safetensors({name: entry("F32", [2], 0, 8)}, bytes(8))
    for number, name in ((1, "a"), (2, "b"))
}


def _manifest(parts: Mapping[str, bytes]) -> dict[str, object]:
    listed = {name: {"size": len(raw), "sha256": sha256(raw).hexdigest()} for name, raw in parts.items()}
    return {"weigh.manifest": {"state": "finished", "parts": listed}}


INDEX = craft.index(dict(zip("ab", SHARDS, strict=True)), total_size=16, **_manifest(SHARDS))

# ------------------------------------------------------------------------------------------------------ gguf

GGUF = craft.gguf(
    [
        named(),
        key("nested", ARRAY, array(ARRAY, [array(U32, [number(U32, 3)])])),
        key("general.name", STRING, text("hé")),
        key("llama.attention.layer_norm_rms_epsilon", F32, number(F32, 1e-5)),
    ],
    [tensor("t", [256], 12), tensor("u", [32, 2], 8, 160)],
    b"\0" * (160 + 96),
)


def _part(place: int) -> bytes:
    split = [key("split.no", U16, number(U16, place)), key("split.count", U16, number(U16, 2))]
    return craft.gguf([named(), *split], [tensor(f"t{place}", [8])], bytes(32))


PARTS = {f"p-{place + 1:05d}-of-00002.gguf": _part(place) for place in (0, 1)}
MANIFEST = {"p.weigh-manifest.json": json.dumps(_manifest(PARTS)).encode()}

# ------------------------------------------------------------------------------------------------------ others

JSON = b'{"model_type": "llama", "hidden_size": 64, "x": [1, 2.5, null, {"y": "\\u00e9\\ud83d\\ude00"}]}'
_GRAPH = craft_onnx.graph(nodes=[craft_onnx.constant("k", craft_onnx.tensor(raw=b"\0" * 8))])
ONNX = craft_onnx.onnx(
    [
        craft_onnx.tensor("w", raw=b"\0" * 8),
        craft_onnx.tensor("i", kind=craft_onnx.INT64, extra=craft_onnx.run(7, b"\1\2")),
        craft_onnx.tensor("q", (2, 16), craft_onnx.UINT8, raw=b"\0" * 32),
        craft_onnx.tensor("s", raw=b"\0" * 8),
    ],
    [
        craft_onnx.node("If", ["c"], ["o"], [craft_onnx.branch("then_branch", _GRAPH)]),
        craft_onnx.node("MatMulNBits", ["o", "q", "s"], ["y"], [craft_onnx.whole("K", 32), craft_onnx.whole("N", 2)]),
    ],
)
ONNX_BESIDE = craft_onnx.onnx(
    [craft_onnx.tensor("w", external={"location": "w.data", "offset": "0", "length": "8"})],
)
TFLITE_MODEL = craft_tflite.model(
    [
        craft_tflite.graph(
            [
                craft_tflite.tensor("w", (2, 2), craft_tflite.INT8, 1, (0.5, 0.25), 0, (0, 1)),
                craft_tflite.tensor("h", (4,), craft_tflite.FLOAT16, 2),
                craft_tflite.tensor("wide", (4,), buffer=0),
                craft_tflite.tensor("shape", (1,), craft_tflite.INT32, 3),
            ],
            [
                craft_tflite.node(0, (1,), (2,)),
                craft_tflite.node(1, (3, 0, 2), (3,)),
                craft_tflite.node(2, (2, 3), (2,)),
                craft_tflite.node(3, (2,), (2,), {5: b"options"}),
            ],
        )
    ],
    [b"abcd", b"x" * 8, b"\4\0\0\0"],
    (craft_tflite.DEQUANTIZE, craft_tflite.FULLY_CONNECTED, craft_tflite.WHILE, craft_tflite.CUSTOM),
)
TFLITE = craft_tflite.flatbuffer(TFLITE_MODEL)
TWO = {"a": craft_pytorch.tensor((2, 2), (1, 2)), "model": {"x": craft_pytorch.tensor()}}
CT2 = craft_ctranslate2.small()

SEEDS: dict[str, Seed] = {
    "a.pt": Seed(craft_pytorch.checkpoint(TWO)),
    "a.bin": Seed(craft_pytorch.legacy(TWO, {"0": (4, b"x" * 16)})),
    "a.safetensors": Seed(SAFETENSORS),
    "packed.safetensors": Seed(_packed()),
    "s.safetensors.index.json": Seed(INDEX, SHARDS),
    "a.gguf": Seed(GGUF),
    "b.gguf": Seed(craft.llama()),
    "p-00001-of-00002.gguf": Seed(PARTS["p-00001-of-00002.gguf"], PARTS | MANIFEST),
    "p.weigh-manifest.json": Seed(MANIFEST["p.weigh-manifest.json"], PARTS, "p-00001-of-00002.gguf"),
    "c.json": Seed(JSON),
    "d.onnx": Seed(ONNX),
    "e.onnx": Seed(ONNX_BESIDE, {"w.data": bytes(8)}),
    "e.npy": Seed(craft_onnx.npy()),
    "f.npz": Seed(craft_onnx.npz({"a.npy": craft_onnx.npy()}, packed=True)),
    "g.keras": Seed(craft_keras.keras(craft_keras.h5(craft_keras.dense))),
    "g.h5": Seed(craft_keras.h5(craft_keras.dense)),
    "g.tflite": Seed(TFLITE),
    "model.bin": Seed(CT2),
}
