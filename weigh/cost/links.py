"""Links between devices: how fast they are, and how long a collective or a send over them takes.

Training and running read them here. To state another kind of network, change `links`; to add a collective, a function
that takes bytes and gives seconds. Every function takes floats or NumPy arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

from weigh.numbers import Number, chosen, larger, smaller
from weigh.types import Device

NODE = 8
"""Devices of a node, between which the device's own links run. Assumed: boards of 8 are the rule since the V100."""
RACKS = {"gb200": 72, "gb300": 72}
"""Devices whose own links run through a whole rack: NVL72 joins 72 of them (docs.nvidia.com/multi-node-nvlink-systems,
GB200 NVL72). Unverified: read in search results, not opened."""


@dataclass(frozen=True, slots=True)
class Links:
    """Bytes a second of one device in one direction."""

    near: float
    """Inside a node, or a rack whose devices are joined by their own links."""
    far: float
    """Between nodes."""
    node: int = NODE
    """Devices that `near` joins."""

    def ring(self, members: Number) -> Number:
        """Of a ring over several nodes with so many members in each: it uses the adapters of all of them."""
        return smaller(self.near, self.far * larger(members, 1))

    def between(self, members: int) -> Number:
        """Of a ring over so many devices that stand next to each other."""
        return self.near if members <= self.node else self.ring(self.node)


ALONE = Links(float("inf"), float("inf"))
"""Of a single device, which sends nothing."""


def links(device: Device) -> Links | None:
    """Half of the stated link inside a node, of the host's where it has none of its own; between nodes one adapter.

    200 Gbit/s a device for those up to 2021 (arXiv 2104.04473, section 5: eight HDR adapters a node), 400 since.
    None where the device states neither link.
    """
    own = device.link_bandwidth or device.host_bandwidth
    if own is None:
        return None
    old = device.launch_year is not None and device.launch_year.value <= 2021
    return Links(own.value / 2, 25e9 if old else 50e9, RACKS.get(device.id, NODE))


COLLECTIVE_S = 1e-5
"""Seconds that a collective or a send takes whatever it carries. Assumed: a ring inside a node takes about so long."""


def all_reduce_s(nbytes: Number, members: int, wires: Links) -> Number:
    """Seconds of a sum over all members, of which each ends with all of it.

    2 (t - 1) / t x bytes / bandwidth + a start: a ring sends each piece round twice, once to add and once to tell.
    Source: arXiv 1909.08053, section 3 (two a layer and pass); arXiv 2104.04473, section 3.2 (the ring's bytes).
    Ignores: trees and one-shot kernels, which are faster for small sums; sums in the network's switches.
    """
    if members == 1:
        return 0.0
    return 2 * (members - 1) / members * nbytes / wires.between(members) + COLLECTIVE_S


def all_gather_s(nbytes: Number, members: int, wires: Links) -> Number:
    """Seconds until each member has the pieces of all, `nbytes` together: (t - 1) / t of them come in."""
    if members == 1:
        return 0.0
    return (members - 1) / members * nbytes / wires.between(members) + COLLECTIVE_S


def send_s(nbytes: Number, wires: Links, *, far: bool) -> Number:
    """Seconds until the next device has them, inside a node or from one node to the next."""
    return nbytes / (wires.far if far else wires.near) + COLLECTIVE_S


# ---------------------------------------------------------------------------------- ideal, as fits take them


def ring(size: Number, members: Number, stride: Number, wires: Links) -> tuple[Number, Number]:
    """Seconds of one turn of a ring (gather or reduce) of `size` bytes in all: inside a node, and between nodes.

    Each member sends (n - 1) / n of the whole. `stride` devices of other groups lie between two members, so that a
    node holds node / stride of them; their adapters work side by side. One of the two times is 0.
    Source: arXiv 1909.08053, section 3; Patarasuk and Yuan, J. Parallel Distrib. Comput. 69 (2009), for the ring.
    """
    sent = size * (members - 1) / members
    across = members * stride > wires.node
    turn_near = sent / wires.near
    turn_far = sent / wires.ring(wires.node // smaller(stride, wires.node))
    return chosen(across, 0.0, turn_near), chosen(across, turn_far, 0.0)


def exchange(size: Number, members: Number, stride: Number, wires: Links) -> tuple[Number, Number]:
    """Seconds in which each of n members sends `size` bytes, 1 / n to each: inside a node, and between nodes.

    What goes to members in the same node runs over its links, the rest over the one adapter of the device.
    Derived; no measured row was fitted. Ignores: that the load of experts is uneven.
    """
    inside = larger(1, smaller(members, wires.node // smaller(stride, wires.node)))
    return size * (inside - 1) / members / wires.near, size * (members - inside) / members / wires.far
