"""Work that depends on a model alone is done once for it: results are kept by the identity of what they were made from.

Models are large and compared by nothing; what is kept holds on to its model, so that no other object takes its place,
and the oldest is let go when there are too many.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import wraps
from threading import Lock
from typing import Any, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def once(most: int = 32, *, subjects: int = 1) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Keep the last `most` results of a pure function: by the identity of its first `subjects` arguments, and the value
    of the other ones, all given by position.

    Subjects must not change afterwards, which frozen records and tuples do not; the others must be hashable.
    """

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        kept: OrderedDict[Hashable, tuple[tuple[Any, ...], Result]] = OrderedDict()
        lock = Lock()

        @wraps(function)
        def remembered(*given: Arguments.args, **named: Arguments.kwargs) -> Result:
            if named:
                raise TypeError(f"{function.__name__} takes its arguments by position")
            key = (*map(id, given[:subjects]), *given[subjects:])
            with lock:
                found = kept.get(key)
                if found is not None:
                    kept.move_to_end(key)
                    return found[1]
            result = function(*given, **named)
            with lock:
                kept[key] = (given[:subjects], result)
                if len(kept) > most:
                    kept.popitem(last=False)
            return result

        return remembered

    return decorate
