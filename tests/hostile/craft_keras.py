"""Builds HDF5 files and Keras archives: what h5py writes, and bytes changed afterwards to what it would not write."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

CONFIG = {"class_name": "Sequential", "config": {"name": "s", "layers": []}}
METADATA = {"keras_version": "3.15.1", "date_saved": "2026-01-01@00:00:00"}
FOUR = np.arange(4, dtype="<f4")


def h5(fill: Callable[[h5py.File], Any], **settings: Any) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w", **settings) as file:
        fill(file)
    return out.getvalue()


def one(file: h5py.File) -> None:
    file.create_dataset("d", data=FOUR)


def two(file: h5py.File) -> None:
    file.create_dataset("d", data=FOUR)
    file.create_dataset("e", data=FOUR)


def patched(content: bytes, old: bytes, new: bytes, times: int = 1) -> bytes:
    """Every place where `old` stands, of which there must be so many."""
    assert content.count(old) == times
    assert len(old) == len(new)
    return content.replace(old, new)


def moved(content: bytes, path: str, address: int) -> bytes:
    """The dataset says that its values lie somewhere else."""
    with h5py.File(io.BytesIO(content)) as file:
        real = file[path].id.get_offset()
    return patched(content, struct.pack("<Q", real), struct.pack("<Q", address))


def dense(file: h5py.File, kernel: Any = None) -> None:
    """A Dense layer as Keras 3 writes it."""
    group = file.create_group("layers/dense/vars")
    group.attrs["name"] = "answer"
    group["0"] = np.ones((2, 3), "<f4") if kernel is None else kernel
    group["1"] = np.zeros(3, "<f4")


def keras(
    weights: bytes | None = None,
    config: Any = CONFIG,
    extra: dict[str, bytes] | None = None,
    packed: tuple[str, ...] = (),
) -> bytes:
    out = io.BytesIO()
    text = config if isinstance(config, bytes) else json.dumps(config).encode()
    members = {"metadata.json": json.dumps(METADATA).encode(), "config.json": text} | (extra or {})
    if weights is not None:
        members["model.weights.h5"] = weights
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            kind = zipfile.ZIP_DEFLATED if name in packed else zipfile.ZIP_STORED
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=kind)
    return out.getvalue()


def linked(target: str) -> bytes:
    """An archive with a symbolic link in it."""
    out = io.BytesIO(keras(h5(dense)))
    with zipfile.ZipFile(out, "a") as archive:
        link = zipfile.ZipInfo("assets")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, target)
    return out.getvalue()
