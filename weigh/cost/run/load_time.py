"""Load time: weights from a disk, the page cache or a network into the device; and whether to keep a model loaded.

What an engine would load is in `cost/loading.py`; how fast bytes come and how long engines start is data
(`prices/disks.toml`, `prices/starts.toml`). A new kind of disk is a table there.
"""

from __future__ import annotations

from dataclasses import dataclass

from weigh.prices import Range, Store
from weigh.types import Cluster, Figure, Why

LINK = (0.45, 0.7, 0.9)
"""Share of the stated rate to the host that copies reach, one direction. Assumed: pageable memory reaches about half,
pinned memory most of it."""


@dataclass(frozen=True, slots=True)
class Loading:
    """From one store: seconds until the engine answers, and what that means for keeping the model loaded."""

    store: Store
    seconds: Figure
    """Read, copy and start together."""
    first_token: Figure | None
    """What a request waits whose model is not loaded: loading, then the time to first token."""
    busy_per_hour: Figure | None
    """Requests an hour from which keeping it loaded costs less than loading it for each."""


def copy_time(nbytes: float, cluster: Cluster) -> Figure | None:
    """Seconds of copying the weights to the devices; None where they lie in the host's own memory.

    nbytes / devices / (host_bandwidth / 2 x reached): each device takes its own share over its own link, of which
    the stated rate counts both directions. `LINK` is what is reached of it.
    Ignores: links that devices share, and weights that stay with the host.
    """
    link = cluster.device.host_bandwidth
    if link is None:
        return None
    share = nbytes / cluster.count / (link.value / 2)
    inputs = {"bytes": nbytes, "devices": cluster.count, "host_bandwidth": link.value, "reached": list(LINK)}
    why = Why("bytes / devices / (host_bandwidth / 2 x reached)", inputs, link.source)
    return Figure(share / LINK[1], share / LINK[2], share / LINK[0], "s", "assumed", why)


def load_time(nbytes: float, store: Store, copied: Figure | None, start: Range | None) -> Figure:
    """Seconds until weights from the store are ready on the device and the engine runs.

    larger(read, copy) + smaller(read, copy) x what is not hidden behind it + start: an engine may copy what it has
    read while it reads on (nothing of the smaller remains, the low end), or one thing after the other (the high end);
    the value takes half. Without a start that is known, that of the engine is left out and said.
    """
    rate = store.bytes_per_s
    read = (nbytes / rate.value, nbytes / rate.high, nbytes / rate.low)
    copy = (0.0, 0.0, 0.0) if copied is None else (copied.value, copied.low, copied.high)
    begin = (0.0, 0.0, 0.0) if start is None else (start.value, start.low, start.high)
    remains = (0.5, 0.0, 1.0)
    value, low, high = (
        max(r, c) + left * min(r, c) + s for r, c, left, s in zip(read, copy, remains, begin, strict=True)
    )
    inputs = {
        "bytes": nbytes,
        "bytes_per_s": [rate.low, rate.value, rate.high],
        "copy": copy[0],
        "remains": list(remains),
        "start": "not known, left out" if start is None else [start.low, start.value, start.high],
    }
    formula = "larger(bytes / bytes_per_s, copy) + remains x smaller(bytes / bytes_per_s, copy) + start"
    return Figure(value, low, high, "s", "assumed", Why(formula, inputs, f"{rate.why} ({rate.source})"))


def loadings(
    nbytes: float,
    stores: tuple[Store, ...],
    cluster: Cluster,
    start: Range | None,
    *,
    ttft: Figure | None,
    answer: Figure | None,
) -> tuple[Loading, ...]:
    """One row a store. `answer`: seconds that one request keeps the devices busy, without loading."""
    copied = copy_time(nbytes, cluster)
    rows = []
    for store in stores:
        seconds = load_time(nbytes, store, copied, start)
        rows.append(Loading(store, seconds, _first_token(seconds, ttft), busy_per_hour(seconds, answer)))
    return tuple(rows)


def _first_token(seconds: Figure, ttft: Figure | None) -> Figure | None:
    if ttft is None:
        return None
    why = Why("load + ttft", {"load": seconds.value, "ttft": ttft.value})
    return Figure(seconds.value + ttft.value, seconds.low + ttft.low, seconds.high + ttft.high, "s", seconds.basis, why)


def busy_per_hour(seconds: Figure, answer: Figure | None) -> Figure | None:
    """Requests an hour from which keeping a model loaded costs less than loading it anew for each of them.

    Loaded for each, r requests take r x (load + answer) seconds of the devices; kept, they take the whole hour. Both
    are paid at the same price, so it falls out: r = 3600 / (load + answer). Between two requests keeping it costs less
    where the pause is shorter than `load`. That holds for rented devices that are given back at once, and for memory
    that another model would use.
    Ignores: least times of renting, and that somebody waits.
    """
    if answer is None:
        return None
    why = Why("3600 / (load + answer)", {"load": seconds.value, "answer": answer.value})
    value, low, high = (
        3600 / (loading + busy)
        for loading, busy in (
            (seconds.value, answer.value),
            (seconds.high, answer.high),
            (seconds.low, answer.low),
        )
    )
    return Figure(value, low, high, "requests/h", seconds.basis, why)
