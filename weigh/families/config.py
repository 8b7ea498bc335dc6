"""Typed reading of a configuration: a missing size is an error, a missing switch takes its documented default.

Every accessor takes the key and its synonyms (the first is the one that the class documents). What a default
filled in is kept in `assumed`, so that the page can say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weigh.types import Limits, WeighError

_REQUIRED = object()


class Config:
    """One model's configuration with typed accessors.

    Errors: WeighError with rule CONFIG-MISSING, CONFIG-TYPE, CONFIG-RANGE or CONFIG-VARIANT, naming the key.
    """

    def __init__(self, values: Mapping[str, Any], source: str = "", *, limits: Limits | None = None) -> None:
        self.values = values
        self.source = source
        self.limits = limits or Limits()
        self.assumed: list[str] = []
        self.warnings: list[str] = []

    # ------------------------------------------------------------------------------------------- accessors

    def integer(self, *keys: str, default: Any = _REQUIRED, minimum: int = 1, maximum: int = 2**40) -> int:
        """A whole number in minimum..maximum."""
        key, value = self._find(keys, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._error("CONFIG-TYPE", key, "a whole number", value)
        if not minimum <= value <= maximum:
            raise self._error("CONFIG-RANGE", key, f"a number from {minimum} to {maximum:,}", value)
        return value

    def optional_integer(self, *keys: str, minimum: int = 1) -> int | None:
        """A whole number, or None where the key is absent or null."""
        return None if self._absent(keys) else self.integer(*keys, minimum=minimum)

    def is_null(self, key: str) -> bool:
        """Whether the key is there and null: some classes take that for something else than a key left out."""
        return key in self.values and self.values[key] is None

    def switch(self, *keys: str, default: bool) -> bool:
        """True or false."""
        key, value = self._find(keys, default)
        if not isinstance(value, bool):
            raise self._error("CONFIG-TYPE", key, "true or false", value)
        return value

    def choice(self, key: str, allowed: Sequence[str], default: Any = _REQUIRED) -> str:
        """One of the words allowed."""
        _, value = self._find((key,), default)
        if value not in allowed:
            raise self._error("CONFIG-VARIANT", key, f"one of {', '.join(allowed)}", value)
        return str(value)

    def integers(self, *keys: str, default: Any = _REQUIRED, minimum: int = 0) -> tuple[int, ...]:
        """A list of whole numbers."""
        key, value = self._find(keys, default)
        if not isinstance(value, list | tuple) or len(value) > self.limits.layers:
            raise self._error("CONFIG-TYPE", key, f"a list of at most {self.limits.layers:,} whole numbers", value)
        for item in value:
            if isinstance(item, bool) or not isinstance(item, int) or not minimum <= item <= 2**40:
                raise self._error("CONFIG-TYPE", key, f"whole numbers from {minimum}", item)
        return tuple(value)

    def words(self, key: str, allowed: Sequence[str]) -> tuple[str, ...] | None:
        """A list of words out of those allowed, or None where the key is absent or null."""
        if self._absent((key,)):
            return None
        value = self.values[key]
        if not isinstance(value, list | tuple) or any(not isinstance(item, str) for item in value):
            raise self._error("CONFIG-TYPE", key, "a list of words", value)
        for item in value:
            if item not in allowed:
                raise self._error("CONFIG-VARIANT", key, f"words out of {', '.join(allowed)}", item)
        return tuple(value)

    def layers(self, *keys: str) -> int:
        """The number of layers, within the limit."""
        return self.integer(*keys, maximum=self.limits.layers)

    def labels(self) -> int:
        """Classes of a classifier: `num_labels`, else the length of `id2label`, else 2.

        Source: transformers 5.23, configuration_utils.py, PreTrainedConfig.num_labels.
        """
        names = self.values.get("id2label")
        if isinstance(names, Mapping) and names:
            return len(names)
        return self.integer("num_labels", default=2)

    def architecture(self) -> str | None:
        """The class named first in `architectures`, if any."""
        names = self.values.get("architectures")
        if names is None:
            return None
        if not isinstance(names, list | tuple) or not names or not isinstance(names[0], str):
            raise self._error("CONFIG-TYPE", "architectures", "a list of class names", names)
        return names[0]

    def expect(self, key: str, value: Any, default: Any) -> None:
        """Refuse any other value: a variant that is not understood is an error, not a wrong number."""
        _, found = self._find((key,), default)
        if found != value:
            raise self._error("CONFIG-VARIANT", key, repr(value), found)

    def variant(self, key: str, expected: str, found: Any) -> WeighError:
        """The error for a value that is of the right type and not understood."""
        return self._error("CONFIG-VARIANT", key, expected, found)

    def missing(self, *keys: str) -> WeighError:
        """The error for a size or list that has to be written down under one of the keys."""
        named = " or ".join(f"`{key}`" for key in keys)
        return WeighError(
            f"the configuration has no {named}",
            rule="CONFIG-MISSING",
            path=self.source or None,
            where=f"key {keys[0]}",
            hint="a size that is not written down is not guessed: add the key, or name the model's own file",
        )

    def divide(self, numerator: int, denominator: int, what: str) -> int:
        """numerator / denominator, which must come out even."""
        if numerator % denominator:
            raise WeighError(
                f"{what}: {numerator:,} is not a multiple of {denominator:,}",
                rule="CONFIG-RANGE",
                path=self.source or None,
                hint="check the sizes in the configuration",
            )
        return numerator // denominator

    # -------------------------------------------------------------------------------------------- plumbing

    def _absent(self, keys: Sequence[str]) -> bool:
        return all(self.values.get(key) is None for key in keys)

    def _find(self, keys: Sequence[str], default: Any) -> tuple[str, Any]:
        for key in keys:
            if self.values.get(key) is not None:
                return key, self.values[key]
        if default is _REQUIRED:
            raise self.missing(*keys)
        self.assumed.append(f"{keys[0]} = {default!r}")
        return keys[0], default

    def _error(self, rule: str, key: str, expected: str, found: Any) -> WeighError:
        shown = repr(found)
        if len(shown) > 80:
            shown = shown[:77] + "..."
        return WeighError(
            f"the configuration's `{key}` should be {expected}, found {shown}",
            rule=rule,
            path=self.source or None,
            where=f"key {key}",
        )
