"""What a training step does, as ideal seconds by kind: the terms whose sum, each times its coefficient, is its time.

Every term is physical: work divided by what the device states (peak, memory bandwidth, links). The coefficients say
how far real machines stay behind, `efficiency.py`. The same lines take one layout and an array of them: the numbers
of a Layout and of Loads may be arrays of one length; schedule, recomputation and attention are words and switches that
all of its entries share. To add a term: a name in TERMS, its seconds in one of the functions below, and a run of
benchmarks/fit_training.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weigh.cost.links import ALONE, Links, exchange, links, ring
from weigh.cost.train.compute import Traffic, Work, passes, traffic, work
from weigh.cost.train.layout import Layout, Training, microbatches
from weigh.cost.train.model_states import ModelStates, held
from weigh.cost.train.optimizers import Precision
from weigh.cost.train.schedule import Durations, waiting
from weigh.cost.train.tuning import WHOLE, WHOLE_EFFORT, Effort, Tuning, effort
from weigh.numbers import Number, chosen, larger, smaller
from weigh.types import Device, Model, WeighError

LAUNCH_S = 1e-5
"""Seconds a kernel takes to start, about."""
KERNELS = 10
"""Of a layer's pass. Assumed."""
PIECE_KERNELS = 3
"""More of them for each further piece of a sequence that context parallelism divides: its products, its part in the
sum, and its sending. Assumed; no such row was fitted."""
TOKEN_BYTES = 16
"""A token and the one that it should predict, integers of 8 bytes each, as loaders hand them over."""
CAST_BYTES = 4
"""Traffic of a value that is cast to 8 bit: 16 bit read, 8 bit written twice, in rows and in columns."""
TERMS = ("products", "flash", "head", "elementwise", "scores", "casts", "launches", "tensor", "tensor_far", "stages",
         "experts", "experts_far", "keys", "keys_far", "data", "data_far", "gathered", "gathered_far", "hidden",
         "loading", "optimizer", "host")  # fmt: skip
NEAR = ("tensor", "experts", "keys", "data", "gathered")
"""Terms of the links inside a node or rack."""
FAR = ("tensor_far", "stages", "experts_far", "keys_far", "data_far", "gathered_far")
"""Terms of the links between nodes."""


@dataclass(frozen=True, slots=True)
class Loads:
    """What the busiest device of a layout holds and moves once a step."""

    parameters: Number
    """Of its stage, whatever ZeRO divides, in units of what the precision takes for one: a 4-bit base counts less."""
    experts: Number
    """Those of them that belong to experts."""
    trained: Number
    """Those of them that have gradients."""
    state_bytes: Number
    """Master copy and optimizer's states, as the device holds them."""
    offloaded: bool = False
    """The states lie in the host's memory, where the update runs."""
    effort: Effort = WHOLE_EFFORT
    """What the products take where not everything is trained."""


@dataclass(frozen=True, slots=True)
class Step:
    """What the terms have in common: the layout's counts, the model's work and the device's speeds."""

    layout: Layout
    precision: Precision
    work: Work
    traffic: Traffic
    width: int
    heads: int
    layers: Number
    """Of one device."""
    matrices: Number
    """Parameters of the layers' products on one device, by the FLOPs that a token takes with them."""
    length: int
    """Tokens a sequence."""
    batches: Number
    """Microbatches of one pipeline."""
    times: Number
    """Microbatches that a stage has time for: those that it computes and those that it waits for."""
    sequences: Number
    """Sequences of all these, or the share of one that context parallelism leaves."""
    top: float
    """FLOP/s of products with weights."""
    top16: float
    """FLOP/s of attention and the head, which stay in 16 bit."""
    memory: float
    wires: Links
    host: float

    @property
    def rows(self) -> Number:
        """Tokens of all microbatches on one device, before sequence parallelism."""
        return self.length * self.sequences


def peak(device: Device, precision: Precision) -> float:
    """Dense FLOP/s of the precision's products. Error: TRAIN-DEVICE where the device states none."""
    names = {"fp8": ("fp8",), "bf16": ("bf16", "f16"), "fp32": ("tf32", "f32")}[precision.id]
    for name in names:
        if name in device.peak:
            return device.peak[name].value
    raise _unknown(device, f"peak in {precision.id}")


def loads(
    model: Model,
    layout: Layout,
    states: ModelStates,
    precision: Precision,
    *,
    tuned: Tuning = WHOLE,
    offloaded: bool = False,
) -> Loads:
    """Of one layout, by its first and last stage; what has more parameters counts."""
    stages = [held(model, layout, stage, tuned) for stage in sorted({0, layout.pp - 1})]
    most = max(stages, key=lambda pieces: sum(one.parameters for one in pieces))
    return Loads(
        sum(one.stored_bytes(precision) for one in most) / precision.parameter,
        sum(one.stored_bytes(precision) for one in most if one.expert) / precision.parameter,
        sum(one.parameters for one in most if one.trained),
        states.master + states.optimizer,
        offloaded,
        effort(model, tuned),
    )


