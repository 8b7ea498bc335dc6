"""What the HDF5 library tells of a file: its objects, each visited once, or the values of one dataset.

Part of the process that `hdf5_child.py` starts, and nothing of weigh is imported here. Nothing is judged but what must
not be touched (`Refused`): links and storage that lead out of the file are seen before they are used. What a dataset
says of itself is reported as it stands, for `hdf5.py` to judge. To report another property: a key in `Walk.dataset`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

SLAB = 16 * 2**20
"""Bytes of a dataset that are unpacked at a time."""
PATH_LENGTH = 4096
HOPS = 16
"""Soft links that lead to soft links; HDF5 follows as many."""
FLOATS = {
    (2, 15, 10, 5, 0, 10, 15): "f16",
    (4, 31, 23, 8, 0, 23, 127): "f32",
    (8, 63, 52, 11, 0, 52, 1023): "f64",
    (2, 15, 7, 8, 0, 7, 127): "bf16",
}
"""Bytes; places of sign, exponent (and its bits), mantissa (and its bits); bias: our codec's id."""


class Refused(Exception):  # noqa: N818 - it is what is told, not a fault of this program's
    """The file asks for something that is not done."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


class Walk:
    """The objects of a file, each visited once."""

    def __init__(self, library: Any, ask: dict[str, Any], clock: Any) -> None:
        self.library, self.ask, self.clock = library, ask, clock
        self.datasets: list[dict[str, Any]] = []
        self.names: dict[str, str] = {}
        self.soft: dict[str, str] = {}
        self.again = self.others = self.objects = self.runs = 0

    def run(self, root: Any) -> dict[str, Any]:
        """Everything that is told of the file."""
        attributes = self.texts(root, ("model_config", "keras_version", "backend"))
        attributes["marks"] = [name for name in ("layer_names", "training_config") if self.has(root, name)]
        seen: set[int] = set()
        left = [(root, b".", "", 0)]
        while left:
            parent, link, path, depth = left.pop()
            self.clock.moves()
            info = self.library.h5o.get_info(parent, link)
            if path and info.addr in seen:
                self.again += 1
                continue
            seen.add(info.addr)
            if info.type == self.library.h5o.TYPE_GROUP:
                if depth >= self.ask["depth"]:
                    raise Refused("H5-DEPTH", f"groups are nested deeper than {self.ask['depth']}")
                group = self.library.h5g.open(parent, link) if path else root
                left += [(group, name, below, depth + 1) for name, below in self.links(group, path)]
            elif info.type == self.library.h5o.TYPE_DATASET:
                self.datasets.append(self.dataset(self.library.h5d.open(parent, link), path, info.addr))
            else:
                self.others += 1
        self.follow()
        return {
            "attributes": attributes,
            "datasets": self.datasets,
            "names": self.names,
            "soft": len(self.soft),
            "again": self.again,
            "others": self.others,
        }

    def count(self) -> None:
        """Another link, and so at most one more object."""
        self.clock.moves()
        self.objects += 1
        if self.objects > self.ask["objects"]:
            raise Refused("H5-OBJECTS", f"the file holds more than {self.ask['objects']:,} groups and datasets")

    def links(self, group: Any, path: str) -> list[tuple[bytes, str]]:
        """Names of the hard links of a group, last first. Soft ones are noted; any other kind leads outside."""
        found: list[tuple[bytes, str]] = []

        def one(name: bytes, info: Any) -> Refused | None:
            # h5py loses exceptions in its callbacks, so what is wrong is kept; anything returned ends the loop.
            try:
                self.count()
                self.link(group, path, name, info.type, found)
            except Refused as cause:
                wrong.append(cause)
            return wrong[0] if wrong else None

        wrong: list[Refused] = []
        group.links.iterate(one, info=True)
        if wrong:
            raise wrong[0]
        if path.endswith("/vars") or path == "/vars":
            name = self.texts(group, ("name",)).get("name")
            if name is not None:
                self.names[path] = name
        return sorted(found, reverse=True)

    def link(self, group: Any, path: str, name: bytes, kind: int, found: list[tuple[bytes, str]]) -> None:
        """Note one link."""
        below = f"{path}/{name.decode('utf-8', 'backslashreplace')}"
        if not name or b"/" in name or name == b".":
            raise Refused("H5-NAME", f"a link is called {below[-200:]!r}, which HDF5 would take for a path")
        if len(below) > PATH_LENGTH:
            raise Refused("H5-NAME", f"a name is longer than {PATH_LENGTH:,} characters with its groups")
        if kind == self.library.h5l.TYPE_HARD:
            found.append((name, below))
        elif kind == self.library.h5l.TYPE_SOFT:
            self.soft[below] = group.links.get_val(name).decode("utf-8", "backslashreplace")
        else:
            raise Refused("H5-LINK", f"{below[-200:]!r} is a link that leads to another file")

    def follow(self) -> None:
        """Soft links are not used; that they lead round in a circle is still told."""
        for begin in self.soft:
            path = begin
            for _ in range(HOPS):
                target = self.soft.get(path)
                if target is None:
                    break
                path = target if target.startswith("/") else f"{path.rpartition('/')[0]}/{target}"
            else:
                raise Refused("H5-LOOP", f"soft links lead round in a circle from {begin[-200:]!r}")

    # ---- attributes

    def has(self, holder: Any, name: str) -> bool:
        """Whether the object has this attribute."""
        return bool(self.library.h5a.exists(holder, name.encode()))

    def texts(self, holder: Any, names: tuple[str, ...]) -> dict[str, Any]:
        """Those of the attributes that are there and are one text."""
        found = {}
        for name in names:
            if self.has(holder, name):
                text = self.text(self.library.h5a.open(holder, name.encode()), name)
                if text is not None:
                    found[name] = text
        return found

    def text(self, attribute: Any, name: str) -> str | None:
        """An attribute's text; None where it is something else."""
        kind = attribute.get_type()
        if kind.get_class() != self.library.h5t.STRING or attribute.shape not in ((), (1,)):
            return None
        if attribute.get_storage_size() > self.ask["text"]:
            raise Refused("H5-TEXT", f"the attribute {name!r} is longer than {self.ask['text']:,} bytes")
        numpy = sys.modules["numpy"]
        value = numpy.empty(attribute.shape, dtype=attribute.dtype)
        attribute.read(value)
        word = value.item() if value.shape == () else value[0]
        if isinstance(word, bytes):
            word = word.decode("utf-8", "backslashreplace")
        if not isinstance(word, str) or len(word) > self.ask["text"]:
            raise Refused("H5-TEXT", f"the attribute {name!r} is longer than {self.ask['text']:,} bytes")
        return word.encode("utf-8", "backslashreplace").decode()

    # ---- datasets

    def dataset(self, dataset: Any, path: str, address: int) -> dict[str, Any]:
        """One dataset. Its creation list is looked at first: the extent of a virtual one lies in other files."""
        plan = stays_inside(self.library, dataset, path)
        kind = dataset.get_type()
        codec, plain = described(self.library.h5t, kind)
        space = dataset.get_space()
        layouts = self.library.h5d
        layout = {layouts.COMPACT: "compact", layouts.CONTIGUOUS: "contiguous"}.get(plan.get_layout(), "chunked")
        stored = dataset.get_storage_size()
        found: dict[str, Any] = {
            "path": path,
            "shape": list(space.get_simple_extent_dims()) if space.get_simple_extent_type() == 1 else [],
            "empty": space.get_simple_extent_type() == self.library.h5s.NULL,
            "codec": codec,
            "plain": plain and layout == "contiguous",
            "layout": layout,
            "width": kind.get_size(),
            "stored": stored,
            "runs": [],
            "filters": [],
            "absent": [],
        }
        if layout == "contiguous" and stored and dataset.get_offset() is not None:
            found["runs"] = [[dataset.get_offset(), stored]]
        elif layout == "compact":
            found["runs"] = [[address, stored]]
        elif layout == "chunked":
            found["runs"] = self.chunks(dataset)
            for number in range(plan.get_nfilters()):
                code, _, _, name = plan.get_filter(number)
                word = f"{name.decode('utf-8', 'backslashreplace')[:80]} ({code})"
                found["filters"].append(word)
                if not self.library.h5z.filter_avail(code):
                    found["absent"].append(word)
        if codec == "unknown:opaque":
            found.update(self.texts(dataset, ("dtype",)))
        return found

    def chunks(self, dataset: Any) -> list[list[int]]:
        """Place and length of each stored chunk."""
        found: list[list[int]] = []

        def one(chunk: Any) -> bool | None:
            self.runs += 1
            self.clock.moves()
            if self.runs > self.ask["objects"]:
                return True
            if chunk.byte_offset is not None and chunk.size:
                found.append([chunk.byte_offset, chunk.size])
            return None

        dataset.chunk_iter(one)
        if self.runs > self.ask["objects"]:
            raise Refused("H5-OBJECTS", f"the file holds more than {self.ask['objects']:,} chunks")
        return found


