"""An operating system whose calls are counted, and of which one goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from weigh import writing

REAL = writing.SYSTEM


def system(limit: int, stop: Callable[[], None], done: list[str]) -> writing.System:
    """The real one, but before its call of number `limit` something else happens. Names of calls go to `done`."""

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted_call(*given: Any) -> Any:
            done.append(name)
            if len(done) == limit:
                stop()
            return call(*given)

        return counted_call

    calls = {one.name: getattr(REAL, one.name) for one in fields(writing.System)}
    return replace(REAL, **{name: counted(name, call) for name, call in calls.items() if call is not None})
