"""What every part does in one step: FLOPs, bytes of weights by codec, bytes of state, kernels.

This is the data of the roofline. Equal parts of equal layers are one Group with a count, made once a model; a Load is
what one part of the group does in a step. To divide a model over devices, divide Loads; seconds are `step.py`'s.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from weigh import parts
from weigh.codecs import by_id
from weigh.families.audit import Holding, Share
from weigh.numbers import Number, rounded_up, smaller
from weigh.types import NOT_COUNTED, Model, Part, Pass, State

RECURRENT_BYTES = 4
"""Bytes a value of states that do not grow with the sequence: engines keep them in float32."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Arrays of one part in one codec that a step reads alike."""

    codec: str
    nbytes: float
    chance: float = 1.0
    """That a token needs them: of E experts with k used, k / E."""
    rows: int = 0
    """Rows of a table, of which a token reads one; 0 = all of it is read."""

    def read(self, tokens: Number) -> Number:
        """Bytes that a step over so many tokens reads, on average.

        nbytes x (1 - (1 - chance)^tokens) if tokens choose their experts independently; of a table
        nbytes x min(1, tokens / rows).
        """
        if self.rows:
            return self.nbytes * smaller(1.0, tokens / self.rows)
        return self.nbytes * (1 - (1 - self.chance) ** tokens)


@dataclass(frozen=True, slots=True)
class Group:
    """Parts that are alike: same place, same dimensions, same codecs."""

    name: str
    """Place inside the layer, or inside the model: `attention`, `mlp`, `head`."""
    part: Part | None
    """One of them; None for tensors that no part of the family promises."""
    layers: tuple[int | None, ...]
    """Of each of them: the layer that it is in, or None."""
    weights: tuple[Weights, ...]
    kernels: int
    """Kernels that one of them starts, about: one for each of its arrays other than biases, one for each state."""
    states: tuple[State, ...] = ()

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.layers)


@dataclass(frozen=True, slots=True)
class Load:
    """What one part does in a step. Every number may be an array."""

    name: str
    count: Number
    """Parts that do the same."""
    flops: Number
    weight_bytes: Mapping[str, Number]
    """Bytes read, by codec."""
    state_bytes: Number
    """Bytes of keys, values and recurrent states that are read and written."""
    kernels: Number
    tokens: Number = 1
    """Rows that its matrices multiply."""

    @property
    def bytes(self) -> Number:
        """Everything that moves."""
        return sum(self.weight_bytes.values()) + self.state_bytes

    @property
    def main_codec(self) -> str:
        """The codec named first of its weights, which is that of its largest array; f16 where it has none."""
        return next(iter(self.weight_bytes), "f16")


# ----------------------------------------------------------------------------------------------- grouping


def groups(model: Model, holdings: Iterable[Holding]) -> tuple[Group, ...]:
    """The parts with the tensors that a file or a plan holds for them, equal ones together, in the model's order.

    Buffers and layers for multi-token prediction are left out. A tied head reads the token table, and the table then
    gives rows only. Ignores: a table with several slots in one tensor.
    """
    shares = _by_part(holdings)
    _tie_head(model, shares)
    found: dict[object, list[int | None]] = defaultdict(list)
    first: dict[object, tuple[Part, tuple[Weights, ...]]] = {}
    for part in model.parts:
        held = tuple(_summed(part, shares.pop((part.layer, part.path), [])))
        key = (part.path, part.dimensions, held)
        found[key].append(part.layer)
        first.setdefault(key, (part, held))
    gathered = [
        Group(part.path, part, tuple(found[key]), held, _kernels(part), parts.remembers(part))
        for key, (part, held) in first.items()
    ]
    rest = [share for some in shares.values() for share in some]
    if rest:
        gathered.append(Group("other", None, (None,), tuple(_summed(None, rest)), 0))
    return tuple(gathered)


@dataclass(slots=True)
class _Held:
    """A share with the codec of its tensor, and the rows where it is a table that is looked up."""

    share: Share
    codec: str
    rows: int = 0


def _by_part(holdings: Iterable[Holding]) -> dict[tuple[int | None, str], list[_Held]]:
    found: dict[tuple[int | None, str], list[_Held]] = defaultdict(list)
    for holding in holdings:
        for share in holding.shares:
            if share.role in NOT_COUNTED or not share.nbytes:
                continue
            rows = holding.tensor.shape[0] if share.table and holding.tensor.shape else 0
            found[share.layer, share.path].append(_Held(share, holding.tensor.codec, rows))
    return found


