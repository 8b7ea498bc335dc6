"""Where models live: stores of this machine that other programs fill, each found by the name that its program uses.

To add a store: a file that ends with its `STORE` record, an import here, and its name in `STORES`. Stores are read and
never written. What lies on a hub is reached by `hub.py`, and only where the user names it.
"""

from __future__ import annotations

from typing import Final

from weigh.places import huggingface_cache, lm_studio, ollama
from weigh.places.record import Found, Store
from weigh.types import Limits

__all__ = ["STORES", "Found", "Store", "find"]

STORES: Final[tuple[Store, ...]] = (huggingface_cache.STORE, ollama.STORE, lm_studio.STORE)


def find(word: str, limits: Limits) -> tuple[Found, ...]:
    """What each store holds under this name; with a store's prefix (`ollama:llama3.2`), that store alone.

    Errors: those of the store that holds it, where it is there and broken.
    """
    for store in STORES:
        if word.startswith(f"{store.id}:"):
            found = store.find(word.removeprefix(f"{store.id}:"), limits)
            return () if found is None else (found,)
    held = (store.find(word, limits) for store in STORES)
    return tuple(found for found in held if found is not None)