def stays_inside(library: Any, dataset: Any, path: str) -> Any:
    """The dataset's creation list, if all of its values lie in this file."""
    plan = dataset.get_create_plist()
    if plan.get_layout() == library.h5d.VIRTUAL:
        raise Refused("H5-VIRTUAL", f"the values of {path[-200:]!r} lie in other datasets (a virtual dataset)")
    if plan.get_external_count():
        raise Refused("H5-EXTERNAL", f"the values of {path[-200:]!r} lie in another file (external storage)")
    return plan


def described(types: Any, kind: Any) -> tuple[str, bool]:
    """Our codec's id, or `unknown:` and the class, or the class alone of what holds no numbers; stored as is."""
    group, width = kind.get_class(), kind.get_size()
    if group == types.FLOAT:
        codec = FLOATS.get((width, *kind.get_fields(), kind.get_ebias()), "unknown:float")
        return codec, kind.get_order() == types.ORDER_LE
    if group == types.INTEGER:
        whole = kind.get_precision() == 8 * width and width in (1, 2, 4, 8)
        sign = "u" if kind.get_sign() == types.SGN_NONE else "i"
        return f"{sign}{8 * width}" if whole else "unknown:integer", width == 1 or kind.get_order() == types.ORDER_LE
    if group == types.ENUM:
        members = [kind.get_member_name(number).upper() for number in range(min(kind.get_nmembers(), 3))]
        return "bool" if width == 1 and sorted(members) == [b"FALSE", b"TRUE"] else "unknown:enumeration", width == 1
    if group == types.COMPOUND and kind.get_nmembers() == 2 and width == 8:
        halves = [described(types, kind.get_member_type(number)) for number in (0, 1)]
        return "c64" if halves == [("f32", True)] * 2 else "unknown:compound", True
    words = {
        types.OPAQUE: "unknown:opaque", types.BITFIELD: "unknown:bit field", types.ARRAY: "unknown:array",
        types.COMPOUND: "unknown:compound", types.STRING: "string", types.VLEN: "varying length",
        types.REFERENCE: "reference", types.TIME: "time",
    }  # fmt: skip
    return words.get(group, "unknown:type"), group == types.OPAQUE


