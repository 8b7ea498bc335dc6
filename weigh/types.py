"""Every noun of weigh, in reading order: what a file holds, what it means, what it runs on, what it costs.

Nouns are frozen, slotted dataclasses without behaviour beyond what follows from their own fields; the verbs
are plain functions elsewhere. A plug-in (Format, Codec, PartKind, Family, Engine, Recipe) is a frozen record
that holds functions; each folder's `__init__.py` lists its records in one tuple. The nouns of a layer are written
down in `layers.py` and imported from here like all others.
No I/O here and no numpy at run time, so that `import weigh` stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from weigh.layers import Condition as Condition
from weigh.layers import Kept as Kept
from weigh.layers import Part as Part
from weigh.layers import PartKind as PartKind
from weigh.layers import Pass as Pass
from weigh.layers import Role as Role
from weigh.layers import Slot as Slot
from weigh.layers import State as State
from weigh.layers import StateKind as StateKind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Basis = Literal["counted", "measured", "derived", "assumed"]
Dialect = Literal["hf", "ggml", "other"]
Fits = Literal["yes", "no", "uncertain"]

ROLES: tuple[Role, ...] = (
    "embedding", "position", "head", "attention_q", "attention_k", "attention_v", "attention_o", "norm",
    "mlp_gate", "mlp_up", "mlp_down", "router", "expert", "shared_expert", "conv", "ssm", "vision", "audio",
    "mtp", "buffer", "other", "unknown",
)  # fmt: skip

NOT_COUNTED = frozenset({"buffer", "mtp"})
"""Roles left out of `total` and shown apart."""


# ---------------------------------------------------------------------------------------------------- errors


class WeighError(Exception):
    """Anything the user can fix: what is wrong, where, and what to do about it.

    `exit_code` follows the command line's table: 1 a gate is missed, 2 usage, 3 input invalid or unsafe,
    4 no such model or device, 5 a resource limit, 6 network needed.
    """

    def __init__(
        self,
        message: str,
        *,
        rule: str,
        path: str | Path | None = None,
        offset: int | None = None,
        where: str = "",
        hint: str = "",
        exit_code: int = 3,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.rule = rule
        self.path = None if path is None else str(path)
        self.offset = offset
        self.where = where
        self.hint = hint
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reader may spend. Counts are of things, sizes in bytes, times in seconds of CPU."""

    header_bytes: int = 100_000_000
    string_bytes: int = 64 * 2**20
    keys: int = 1_000_000
    tensors: int = 1_000_000
    json_nesting: int = 64
    array_nesting: int = 4
    rank: int = 64
    layers: int = 10_000
    files: int = 10_000
    opcodes: int = 10_000_000
    seconds: float = 60.0
    fetched_bytes: int = 2**30
    fetch_seconds: float = 600.0
    """By the clock: waiting for a hub takes no CPU."""


# ------------------------------------------------------------------------------------- what the bytes say


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of bytes that holds a part of a tensor's encoding."""

    file: str
    """Name of the file, relative to the inventory's folder."""
    offset: int
    nbytes: int
    kind: Literal["data", "scale", "zero", "index", "packed"] = "data"
    """`packed`: the file's own library turned the data into these bytes (compressed, in chunks, in another order)."""
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    codec: str = ""
    """Id of the codec in which the piece itself is stored, where a tensor has several pieces."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A stored array: its name, logical shape (outermost first) and codec. Never its values."""

    name: str
    shape: tuple[int, ...]
    codec: str
    """Id of a Codec, or `unknown:<what the file says>`: then the bytes are known and the count is not."""
    pieces: tuple[Piece, ...]
    buffer: bool = False
    """The file itself tells that this is no parameter: a constant of a graph, a running statistic."""
    layout: str = ""
    """How pieces become values: a key of `formats.packed_values.LAYOUTS`, or `deflated`. Empty where one plain piece
    holds them, or where it is not known."""

    @property
    def nbytes(self) -> int:
        """Stored bytes, scales and indices included."""
        # One piece is the rule, and a header may hold a million tensors.
        if len(self.pieces) == 1:
            return self.pieces[0].nbytes
        return sum(piece.nbytes for piece in self.pieces)

    @property
    def parameters(self) -> int | None:
        """Number of values, or None where the codec is unknown."""
        return None if self.codec.startswith("unknown:") else prod(self.shape)


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a model's files say, before anything is concluded from it."""

    source: str
    """Resolved path, or the catalogue name."""
    format: str
    dialect: Dialect
    tensors: tuple[Tensor, ...] = ()
    configuration: Mapping[str, Any] | None = None
    """Hugging Face configuration keys; translated from the metadata where the format is GGUF."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[tuple[str, int], ...] = ()
    """(name, bytes) of each file read, weights and sidecars."""
    folder: str = ""
    """Where the file names of the pieces are relative to."""
    warnings: tuple[str, ...] = ()
    shared: tuple[Tensor, ...] = ()
    """Further names whose bytes lie in those of `tensors`: tied weights, slices. No count includes them."""


@dataclass(frozen=True, slots=True)
class NewTensor:
    """A tensor that is to be written. Its bytes are asked for when their turn comes, and not kept."""

    name: str
    shape: tuple[int, ...]
    """Outermost first."""
    codec: str
    """Id of a Codec."""
    content: Callable[[], Iterable[bytes | bytearray | memoryview]]
    """The encoded bytes in chunks of any size, in the order of the shape."""


Write = Callable[[Path, Sequence[NewTensor], Mapping[str, Any], int | None, Iterable[Path]], tuple[Path, ...]]
"""(file to write, tensors, metadata, most bytes of tensors in one file or None, files that are read meanwhile):
writes one file, or several where they do not fit in one, and gives their paths."""


@dataclass(frozen=True, slots=True)
class Format:
    """Plug-in: a file format. `sniff` looks at the first bytes only."""

    id: str
    name: str
    suffixes: tuple[str, ...]
    """None where the files have a suffix of another format's."""
    sniff: Callable[[bytes], bool]
    """First 64 bytes of the file: is it mine?"""
    read: Callable[[Path, Limits], Inventory]
    source: str
    """Address of the specification."""
    write: Write | None = None


