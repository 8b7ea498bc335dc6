"""HDF5 and Keras files that must be refused, each with the rule that refuses it, and odd ones that must be read."""

from __future__ import annotations

import struct
from typing import Any

import h5py
import numpy as np

from tests.hostile import craft_keras as craft
from tests.hostile.cases import Case
from tests.hostile.craft_keras import FOUR, dense, h5, keras, moved, one, patched, two

DENSE = h5(dense)
LONG = h5(lambda file: file.create_dataset("d", data=np.zeros(12345, "<f4")))


def _shape(*shape: int, **settings: Any) -> bytes:
    return h5(lambda file: file.create_dataset("d", shape=shape, dtype="f8", **settings))


def _soft(**targets: str) -> bytes:
    def fill(file: h5py.File) -> None:
        one(file)
        for name, target in targets.items():
            file[name] = h5py.SoftLink(target)

    return h5(fill)


def _outside(file: h5py.File) -> None:
    file["x"] = h5py.ExternalLink("/etc/passwd", "/a")


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "d", (4,))
    file.create_virtual_dataset("d", layout)


def _virtual_without_end(file: h5py.File) -> None:
    """Its extent is that of the other file, which must not be opened to tell it."""
    layout = h5py.VirtualLayout((4,), "f4", maxshape=(None,))
    source = h5py.VirtualSource("/etc/passwd", "d", (4,), maxshape=(None,))
    layout[0 : h5py.h5s.UNLIMITED] = source[0 : h5py.h5s.UNLIMITED]
    file.create_virtual_dataset("d", layout)


def _nested(depth: int) -> bytes:
    def fill(file: h5py.File) -> None:
        group = file
        for _ in range(depth):
            group = group.create_group("g")
        one(group)

    return h5(fill)


def _attribute(value: Any) -> bytes:
    def fill(file: h5py.File) -> None:
        one(file)
        file.attrs["model_config"] = value

    return h5(fill)


def _external(name: str) -> bytes:
    return h5(lambda file: file.create_dataset("d", shape=(4,), dtype="u1", external=[(name, 0, 4)]))


