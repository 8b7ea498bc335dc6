"""ONNX and NumPy files that must be refused, each with the rule that refuses it, and odd ones that must be read."""

from __future__ import annotations

from tests.hostile import craft_onnx as craft
from tests.hostile.cases import Case
from tests.hostile.craft_onnx import constant, node, npy, npz, number, onnx, run, tensor

EIGHT = b"\0" * 8
ONE = tensor(raw=EIGHT)
BESIDE = {"location": "weights.bin", "length": "8"}
_VALUES = run(1, tensor("s", raw=EIGHT))


def _beside(**changed: str) -> bytes:
    return onnx([tensor(external=BESIDE | changed)])


def _sparse(body: bytes) -> bytes:
    return onnx(extra=run(15, body))


ONNX = (
    Case("garbage.onnx", b"\xde\xad\xbe\xef" * 64, "ONNX-NUMBER"),
    Case("long_number.onnx", b"\x08" + b"\xff" * 11, "ONNX-NUMBER"),
    Case("cut_number.onnx", b"\x08\x08\x10\xff", "ONNX-NUMBER"),
    Case("cut_fixed.onnx", b"\x08\x08\x42\x00\x99\x06\x00", "ONNX-NUMBER"),
    Case("long_message.onnx", craft.varint(7 << 3 | 2) + craft.varint(1 << 62) + b"x", "ONNX-END"),
    Case("cut_in_graph.onnx", onnx([ONE])[:-3], "ONNX-END"),
    Case("inner_longer_than_outer.onnx", craft.model(run(5, ONE)[:-1]), "ONNX-END"),
    Case("field_zero.onnx", onnx([ONE]) + b"\0\0", "ONNX-FIELD"),
    Case("text_as_number.onnx", onnx([ONE + number(8, 1)]), "ONNX-FIELD"),
    Case("many_attributes.onnx", onnx(nodes=[node("A", attributes=[b""] * 5000)]), "ONNX-FIELD"),
    Case("many_extents.onnx", onnx([tensor(shape=[1] * 9000, raw=b"\0" * 4)]), "ONNX-FIELD"),
    Case("packed_extents.onnx", onnx([run(1, b"\1" * 100_000) + number(2, 1)]), "ONNX-FIELD"),
    Case("two_graphs.onnx", onnx([ONE]) + run(7, craft.graph([ONE])), "ONNX-TWICE"),
    Case("raw_data_twice.onnx", onnx([tensor(raw=EIGHT, extra=run(9, EIGHT))]), "ONNX-TWICE"),
    Case("no_graph.onnx", number(1, 8) + run(2, "maker"), "ONNX-GRAPH"),
    Case("nested_5000.onnx", craft.nested(5000), "ONNX-DEPTH"),
    Case("negative_extent.onnx", onnx([tensor(shape=[-1], raw=EIGHT)]), "ONNX-SHAPE"),
    Case("product.onnx", onnx([tensor(shape=[2**40, 2**40], raw=EIGHT)]), "ONNX-SHAPE"),
    Case("rank_100.onnx", onnx([tensor(shape=[1] * 100, raw=b"\0" * 4)]), "ONNX-SHAPE"),
    Case("raw_data_short.onnx", onnx([tensor(shape=[1000], raw=EIGHT)]), "ONNX-SIZE"),
    Case("no_data.onnx", onnx([tensor()]), "ONNX-SIZE"),
    Case("too_few_numbers.onnx", onnx([tensor(kind=craft.INT64, extra=run(7, b"\1"))]), "ONNX-SIZE"),
    Case("cut_varint_data.onnx", onnx([tensor(kind=craft.INT64, extra=run(7, b"\1\xff"))]), "ONNX-SIZE"),
    Case("half_a_float.onnx", onnx([tensor(extra=run(4, b"\0" * 7))]), "ONNX-SIZE"),
    Case("raw_and_typed.onnx", onnx([tensor(raw=EIGHT, extra=run(4, EIGHT))]), "ONNX-DATA"),
    Case("wrong_field.onnx", onnx([tensor(extra=run(7, b"\1\1"))]), "ONNX-DATA"),
    Case("segments.onnx", onnx([tensor(raw=EIGHT, extra=run(3, number(1, 0)))]), "ONNX-DATA"),
    Case("sparse_without_indices.onnx", _sparse(_VALUES + number(3, 8)), "ONNX-DATA"),
    Case("name_twice.onnx", onnx([ONE, ONE]), "ONNX-NAME"),
    Case("no_name.onnx", onnx([tensor("", raw=EIGHT)]), "ONNX-NAME"),
    Case("outside.onnx", _beside(location="../../../../etc/passwd"), "FILE-OUTSIDE"),
    Case("absolute.onnx", _beside(location="/etc/passwd"), "FILE-OUTSIDE"),
    Case("not_there.onnx", _beside(), "FILE-MISSING"),
    Case("itself_too_long.onnx", _beside(location="itself_too_long.onnx", offset="9" * 15), "ONNX-EXTERNAL"),
    Case("length_negative.onnx", _beside(location="length_negative.onnx", length="-1"), "ONNX-EXTERNAL"),
    Case("no_location.onnx", onnx([tensor(external={"length": "8"})]), "ONNX-EXTERNAL"),
    Case("unknown_key.onnx", _beside(__class__="x"), "ONNX-EXTERNAL"),
    Case("petabyte.onnx", _beside(location="petabyte.onnx", length=str(2**63 - 1)), "ONNX-SIZE"),
    Case("here_and_beside.onnx", onnx([tensor(raw=EIGHT, external=BESIDE)]), "ONNX-DATA"),
)