@dataclass(frozen=True, slots=True)
class Codec:
    """Plug-in: how values are stored. `block` values take `block_bytes` bytes."""

    id: str
    name: str
    block: int
    block_bytes: int
    decode: Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None = None
    """Flat bytes of whole blocks to flat float32 values; None where only the size is known."""
    ggml_type: int | None = None
    safetensors: str | None = None
    """The dtype's name in a safetensors header."""
    reference: str = ""
    """What the decoder is bit-exact to, and where the layout is specified."""

    @property
    def bits(self) -> float:
        """Bits a value, scales included."""
        return 8 * self.block_bytes / self.block


# --------------------------------------------------------------------------------------- what it means


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a family makes of a configuration."""

    parts: tuple[Part, ...]
    dimensions: Mapping[str, int]
    """Under our own names: layers, width, heads, kv_heads, head_dim, hidden, vocabulary, context, ..."""
    warnings: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    """Switches and derived sizes that the configuration left out, with the default taken."""


@dataclass(frozen=True, slots=True)
class Family:
    """Plug-in: an architecture family, a composition of parts from a configuration."""

    id: str
    model_types: tuple[str, ...]
    build: Callable[[Any], Architecture]
    """From a `families.config.Config`."""
    names: Mapping[str, Mapping[str, str]]
    """Dialect to (`path.key` of a slot to the stored tensor's name), with `{layer}` and `{expert}`."""
    sources: tuple[str, ...]
    prefixes: tuple[str, ...] = ()
    """Prefixes of Hugging Face names that some checkpoints leave out (`model.`, `transformer.`)."""
    ignored: Mapping[str, str] = field(default_factory=dict)
    """`model_type.key` of a configuration key that the class does not read, and the source that shows it."""


@dataclass(frozen=True, slots=True)
class Model:
    """An inventory understood: the family, its parts and dimensions."""

    inventory: Inventory
    family: str | None
    """None where no family knows the architecture, or the configuration does not suffice."""
    model_type: str | None
    parts: tuple[Part, ...] = ()
    dimensions: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    refusal: WeighError | None = None
    """Why there is no family: what `cost` raises."""


# ------------------------------------------------------------------------------------- what it runs on


@dataclass(frozen=True, slots=True)
class Quoted:
    """A number with the words that state it."""

    value: float
    says: str
    source: str
    """Address of the page, or how it was measured."""
    read: str
    """ISO date on which the page was read or the measurement made."""


@dataclass(frozen=True, slots=True)
class Measured:
    """How long the kinds of an engine's work take on a device, measured there by `weigh bench`."""

    engine: str
    version: str
    """Of the engine's package."""
    day: str
    """ISO date of the measurement."""
    threads: int
    unit_s: Mapping[str, float]
    """Seconds a unit of each kind of work; what the kinds are is told in `engines/<engine>/amounts.py`."""
    decode_error: float
    """Share of a token's time by which nine of ten predictions may be off; of a prompt's below."""
    prefill_error: float
    method: str


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator or machine. A number that the vendor does not say is None."""

    id: str
    name: str
    vendor: str
    kind: str
    """datacenter consumer workstation apple tpu desktop laptop edge phone, or `host` for this machine."""
    aliases: tuple[str, ...] = ()
    unified_memory: bool = False
    memory_bytes: Quoted | None = None
    memory_bandwidth: Quoted | None = None
    """Bytes a second."""
    link_bandwidth: Quoted | None = None
    """Bytes a second to its neighbours, both directions together."""
    host_bandwidth: Quoted | None = None
    """Bytes a second to the host, both directions together."""
    power_w: Quoted | None = None
    launch_year: Quoted | None = None
    rental_usd_per_hour: Quoted | None = None
    cores: Quoted | None = None
    disk_bandwidth: Quoted | None = None
    """Bytes a second of a large file that no memory holds yet."""
    cached_bandwidth: Quoted | None = None
    """Bytes a second of a file that memory holds already."""
    peak: Mapping[str, Quoted] = field(default_factory=dict)
    """Dense FLOP/s or OP/s by number type: f64 f32 tf32 bf16 f16 fp8 fp4 int8 int4."""
    features: frozenset[str] = frozenset()
    """Instruction sets that engines care about, where known: avx2, avx512f, avx512_vnni, neon, sve, ..."""
    measured: Mapping[str, Measured] = field(default_factory=dict)
    """By engine, where `weigh bench` ran on it."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """`count` devices of one kind; their links are the device's."""

    device: Device
    count: int = 1


# --------------------------------------------------------------------------------------- what it costs


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked of the model: a prompt of tokens in, output tokens out, for `batch` sequences at once."""

    prompt: int = 512
    output: int = 128
    batch: int = 1
    context: int = 8192
    """Tokens a sequence that the engine makes room for."""
    state_codec: str = "f16"
    """Codec of the KV cache."""
    source: int | None = None
    """Tokens or frames that the encoder beside a decoder is given; None = as many as the prompt has."""
    images: int = 0
    """Images of each sequence, for models of images and text."""
    flash: bool = True
    """Flash attention, where the engine leaves the choice."""


@dataclass(frozen=True, slots=True)
class Why:
    """How a number came about: the formula, what went into it, and the source of the formula."""

    formula: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its 90 % interval, unit, basis and derivation. SI units, bytes exact.

    Where the basis is `counted`, low = high = value.
    """

    value: float
    low: float
    high: float
    unit: str
    basis: Basis
    why: Why


@dataclass(frozen=True, slots=True)
class Allotment:
    """What a plan does to one tensor."""

    codec: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The codec of each tensor, by its name in the ggml or Hugging Face dialect, with the reason."""

    recipe: str
    tensors: Mapping[str, Allotment]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Plug-in: a runtime's own mix of codecs. `plan` is given the stored tensors that the model has or would have."""

    id: str
    name: str
    engine: str
    plan: Callable[[Model], Plan]
    source: str


@dataclass(frozen=True, slots=True)
class Job:
    """A model in the form in which an engine loads it, what is asked of it, and where it runs."""

    model: Model
    tensors: tuple[Tensor, ...]
    """As the engine finds them in the file: names in its dialect, codecs as stored or as planned."""
    workload: Workload
    device: Device
    file: bool = True
    """The tensors lie in a file that exists, rather than in one that would be written."""
    stages: int = 1
    """Of the pipeline that this job is one stage of (`cost/run/split.py`)."""
    fetched: int = 0
    """Bytes of the largest matrix that is copied in from the host for large batches."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Plug-in: a runtime, and how it allocates. Each function gives Figures in bytes."""

    id: str
    name: str
    dialect: Dialect
    """Of the files that it loads."""
    state_codecs: tuple[str, ...]
    refuses: Callable[[Model, Device], WeighError | None]
    """Why it cannot run the model on the device, or None."""
    weights: Callable[[Job], Mapping[str, Figure]]
    """Named buffers; their sum is `memory.weights`."""
    state: Callable[[Job], Figure]
    activations: Callable[[Job], Mapping[str, Figure]]
    """Named buffers; their sum is `memory.activations`."""
    overhead: Callable[[Job], Figure]
    source: str
    """The version of the runtime whose source these formulas follow."""
    notes: tuple[str, ...] = ()
    """What the formulas leave out, and how far off they were found to be."""
    spreads: Literal["layers", "tensor"] = "layers"
    """Over several devices: whole layers one behind the other, or every layer divided between them."""
    own_cache: Callable[[Sequence[Tensor], Device], str] | None = None
    """Codec of the KV cache where nobody names one, by the tensors as loaded; None = the first of `state_codecs`."""
    cannot_read: Callable[[str, Device], str] | None = None
    """Why it does not run weights in this codec on the device, in words behind "because"; empty where it does."""
    loads_as: Callable[[str, Device], str] | None = None
    """The codec that a file's main codec becomes while it loads, unless told otherwise; None = as it is."""
    amounts: Callable[[Job], Mapping[str, Mapping[str, float]]] | None = None
    """Of `prefill` and `decode`: amounts of the kinds of work that `weigh bench` measures; None = it measures none."""


# ------------------------------------------------------------------------------------------- verbs on nouns


def counted(value: int, unit: str, formula: str, source: str = "", **inputs: Any) -> Figure:
    """A Figure that is exact by counting."""
    return Figure(value, value, value, unit, "counted", Why(formula, inputs, source))


_WEAKEST: tuple[Basis, ...] = ("counted", "measured", "derived", "assumed")


def total(figures: Mapping[str, Figure], formula: str) -> Figure:
    """Sum of Figures of one unit. The ends of the intervals are added, and the weakest basis names the sum's."""
    units = {figure.unit for figure in figures.values()}
    if len(units) != 1:
        raise ValueError(f"cannot add figures in {sorted(units)}")
    return Figure(
        sum(figure.value for figure in figures.values()),
        sum(figure.low for figure in figures.values()),
        sum(figure.high for figure in figures.values()),
        units.pop(),
        max((figure.basis for figure in figures.values()), key=_WEAKEST.index),
        Why(formula, {name: figure.value for name, figure in figures.items()}),
    )
