"""Valid files with bytes flipped, inserted, cut and spliced: an inventory or a WeighError, nothing else, and soon.

WEIGH_FUZZ_SECONDS sets how long each test looks (by default 3 s, always the same cases); where it is set, the cases
are new each time.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile import craft, craft_keras, craft_onnx, craft_pytorch
from tests.hostile.craft import ARRAY, F32, STRING, U32, array, entry, key, named, number, tensor, text
from weigh import formats
from weigh.types import Inventory, WeighError

SECONDS = float(os.environ.get("WEIGH_FUZZ_SECONDS", "3"))
FRESH = "WEIGH_FUZZ_SECONDS" in os.environ
SLOW_SECONDS = 2.0

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
TWO = {"a": craft_pytorch.tensor((2, 2), (1, 2)), "model": {"x": craft_pytorch.tensor()}}
SEEDS = {
    "a.pt": craft_pytorch.checkpoint(TWO),
    "a.bin": craft_pytorch.legacy(TWO, {"0": (4, b"x" * 16)}),
    "a.safetensors": SAFETENSORS,
    "a.gguf": GGUF,
    "b.gguf": craft.llama(),
    "c.json": JSON,
    "d.onnx": ONNX,
    "e.npy": craft_onnx.npy(),
    "g.keras": craft_keras.keras(craft_keras.h5(craft_keras.dense)),
    "f.npz": craft_onnx.npz({"a.npy": craft_onnx.npy()}, packed=True),
}

INTERESTING = (b"\0", b"\xff", b"\x7f", b"\x80", b'"', b"{", b"[", b"\\", b"9" * 8, b"\xff" * 8, b"\0" * 8)


@st.composite
def mutated(draw: st.DrawFn, seed: bytes) -> bytes:
    """A seed with up to six changes."""
    content = bytearray(seed)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        change = draw(st.sampled_from(("flip", "set", "insert", "remove", "cut", "splice")))
        if change == "flip" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif change == "set":
            value = draw(st.sampled_from(INTERESTING))
            content[at : at + len(value)] = value
        elif change == "insert":
            content[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif change == "remove":
            del content[at : at + draw(st.integers(1, 8))]
        elif change == "cut":
            del content[at:]
        else:
            other = draw(st.sampled_from(tuple(SEEDS.values())))
            begin = draw(st.integers(0, len(other) - 1))
            content[at : at + 8] = other[begin : begin + draw(st.integers(1, 64))]
    return bytes(content)


def _outcome(path: Path, content: bytes) -> Inventory | WeighError:
    path.write_bytes(content)
    start = time.process_time()
    try:
        found: Inventory | WeighError = formats.read(path)
    except WeighError as error:
        found = error
    assert time.process_time() - start < SLOW_SECONDS
    return found


@pytest.mark.parametrize("name", SEEDS)
def test_a_seed_is_valid(name: str, tmp_path: Path) -> None:
    assert isinstance(_outcome(tmp_path / name, SEEDS[name]), Inventory)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEDS)
def test_a_mutated_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    deadline = time.monotonic() + SECONDS / len(SEEDS) if not FRESH else time.monotonic() + SECONDS

    @settings(
        max_examples=max(int(SECONDS * 300), 10),
        deadline=None,
        derandomize=not FRESH,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutated(SEEDS[name]))
    def look(content: bytes) -> None:
        if time.monotonic() > deadline:
            return
        found = _outcome(tmp_path / name, content)
        if isinstance(found, WeighError):
            assert found.rule not in ("READ-UNEXPECTED", "READ-MEMORY"), found.message
            assert found.exit_code in (3, 5)
            return
        sizes = dict(found.files)
        for tensor_found in found.tensors:
            for piece in tensor_found.pieces:
                assert 0 <= piece.nbytes <= sizes[piece.file] - piece.offset

    look()


@pytest.mark.slow
def test_what_is_accepted_the_reference_accepts_too(tmp_path: Path) -> None:
    """And the other way round, but for dtypes newer than either and for white space before the header."""
    reference = pytest.importorskip("safetensors")
    deadline = time.monotonic() + SECONDS

    @settings(
        max_examples=max(int(SECONDS * 300), 10),
        deadline=None,
        derandomize=not FRESH,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutated(SAFETENSORS))
    def look(content: bytes) -> None:
        if time.monotonic() > deadline:
            return
        found = _outcome(tmp_path / "a.safetensors", content)
        try:
            reference.deserialize(content)
        except reference.SafetensorError:
            accepted = False
        else:
            accepted = True
        if isinstance(found, Inventory):
            unknown = any(tensor_found.codec.startswith("unknown:") for tensor_found in found.tensors)
            assert accepted or unknown
        else:
            assert not accepted or found.rule in ("ST-BRACE", "JSON-DUPLICATE"), found.message

    look()
