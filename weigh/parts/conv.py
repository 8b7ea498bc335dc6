"""Convolution over one axis (sound), two (images) or three (video)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from weigh.types import Kept, PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class Conv:
    """`outputs` filters of `kernel` x `kernel` over `inputs` channels, giving `positions` points an image."""

    inputs: int
    outputs: int
    kernel: int
    positions: int
    """Output height x width of one image."""
    groups: int = 1
    bias: bool = False
    input_gradient: bool = True
    """False for the first layer: nobody asks for the gradient of the image."""
    extent: tuple[int, ...] = ()
    """Size of the filters along each axis, where they are not `kernel` x `kernel`."""
    places: int | None = None
    """Points of one image that comes in; None = not told (strides are not)."""


def slots(part: Conv) -> tuple[Slot, ...]:
    """weight (outputs, inputs / groups, and the filters' extent), and bias (outputs) if there is one."""
    shape = (part.outputs, part.inputs // part.groups, *_extent(part))
    weight = Slot("weight", shape, "conv")
    return (weight, Slot("bias", (part.outputs,), "conv")) if part.bias else (weight,)


def _extent(part: Conv) -> tuple[int, ...]:
    return part.extent or (part.kernel, part.kernel)


def forward(part: Conv, step: Pass) -> int:
    """2 x (kernel^2 or the product of the extent) x inputs / groups x outputs at each output position of an image."""
    filters = prod(_extent(part)) * part.inputs // part.groups * part.outputs
    return 2 * filters * part.positions * step.tokens * step.batch


def backward(part: Conv, step: Pass) -> int:
    """The gradient of the weight, and that of the input unless nobody needs it: each as large as the forward."""
    return (2 if part.input_gradient else 1) * forward(part, step)


def remembers(_part: Conv) -> tuple[State, ...]:
    """Nothing."""
    return ()


def keeps(part: Conv, step: Pass) -> tuple[Kept, ...] | None:
    """The input, for the gradient of the weight. Not known where the record does not tell its places."""
    if part.places is None:
        return None
    return (Kept("input", part.inputs * part.places * step.tokens * step.batch),)


CONV = PartKind(
    id="conv",
    dimensions=Conv,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    source="https://docs.pytorch.org/docs/stable/generated/torch.nn.Conv2d.html",
    keeps=keeps,
    example=Conv(inputs=3, outputs=8, kernel=3, positions=16, bias=True),
)