def terms(
    model: Model, layout: Layout, training: Training, device: Device, precision: Precision, moved: Loads
) -> Mapping[str, Number]:
    """Ideal seconds of one step on the busiest device, by term.

    What runs once a microbatch runs m times and, while the pipeline fills, (p - 1) / v times more.
    Errors: TRAIN-DEVICE where the device does not state what a term divides by.
    """
    step = setting(model, layout, training, device, precision, moved)
    compute = _compute(step, moved)
    found = {
        **compute,
        **_tensor(step),
        **_experts(step),
        **_keys(step),
        **_data(step, moved, compute["products"] + compute["flash"]),
        **_once(step, moved),
    }
    return {name: found[name] for name in TERMS}


def setting(
    model: Model, layout: Layout, training: Training, device: Device, precision: Precision, moved: Loads
) -> Step:
    """What all terms take. Zero-bubble's passes are taken as equally long, the others' backward as two forwards."""
    if device.memory_bandwidth is None:
        raise _unknown(device, "memory bandwidth")
    host = device.host_bandwidth
    if moved.offloaded and host is None:
        raise _unknown(device, "link to the host")
    m = microbatches(layout, training)
    lasts = Durations(1, 1, 1) if layout.schedule == "zero-bubble" else Durations()
    times = m * (1 + waiting(layout.schedule, layout.pp, m, layout.interleave, lasts))
    top = peak(device, precision)
    # One device sends nothing, so that its links need not be known.
    alone = isinstance(layout.devices, int) and layout.devices == 1
    return Step(
        layout=layout,
        precision=precision,
        work=work(model, training.sequence),
        traffic=traffic(model),
        width=model.dimensions["width"],
        heads=model.dimensions.get("heads", 0),
        layers=model.dimensions["layers"] / layout.pp,
        matrices=work(model, training.sequence).matrices / (2 * training.sequence) / layout.pp / layout.tp,
        length=training.sequence,
        batches=m,
        times=times,
        sequences=times * layout.microbatch / layout.cp,
        top=top,
        top16=min(top, device.peak[name].value) if (name := _sixteen(device)) else top,
        memory=device.memory_bandwidth.value,
        wires=ALONE if alone else _links(device),
        host=float("inf") if host is None else host.value / 2,
    )


def _sixteen(device: Device) -> str | None:
    return next((name for name in ("bf16", "f16") if name in device.peak), None)


def _compute(step: Step, moved: Loads) -> dict[str, Number]:
    """Products, attention, and what is bound by the memory: elementwise steps, written scores, casts to 8 bit.

    With 8-bit products the inputs and outputs of each are cast, and the weights once a microbatch, each in rows and in
    columns, since a Hopper card multiplies 8-bit operands in one order only (docs.nvidia.com, Transformer Engine,
    "Using FP8 and FP4"). Attention and the head stay in 16 bit. Assumed: that the weights are cast each microbatch.
    """
    layout, split = step.layout, step.layout.tp * step.layout.pp
    weights, attention = passes(layout)
    # A frozen matrix has no gradient of its weights, one pass of three; an adapter has all.
    run = weights - 1 + moved.effort.gradients + weights * moved.effort.added
    products = step.work.matrices * run * step.sequences / split / step.top
    pairs = step.work.pairs * attention * step.sequences / split / step.top16
    flash = pairs
    scores: Number = 0.0 * step.times
    if not layout.flash_attention:
        # A kernel that writes the scores computes those of masked pairs too.
        flash = 2 * pairs
        scores = 2 * step.sequences * step.length**2 * step.heads / layout.tp * step.layers * attention
    whole = chosen(layout.sequence_parallel, 1, layout.tp)
    stream = 2 * step.rows * step.width
    cast = 0.0
    if step.precision.id == "fp8":
        cast = CAST_BYTES * (step.traffic.products * step.rows / split * weights / 3 + moved.parameters * step.times)
    cast = cast + moved.effort.unpacked * step.matrices * step.times * (weights - 1)
    return {
        "products": products if layout.flash_attention else products + flash,
        "flash": flash if layout.flash_attention else 0.0 * step.times,
        "head": 3 * step.work.head * step.sequences / layout.tp / step.top16,
        "elementwise": stream * step.layers * weights * (whole + 1) / layout.tp / step.memory,
        "scores": scores / step.memory,
        "casts": cast / step.memory + 0.0 * step.times,
        "launches": LAUNCH_S * (KERNELS + PIECE_KERNELS * (layout.cp - 1)) * step.layers * weights * step.times,
    }


def _tensor(step: Step) -> dict[str, Number]:
    """Tensor parallelism sends the stream (s b h values) over a ring twice a layer and pass, there and back; a
    pipeline sends it once a run of layers and direction. Source: arXiv 1909.08053, section 3."""
    layout = step.layout
    weights, _ = passes(layout)
    stream = 2 * step.rows * step.width
    near, far = ring(2 * stream * 2 * step.layers * (weights - 1), layout.tp, 1, step.wires)
    hops = chosen(layout.pp > 1, layout.interleave, 0)
    return {"tensor": near, "tensor_far": far, "stages": 2 * stream * hops / layout.tp / step.wires.far}


