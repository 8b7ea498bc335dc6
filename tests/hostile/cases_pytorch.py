"""PyTorch checkpoints that must be refused, each with its rule, and odd ones that must be read."""

from __future__ import annotations

import struct

from tests.hostile import craft_pytorch as craft
from tests.hostile.cases import Case
from tests.hostile.craft_pytorch import (
    EVIL,
    SYSTEM_CALL,
    archive,
    called,
    changed,
    checkpoint,
    legacy,
    named,
    pickled,
    put,
    stored,
    tensor,
)

GOOD = checkpoint({"a": tensor()})
_TWO = {"0": b"\0" * 16, "1": b"\0" * 16}
_END = b"PK\x05\x06"
_CENTRAL = b"PK\x01\x02"
_FOUR = (4, b"\0" * 16)


def _pickle(opcodes: bytes) -> bytes:
    return b"\x80\x02" + opcodes + b"."


def _script(value: bytes, **more: bytes) -> bytes:
    return checkpoint(value, **{"constants.pkl": pickled(()), **more})


_TYPE_V2 = b"\x8c\x05posix\x8c\x06system\x93"

PICKLES = (
    Case("system.bin", EVIL, "PICKLE-UNSAFE"),
    Case("system_stack.bin", b"\x80\x04" + _TYPE_V2 + b")R.", "PICKLE-UNSAFE"),
    Case("system_text.pkl", b"cposix\nsystem\n(S'true'\ntR.", "PICKLE-UNSAFE"),
    Case("system_inst.pkl", b"(S'true'\niposix\nsystem\n.", "PICKLE-UNSAFE"),
    Case("system_memo.pkl", b"\x80\x04\x8c\x05posixq\x00\x8c\x06systemq\x01\x8c\x0ctorch._utils\x940h\x00h\x01\x93)R.",
         "PICKLE-UNSAFE"),
    Case("loads_of_bytes.pt", checkpoint({"a": called("torch.storage", "_load_from_bytes", "x")}), "PICKLE-UNSAFE"),
    Case("dotted_name.pt", checkpoint({"a": named("torch", "_utils._rebuild_tensor")}), "PICKLE-UNSAFE"),
    Case("namespace.pt", checkpoint({"a": tensor(), "args": called("argparse", "Namespace")}), "PICKLE-UNSAFE"),
    Case("module.pt", checkpoint(called("torch.nn.modules.linear", "Linear")), "PICKLE-UNSAFE"),
    Case("script_without_constants.pt", checkpoint(called("__torch__.m", "Net")), "PICKLE-UNSAFE"),
    Case("script_name_begins_alike.pt", _script(called("__torch__evil", "system")), "PICKLE-UNSAFE"),
    Case("getattr.pt", checkpoint({"a": called("builtins", "getattr", "x", "y")}), "PICKLE-UNSAFE"),
    Case("long_2_31.pkl", _pickle(b"\x8b" + struct.pack("<i", 0x7FFFFFFF) + b"x"), "PICKLE-VALUE"),
    Case("long_negative.pkl", _pickle(b"\x8b" + struct.pack("<i", -1)), "PICKLE-VALUE"),
    Case("text_beyond_end.pkl", _pickle(b"X" + struct.pack("<I", 1 << 30)), "PICKLE-SHORT"),
    Case("bytes_2_63.pkl", _pickle(b"\x8e" + struct.pack("<Q", 1 << 63)), "PICKLE-SHORT"),
    Case("frame_beyond_end.pkl", _pickle(b"\x95" + struct.pack("<Q", 1 << 40)), "PICKLE-SHORT"),
    Case("cut.pkl", b"\x80\x02]q\0(", "PICKLE-SHORT"),
    Case("line_without_end.pkl", _pickle(b"I123"), "PICKLE-SHORT"),
    Case("text_not_utf8.pkl", _pickle(b"X\x01\0\0\0\xff"), "PICKLE-TEXT"),
    Case("text_without_quotes.pkl", _pickle(b"Sabc\n"), "PICKLE-TEXT"),
    Case("digits.pkl", _pickle(b"I" + b"9" * 5000 + b"\n"), "PICKLE-VALUE"),
    Case("extension.pkl", _pickle(b"\x82\x01"), "PICKLE-OPCODE"),
    Case("protocol_6.bin", b"\x80\x06N.", "FORMAT-UNKNOWN"),
    Case("protocol_9_inside.pkl", _pickle(b"\x80\x09N"), "PICKLE-OPCODE"),
    Case("outside_buffer.pkl", _pickle(b"\x97"), "PICKLE-OPCODE"),
    Case("empty_stack.pkl", _pickle(b"0"), "PICKLE-STACK"),
    Case("left_over.pkl", _pickle(b"NN"), "PICKLE-STACK"),
    Case("no_mark.pkl", _pickle(b"t"), "PICKLE-STACK"),
    Case("below_the_mark.pkl", _pickle(b"N(\x85"), "PICKLE-STACK"),
    Case("append_to_number.pkl", _pickle(b"K\x01K\x01a"), "PICKLE-STACK"),
    Case("call_of_text.pkl", _pickle(b"X\x01\0\0\0a)R"), "PICKLE-STACK"),
    Case("build_of_number.pkl", _pickle(b"K\x01}b"), "PICKLE-STACK"),
    Case("call_with_keywords.pkl", _pickle(named("collections", "OrderedDict") + b")}NNsb\x92"), "PICKLE-STACK"),
    Case("slot_4e9.pkl", _pickle(b"Nr\xff\xff\xff\xff"), "PT-EMPTY"),
    Case("slot_empty.pkl", _pickle(b"h\x07"), "PICKLE-MEMO"),
    Case("slot_rewritten.pkl", _pickle(b"]q\x00}q\x00"), "PICKLE-MEMO"),
    Case("key_is_list.pkl", _pickle(b"}]Ns"), "PICKLE-VALUE"),
    Case("key_of_tuples.pkl", _pickle(b"}" + b")" + b"2\x86" * 60 + b"Ns"), "PICKLE-VALUE"),
    Case("two_streams.pkl", pickled({"a": 1}) + EVIL, "PICKLE-REST"),
    Case("two_streams.pt", archive({"m/data.pkl": pickled({"a": 1}) + EVIL}), "PICKLE-REST"),
    Case("laughs.pkl", _pickle(b"]q\0" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(99))), "PICKLE-STACK"),
    Case("numbers_only.pkl", pickled({"a": 1}), "PT-EMPTY"),
    Case("storage_without_archive.pkl", pickled({"a": tensor()}), "PICKLE-STORAGE"),
    Case("unknown_thing_outside.pt", checkpoint(put(("module", "x")) + b"Q"), "PICKLE-STORAGE"),
    Case("storage_of_function.pt", checkpoint(put(("storage", named("torch", "Size"), "0", "cpu", 4)) + b"Q"),
         "PICKLE-STORAGE"),
    Case("storage_of_dtype.pt", checkpoint({"a": tensor(storage=stored(kind="float32"))}), "PICKLE-STORAGE"),
    Case("storage_negative.pt", checkpoint({"a": tensor(storage=stored(count=-4))}), "PICKLE-STORAGE"),
    Case("storage_of_two_types.pt", checkpoint([tensor(), tensor(storage=stored(kind="IntStorage"))]),
         "PICKLE-STORAGE"),
    Case("window_outside.pt", checkpoint([tensor(storage=stored("0", 4, "FloatStorage", ("v", 2, 4)))]),
         "PICKLE-STORAGE"),
)  # fmt: skip