HDF5 = (
    Case("plain_text.h5", b"plain text, not HDF5", "KERAS-MAGIC"),
    Case("magic_only.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 60, "H5-BROKEN"),
    Case("cut.h5", LONG[:9000], "H5-BROKEN"),
    Case("bits.h5", bytes(255 - b if 96 <= i < 800 and not i % 13 else b for i, b in enumerate(LONG)), "H5-BROKEN"),
    Case("shape_2_to_50.h5", _shape(1 << 50, chunks=(1024,), compression="gzip"), "H5-BOMB"),
    Case("shape_not_written.h5", _shape(1 << 40), "H5-BOMB"),
    Case("shape_of_text.h5", h5(lambda file: file.create_dataset(
        "d", shape=(1 << 30,), dtype=h5py.string_dtype(), chunks=(1 << 16,))), "H5-BOMB"),
    Case("shape_2_to_61.h5", _shape(1 << 61, chunks=(1024,)), "H5-SHAPE"),
    Case("shape_wraps.h5", LONG.replace(struct.pack("<Q", 12345), struct.pack("<Q", 1 << 62)), "H5-BROKEN"),
    Case("shape_smaller.h5", LONG.replace(struct.pack("<Q", 12345), struct.pack("<Q", 5)), "H5-SIZE"),
    Case("data_behind_the_end.h5", moved(h5(one), "d", 1 << 40), "H5-BROKEN"),
    Case("data_shared.h5", moved(h5(two), "e", 1400), "H5-OVERLAP"),
    Case("soft_loop.h5", _soft(a="/b", b="/a"), "H5-LOOP"),
    Case("soft_loop_of_itself.h5", _soft(a="a"), "H5-LOOP"),
    Case("external_link.h5", h5(_outside), "H5-LINK"),
    Case("external_storage.h5", _external("/etc/passwd"), "H5-EXTERNAL"),
    Case("external_storage_here.h5", _external("external_storage_here.h5"), "H5-EXTERNAL"),
    Case("virtual.h5", h5(_virtual), "H5-VIRTUAL"),
    Case("virtual_without_end.h5", h5(_virtual_without_end), "H5-VIRTUAL"),
    Case("deep.h5", _nested(2000), "H5-DEPTH"),
    Case("slash_in_name.h5", patched(h5(lambda file: file.create_dataset("a_b", data=FOUR)), b"a_b\0", b"a/b\0"),
         "H5-NAME"),
    Case("dot_as_name.h5", patched(h5(lambda file: file.create_dataset("@@", data=FOUR)), b"@@\0", b".\0\0"),
         "H5-NAME"),
    Case("long_name.h5", h5(lambda file: file.create_group("n" * 5000)), "H5-NAME"),
    Case("no_datasets.h5", h5(lambda file: [file.create_group(f"g{i}") for i in range(500)]), "KERAS-NONE"),
    Case("config_of_braces.h5", _attribute("{" * 5000), "JSON-DEPTH"),
    Case("config_not_json.h5", _attribute("__import__('os').system('true')"), "JSON-SYNTAX"),
    Case("config_list.h5", _attribute("[]"), "JSON-OBJECT"),
    Case("config_17_megabytes.h5", _attribute("{" + " " * 17_000_000 + "}"), "H5-TEXT", 5),
)  # fmt: skip

PACKED = ("model.weights.h5",)
BURST = keras(DENSE, packed=PACKED)
KERAS = (
    Case("empty.keras", b"PK\x05\x06" + b"\0" * 18, "FORMAT-UNREAD"),
    Case("other_archive.keras", keras(DENSE).replace(b"metadata.json", b"metadata.jsom"), "KERAS-NONE"),
    Case("no_weights.keras", keras(), "KERAS-WEIGHTS"),
    Case("weights_of_text.keras", keras(b"import os" * 20), "H5-BROKEN"),
    Case("weights_cut.keras", keras(LONG[:9000]), "H5-BROKEN"),
    Case("weights_shape.keras", keras(_shape(1 << 50, chunks=(1024,), compression="gzip")), "H5-BOMB"),
    Case("weights_elsewhere.keras", keras(_external("/etc/passwd")), "H5-EXTERNAL"),
    Case("config_cut.keras", keras(DENSE, b'{"class_name": '), "JSON-SYNTAX"),
    Case("config_deep.keras", keras(DENSE, b'{"a":' * 5000), "JSON-DEPTH"),
    Case("config_burst.keras", keras(DENSE, b'{"a":"' + b" " * 2_000_000 + b'"}', packed=("config.json",)), "ZIP-BOMB"),
    Case("weights_burst.keras", keras(DENSE + b"\0" * (65 << 20), packed=PACKED), "KERAS-PACKED"),
    Case("weights_longer.keras",
         patched(BURST, struct.pack("<I", len(DENSE)), struct.pack("<I", len(DENSE) - 1), 2), "KERAS-PACKED"),
    Case("weights_shorter.keras",
         patched(BURST, struct.pack("<I", len(DENSE)), struct.pack("<I", len(DENSE) + 1), 2), "KERAS-PACKED"),
    Case("two_sizes.keras", patched(
        keras(DENSE), struct.pack("<II", len(DENSE), len(DENSE)), struct.pack("<II", len(DENSE), len(DENSE) + 1), 2),
        "KERAS-PACKED"),
    Case("traversal.keras", keras(DENSE, extra={"../../evil.py": b""}), "ZIP-NAME"),
    Case("absolute.keras", keras(DENSE, extra={"/etc/evil": b""}), "ZIP-NAME"),
    Case("link.keras", craft.linked("/etc/passwd"), "ZIP-LINK"),
    Case("cut.keras", keras(DENSE)[:-30], "ZIP-END"),
)  # fmt: skip

REFUSED = (*HDF5, *KERAS)


def _cycle(file: h5py.File) -> None:
    one(file)
    file.create_group("g")["self"] = file["/"]
    file["again"] = file["d"]


def _references(file: h5py.File) -> None:
    one(file)
    file.create_dataset("r", data=[file["d"].ref], dtype=h5py.ref_dtype)
    file.create_dataset("t", data=["a", "b"], dtype=h5py.string_dtype())


def _filtered(file: h5py.File) -> None:
    """A dataset that was packed by a filter which nobody has."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((4,))
    plan.set_filter(32123, h5py.h5z.FLAG_OPTIONAL, (1,))
    made = h5py.h5d.create(file.id, b"d", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((4,)), plan)
    made.write_direct_chunk((0,), b"x" * 9)


def _compact(file: h5py.File) -> None:
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.COMPACT)
    made = h5py.h5d.create(file.id, b"d", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((4,)), plan)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, FOUR)


def _types(file: h5py.File) -> None:
    for kind in ("f2", ">f4", "f8", "i1", ">i2", "u4", ">u8", "?", "c8", "c16", "V3"):
        file.create_dataset(f"kind {kind[-2:]}", data=np.zeros(3, kind))
    file.create_dataset("records", data=np.zeros(3, [("a", "<f4"), ("b", "<i8")]))
    file.create_dataset("nothing", data=h5py.Empty("f4"))
    file.create_dataset("no rows", shape=(0, 3), dtype="f4")
    file.create_dataset("one", data=np.float32(3))
    file.create_dataset("never written", shape=(7,), dtype="f4")


EXOTIC = (
    Case("plain.h5", h5(one), ""),
    Case("newest_form.h5", h5(one, libver="latest"), ""),
    Case("user_block.h5", h5(one, userblock_size=1024), ""),
    Case("all_types.h5", h5(_types), ""),
    Case("compact.h5", h5(_compact), ""),
    Case("packed.h5", h5(lambda file: file.create_dataset(
        "d", data=np.arange(600.0).reshape(30, 20), chunks=(7, 6), compression="gzip", shuffle=True)), ""),
    Case("zeros_packed.h5", h5(lambda file: file.create_dataset(
        "d", data=np.zeros((2000, 1000), "f4"), compression="gzip")), ""),
    Case("hard_link_cycle.h5", h5(_cycle), ""),
    Case("soft_links.h5", _soft(a="/b", b="/d", gone="/nowhere"), ""),
    Case("references.h5", h5(_references), ""),
    Case("unknown_filter.h5", h5(_filtered), ""),
    Case("names.h5", h5(lambda file: file.create_dataset("../../etc/\x1b[31m\u202e\u00e9", data=FOUR)), ""),
    Case("nested_50.h5", _nested(50), ""),
    Case("no_weights.h5", h5(lambda file: file.attrs.__setitem__("layer_names", np.array([], "S1"))), ""),
    Case("plain.keras", keras(DENSE), ""),
    Case("compressed.keras", keras(DENSE, packed=PACKED), ""),
    Case("assets.keras", keras(DENSE, extra={"assets/layers/vocabulary.txt": b"a\nb"}), ""),
    Case("lambda.keras", keras(DENSE, {"class_name": "Lambda", "config": {"function": ["4wE=", None, None]}}), ""),
)  # fmt: skip