# ------------------------------------------------------------------------------------------------------ values


def slabs(shape: tuple[int, ...], width: int, rows: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Start and extent of blocks of at most SLAB bytes that follow each other in the order of the shape.

    `rows` is the chunk's extent along the first axis: whole rows of chunks are taken where they fit.
    """
    axis, inner = len(shape), width
    while axis > 0 and inner * shape[axis - 1] <= SLAB:
        axis -= 1
        inner *= shape[axis]
    if axis == 0:
        yield (0,) * len(shape), shape
        return
    axis -= 1
    step = max(SLAB // inner, 1)
    if axis == 0 and step > rows:
        step -= step % rows
    numpy = sys.modules["numpy"]
    for outer in numpy.ndindex(*shape[:axis]):
        for begin in range(0, shape[axis], step):
            start = (*outer, begin, *(0 for _ in shape[axis + 1 :]))
            yield start, (*(1 for _ in outer), min(step, shape[axis] - begin), *shape[axis + 1 :])


def write_values(library: Any, root: Any, ask: dict[str, Any], clock: Any, out: Any) -> None:
    """All values of the dataset `ask["path"]` in their order, little-endian, as the codec that was told stores them."""
    here = root
    *groups, last = ask["path"].encode().split(b"/")[1:]
    for name in (*groups, last):
        if here.links.get_info(name).type != library.h5l.TYPE_HARD:
            raise Refused("H5-LINK", "a link on the way to the dataset leads elsewhere")
        here = library.h5d.open(here, name) if name is last else library.h5g.open(here, name)
    plan = stays_inside(library, here, ask["path"])
    kind = here.get_type()
    codec, _ = described(library.h5t, kind)
    if kind.get_class() in (library.h5t.FLOAT, library.h5t.INTEGER) and kind.get_order() == library.h5t.ORDER_BE:
        kind = kind.copy()
        kind.set_order(library.h5t.ORDER_LE)
    numpy = sys.modules["numpy"]
    space = here.get_space()
    shape, width = space.get_simple_extent_dims(), kind.get_size()
    if codec != ask["codec"] or list(shape) != ask["shape"]:
        raise Refused("H5-BROKEN", "the dataset is not what it was")
    rows = plan.get_chunk()[0] if plan.get_layout() == library.h5d.CHUNKED else 1
    for start, extent in slabs(shape, width, rows):
        clock.moves()
        values = numpy.empty((int(numpy.prod(extent, dtype=object)), width), dtype="u1")
        if shape:
            space.select_hyperslab(start, extent)
        here.read(library.h5s.create_simple(extent) if shape else library.h5s.create(0), space, values, kind)
        out.write(values.tobytes())