TENSORS = (
    Case("shape_negative.pt", checkpoint({"a": tensor((-1,))}), "PICKLE-VALUE"),
    Case("stride_negative.pt", checkpoint({"a": tensor((4,), (-1,))}), "PICKLE-VALUE"),
    Case("offset_negative.pt", checkpoint({"a": tensor(offset=-1)}), "PICKLE-VALUE"),
    Case("shape_float.pt", checkpoint({"a": tensor((4.0,))}), "PICKLE-VALUE"),
    Case("shape_true.pt", checkpoint({"a": tensor((True,))}), "PICKLE-VALUE"),
    Case("rank_65.pt", checkpoint({"a": tensor((1,) * 65, (1,) * 65)}), "PICKLE-VALUE"),
    Case("fewer_strides.pt", checkpoint({"a": tensor((2, 2), (1,))}), "PICKLE-VALUE"),
    Case("tensor_of_nothing.pt", checkpoint(called("torch._utils", "_rebuild_tensor_v2")), "PICKLE-VALUE"),
    Case("tensor_of_list.pt", checkpoint({"a": tensor(storage=b"]")}), "PICKLE-VALUE"),
    Case("dtype_is_text.pt",
         checkpoint(called("torch._utils", "_rebuild_tensor_v3", stored(), 0, (4,), (1,), False, None, "float")),
         "PICKLE-VALUE"),
    Case("parameter_of_text.pt", checkpoint(called("torch._utils", "_rebuild_parameter", "a", True)), "PICKLE-VALUE"),
    Case("product.pt", checkpoint({"a": tensor((1 << 32, 1 << 32), (0, 0))}), "PT-PRODUCT"),
    Case("beyond_storage.pt", checkpoint({"a": tensor((5,))}), "PT-BOUNDS"),
    Case("offset_beyond_storage.pt", checkpoint({"a": tensor((4,), (1,), 1)}), "PT-BOUNDS"),
    Case("stride_beyond_storage.pt", checkpoint({"a": tensor((2, 2), (4, 1))}), "PT-BOUNDS"),
    Case("no_storage.pt", checkpoint({"a": tensor()}, {}), "PT-STORAGE"),
    Case("storage_of_wrong_size.pt", checkpoint({"a": tensor()}, {"0": b"\0" * 15}), "PT-STORAGE"),
    Case("storage_2_60.pt", checkpoint({"a": tensor(storage=stored(count=1 << 60))}), "PT-STORAGE"),
    Case("packed_storage.pt", checkpoint({"a": tensor()}, packed=("m/data/0",)), "PT-PACKED"),
    Case("same_name.pt", checkpoint({"a": {"b": tensor()}, "a.b": tensor(storage=stored("1"))}, _TWO),
         "PT-TWICE"),
    Case("deep.pt", checkpoint(b"](" * 100 + tensor() + b"e" * 100), "PT-DEPTH"),
    Case("pickle_in_storage.pt", checkpoint({}, {"0": EVIL}), "PT-EMPTY"),
    Case("optimizer.pt", checkpoint({"state": {0: {"exp_avg": tensor()}}, "param_groups": []}), "PT-EMPTY"),
    Case("optimizer_only.pt", checkpoint({"optimizer": {"a": tensor()}}), "PT-EMPTY"),
    Case("legacy_protocol.bin", legacy({"a": tensor()}, {"0": _FOUR}, protocol=1002), "PT-LEGACY"),
    Case("legacy_keys.bin", legacy({"a": tensor()}, {"0": _FOUR}, keys=5), "PT-LEGACY"),
    Case("legacy_strange_key.bin", legacy({"a": tensor()}, {"0": _FOUR, "9": _FOUR}), "PT-STORAGE"),
    Case("legacy_cut.bin", legacy({"a": tensor()}, {"0": (4, b"\0" * 15)}), "PT-STORAGE"),
    Case("legacy_count.bin", legacy({"a": tensor()}, {"0": (3, b"\0" * 12)}), "PT-STORAGE"),
    Case("legacy_count_2_63.bin", legacy({"a": tensor()}, {"0": (1 << 63, b"\0" * 16)}), "PT-STORAGE"),
    Case("legacy_rest.bin", legacy({"a": tensor()}, {"0": _FOUR}) + EVIL, "PICKLE-REST"),
    Case("legacy_unsafe.bin", legacy(SYSTEM_CALL, {}), "PICKLE-UNSAFE"),
    Case("old.tar.pth", b"pickle".ljust(257, b"\0") + b"ustar" + b"\0" * 250, "PT-TAR"),
)  # fmt: skip

