"""Errors in one style: what is wrong, why, where, and what to do about it."""

from __future__ import annotations

from weigh.report.escape import printable
from weigh.types import WeighError


def lines(error: WeighError) -> list[str]:
    """The error as lines of text; the cause's message is told where there is one of ours."""
    out = [f"error: {printable(error.message)}"]
    cause = error.__cause__
    if isinstance(cause, WeighError):
        out.append(f"  caused by: {printable(cause.message)}")
    places = [printable(error.path)] if error.path else []
    if error.where:
        places.append(printable(error.where))
    if error.offset is not None:
        places.append(f"byte {error.offset:#x}")
    out.append(f"      where: {', '.join(places)}{' ' if places else ''}(rule {error.rule})")
    if error.hint:
        out.append(f"hint: {printable(error.hint)}")
    return out
