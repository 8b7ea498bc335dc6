"""Money and energy of generating tokens: what the device costs and draws while it decodes."""

from __future__ import annotations

from weigh.types import Cluster, Figure, Why

DRAW = (0.4, 0.7, 1.0)
"""Share of the stated board power that decoding draws. Assumed: it is bound by memory, so the stated power is an
upper end, and no public table of draw by device was found."""


def usd_per_million_tokens(cluster: Cluster, tokens_per_second: Figure | None) -> Figure | None:
    """Rent of the devices for the time that a million output tokens take; None without a list price or a speed.

    usd_per_hour x devices / 3600 / tokens_per_second x 10^6. The prompt is not charged.
    """
    price = cluster.device.rental_usd_per_hour
    if price is None or tokens_per_second is None:
        return None
    an_hour = price.value * cluster.count
    why = Why(
        "usd_per_hour / 3600 / tokens_per_second x 1e6",
        {"usd_per_hour": an_hour, "says": price.says, "read": price.read, "tokens_per_second": tokens_per_second.value},
        price.source,
    )
    ends = (tokens_per_second.value, tokens_per_second.high, tokens_per_second.low)
    value, low, high = (an_hour / 3600 / rate * 1e6 for rate in ends)
    return Figure(value, low, high, "USD", tokens_per_second.basis, why)


def joules_per_token(cluster: Cluster, tokens_per_second: Figure | None) -> Figure | None:
    """Energy of one output token; None without a stated power or a speed.

    power_w x devices x draw / tokens_per_second, where `draw` is the share of the stated power in `DRAW`.
    """
    power = cluster.device.power_w
    if power is None or tokens_per_second is None:
        return None
    watts = power.value * cluster.count
    why = Why(
        "power_w x draw / tokens_per_second",
        {"power_w": watts, "draw": list(DRAW), "tokens_per_second": tokens_per_second.value},
        power.source,
    )
    return Figure(
        watts * DRAW[1] / tokens_per_second.value,
        watts * DRAW[0] / tokens_per_second.high,
        watts * DRAW[2] / tokens_per_second.low,
        "J",
        "assumed",
        why,
    )