_TEXT = pickled({"a": "b" * 40})
_PACKED = archive({"m/data.pkl": _TEXT}, packed=("m/data.pkl",))
_SIZE = struct.pack("<I", len(_TEXT))
_INNER = archive({"n/x": b"x"})[:-22]
_OVERLAP = archive({"m/data.pkl": _INNER, "n/x": b"x"})
_OVERLAP = changed(_OVERLAP, _CENTRAL, 42, struct.pack("<I", _OVERLAP.index(b"PK\x03\x04", 1)))

ZIPS = (
    Case("zeros.pt", b"PK\x03\x04" + b"\0" * 60, "ZIP-END"),
    Case("zip.safetensors", b"PK\x03\x04" + b"\0" * 60, "ZIP-END"),
    Case("zip.gguf", b"PK\x03\x04" + b"\0" * 60, "ZIP-END"),
    Case("cut.pt", GOOD[:-20], "ZIP-END"),
    Case("more_behind.pt", GOOD + b"\0", "ZIP-END"),
    Case("comment.pt", changed(GOOD, _END, 20, b"\x01\0") + b"x", "ZIP-END"),
    Case("comment_told.pt", changed(GOOD, _END, 20, b"\x01\0"), "ZIP-END"),
    Case("directory_elsewhere.pt", changed(GOOD, _END, 16, b"\x01"), "ZIP-END"),
    Case("fewer_entries.pt", changed(GOOD, _END, 8, b"\x01\0\x01\0"), "ZIP-DIRECTORY"),
    Case("more_entries.pt", changed(GOOD, _END, 8, b"\x09\0\x09\0"), "ZIP-DIRECTORY"),
    Case("broken_directory.pt", changed(GOOD, _CENTRAL, 0, b"QK"), "ZIP-DIRECTORY"),
    Case("long_name.pt", changed(GOOD, _CENTRAL, 28, b"\xff\xff"), "ZIP-DIRECTORY"),
    Case("zip64_missing.pt", changed(GOOD, _END, 12, b"\xff" * 8), "ZIP-64"),
    Case("zip64_field_missing.pt", changed(GOOD, _CENTRAL, 20, b"\xff" * 4), "ZIP-64"),
    Case("zip64_locator_lies.pt",
         GOOD[:-22] + b"PK\x06\x07" + struct.pack("<IQI", 0, 3, 1) + GOOD[-22:], "ZIP-64"),
    Case("encrypted.pt", changed(GOOD, _CENTRAL, 8, b"\x01"), "ZIP-ENCRYPTED"),
    Case("method_99.pt", changed(GOOD, _CENTRAL, 10, b"\x63"), "ZIP-METHOD"),
    Case("link.pt", archive({"m/data.pkl": pickled({})}, outside=0o120777 << 16), "ZIP-LINK"),
    Case("traversal.pt", archive({"../../evil.pkl": EVIL, "m/data.pkl": pickled({})}), "ZIP-NAME"),
    Case("absolute.pt", archive({"/etc/passwd": b"", "m/data.pkl": pickled({})}), "ZIP-NAME"),
    Case("name_not_utf8.pt", changed(archive({"m/data.pkl": pickled({}), "m/b": b""}), b"m/b", 2, b"\xff"), "ZIP-NAME"),
    Case("twice.pt", archive({"m/data.pkl": EVIL, "n/data.pkl": b"N."}).replace(b"n/data", b"m/data"), "ZIP-TWICE"),
    Case("local_name.pt", GOOD.replace(b"m/data.pkl", b"m/data.txt", 1), "ZIP-LOCAL"),
    Case("local_size.pt", GOOD[:18] + b"\x01" + GOOD[19:], "ZIP-LOCAL"),
    Case("local_beyond_end.pt", changed(GOOD, _CENTRAL, 42, b"\xff\xff\xff\x7f"), "ZIP-LOCAL"),
    Case("data_beyond_end.pt", changed(GOOD, _CENTRAL, 20, b"\xff\xff\0\0\xff\xff\0\0"), "ZIP-LOCAL"),
    Case("overlap.pt", _OVERLAP, "ZIP-OVERLAP"),
    Case("bomb.pt", archive({"m/data.pkl": b"\0" * 2**20}, packed=("m/data.pkl",)), "ZIP-BOMB"),
    Case("size_lies.pt", _PACKED.replace(_SIZE, b"\x32\0\0\0"), "ZIP-DATA"),
    Case("checksum.pt", GOOD.replace(craft.crc(pickled({"a": tensor()})), b"abcd"), "ZIP-CHECKSUM"),
    Case("other_archive.pt", archive({"word/document.xml": b"x"}), "PT-NONE"),
    Case("old_script.pt", archive({"m/model.json": b"{}"}), "PT-NONE"),
    Case("two_checkpoints.pt", archive({"a/data.pkl": pickled({}), "b/data.pkl": EVIL}), "PT-MANY"),
    Case("arrays.pt", archive({"a.npy": b"\x93NUMPY"}), "FORMAT-UNREAD"),
    Case("model.keras.pt", archive({"config.json": b"{}", "metadata.json": b"{}"}), "FORMAT-UNREAD"),
    Case("empty_zip.pt", b"PK\x05\x06" + b"\0" * 18, "FORMAT-UNREAD"),
)  # fmt: skip

