"""What every codec must keep, whoever adds it: run over the registry, against the packages that define the types."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import pickle
import re
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import gguf
import ml_dtypes
import numpy as np
import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st

from weigh import codecs
from weigh.codecs import CODECS, REMOVED_GGML
from weigh.types import Codec

Decoder = Callable[[np.ndarray], np.ndarray]

DECODED = [codec for codec in CODECS if codec.decode is not None]
GGML = [codec for codec in CODECS if codec.ggml_type is not None]
SAFETENSORS = [codec for codec in CODECS if codec.safetensors is not None]

WRONG_IN_GGUF = {"Q8_1": (32, 4 + 4 + 32)}
"""What the gguf package says although ggml itself, which reads the files, says otherwise."""

NUMPY_TYPES = {
    "f32": np.float32,
    "f16": np.float16,
    "bf16": ml_dtypes.bfloat16,
    "f64": np.float64,
    "i8": np.int8,
    "i16": np.int16,
    "i32": np.int32,
    "i64": np.int64,
    "u8": np.uint8,
    "u16": np.uint16,
    "u32": np.uint32,
    "u64": np.uint64,
    "f8_e4m3": ml_dtypes.float8_e4m3fn,
    "f8_e5m2": ml_dtypes.float8_e5m2,
    "f8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "f8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "f8_e8m0": ml_dtypes.float8_e8m0fnu,
}


def ids(codec: Codec) -> str:
    return codec.id


# ----------------------------------------------------------------------------------------------- references


def through_numpy(dtype: type) -> Decoder:
    return lambda raw: raw.view(dtype).astype(np.float32)


def through_gguf(codec: Codec) -> Decoder:
    kind = gguf.GGMLQuantizationType(codec.ggml_type)
    return lambda raw: gguf.quants.dequantize(raw.reshape(-1, codec.block_bytes), kind).reshape(-1)


def plain_f4(raw: np.ndarray) -> np.ndarray:
    halves = [half for byte in raw.tolist() for half in (byte & 15, byte >> 4)]
    return np.array(halves, dtype=np.uint8).view(ml_dtypes.float4_e2m1fn).astype(np.float32)


def plain_small(bits: int, signed: bool) -> Decoder:
    top = 2 ** (bits - 1) if signed else 2**bits

    def decode(raw: np.ndarray) -> np.ndarray:
        codes = [byte >> shift & (2**bits - 1) for byte in raw.tolist() for shift in range(0, 8, bits)]
        return np.array([code - 2**bits if code >= top else code for code in codes], dtype=np.float32)

    return decode


def plain_bool(raw: np.ndarray) -> np.ndarray:
    return np.array([1 if byte else 0 for byte in raw.tolist()], dtype=np.float32)


def plain_q1_0(raw: np.ndarray) -> np.ndarray:
    values = []
    for block in raw.reshape(-1, 18):
        scale = np.float32(block[:2].view(np.float16)[0])
        values += [scale if block[2 + j // 8] >> (j % 8) & 1 else -scale for j in range(128)]
    return np.array(values, dtype=np.float32)


def plain_q2_0(raw: np.ndarray) -> np.ndarray:
    values = []
    for block in raw.reshape(-1, 18):
        scale = np.float32(block[:2].view(np.float16)[0])
        values += [np.float32(int(block[2 + j // 4] >> (j % 4 * 2) & 3) - 1) * scale for j in range(64)]
    return np.array(values, dtype=np.float32)


def plain_q8_k(raw: np.ndarray) -> np.ndarray:
    values = []
    for block in raw.reshape(-1, 292):
        scale = block[:4].view(np.float32)[0]
        values += [scale * np.float32(code) for code in block[4:260].view(np.int8)]
    return np.array(values, dtype=np.float32)


def references() -> dict[str, list[Decoder]]:
    """Every decoder by codec id that somebody else wrote, or that this file writes out value by value."""
    found: dict[str, list[Decoder]] = {
        "f4": [plain_f4],
        "i4": [plain_small(4, True)],
        "u4": [plain_small(4, False)],
        "i2": [plain_small(2, True)],
        "u2": [plain_small(2, False)],
        "bool": [plain_bool],
        "q1_0": [plain_q1_0],
        "q2_0": [plain_q2_0],
        "q8_k": [plain_q8_k],
    }
    for name, dtype in NUMPY_TYPES.items():
        found.setdefault(name, []).append(through_numpy(dtype))
    known = {kind.value for kind in gguf.quants._type_traits} | {0, 1}
    for codec in GGML:
        if codec.ggml_type in known:
            found.setdefault(codec.id, []).append(through_gguf(codec))
    return found


REFERENCES = references()


def ggml_library() -> ctypes.CDLL:
    """ggml itself, as the llama.cpp bindings ship it."""
    found = importlib.util.find_spec("xllamacpp")
    if found is None or found.origin is None:
        pytest.skip("xllamacpp is not installed")
    binary = next(Path(found.origin).parent.glob("xllamacpp*.so"), None)
    if binary is None:
        pytest.skip("xllamacpp has no shared library here")
    library = ctypes.CDLL(str(binary))
    if not hasattr(library, "dequantize_row_q2_0"):
        pytest.skip("this xllamacpp is older than the newest type")
    library.ggml_type_name.restype = ctypes.c_char_p
    library.ggml_type_size.restype = ctypes.c_size_t
    library.ggml_blck_size.restype = ctypes.c_int64
    return library


def assert_same(got: np.ndarray, expected: np.ndarray) -> None:
    """Equal bit for bit; a NaN only has to be a NaN, since its sign and payload depend on the order of operands."""
    assert got.dtype == np.float32
    assert got.shape == expected.shape
    missing = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(got), missing)
    np.testing.assert_array_equal(got[~missing].view(np.uint32), expected[~missing].view(np.uint32))


def agrees(codec: Codec, raw: np.ndarray) -> None:
    got = codecs.decode(codec, raw, raw.size // codec.block_bytes * codec.block)
    for reference in REFERENCES[codec.id]:
        with warnings.catch_warnings():
            # The references warn where a scale is infinite; ours must not, and warnings are errors here.
            warnings.simplefilter("ignore")
            expected = reference(raw)
        assert_same(got, expected)


# ------------------------------------------------------------------------------------------------- registry


@pytest.mark.parametrize("key", ["id", "name", "ggml_type", "safetensors"])
def test_no_two_codecs_share(key):
    values = [getattr(codec, key) for codec in CODECS if getattr(codec, key) is not None]
    assert len(values) == len(set(values))


@pytest.mark.parametrize("codec", CODECS, ids=ids)
def test_the_id_is_the_name_in_lower_case(codec):
    assert codec.id == codec.name.lower()
    assert re.fullmatch(r"[a-z][a-z0-9_]*", codec.id)


@pytest.mark.parametrize("codec", CODECS, ids=ids)
def test_the_reference_says_where_the_layout_is_written(codec):
    assert re.search(r"https://\S+", codec.reference)
    assert codec.reference.startswith("size only" if codec.decode is None else "bit-exact to")


@pytest.mark.parametrize("codec", CODECS, ids=ids)
def test_a_codec_can_be_sent_to_another_process(codec):
    assert pickle.loads(pickle.dumps(codec)).id == codec.id


@pytest.mark.parametrize("codec", CODECS, ids=ids)
def test_each_lookup_finds_it(codec):
    assert codecs.by_id(codec.id) is codec
    if codec.ggml_type is not None:
        assert codecs.from_ggml(codec.ggml_type) is codec
    if codec.safetensors is not None:
        assert codecs.from_safetensors(codec.safetensors) is codec


def test_the_registry_does_not_load_numpy():
    code = "import sys, weigh.codecs; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --------------------------------------------------------------------------------------------------- layout


@pytest.mark.parametrize("codec", CODECS, ids=ids)
def test_bits_follow_from_the_block(codec):
    assert codec.bits * codec.block == 8 * codec.block_bytes
    assert codecs.nbytes(codec, (3, codec.block)) == 3 * codec.block_bytes


@pytest.mark.parametrize("kind", list(gguf.GGMLQuantizationType), ids=lambda kind: kind.name)
def test_every_type_of_the_gguf_package_has_its_size(kind):
    codec = codecs.from_ggml(kind.value)
    assert codec is not None
    assert codec.name == kind.name
    block, size = gguf.GGML_QUANT_SIZES[kind]
    if kind.name in WRONG_IN_GGUF:
        assert (block, size) == WRONG_IN_GGUF[kind.name], "the package was corrected: drop the exception"
    else:
        assert (codec.block, codec.block_bytes) == (block, size)


def test_every_ggml_number_is_a_codec_or_removed():
    numbers = {codec.ggml_type for codec in GGML}
    assert not numbers & set(REMOVED_GGML)
    assert numbers | set(REMOVED_GGML) == set(range(43))


@pytest.mark.parametrize("codec", GGML, ids=ids)
def test_ggml_itself_has_the_same_name_and_size(codec):
    library = ggml_library()
    name = library.ggml_type_name(codec.ggml_type).decode()
    assert name.lower() == codec.id
    assert library.ggml_blck_size(codec.ggml_type) == codec.block
    assert library.ggml_type_size(codec.ggml_type) == codec.block_bytes


def safetensors_file(dtype: str, shape: list[int], size: int) -> bytes:
    header = json.dumps({"t": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


def test_every_dtype_of_safetensors_has_a_codec():
    with pytest.raises(safetensors.SafetensorError) as refusal:
        safetensors.deserialize(safetensors_file("no such dtype", [1], 1))
    allowed = re.findall(r"`(\w+)`", str(refusal.value).split("expected one of")[1])
    assert {codec.safetensors for codec in SAFETENSORS} == set(allowed)


@pytest.mark.parametrize("codec", SAFETENSORS, ids=ids)
def test_safetensors_accepts_exactly_our_size(codec):
    shape = [3, codec.block * 5]
    size = codecs.nbytes(codec, shape)
    ((name, _),) = safetensors.deserialize(safetensors_file(codec.safetensors, shape, size))
    assert name == "t"
    with pytest.raises(safetensors.SafetensorError):
        safetensors.deserialize(safetensors_file(codec.safetensors, shape, size + 1))


# ------------------------------------------------------------------------------------------------- decoding


def test_every_decoder_has_something_to_be_compared_with():
    assert {codec.id for codec in DECODED} <= set(REFERENCES)


@pytest.mark.parametrize("codec", DECODED, ids=ids)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_bytes_decode_as_the_reference_does(codec, data):
    count = data.draw(st.integers(1, 4))
    raw = data.draw(st.binary(min_size=count * codec.block_bytes, max_size=count * codec.block_bytes))
    agrees(codec, np.frombuffer(raw, dtype=np.uint8))


@pytest.mark.parametrize("codec", DECODED, ids=ids)
def test_many_random_blocks_decode_as_the_reference_does(codec):
    draw = np.random.default_rng(20)
    agrees(codec, draw.integers(0, 256, 512 * codec.block_bytes, dtype=np.uint8))


@pytest.mark.parametrize("codec", DECODED, ids=ids)
@pytest.mark.parametrize("byte", [0x00, 0x7B, 0x7C, 0x7F, 0x80, 0xFC, 0xFF], ids=hex)
def test_zeros_and_extremes_decode_as_the_reference_does(codec, byte):
    agrees(codec, np.full(3 * codec.block_bytes, byte, dtype=np.uint8))


@pytest.mark.parametrize("codec", DECODED, ids=ids)
def test_each_single_byte_value_at_each_place_decodes_as_the_reference_does(codec):
    # One block for each byte of the block, in which only that byte counts: a misplaced field shows at once.
    places = np.eye(codec.block_bytes, dtype=np.uint8)
    for byte in (0x01, 0x10, 0x3C, 0xA5):
        agrees(codec, (places * np.uint8(byte)).reshape(-1))


@pytest.mark.parametrize("codec", [codec for codec in GGML if codec.decode and codec.block > 1], ids=ids)
def test_ggml_itself_decodes_the_same(codec):
    decoder = ggml_library()[f"dequantize_row_{codec.id.replace('_k', '_K')}"]
    raw = np.random.default_rng(21).integers(0, 256, 64 * codec.block_bytes, dtype=np.uint8)
    expected = np.zeros(64 * codec.block, dtype=np.float32)
    decoder(ctypes.c_void_p(raw.ctypes.data), ctypes.c_void_p(expected.ctypes.data), ctypes.c_int64(expected.size))
    assert_same(codecs.decode(codec, raw, expected.size), expected)


@pytest.mark.parametrize("codec", DECODED, ids=ids)
def test_chunks_decode_to_the_same_as_the_whole(codec):
    raw = np.random.default_rng(22).integers(0, 256, 7 * codec.block_bytes, dtype=np.uint8)
    whole = codecs.decode(codec, raw, 7 * codec.block)
    cut = 3 * codec.block_bytes
    parts = [codecs.decode(codec, raw[:cut], 3 * codec.block), codecs.decode(codec, raw[cut:], 4 * codec.block)]
    assert_same(np.concatenate(parts), whole)


@pytest.mark.parametrize("codec", DECODED, ids=ids)
def test_the_input_may_be_read_only_and_unaligned_and_is_not_shared(codec):
    memory = bytes(1) + bytes(range(256)) * 2
    raw = np.frombuffer(memory, dtype=np.uint8)[1 : 1 + codec.block_bytes]
    values = codecs.decode(codec, raw, codec.block)
    assert values.flags.writeable
    assert values.flags.c_contiguous
    assert values.flags.aligned
    assert not np.shares_memory(values, raw)
    assert_same(values, codecs.decode(codec, raw.tobytes(), codec.block))


@pytest.mark.parametrize("codec", DECODED, ids=ids)
def test_nothing_decodes_to_nothing(codec):
    values = codecs.decode(codec, b"", 0)
    assert values.dtype == np.float32
    assert values.shape == (0,)


def test_the_guide_shows_the_file_and_the_registry_as_they_are():
    root = Path(__file__).parents[2]
    added: dict[str, list[str]] = {}
    for line in (root / "docs" / "add-a-codec.md").read_text().splitlines():
        if line.startswith("+++ b/"):
            added[line.removeprefix("+++ b/")] = lines = []
        elif line.startswith("+") and added:
            lines.append(line[1:])
    assert set(added) == {"weigh/codecs/q8_0.py", "weigh/codecs/__init__.py"}
    assert added["weigh/codecs/q8_0.py"] == (root / "weigh/codecs/q8_0.py").read_text().splitlines()
    assert set(added["weigh/codecs/__init__.py"]) <= set((root / "weigh/codecs/__init__.py").read_text().splitlines())