def _tie_head(model: Model, shares: dict[tuple[int | None, str], list[_Held]]) -> None:
    """Give a head without an array of its own the table that it is tied to."""
    tables = [held for some in shares.values() for held in some if held.rows]
    for part in model.parts:
        own = shares[part.layer, part.path]
        if own or not any(slot.role == "head" and slot.tied for slot in parts.slots(part)):
            continue
        own += [_Held(held.share, held.codec) for held in tables[:1]]
        return


def _summed(part: Part | None, held: Iterable[_Held]) -> Iterable[Weights]:
    """Arrays of a part that are read alike, as one."""
    chances = {} if part is None else {s.role: s.experts[0] / s.experts[1] for s in parts.slots(part) if s.experts}
    sums: dict[tuple[str, float, int], int] = defaultdict(int)
    for one in held:
        share = one.share
        routed = share.active is not None and share.parameters is not None and share.active < share.parameters
        chance = chances.get(share.role, 1.0) if routed else 1.0
        sums[one.codec, chance, one.rows] += share.nbytes
    largest_first = sorted(sums.items(), key=lambda item: -item[1])
    return [Weights(codec, nbytes, chance, rows) for (codec, chance, rows), nbytes in largest_first]


def _kernels(part: Part) -> int:
    arrays = {slot.key for slot in parts.slots(part) if slot.role not in NOT_COUNTED and not slot.key.endswith("bias")}
    return len(arrays) + len(parts.remembers(part))


# ---------------------------------------------------------------------------------------------- one step


def decode_loads(
    gathered: Sequence[Group], *, prompt: int, output: int, batch: Number, codec: str, source: int
) -> tuple[Load, ...]:
    """Of one decode step, the mean over the output: one token of each of `batch` sequences.

    FLOPs of a pass over `output` tokens behind `prompt` ones attend exactly the pairs that as many single steps do.
    The state read is that of prompt + output / 2 tokens, in `codec`; states that do not grow are read and written.
    """
    step = Pass(output, prompt, outputs=output, source=source)
    past = prompt + output // 2
    return tuple(
        Load(
            group.name,
            group.count,
            flops / output * batch,
            _read(group.weights, batch),
            state_bytes(group, past, source, codec) * batch,
            group.kernels,
            batch,
        )
        for group, flops in _running(gathered, step)
    )


def prefill_loads(gathered: Sequence[Group], step: Pass, *, codec: str, most: float = float("inf")) -> tuple[Load, ...]:
    """Of the pass over the prompts, in stretches of at most `most` tokens, as many engines take them.

    Weights are read once a stretch, kernels started once a stretch; the state is written once.
    """
    tokens = step.tokens * step.batch
    stretches = rounded_up(tokens, smaller(most, tokens))
    return tuple(
        Load(
            group.name,
            group.count,
            flops,
            _read(group.weights, tokens / stretches, stretches),
            state_bytes(group, step.tokens, step.source or 0, codec) * step.batch,
            group.kernels * stretches,
            tokens,
        )
        for group, flops in _running(gathered, step)
    )


def _running(gathered: Sequence[Group], step: Pass) -> Iterable[tuple[Group, Number]]:
    """The groups that run in this step: an encoder runs when its sequence begins, a tower where there are images.

    What one sequence takes, all take: the batch, which may be an array, multiplies.
    """
    begins, one = Pass(1, 0, images=1, source=1), replace(step, batch=1)
    for group in gathered:
        flops = 0 if group.part is None else parts.forward(group.part, one)
        if flops or group.part is None or not parts.forward(group.part, begins):
            yield group, flops * step.batch


def _read(weights: Iterable[Weights], tokens: Number, times: Number = 1) -> dict[str, Number]:
    read: dict[str, Number] = {}
    for array in weights:
        read[array.codec] = read.get(array.codec, 0) + times * array.read(tokens)
    return read


def state_bytes(group: Group, tokens: int, source: int, codec: str) -> float:
    """Bytes of state that one sequence of so many tokens makes a step move, of one part of the group.

    A part that uses another's keys and values reads them all the same.
    Ignores: padding to pages and cells, windows that an engine does not honour, the row that is written.
    """
    width = by_id(codec).bits / 8
    moved = 0.0
    for state in group.states:
        rows = state.row * state.rows_after(tokens, source)
        grows = state.kind not in ("conv", "shift", "recurrent", "pending")
        moved += rows * width if grows else 2 * rows * RECURRENT_BYTES
    return moved
