"""What every kind of layer must keep, whoever adds it: sizes, roles, and work counted again by another way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from math import prod
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts import draw_applied, draw_latent, draw_recurrent
from weigh import parts
from weigh.parts import (
    KINDS,
    Applied,
    Attention,
    Conv,
    CrossAttention,
    Embedding,
    JointAttention,
    Linear,
    Mlp,
    Moe,
    Norm,
)
from weigh.parts.attention import attended
from weigh.types import ROLES, PartKind, Pass, Slot

few = st.integers(1, 6)
flag = st.booleans()


@st.composite
def _moes(draw: st.DrawFn) -> Moe:
    experts = draw(few)
    return Moe(
        draw(few),
        draw(few),
        experts,
        draw(st.integers(1, experts)),
        draw(flag),
        draw(st.integers(0, 5)),
        draw(flag),
        router_bias=draw(flag),
        expert_bias=draw(flag),
        shared_bias=draw(flag),
        correction=draw(st.sampled_from(["", "buffer", "frozen"])),
        hashed_tokens=draw(st.integers(0, 5)),
        latent=draw(st.integers(0, 5)),
        latent_bias=draw(flag),
    )


@st.composite
def _convs(draw: st.DrawFn) -> Conv:
    groups = draw(st.integers(1, 3))
    extent = draw(st.lists(few, max_size=3).map(tuple))
    kernel = draw(st.integers(1, 3))
    return Conv(groups * draw(few), groups * draw(few), kernel, draw(few), groups, draw(flag), draw(flag), extent)


@st.composite
def _attentions(draw: st.DrawFn) -> Attention:
    kv_heads = draw(st.integers(1, 3))
    return Attention(
        width=draw(few),
        heads=kv_heads * draw(st.integers(1, 3)),
        kv_heads=kv_heads,
        key_dim=draw(few),
        value_dim=draw(few),
        q_bias=draw(flag),
        o_bias=draw(flag),
        q_norm=draw(st.integers(0, 3)),
        k_norm=draw(st.integers(0, 3)),
        qk_norm_bias=draw(flag),
        qk_norm_apart=draw(flag),
        window=draw(st.none() | st.integers(1, 9)),
        causal=(causal := draw(flag)),
        chunked=(chunked := causal and draw(flag)),
        sinks=draw(flag),
        shared_with=draw(st.sampled_from(["", "layers.0.attention"])),
        values_are_keys=draw(flag),
        gate=draw(flag),
        head_gate=draw(flag),
        differential=draw(flag),
        outputs=draw(st.integers(0, 3)),
        top=0 if chunked else draw(st.integers(0, 4)),
    )


DRAWN: dict[str, st.SearchStrategy[Any]] = {
    "embedding": st.builds(Embedding, few, few, st.sampled_from(["embedding", "position", "other"]), flag, flag),
    "linear": st.builds(
        Linear,
        few,
        few,
        flag,
        st.sampled_from(["head", "other"]),
        positions=st.sampled_from(["all", "outputs", "one"]),
        columns=st.integers(0, 3),
    ),
    "norm": st.builds(Norm, few, flag, flag, flag),
    "attention": _attentions(),
    "mlp": st.builds(Mlp, few, few, flag, flag, flag, flag),
    "moe": _moes(),
    "conv": _convs(),
    **draw_applied.DRAWN,
    **draw_latent.DRAWN,
    **draw_recurrent.DRAWN,
}

passes = st.builds(
    Pass,
    st.integers(1, 8),
    st.integers(0, 8),
    st.integers(1, 3),
    st.integers(1, 8),
    source=st.none() | st.integers(0, 9),
    images=st.integers(0, 2),
)


def pairs(part: Attention, step: Pass) -> int:
    """Who attends to whom, one by one."""
    count = 0
    for new in range(step.tokens):
        place, seen = step.past + new, 0
        for other in range(step.past + step.tokens):
            behind = other > place
            near = part.window is None or abs(place - other) < part.window
            if part.chunked and part.window is not None:
                near = place // part.window == other // part.window
            seen += near and not (behind and part.causal)
        count += min(seen, part.top) if part.top and part.causal else seen
    return count


def _matrices(slots: tuple[Slot, ...]) -> list[Slot]:
    weights = [slot for slot in slots if slot.key.endswith("weight") and len(slot.shape) > 1]
    return [
        slot for slot in weights if slot.role not in ("buffer", "norm") and slot.key not in draw_recurrent.ELEMENTWISE
    ]


def _uses(part: Any, step: Pass) -> int:
    """How often each matrix is applied."""
    if isinstance(part, Linear):
        return {"all": step.tokens, "outputs": min(step.outputs, step.tokens), "one": 1}[part.positions]
    return step.tokens * part.positions if isinstance(part, Conv) else step.tokens


def work(kind: PartKind[Any], part: Any, step: Pass) -> int:
    """Multiply-adds of the pass, twice: every matrix at every place where it is applied, and the pairs that attend."""
    if kind.id in ("embedding", "norm", "array"):
        return 0
    if isinstance(part, Applied):
        inner = next(other for other in KINDS if other.dimensions is type(part.inner))
        return sum(work(inner, part.inner, each) for each in draw_applied.seen(part, step))
    if isinstance(part, CrossAttention):
        return 2 * draw_applied.crossed(part, step) * step.batch
    if isinstance(part, JointAttention):
        return 2 * draw_applied.joined(part, step) * step.batch
    multiplied = 0
    for slot in _matrices(kind.slots(part)):
        held = prod(slot.shape)
        if slot.experts:
            used, experts = slot.experts
            held = held // experts * used
        multiplied += held * _uses(part, step)
    if isinstance(part, Linear):
        multiplied += part.columns * part.outputs * _uses(part, step)
    if isinstance(part, Attention):
        multiplied += pairs(part, step) * part.heads * (part.key_dim + part.value_dim * (1 + part.differential))
    multiplied += draw_latent.beside_matrices(part, step)
    multiplied += draw_recurrent.beside_matrices(part, step)
    return 2 * multiplied * step.batch


def _ids(kind: PartKind[Any]) -> str:
    return kind.id


every_kind = pytest.mark.parametrize("kind", KINDS, ids=_ids)


def test_every_kind_is_drawn_here() -> None:
    assert set(DRAWN) == {kind.id for kind in KINDS}


def test_ids_and_dimension_records_are_unique() -> None:
    assert len({kind.id for kind in KINDS}) == len(KINDS)
    assert len({kind.dimensions for kind in KINDS}) == len(KINDS)


@every_kind
def test_an_unknown_kind_of_dimensions_is_no_part(kind: PartKind[Any]) -> None:
    with pytest.raises(KeyError):
        parts.part("nowhere", dataclasses.asdict(kind.example).__class__)


@every_kind
def test_dimensions_are_frozen_and_the_example_is_of_the_kind(kind: PartKind[Any]) -> None:
    assert isinstance(kind.example, kind.dimensions)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(kind.example, dataclasses.fields(kind.example)[0].name, 1)


@every_kind
def test_the_source_is_an_address(kind: PartKind[Any]) -> None:
    assert kind.source.startswith("https://")


@every_kind
def test_slots_have_distinct_keys_positive_sizes_and_known_roles(kind: PartKind[Any]) -> None:
    held = kind.slots(kind.example)
    assert held
    assert len({slot.key for slot in held}) == len(held)
    for slot in held:
        assert slot.role in ROLES
        assert all(size > 0 for size in slot.shape)
        assert slot.parameters > 0
        assert slot.key.rpartition(".")[2] in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@every_kind
@given(data=st.data())
def test_active_parameters_are_at_most_those_held(kind: PartKind[Any], data: st.DataObject) -> None:
    for slot in kind.slots(data.draw(DRAWN[kind.id])):
        assert 0 <= slot.active <= slot.parameters


@every_kind
@given(data=st.data(), step=passes)
def test_forward_flops_are_those_of_the_products_one_by_one(
    kind: PartKind[Any], data: st.DataObject, step: Pass
) -> None:
    part = data.draw(DRAWN[kind.id])
    assert kind.forward(part, step) == work(kind, part, step)


@every_kind
@given(data=st.data(), step=passes)
def test_backward_has_a_product_for_each_operand_that_needs_a_gradient(
    kind: PartKind[Any], data: st.DataObject, step: Pass
) -> None:
    part = data.draw(DRAWN[kind.id])
    operands = 1 if isinstance(part, Conv) and not part.input_gradient else 2
    assert kind.backward(part, step) == operands * work(kind, part, step)


@every_kind
@given(data=st.data(), step=passes)
def test_sequences_of_a_batch_cost_the_same(kind: PartKind[Any], data: st.DataObject, step: Pass) -> None:
    part = data.draw(DRAWN[kind.id])
    alone = dataclasses.replace(step, batch=1)
    assert kind.forward(part, step) == step.batch * kind.forward(part, alone)


@every_kind
@given(data=st.data())
def test_what_is_remembered_fits_the_dimensions(kind: PartKind[Any], data: st.DataObject) -> None:
    part = data.draw(DRAWN[kind.id])
    states = kind.remembers(part)
    if kind.id in draw_applied.DRAWN:
        assert states == draw_applied.remembered(part)
        return
    if kind.id in draw_latent.DRAWN:
        assert states == draw_latent.remembered(part)
        return
    if kind.id in draw_recurrent.DRAWN:
        assert states == draw_recurrent.remembered(part)
        return
    if not isinstance(part, Attention) or not part.causal:
        assert states == ()
        return
    (state,) = states
    assert (state.kind, state.heads, state.window) == ("kv", part.kv_heads, part.window)
    assert (state.key_width, state.value_width) == (part.key_dim, part.value_dim)


@every_kind
@given(data=st.data(), step=passes)
def test_what_is_kept_is_named_once_and_goes_with_the_batch(
    kind: PartKind[Any], data: st.DataObject, step: Pass
) -> None:
    part = parts.part("somewhere", data.draw(DRAWN[kind.id]))
    kept, alone = parts.keeps(part, step), parts.keeps(part, dataclasses.replace(step, batch=1))
    assert (kept is None) == (alone is None)
    for many, one in zip(kept or (), alone or (), strict=True):
        assert many.name == one.name
        assert (many.values is None) == (one.values is None)
        assert (many.values or 0) == step.batch * (one.values or 0) >= 0
        assert set(many.only) <= {"scores", "flash", "eager", "dropout"}
    assert len({entry.name for entry in kept or ()}) == len(kept or ())


def test_a_kind_that_does_not_say_what_it_keeps_is_not_taken_to_keep_nothing() -> None:
    silent = [kind for kind in KINDS if kind.keeps is None]
    assert all(parts.keeps(parts.part("somewhere", kind.example), Pass(3)) is None for kind in silent)
    assert {"attention", "mlp", "moe", "norm", "linear", "embedding"}.isdisjoint(kind.id for kind in silent)


@given(
    part=_attentions().filter(lambda part: part.causal),
    past=st.integers(0, 12),
    first=st.integers(1, 12),
    second=st.integers(1, 12),
)
def test_a_causal_pass_in_two_halves_attends_the_same_pairs(
    part: Attention, past: int, first: int, second: int
) -> None:
    whole = attended(part, Pass(first + second, past))
    assert attended(part, Pass(first, past)) + attended(part, Pass(second, past + first)) == whole


@given(part=_attentions(), step=passes)
def test_a_window_over_everything_is_no_window(part: Attention, step: Pass) -> None:
    wide = dataclasses.replace(part, window=step.past + step.tokens)
    assert attended(wide, step) == attended(dataclasses.replace(part, window=None), step)


@pytest.mark.parametrize(
    ("window", "causal", "expected"),
    [(None, True, 10), (None, False, 16), (1, True, 4), (1, False, 4), (2, True, 7), (2, False, 10), (3, True, 9)],
)
def test_pairs_of_four_tokens(window: int | None, causal: bool, expected: int) -> None:
    part = Attention(width=1, heads=1, kv_heads=1, key_dim=1, value_dim=1, window=window, causal=causal)
    assert attended(part, Pass(4)) == expected


def test_attention_over_a_million_tokens_is_counted_without_enumerating() -> None:
    part = Attention(width=1, heads=1, kv_heads=1, key_dim=1, value_dim=1)
    assert attended(part, Pass(10**6)) == 10**6 * (10**6 + 1) // 2


@pytest.mark.parametrize(
    ("verb", "of_kind"),
    [(parts.forward, "forward"), (parts.backward, "backward")],
)
@every_kind
def test_a_part_computes_what_its_kind_says(
    kind: PartKind[Any], verb: Callable[[Any, Pass], int], of_kind: str
) -> None:
    part = parts.part("somewhere", kind.example, 3)
    assert part.address == "layers.3.somewhere"
    assert parts.slots(part) == kind.slots(kind.example)
    assert parts.remembers(part) == kind.remembers(kind.example)
    assert verb(part, Pass(5)) == getattr(kind, of_kind)(kind.example, Pass(5))


def test_a_tied_matrix_computes_but_adds_no_parameters() -> None:
    own, tied = Linear(3, 5), Linear(3, 5, tied="embedding.weight")
    assert [slot.parameters for slot in parts.slots(parts.part("head", tied))] == [0]
    assert parts.forward(parts.part("head", tied), Pass(2)) == parts.forward(parts.part("head", own), Pass(2))
