"""Time of a training step, and what follows from it: utilisation, days, money, energy.

The step is the sum of `terms`, each times its coefficient. It is the speed of a benchmark; how much of a run's time
is spent in steps is another factor, goodput, which is told apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weigh.cost.train.compute import model_flops
from weigh.cost.train.efficiency import efficiency
from weigh.cost.train.layout import Layout, Training
from weigh.cost.train.model_states import model_states
from weigh.cost.train.optimizers import Optimizer, Precision
from weigh.cost.train.terms import peak, terms
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
    model: Model, layout: Layout, training: Training, device: Device, optimizer: Optimizer, precision: Precision
) -> Figure:
    """Seconds of one step: the sum of the terms, each times its fitted coefficient.

    Source: weigh/cost/train/efficiency.toml, which names the fit and its left-out error.
    Off by, on rows that were not fitted: 2.7 % on average and 6.6 % at worst on arXiv 2205.05198, table 5; 7.4 % and
    27 % on MPT of 13 to 70 billion parameters. On H100 (torchtitan) it is 20 to 31 % too short.
    Ignores: data loading, experts' all-to-all, exchange of keys in context parallelism, overlap that a framework
    adds. Devices other than the measured one are assumed to be alike.
    """
    states = model_states(model, layout, 0, optimizer, precision)
    ideal = terms(model, layout, training, device, precision, states.master + states.optimizer)
    fitted = efficiency()
    seconds = {name: ideal[name] * fitted.coefficients[name] for name in ideal}
    whole = sum(seconds.values())
    same = device.id == fitted.device
    low, high = (fitted.low, fitted.high) if same else (fitted.low**2, fitted.high**2)
    basis: Basis = "derived" if same else "assumed"
    return Figure(whole, whole * low, whole * high, "s", basis, Why("sum of the terms", seconds, fitted.source))


def mfu(model: Model, training: Training, cluster: Cluster, precision: Precision, seconds: Figure) -> Figure:
    """Model FLOPs of a step / (its time x devices x peak of the precision), as a fraction."""
    flops = model_flops(model, training)
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
