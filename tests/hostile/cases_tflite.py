"""TensorFlow Lite files that must be refused, each with the rule that refuses it, and odd ones that must be read."""

from __future__ import annotations

import struct

from tests.hostile import craft_tflite as craft
from tests.hostile.cases import Case
from tests.hostile.craft_tflite import Number, Numbers, Raw, Table, flatbuffer, model, node, tensor, tflite

ONE = tensor()


def _outside(group: int = 0, offset: int = 0, length: int = 8, name: str = "w.bin", tensor_id: int = 7) -> bytes:
    entry = Table({0: Number("I", 7), 1: Number("I", group), 2: Number("Q", offset), 3: Number("Q", length)})
    extra = {8: [Table({0: name})], 9: [entry]}
    return tflite([tensor(buffer=0, extra={10: Number("I", tensor_id)})], extra=extra)


def _far(at: int, size: int) -> bytes:
    return flatbuffer(
        model([craft.graph([ONE])], extra={4: [Table({}), Table({1: Number("Q", at), 2: Number("Q", size)})]})
    )


def _sparse(kind: int = 1, data: bytes = b"\0" * 8) -> bytes:
    axis = Table({2: Number("B", kind), 3: Table({0: Numbers("i", [0, 1])})})
    return tflite([tensor(shape=[4], extra={6: Table({2: [axis]})})], [data])


WHOLE = tflite([ONE])
TFLITE = (
    Case("garbage.tflite", b"\xde\xad\xbe\xef" * 64, "TFL-MAGIC"),
    Case("short.tflite", b"\x10\0\0\0TFL3", "FLAT-RANGE"),
    Case("root_beyond.tflite", b"\xff\xff\xff\xffTFL3" + b"\0" * 64, "FLAT-RANGE"),
    Case("root_in_itself.tflite", b"\0\0\0\0TFL3" + b"\0" * 64, "FLAT-TABLE"),
    Case("cut.tflite", WHOLE[:-20], "FLAT-RANGE"),
    Case("vtable_before_file.tflite", b"\x08\0\0\0TFL3" + struct.pack("<i", 999) + b"\0" * 64, "FLAT-RANGE"),
    Case("vtable_odd.tflite", b"\x0c\0\0\0TFL3\5\0\4\0\4\0\0\0" + b"\0" * 64, "FLAT-TABLE"),
    Case("table_beyond.tflite", b"\x0c\0\0\0TFL3\4\0\xff\xff\4\0\0\0" + b"\0" * 64, "FLAT-TABLE"),
    Case("field_beyond_table.tflite", b"\x10\0\0\0TFL3\6\0\6\0\x20\0\0\0\x08\0\0\0" + b"\0" * 64, "FLAT-FIELD"),
    Case("vector_of_4_billion.tflite", tflite([tensor(extra={0: Numbers("i", [2], 2**32 - 1)})]), "FLAT-VECTOR"),
    Case("name_of_4_billion.tflite", tflite([tensor(extra={3: Numbers("b", [2], 2**32 - 1)})]), "FLAT-VECTOR"),
    Case("offset_beyond.tflite", tflite([tensor(extra={3: Raw(2**31)})]), "FLAT-RANGE"),
    Case("same_table_30000_times.tflite", tflite([tensor("n" * 500)] * 30_000), "FLAT-AGAIN"),
    Case("version_2.tflite", flatbuffer(model([], extra={0: Number("I", 2)})), "TFL-VERSION"),
    Case("no_such_buffer.tflite", tflite([tensor(buffer=9)]), "TFL-BUFFER"),
    Case("no_such_metadata.tflite", tflite([ONE], extra={6: [Table({0: "m", 1: Number("I", 9)})]}), "TFL-BUFFER"),
    Case("far_buffer_beyond.tflite", _far(1 << 40, 8), "TFL-BUFFER"),
    Case("far_buffer_too_long.tflite", _far(8, (1 << 64) - 1), "TFL-BUFFER"),
    Case("negative_extent.tflite", tflite([tensor(shape=[-2])]), "TFL-SHAPE"),
    Case("product.tflite", tflite([tensor(shape=[2**31 - 1] * 3)]), "TFL-SHAPE"),
    Case("rank_100.tflite", tflite([tensor(shape=[1] * 100)]), "TFL-SHAPE"),
    Case("too_few_bytes.tflite", tflite([tensor(shape=[3])]), "TFL-SIZE"),
    Case("too_many_bytes.tflite", tflite([tensor(shape=[1])]), "TFL-SIZE"),
    Case("sparse_too_many.tflite", _sparse(data=b"\0" * 20), "TFL-SIZE"),
    Case("sparse_kind.tflite", _sparse(kind=9), "TFL-SPARSE"),
    Case("overlap.tflite", flatbuffer(model(
        [craft.graph([tensor("a"), tensor("b", buffer=2)])],
        extra={4: [Table({}), *(Table({1: Number("Q", at), 2: Number("Q", 8)}) for at in (8, 12))]},
    )), "TFL-OVERLAP"),
    Case("no_such_operator.tflite", tflite([ONE], nodes=[node(5, [0])]), "TFL-INDEX"),
    Case("external_outside.tflite", _outside(name="../../../../etc/passwd"), "FILE-OUTSIDE"),
    Case("external_absent.tflite", _outside(), "FILE-MISSING"),
    Case("external_no_group.tflite", _outside(group=3), "TFL-EXTERNAL"),
    Case("external_no_entry.tflite", _outside(tensor_id=8), "TFL-EXTERNAL"),
    Case("external_beyond.tflite", _outside(offset=2**63, name="external_beyond.tflite"), "TFL-EXTERNAL"),
    Case("external_size.tflite", _outside(length=7, name="external_size.tflite"), "TFL-SIZE"),
)  # fmt: skip

REFUSED = TFLITE

EXOTIC = (
    Case("plain.tflite", WHOLE, ""),
    Case("no_graphs.tflite", flatbuffer(model([])), ""),
    Case("nothing.tflite", flatbuffer(Table({0: Number("I", 3)})), ""),
    Case("new_type.tflite", tflite([tensor(kind=99)]), ""),
    Case("strings.tflite", tflite([tensor(kind=craft.STRING)]), ""),
    Case("int4_odd.tflite", tflite([tensor(shape=[3], kind=craft.INT4)], [b"\0\0"]), ""),
    Case("scale_of_no_axis.tflite", tflite([tensor(shape=[2, 1], scales=[1, 2, 3], kind=craft.INT32)]), ""),
    Case("external_in_itself.tflite", _outside(name="external_in_itself.tflite"), ""),
    Case("far_buffer.tflite", _far(8, 8), ""),
    Case("sparse.tflite", _sparse(), ""),
    Case("name_not_utf8.tflite", tflite([tensor(extra={3: b"\xff\xfe"})]), ""),
    Case("trailing_zip.tflite", WHOLE + b"PK\x05\x06" + b"\0" * 18, ""),
    Case("round_in_while.tflite", flatbuffer(model(
        [craft.graph([ONE], [node(0, [0], [0], {4: Table({0: Number("i", 0), 1: Number("i", 0)})})], [0], [0])],
        codes=[craft.WHILE],
    )), ""),
)  # fmt: skip
