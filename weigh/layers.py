"""The nouns of one layer, in reading order: what it holds, remembers, runs on and keeps, and the layer itself.

They stand apart from `types.py`, which names them all again, because a new kind of layer needs these and no others.
No I/O here and no numpy at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Generic, Literal, TypeVar

from weigh.numbers import Number, smaller

Role = str
D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class Slot:
    """An array that a Part would hold: its key within the part, shape (outputs first) and role."""

    key: str
    shape: tuple[int, ...]
    role: Role
    tied: str = ""
    """`path.key` of the slot whose tensor this one shares; then it adds nothing to any count."""
    experts: tuple[int, int] | None = None
    """(used per token, held), where the first axis is that of the experts."""
    frozen: bool = False
    """The class does not train it."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Name of the stored tensor by dialect. Slots with one name lie in one tensor, in order; `{expert}` stands
    for one tensor an expert."""

    @property
    def parameters(self) -> int:
        """What the slot adds to the count."""
        return 0 if self.tied else prod(self.shape)

    @property
    def active(self) -> int:
        """Parameters on a token's path."""
        if self.experts is None:
            return self.parameters
        used, held = self.experts
        return self.parameters // held * used


StateKind = Literal["kv", "latent", "rope", "index", "cross", "conv", "shift", "recurrent", "pending"]


@dataclass(frozen=True, slots=True)
class State:
    """An array, or a pair of keys and values, that a part keeps from pass to pass.

    A part keeps a tuple of them, one for each that engines store apart or in types of their own. By kind:

    - `kv`: keys and values of each token; `latent`: the short row that they are expanded from, or the one row that is
      both; `rope`: the key's part with position, which all heads share; `index`: the key of a sparse indexer.
    - `cross`: keys and values of each place of the source (what the encoder gave), the same while decoding.
    - `conv`: inputs of a causal convolution; `shift`: the row of the token before; `recurrent`: the state of a
      recurrence. `rows` of them a sequence, whatever its length.
    - `pending`: `rows` a sequence, and one more a token of the stretch of `rate` tokens that is not whole yet.
    """

    kind: StateKind
    key_width: int
    """Values a row and head: of the key where there is a pair, else all of them."""
    value_width: int = 0
    heads: int = 1
    """Rows side by side: what tensor parallelism can divide by."""
    window: int | None = None
    """Tokens that can still be attended to (cross: places of the source, where their number is fixed); None = all."""
    shared_with: str = ""
    """Address of the part whose state is used instead of an own one."""
    rate: int = 1
    """Tokens that one row stands for; a stretch that is not whole has none."""
    rows: int = 1
    """Rows a sequence, of the kinds that do not grow with it."""
    expands: State | None = None
    """What engines keep in its place that store the keys and values of every head instead of the short row."""

    @property
    def row(self) -> int:
        """Values of one row of all heads."""
        return self.heads * (self.key_width + self.value_width)

    def rows_after(self, tokens: Number, source: int = 0) -> Number:
        """Rows of one sequence of `tokens` tokens beside a source of `source` places, without an engine's padding."""
        if self.kind in ("conv", "shift", "recurrent"):
            return self.rows
        if self.kind == "pending":
            return self.rows + tokens % self.rate
        if self.kind == "cross":
            return source if self.window is None else self.window
        return smaller(tokens, self.window or tokens) // self.rate

    def values(self, tokens: int, source: int = 0) -> int:
        """Values of the same rows; none where another part's are used."""
        return 0 if self.shared_with else self.row * self.rows_after(tokens, source)


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass: `tokens` new tokens in each of `batch` sequences that already hold `past`.

    For a vision model a token is an image.
    """

    tokens: int
    past: int = 0
    batch: int = 1
    outputs: int = 1
    """Positions of each sequence that reach the head: the last one when generating, all in training."""
    source: int | None = None
    """Tokens or frames that the encoder beside each sequence is given, 0 = none; None = not told, and taken to be as
    many as the sequence has tokens. An encoder of fixed size has its own number in any case."""
    images: int = 0
    """Images (stretches of sound) that come in with the new tokens of each sequence, for the tower that reads them."""


Condition = Literal["scores", "flash", "eager", "dropout"]


@dataclass(frozen=True, slots=True)
class Kept:
    """Values that a part's forward pass keeps until its backward pass has used them."""

    name: str
    values: int | None
    """None = not known, where the conditions hold."""
    kind: Literal["activation", "statistic", "mask", "index"] = "activation"
    """Type that they are kept in: that of the computation, float32, a byte, or an integer of 8 bytes."""
    split: Literal["tensor", "sequence"] = "tensor"
    """What divides them: tensor parallelism (heads, hidden values), or only sequence parallelism (whole rows)."""
    only: tuple[Condition, ...] = ()
    """Kept only where all of this holds: `scores`, attention writes its scores (neither a flash kernel, nor dropped by
    selective recomputation); `flash`, a flash kernel; `eager`, elementwise steps run one by one instead of fused;
    `dropout`, there is dropout."""
    shared: bool = False
    """One array that every part of the model with a Kept of this name keeps: it counts once."""


@dataclass(frozen=True, slots=True)
class PartKind(Generic[D]):
    """Plug-in: a kind of layer, described by a frozen record of its dimensions."""

    id: str
    dimensions: type[D]
    slots: Callable[[D], tuple[Slot, ...]]
    forward: Callable[[D, Pass], int]
    """FLOPs of the pass, 2 per multiply-add; matrix products and convolutions only."""
    backward: Callable[[D, Pass], int]
    """FLOPs of the gradients with respect to inputs and weights of the same pass."""
    remembers: Callable[[D], tuple[State, ...]]
    """Empty where nothing is kept from pass to pass."""
    source: str
    example: D
    """Smallest sensible dimensions, for the contract tests and `docs/add-a-part.md`."""
    keeps: Callable[[D, Pass], tuple[Kept, ...] | None] | None = None
    """Activations that the forward pass keeps for the backward pass; None = not known for these dimensions, or for
    the kind."""
    divides: tuple[str, ...] = ()
    """Dimensions that tensor parallelism divides over devices; empty = each device holds and computes all of it."""


@dataclass(frozen=True, slots=True)
class Part:
    """One layer of a model: the kind, its dimensions and where it stands."""

    kind: str
    path: str
    """Place inside its layer, or inside the model where `layer` is None: `attention`, `final_norm`."""
    dimensions: Any
    """A record of the kind's `dimensions` class."""
    layer: int | None = None

    @property
    def address(self) -> str:
        """Where it stands in the whole model: `layers.3.attention`."""
        return self.path if self.layer is None else f"layers.{self.layer}.{self.path}"