def _experts(step: Step) -> dict[str, Number]:
    """Every token's row goes to its experts and back, in 16 bit, in each pass: two exchanges a layer of experts.

    Tensor parallelism with divided sequences sends a share of the rows from each device. Source: arXiv 2006.16668 and
    2412.19437 (both unverified: two all-to-all a layer). Ignores: overlap with products, 8-bit dispatch, and limits on
    the nodes that a token is sent to.
    """
    layout = step.layout
    weights, _ = passes(layout)
    divided = chosen(layout.sequence_parallel, layout.tp, 1)
    sent = 2 * 2 * step.traffic.routed / layout.pp * step.rows / divided * (weights - 1)
    near, far = exchange(sent, layout.ep, layout.tp, step.wires)
    return {"experts": near, "experts_far": far}


def _keys(step: Step) -> dict[str, Number]:
    """Context parallelism passes keys and values round a ring, and in the backward pass their gradients as well.

    c devices each send their share of the rows c - 1 times: in the forward pass keys and values, in the backward pass
    these and their gradients, once more where the layer is computed again. Meanwhile runs the attention of the piece
    that is there, and nothing else of the layer can: what is longer remains. Source: arXiv 2310.01889 (unverified).
    """
    layout = step.layout
    weights, attention = passes(layout)
    hiding = step.work.pairs * attention * step.sequences / layout.tp / layout.pp / step.top16
    passed = 2 * step.traffic.keys / layout.pp / layout.tp * step.rows * weights
    near, far = ring(passed * layout.cp, layout.cp, layout.tp, step.wires)
    remains = larger(0.0, near + far - hiding)
    return {"keys": smaller(near, remains), "keys_far": smaller(far, remains)}


def _data(step: Step, moved: Loads, hiding: Number) -> dict[str, Number]:
    """Gradients there and back over a ring once a step; with ZeRO-3 parameters twice and gradients once a microbatch,
    with ZeRO-2 gradients alone once a microbatch and what was updated once a step.

    The latter run while other layers compute: `hidden` is what the products hide, which still takes processors and
    memory from them, `gathered` what is longer. Experts are the same on fewer devices than the rest, n / e.
    Source: arXiv 1910.02054, section 7; arXiv 2304.11277, section 3.3, for what runs beside the products.
    """
    layout, precision = step.layout, step.precision
    dense = moved.parameters - moved.experts
    share = moved.trained / larger(moved.parameters, 1)
    near = far = 0.0
    for size, members, stride in (
        (dense, layout.shards, layout.tp),
        (moved.experts, layout.shards // layout.ep, layout.tp * layout.ep),
    ):
        one_near, one_far = ring(size, members, stride, step.wires)
        near, far = near + one_near, far + one_far
    whole = layout.zero >= 3
    once = precision.gradient * share
    # A device that keeps only its share of the gradients cannot add up the others': they are reduced each microbatch.
    reduced = chosen(layout.zero == 2, 1, 2) * once
    turns = step.batches * (chosen(whole, 2 * precision.parameter, 0) + once)
    beside = chosen(layout.zero >= 2, turns, 0.0)
    remains = larger(0.0, beside * (near + far) - hiding)
    return {
        "data": chosen(whole, 0.0, reduced) * near,
        "data_far": chosen(whole, 0.0, reduced) * far,
        "gathered": smaller(beside * near, remains),
        "gathered_far": smaller(beside * far, remains),
        "hidden": beside * (near + far) - remains,
    }


def _once(step: Step, moved: Loads) -> dict[str, Number]:
    """The optimizer reads and writes its states and reads gradients; the loader hands over tokens.

    With the states in the host's memory gradients go there and parameters come back, over one direction of its link
    each; the update itself runs there (arXiv 2101.06840 (unverified)), bound by the same link or faster: assumed.
    """
    layout, precision = step.layout, step.precision
    gradients = moved.trained * precision.gradient
    shards = chosen(layout.zero >= 1, layout.shards, 1)
    update = (2 * moved.state_bytes + gradients) / step.memory
    loaded = TOKEN_BYTES * step.length * layout.microbatch * step.batches / layout.cp
    zero = 0.0 * step.times
    crossing = moved.trained * (precision.gradient + precision.parameter) / shards / step.host
    return {
        "loading": loaded / step.host + zero,
        "optimizer": zero if moved.offloaded else update + zero,
        "host": crossing + zero if moved.offloaded else zero,
    }


def _links(device: Device) -> Links:
    """Error: TRAIN-DEVICE where the device states no link."""
    found = links(device)
    if found is None:
        raise _unknown(device, "link between devices")
    return found


def _unknown(device: Device, what: str) -> WeighError:
    return WeighError(
        f"the {what} of {device.name} is not known, so no time of a step is estimated",
        rule="TRAIN-DEVICE",
        hint="name an accelerator such as --on h100x8",
    )
