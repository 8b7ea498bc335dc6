"""Time of a training step, and what follows from it: utilisation, days, money, energy.

The step is the sum of `terms`, each times its coefficient. It is the speed of a benchmark; how much of a run's time
is spent in steps is another factor, goodput, which is told apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weigh.cost.train.compute import model_flops
from weigh.cost.train.efficiency import efficiency, framework_of, real_seconds
from weigh.cost.train.layout import Layout, Training
from weigh.cost.train.model_states import model_states
from weigh.cost.train.optimizers import Optimizer, Precision
from weigh.cost.train.terms import FAR, NEAR, loads, peak, terms
from weigh.cost.train.tuning import WHOLE, Tuning, effort
from weigh.types import Basis, Cluster, Device, Figure, Model, Why

DRAW = (0.7, 0.85, 1.0)
"""Share of the stated board power that training draws. Assumed: bound by compute, near the limit that is stated."""
GOODPUT = (0.65, 0.85, 1.0)
"""Share of a run's time that goes on at the speed of its benchmark: failures, restarts, evaluation, slow nodes.
Llama 3.1 405B 34.6 of 38-43 % MFU, PaLM 30.4 of 45.7, Gopher 30.2 of 32.5, GLM-130B 25.1 of 32.5 (second hand:
whole-run hours of their papers against the utilisation that they report)."""
DAY = 86_400


@dataclass(frozen=True, slots=True)
class Run:
    """A whole training run; None where a price or power is not known."""

    steps: int
    days: Figure
    device_hours: Figure
    usd: Figure | None
    joules: Figure | None


def step(
    model: Model,
    layout: Layout,
    training: Training,
    device: Device,
    optimizer: Optimizer,
    precision: Precision,
    framework: str | None = None,
    tuned: Tuning = WHOLE,
    *,
    offloaded: bool = False,
) -> Figure:
    """Seconds of one step: the sum of the terms, each times its fitted coefficient.

    `framework`: a word of `efficiency.FRAMEWORKS`; without one, what most run such a layout under.
    Source: weigh/cost/train/efficiency.toml, which names the fits and their left-out errors; rows that were not fitted
    stand in weigh/published (`weigh validate "step time"`).
    Ignores: overlap that a framework adds to what the terms say, uneven experts, evaluation, checkpoints.
    """
    states = model_states(model, layout, 0, optimizer, precision, tuned)
    moved = loads(model, layout, states, precision, tuned=tuned, offloaded=offloaded)
    ideal = terms(model, layout, training, device, precision, moved)
    words = framework or framework_of(layout)
    fitted, measured = efficiency(device, words)
    parts = real_seconds(ideal, device, words, fitted)
    whole = sum(parts.values())
    low, high = (fitted.low, fitted.high) if measured else (fitted.low**2, fitted.high**2)
    basis: Basis = "derived" if measured else "assumed"
    given = {**parts, "framework": words, "coefficients": f"{fitted.generation}, {fitted.framework}"}
    return Figure(whole, whole * low, whole * high, "s", basis, Why("sum of the terms", given, fitted.source))


def communication(seconds: Figure) -> dict[str, Figure]:
    """Seconds of a step in which devices wait for their links: those inside a node or rack, and those between nodes.

    What runs beside the products is not part of them (`hidden`, in the derivation of the step).
    """
    found = {}
    for name, which in (("near", NEAR), ("far", FAR)):
        given = {term: float(seconds.why.inputs[term]) for term in which}
        value, share = sum(given.values()), seconds.value or 1.0
        ends = (value * seconds.low / share, value * seconds.high / share)
        found[name] = Figure(value, *ends, "s", seconds.basis, Why("sum of the terms of these links", given))
    return found


def mfu(
    model: Model,
    training: Training,
    cluster: Cluster,
    precision: Precision,
    seconds: Figure,
    tuned: Tuning = WHOLE,
) -> Figure:
    """Model FLOPs of a step / (its time x devices x peak of the precision), as a fraction."""
    flops = model_flops(model, training, effort(model, tuned))
    most = cluster.count * peak(cluster.device, precision)
    given = {"model_flops": flops.value, "devices_x_peak": most, "step": seconds.value}
    value, low, high = (flops.value / (most * end) for end in (seconds.value, seconds.high, seconds.low))
    why = Why("model_flops / (step x devices x peak)", given, flops.why.source)
    return Figure(value, low, high, "of peak", seconds.basis, why)


def goodput() -> Figure:
    """The share of a run's time in which it advances at the speed of `step`. Assumed, see `GOODPUT`."""
    low, value, high = GOODPUT
    return Figure(value, low, high, "of the time", "assumed", Why("useful time / whole time of published runs"))


def run(tokens: float, training: Training, cluster: Cluster, seconds: Figure, share: Figure | None = None) -> Run:
    """Days, device-hours, rent and energy to train on so many tokens; with a goodput, of the whole run.

    steps = tokens / (batch x sequence), rounded up; the device's stated power times `DRAW` is its energy, without the
    host, the network and the cooling.
    """
    steps = -int(-tokens // training.tokens)
    ends = (seconds.value, seconds.low, seconds.high)
    divide = (1.0, 1.0, 1.0) if share is None else (share.value, share.high, share.low)
    days = [steps * end / DAY / part for end, part in zip(ends, divide, strict=True)]
    basis: Basis = seconds.basis if share is None else "assumed"
    given: dict[str, float] = {"steps": steps, "step": seconds.value}
    formula = "steps x step / 86400"
    if share is not None:
        given["goodput"] = share.value
        formula += " / goodput"
    hours = [24 * day * cluster.count for day in days]
    lasts = Figure(days[0], days[1], days[2], "days", basis, Why(formula, given))
    held = Why("days x 24 x devices", {"days": days[0], "devices": cluster.count})
    return Run(
        steps,
        lasts,
        Figure(hours[0], hours[1], hours[2], "device-hours", basis, held),
        _usd(cluster.device, hours, basis),
        _joules(cluster.device, hours),
    )


def _usd(device: Device, hours: list[float], basis: Basis) -> Figure | None:
    price = device.rental_usd_per_hour
    if price is None:
        return None
    given: Mapping[str, object] = {"usd_per_hour": price.value, "says": price.says, "read": price.read}
    value, low, high = (price.value * hour for hour in hours)
    return Figure(value, low, high, "USD", basis, Why("device_hours x usd_per_hour", given, price.source))


def _joules(device: Device, hours: list[float]) -> Figure | None:
    power = device.power_w
    if power is None:
        return None
    value, low, high = (3600 * power.value * hour for hour in hours)
    why = Why("device_hours x 3600 x power_w x draw", {"power_w": power.value, "draw": list(DRAW)}, power.source)
    return Figure(value * DRAW[1], low * DRAW[0], high * DRAW[2], "J", "assumed", why)


def carbon(joules: Figure, grams_per_kwh: float) -> Figure:
    """Grams of CO2 of so much energy where a kilowatt-hour of the grid stands for `grams_per_kwh`. 1 kWh = 3.6e6 J."""
    value, low, high = (end / 3.6e6 * grams_per_kwh for end in (joules.value, joules.low, joules.high))
    given = {"joules": joules.value, "grams_per_kwh": grams_per_kwh}
    return Figure(value, low, high, "gCO2", joules.basis, Why("joules / 3.6e6 x grams_per_kwh", given))