NUMPY = (
    Case("magic_only.npy", b"\x93NUMPY", "NPY-MAGIC"),
    Case("version_9.npy", npy(version=9), "NPY-MAGIC"),
    Case("text.npz", b"plain text", "NPY-MAGIC"),
    Case("shape_8_pib.npy", npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1125899906842624,)}"), "NPY-SIZE"),
    Case("short.npy", npy(data=b"\0" * 7), "NPY-SIZE"),
    Case("much.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 9)}"), "NPY-SHAPE"),
    Case("rank.npy", npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'1, ' * 99})}}"), "NPY-SHAPE"),
    Case("objects.npy", npy("{'descr': '|O', 'fortran_order': False, 'shape': (2,)}"), "NPY-TYPE"),
    Case("text_array.npy", npy("{'descr': '<U1', 'fortran_order': False, 'shape': (2,)}"), "NPY-TYPE"),
    Case("fields.npy", npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}"), "NPY-HEADER"),
    Case("call.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (exit(),)}"), "NPY-HEADER"),
    Case("key_twice.npy", npy("{'descr': '<f4', 'descr': '<f8', 'fortran_order': False, 'shape': (2,)}"), "NPY-HEADER"),
    Case("deep.npy", npy("(" * 60_000), "NPY-HEADER"),
    Case("long_number.npy", npy("{'descr': '<f4', 'shape': (" + "9" * 5000 + ",), 'fortran_order': 1}"), "NPY-HEADER"),
    Case("header_beyond.npy", npy(length=60_000), "NPY-HEADER"),
    Case("header_4_gib.npy", npy(version=2, length=2**32 - 1), "NPY-HEADER"),
    Case("no_arrays.npz", npz({"a.txt": b"hello"}), "NPY-NONE"),
    Case("objects.npz", npz({"a.npy": npy("{'descr': '|O', 'fortran_order': False, 'shape': (2,)}")}), "NPY-TYPE"),
    Case("outside.npz", npz({"../a.npy": npy()}), "ZIP-NAME"),
    Case("broken_stream.npz", npz({"a.npy": npy()}, packed=True).replace(b"\x9b\xec", b"\xff\xff", 1), "NPY-PACKED"),
)  # fmt: skip

REFUSED = (*ONNX, *NUMPY)

_HALF = tensor("h", [3], craft.FLOAT16, extra=run(5, b"\1\x80\x78\2"))
EXOTIC = (
    Case("plain.onnx", onnx([ONE]), ""),
    Case("no_tensors.onnx", onnx(), ""),
    Case("new_type.onnx", onnx([tensor(kind=99, raw=b"\0" * 5)]), ""),
    Case("strings.onnx", onnx([tensor(kind=craft.STRING, extra=run(6, "a") + run(6, "b"))]), ""),
    Case("typed_halves.onnx", onnx([_HALF]), ""),
    Case("unpacked_floats.onnx", onnx([tensor(extra=(b"\x25" + b"\0" * 4) * 2)]), ""),
    Case("odd_4_bit.onnx", onnx([tensor("q", [3], craft.UINT4, raw=b"\0\0")]), ""),
    Case("external_in_itself.onnx", _beside(location="external_in_itself.onnx", offset="0"), ""),
    Case("unknown_field.onnx", onnx([ONE]) + run(99, "new"), ""),
    Case("same_name_in_branches.onnx", onnx(nodes=[
        node("If", ["c"], ["o"], [
            craft.branch("then_branch", craft.graph(nodes=[constant("w", ONE)])),
            craft.branch("else_branch", craft.graph(nodes=[constant("w", ONE)])),
        ])]), ""),
    Case("nested_60.onnx", craft.nested(60), ""),
    Case("plain.npy", npy(), ""),
    Case("scalar.npy", npy("{'shape': (), 'fortran_order': False, 'descr': '<f4'}", b"\0" * 4), ""),
    Case("empty.npy", npy("{'descr': '<f4', 'fortran_order': True, 'shape': (0, 3), }", b""), ""),
    Case("big_endian.npy", npy("{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }"), ""),
    Case("python_2.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2L,), }"), ""),
    Case("packed.npz", npz({"a.npy": npy(), "note.txt": b"x"}, packed=True), ""),
)  # fmt: skip