REFUSED = (*PICKLES, *TENSORS, *ZIPS)

_META = called("torch._utils", "_rebuild_meta_tensor_no_storage", named("torch", "float32"), (3,), (1,), False)
_NEW = called("torch._utils", "_rebuild_tensor_v3", stored(count=16, kind="ByteStorage"), 0, (16,), (1,), False, None,
              named("torch", "int4"))  # fmt: skip
_LOOP = b"]q\x01(" + tensor() + b"h\x01e"

EXOTIC = (
    Case("one.pt", GOOD, ""),
    Case("tensor_alone.pt", checkpoint(tensor()), ""),
    Case("list.pt", checkpoint([tensor(), {"x": tensor(storage=stored("1"))}], _TWO), ""),
    Case("packed_pickle.pt", checkpoint({"a": tensor()}, packed=("m/data.pkl",)), ""),
    Case("transposed.pt", checkpoint({"a": tensor((2, 2), (1, 2))}), ""),
    Case("expanded.pt", checkpoint({"a": tensor((9, 4), (0, 1))}), ""),
    Case("no_values.pt", checkpoint({"a": tensor((0, 7), (7, 1)), "b": tensor((0,), (1,), 99)}), ""),
    Case("scalar.pt", checkpoint({"a": tensor((), ())}), ""),
    Case("meta.pt", checkpoint({"a": _META}), ""),
    Case("new_type.pt", checkpoint({"a": _NEW}), ""),
    Case("name_like_path.pt", checkpoint({"../../etc/passwd": tensor(), "\x1b[2J": tensor()}), ""),
    Case("keys_of_all_kinds.pt", checkpoint({1: tensor(), None: tensor(offset=1, shape=(1,)), (1, "a"): 5}), ""),
    Case("holds_itself.pt", checkpoint(_LOOP), ""),
    Case("unused_storage.pt", checkpoint({"a": tensor()}, {"0": b"\0" * 16, "1": EVIL}), ""),
    Case("big.pt", checkpoint({"a": tensor()}, byteorder=b"big"), ""),
    Case("script.pt", _script(called("__torch__.m", "Net") + put({"w": tensor(), "training": False}) + b"b"), ""),
    Case("legacy.bin", legacy({"a": tensor()}, {"0": _FOUR}), ""),
    Case("legacy_window.th", legacy({"a": tensor((2,), storage=stored("0", 4, "FloatStorage", ("v", 2, 2)))},
                                    {"0": _FOUR}), ""),
)  # fmt: skip
