"""Files that must be refused, each with the rule that refuses it, and files that are odd but must be read.

One row is one file. A rule that no row names is a rule without a test (see `test_hostile_files.py`).
"""

from __future__ import annotations

import json
import struct
from typing import NamedTuple

from tests.hostile import craft
from tests.hostile.craft import ARRAY, BOOL, STRING, U8, U16, U32, array, entry, gguf, key, named, number, tensor, text


class Case(NamedTuple):
    name: str
    """Name of the file."""
    content: bytes
    rule: str
    """What refuses it; empty where it must be read."""
    exit_code: int = 3


HUGE = 1 << 63
FOUR = b"\0" * 4
EIGHT = b"\0" * 8
ONE = entry("F32", [1], 0, 4)
TWO = entry("F32", [2], 0, 8)


def _raw(body: str) -> bytes:
    return craft.safetensors(body.encode(), FOUR)


def _one(shape: str = "[1]", offsets: str = "[0,4]", dtype: str = '"F32"') -> bytes:
    return _raw(f'{{"a":{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}}}}}')


SAFETENSORS = (
    Case("empty.safetensors", b"", "FILE-EMPTY"),
    Case("seven_bytes.safetensors", b"\x10\0\0\0\0\0\0", "ST-SHORT"),
    Case("length_beyond_file.safetensors", craft.safetensors({}, length=1 << 60), "ST-LENGTH"),
    Case("length_99_megabytes.safetensors", craft.safetensors({}, length=99_000_000), "ST-LENGTH"),
    Case("length_one_too_long.safetensors", craft.safetensors({}, length=3), "ST-LENGTH"),
    Case("length_zero.safetensors", craft.safetensors(b""), "ST-BRACE"),
    Case("array.safetensors", craft.safetensors(b"[1,2]"), "ST-BRACE"),
    Case("leading_space.safetensors", craft.safetensors(b'   {"a":1}'), "ST-BRACE"),
    Case("cut_json.safetensors", craft.safetensors(b'{"a":'), "JSON-SYNTAX"),
    Case("two_values.safetensors", craft.safetensors(b"{}{}"), "JSON-SYNTAX"),
    Case("not_utf8.safetensors", craft.safetensors(b'{"\xff":1}'), "JSON-TEXT"),
    Case("half_character.safetensors", craft.safetensors(b'{"\\ud800":1}'), "JSON-TEXT"),
    Case("deep.safetensors", craft.safetensors(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "JSON-DEPTH"),
    Case("deep_open.safetensors", craft.safetensors(b'{"a":' * 100_000), "JSON-DEPTH"),
    Case("deep_behind_quotes.safetensors", craft.safetensors(b'{"[\\"":' + b"[" * 90 + b"]" * 90 + b"}"), "JSON-DEPTH"),
    Case("long_number.safetensors", _one(offsets="[0," + "9" * 100_000 + "]"), "JSON-DIGITS"),
    Case("digits_in_name_and_number.safetensors", _raw('{"' + "9" * 400 + '":' + "1" * 400 + "}"), "JSON-DIGITS"),
    Case("name_twice.safetensors", _raw(f'{{"a":{json.dumps(ONE)},"a":{json.dumps(ONE)}}}'), "JSON-DUPLICATE"),
    Case("key_twice.safetensors", _raw('{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}'),
         "JSON-DUPLICATE"),
    Case("header_is_a_tensor.safetensors", _raw(json.dumps(ONE)), "JSON-OBJECT"),
    Case("metadata_number.safetensors", craft.safetensors({"__metadata__": {"a": 1}, "b": ONE}, FOUR), "ST-METADATA"),
    Case("metadata_list.safetensors", craft.safetensors({"__metadata__": [], "b": ONE}, FOUR), "ST-METADATA"),
    Case("metadata_tensor.safetensors", craft.safetensors({"__metadata__": ONE}, FOUR), "ST-METADATA"),
    Case("entry_is_number.safetensors", craft.safetensors({"a": 1}), "ST-ENTRY"),
    Case("entry_without_dtype.safetensors", _raw('{"a":{"shape":[1],"data_offsets":[0,4]}}'), "ST-ENTRY"),
    Case("dtype_is_number.safetensors", _one(dtype="5"), "ST-ENTRY"),
    Case("dtype_is_list.safetensors", _one(dtype="[]"), "ST-ENTRY"),
    Case("shape_is_number.safetensors", _one(shape="4"), "ST-ENTRY"),
    Case("three_offsets.safetensors", _one(offsets="[0,4,8]"), "ST-ENTRY"),
    Case("reversed.safetensors", craft.safetensors({"a": entry("F32", [1], 8, 4)}, EIGHT), "ST-OFFSETS"),
    Case("negative.safetensors", _one(offsets="[-4,0]"), "ST-OFFSETS"),
    Case("offset_is_text.safetensors", _one(offsets='["0",4]'), "ST-OFFSETS"),
    Case("offset_is_float.safetensors", _one(offsets="[0,4.0]"), "ST-OFFSETS"),
    Case("offset_is_true.safetensors", _one(offsets="[false,4]"), "ST-OFFSETS"),
    Case("offset_is_nan.safetensors", _one(offsets="[0,NaN]"), "ST-OFFSETS"),
    Case("past_end.safetensors", craft.safetensors({"a": entry("F32", [100], 0, 400)}, EIGHT), "ST-END"),
    Case("past_end_2_64.safetensors", _one(offsets=f"[0,{1 << 64}]"), "ST-END"),
    Case("rank_65.safetensors", _one(shape=str([1] * 65)), "ST-RANK"),
    Case("rank_100000.safetensors", _one(shape=str([1] * 100_000)), "ST-RANK"),
    Case("shape_float.safetensors", _one(shape="[1e0]"), "ST-SHAPE"),
    Case("shape_negative.safetensors", _one(shape="[-1]"), "ST-SHAPE"),
    Case("shape_true.safetensors", _one(shape="[true]"), "ST-SHAPE"),
    Case("shape_nested.safetensors", _one(shape="[[1]]"), "ST-SHAPE"),
    Case("product_wraps_to_0.safetensors", _one(shape=f"[{1 << 32},{1 << 32}]", offsets="[0,0]"), "ST-PRODUCT"),
    Case("product_wraps_to_1.safetensors", _one(shape=f"[{(1 << 32) + 1},{(1 << 32) + 1}]"), "ST-PRODUCT"),
    Case("size_too_small.safetensors", craft.safetensors({"a": entry("F32", [3], 0, 8)}, EIGHT), "ST-SIZE"),
    Case("size_of_nothing.safetensors", craft.safetensors({"a": entry("F32", [0], 0, 8)}, EIGHT), "ST-SIZE"),
    Case("odd_4_bit.safetensors", craft.safetensors({"a": entry("F4", [3], 0, 2)}, b"\0\0"), "ST-ODD"),
    Case("overlap.safetensors", craft.safetensors({"a": TWO, "b": entry("F32", [2], 4, 12)}, b"\0" * 12), "ST-OVERLAP"),
    Case("same_bytes.safetensors", craft.safetensors({"a": ONE, "b": ONE}, FOUR), "ST-OVERLAP"),
    Case("hole.safetensors", craft.safetensors({"a": ONE, "b": entry("F32", [1], 8, 12)}, b"\0" * 12), "ST-HOLE"),
    Case("hole_at_start.safetensors", craft.safetensors({"a": entry("F32", [1], 4, 8)}, EIGHT), "ST-HOLE"),
    Case("bytes_left_over.safetensors", craft.safetensors({"a": ONE}, EIGHT), "ST-REST"),
    Case("no_tensors_but_data.safetensors", craft.safetensors({}, EIGHT), "ST-REST"),
)  # fmt: skip

_ALIGNMENT = "general.alignment"
_PLAIN = tensor("t", [8])
_DATA = b"\0" * 32


def _aligned(kind: int, value: bytes) -> bytes:
    return gguf([key(_ALIGNMENT, kind, value)], [_PLAIN], _DATA)


def _nested(depth: int) -> bytes:
    return struct.pack("<IQ", ARRAY, 1) * (depth - 1) + struct.pack("<IQ", U8, 1) + b"\0"


GGUF = (
    Case("empty.gguf", b"", "FILE-EMPTY"),
    Case("other_magic.gguf", gguf(magic=b"FUGG"), "GGUF-MAGIC"),
    Case("magic_only.gguf", b"GGUF", "GGUF-SHORT"),
    Case("version_0.gguf", gguf(version=0), "GGUF-VERSION"),
    Case("version_1.gguf", gguf(version=1), "GGUF-VERSION"),
    Case("version_99.gguf", gguf(version=99), "GGUF-VERSION"),
    Case("counts_cut.gguf", b"GGUF\x03\0\0\0\0\0", "GGUF-SHORT"),
    Case("keys_2_63.gguf", gguf(counts=(0, HUGE)), "GGUF-COUNT"),
    Case("tensors_2_63.gguf", gguf(counts=(HUGE, 0)), "GGUF-COUNT"),
    Case("keys_beyond_end.gguf", gguf([named()], counts=(0, 6)), "GGUF-COUNT"),
    Case("key_length.gguf", gguf([struct.pack("<Q", 1 << 48) + EIGHT]), "GGUF-SHORT"),
    Case("key_length_2_64.gguf", gguf([struct.pack("<Q", (1 << 64) - 1) + EIGHT]), "GGUF-SHORT"),
    Case("key_long.gguf", gguf([key("k" * 70_000, U8, b"\0")]), "GGUF-NAME"),
    Case("key_not_utf8.gguf", gguf([key(b"\xff\xfe", U8, b"\0")]), "GGUF-NAME"),
    Case("key_twice.gguf", gguf([named(), named()]), "GGUF-KEY-TWICE"),
    Case("string_1_gib.gguf", gguf([key("k", STRING, struct.pack("<Q", 1 << 30))]), "GGUF-SHORT"),
    Case("value_type_77.gguf", gguf([key("k", 77, EIGHT)]), "GGUF-TYPE"),
    Case("element_type_77.gguf", gguf([key("k", ARRAY, struct.pack("<IQ", 77, 1))]), "GGUF-TYPE"),
    Case("inner_type_77.gguf", gguf([key("k", ARRAY, array(ARRAY, [struct.pack("<IQ", 77, 1)]))]), "GGUF-TYPE"),
    Case("array_2_63_bytes.gguf", gguf([key("k", ARRAY, struct.pack("<IQ", U8, HUGE))]), "GGUF-SHORT"),
    Case("array_2_63_doubles.gguf", gguf([key("k", ARRAY, struct.pack("<IQ", 12, HUGE))]), "GGUF-SHORT"),
    Case("array_2_63_strings.gguf", gguf([key("k", ARRAY, struct.pack("<IQ", STRING, HUGE))]), "GGUF-COUNT"),
    Case("array_2_63_arrays.gguf", gguf([key("k", ARRAY, struct.pack("<IQ", ARRAY, HUGE))]), "GGUF-COUNT"),
    Case("string_in_array.gguf", gguf([key("k", ARRAY, array(STRING, [struct.pack("<Q", 1 << 62)]))]), "GGUF-SHORT"),
    Case("nested_5.gguf", gguf([key("k", ARRAY, _nested(5))]), "GGUF-DEPTH"),
    Case("nested_100000.gguf", gguf([key("k", ARRAY, _nested(100_000))]), "GGUF-DEPTH"),
    Case("alignment_0.gguf", _aligned(U32, number(U32, 0)), "GGUF-ALIGNMENT"),
    Case("alignment_13.gguf", _aligned(U32, number(U32, 13)), "GGUF-ALIGNMENT"),
    Case("alignment_text.gguf", _aligned(STRING, text("32")), "GGUF-ALIGNMENT"),
    Case("alignment_u16.gguf", _aligned(U16, number(U16, 32)), "GGUF-ALIGNMENT"),
    Case("alignment_2_30.gguf", _aligned(U32, number(U32, 1 << 30)), "GGUF-END"),
    Case("rank_5.gguf", gguf([], [tensor("t", [1] * 5)], _DATA), "GGUF-RANK"),
    Case("rank_1000000.gguf", gguf([], [tensor("t", [1], rank=1_000_000)], _DATA), "GGUF-RANK"),
    Case("name_not_utf8.gguf", gguf([], [tensor(b"\xff\x1b[2J", [8])], _DATA), "GGUF-NAME"),
    Case("product_wraps.gguf", gguf([], [tensor("t", [4194305, 4194305, 211106198978564])], _DATA), "GGUF-PRODUCT"),
    Case("product_with_zero.gguf", gguf([], [tensor("t", [0, HUGE])], _DATA), "GGUF-PRODUCT"),
    Case("removed_type_4.gguf", gguf([], [tensor("t", [32], 4)], b"\0" * 64), "GGUF-REMOVED"),
    Case("removed_type_5.gguf", gguf([], [tensor("t", [32], 5)], b"\0" * 64), "GGUF-REMOVED"),
    Case("removed_type_31.gguf", gguf([], [tensor("t", [32], 31)], b"\0" * 64), "GGUF-REMOVED"),
    Case("row_of_33.gguf", gguf([], [tensor("t", [33], 2)], b"\0" * 64), "GGUF-BLOCK"),
    Case("rows_of_16.gguf", gguf([], [tensor("t", [16, 2], 2)], b"\0" * 64), "GGUF-BLOCK"),
    Case("size_past_end.gguf", gguf([], [tensor("t", [1 << 20])], _DATA), "GGUF-END"),
    Case("offset_past_end.gguf", gguf([], [tensor("t", [8], 0, 1 << 40)], _DATA), "GGUF-END"),
    Case("offset_2_64.gguf", gguf([], [tensor("t", [8], 0, (1 << 64) - 32)], _DATA), "GGUF-END"),
    Case("no_data.gguf", gguf([], [_PLAIN]), "GGUF-END"),
    Case("offset_7.gguf", gguf([], [tensor("t", [8], 0, 7)], b"\0" * 64), "GGUF-OFFSET"),
    Case("tensor_twice.gguf", gguf([], [tensor("a", [8]), tensor("a", [8], 0, 32)], b"\0" * 64), "GGUF-TWICE"),
    Case("overlap.gguf", gguf([], [tensor("a", [16]), tensor("b", [8], 0, 32)], b"\0" * 64), "GGUF-OVERLAP"),
    Case("same_bytes.gguf", gguf([], [tensor("a", [8]), tensor("b", [8])], b"\0" * 64), "GGUF-OVERLAP"),
    Case("split_without_name.gguf", gguf([key("split.count", U16, number(U16, 2))]), "GGUF-SPLIT"),
    Case("split_count_text.gguf", gguf([key("split.count", STRING, text("2"))]), "GGUF-SPLIT"),
    Case("m-00001-of-00002.gguf", gguf([key("split.count", U16, number(U16, 2))]), "GGUF-MISSING"),
)  # fmt: skip

JSON = (
    Case("deep.json", b"[" * 200_000, "JSON-DEPTH"),
    Case("long_number.json", b'{"hidden_size": ' + b"9" * 100_000 + b"}", "JSON-DIGITS"),
    Case("list.json", b"[1]", "JSON-OBJECT"),
    Case("mark.json", b'\xef\xbb\xbf{"model_type": "llama"}', "JSON-SYNTAX"),
    Case("latin.json", '{"model_type": "é"}'.encode("latin-1"), "JSON-TEXT"),
    Case("twice.json", b'{"model_type": "llama", "model_type": "bert"}', "JSON-DUPLICATE"),
    Case("tokenizer.json", b'{"added_tokens": [], "model": {}}', "CONFIG-MODEL"),
    Case("generation_config.json", b'{"do_sample": true, "eos_token_id": 2}', "CONFIG-MODEL"),
    Case("values.json", b'{"model_type": "a", "b": [' + b"0," * 1_100_000 + b"0]}", "JSON-VALUES", 5),
    Case("large.json", b'{"model_type": "' + b"a" * (17 * 2**20) + b'"}', "JSON-SIZE", 5),
    Case("outside.json", craft.index({"a": "../../../../etc/passwd"}), "FILE-OUTSIDE"),
    Case("absolute.json", craft.index({"a": "/etc/passwd"}), "FILE-OUTSIDE"),
    Case("inner_outside.json", craft.index({"a": "x/../../y"}), "FILE-OUTSIDE"),
    Case("dot.json", craft.index({"a": "."}), "FILE-OUTSIDE"),
    Case("no_name.json", craft.index({"a": ""}), "FILE-OUTSIDE"),
    Case("nul.json", craft.index({"a": "a\0b"}), "FILE-OUTSIDE"),
    Case("missing_shard.json", craft.index({"a": "model-00001-of-99999.safetensors"}), "INDEX-MISSING"),
    Case("long_shard_name.json", craft.index({"a": "m" * 5000}), "INDEX-MISSING"),
    Case("shard_is_number.json", craft.index({"a": 1}), "INDEX-MAP"),
    Case("empty_map.json", craft.index({}), "INDEX-MAP"),
    Case("m.safetensors.index.json", b'{"metadata": {}}', "INDEX-MAP"),
    Case("shard_is_itself.json", craft.index({"a": "shard_is_itself.json"}), "ST-LENGTH"),
)  # fmt: skip

FOREIGN = (
    Case("page.safetensors", b"<!DOCTYPE html><html>", "FORMAT-UNREAD"),
    Case("old.bin", b"tjgg\x03\0\0\0", "FORMAT-UNREAD"),
    Case("text.bin", b"what is this", "FORMAT-UNKNOWN"),
    Case("pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "FILE-LFS"),
    Case("pointer.gguf", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "FILE-LFS"),
)

REFUSED = (*SAFETENSORS, *GGUF, *JSON, *FOREIGN)

_NEW = entry("F12_NEW", [3], 0, 5)
_NONE = entry("F32", [0], 0, 0)

EXOTIC = (
    Case("no_tensors.safetensors", craft.safetensors({}), ""),
    Case("padded.safetensors", craft.safetensors(json.dumps({"a": ONE}).encode() + b" " * 37, FOUR), ""),
    Case("scalar.safetensors", craft.safetensors({"a": entry("F32", [], 0, 4)}, FOUR), ""),
    Case("empty_tensors.safetensors", craft.safetensors({"a": _NONE, "b": entry("I8", [4, 0], 0, 0)}), ""),
    Case("empty_first.safetensors", craft.safetensors({"a": _NONE, "b": ONE, "c": entry("F32", [0], 4, 4)}, FOUR), ""),
    Case("reverse_order.safetensors", craft.safetensors({"b": entry("F32", [1], 4, 8), "a": ONE}, EIGHT), ""),
    Case("new_dtype.safetensors", craft.safetensors({"a": _NEW}, b"\0" * 5), ""),
    Case("more_keys.safetensors", _raw('{"a":{"layout":"x","data_offsets":[0,4],"shape":[1],"dtype":"F32"}}'), ""),
    Case("rank_64.safetensors", _one(shape=str([1] * 64)), ""),
    Case("name_like_path.safetensors", craft.safetensors({"../../etc/passwd": ONE}, FOUR), ""),
    Case("name_of_controls.safetensors", craft.safetensors({"\x1b[2J\u202e\n": ONE}, FOUR), ""),
    Case("name_of_brackets.safetensors", craft.safetensors({'[{"\\': ONE}, FOUR), ""),
    Case("name_of_digits.safetensors", craft.safetensors({"9" * 400: ONE}, FOUR), ""),
    Case("name_of_two_halves.safetensors", craft.safetensors(json.dumps({"\U0001f600": ONE}).encode(), FOUR), ""),
    Case("empty_name.safetensors", craft.safetensors({"": ONE}, FOUR), ""),
    Case("tensor_named_dtype.safetensors", craft.safetensors({"dtype": ONE}, FOUR), ""),
    Case("llama.gguf", craft.llama(), ""),
    Case("big_endian.gguf", craft.llama(order=">"), ""),
    Case("version_2.gguf", gguf([named()], [_PLAIN], _DATA, version=2), ""),
    Case("no_tensors.gguf", gguf([named()]), ""),
    Case("no_padding.gguf", gguf([named()], alignment=1), ""),
    Case("nothing.gguf", gguf(), ""),
    Case("alignment_64.gguf", gguf([key(_ALIGNMENT, U32, number(U32, 64))], [_PLAIN], _DATA, alignment=64), ""),
    Case("alignment_1.gguf", gguf([key(_ALIGNMENT, U32, number(U32, 1))], [_PLAIN], _DATA, alignment=1), ""),
    Case("scalar.gguf", gguf([named()], [tensor("t", [])], FOUR), ""),
    Case("zero_extent.gguf", gguf([named()], [tensor("t", [0, 8])], _DATA), ""),
    Case("new_type.gguf", gguf([named()], [tensor("t", [7], 250), tensor("u", [8], 0, 32)], b"\0" * 64), ""),
    Case("out_of_order.gguf", gguf([named()], [tensor("b", [8], 0, 32), tensor("a", [8])], b"\0" * 64), ""),
    Case("gap.gguf", gguf([named()], [tensor("a", [8]), tensor("b", [8], 0, 64)], b"\0" * 96), ""),
    Case("nested_4.gguf", gguf([key("k", ARRAY, _nested(4))]), ""),
    Case("empty_array.gguf", gguf([key("k", ARRAY, array(STRING, []))]), ""),
    Case("truth_2.gguf", gguf([key("b", BOOL, b"\x02")]), ""),
    Case("value_not_utf8.gguf", gguf([key("general.name", STRING, text(b"\xff\xfe"))]), ""),
    Case("template.gguf", gguf([key("tokenizer.chat_template", STRING, text("{{ ''.__class__.__mro__ }}"))]), ""),
    Case("architecture_is_number.gguf", gguf([craft.size("general.architecture", 5)]), ""),
    Case("layers_2_31.gguf", gguf([named(), craft.size("llama.block_count", (1 << 31) - 1)]), ""),
    Case("no_heads.gguf", gguf([named(), craft.size("llama.attention.head_count", 0)]), ""),
    Case("config.json", b'{"model_type": "mamba2", "time_step_limit": [0.0, Infinity], "x": NaN}', ""),
    Case("big_layers.json", json.dumps({"model_type": "llama", "num_hidden_layers": 10**18}).encode(), ""),
    Case("diffusers.json", b'{"_class_name": "UNet2DConditionModel"}', ""),
    Case("any name at all.json", b' \n{"architectures": ["BertModel"]}', ""),
)  # fmt: skip
