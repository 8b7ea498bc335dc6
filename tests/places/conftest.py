"""A machine of its own for each test: no store, no cache, no token, and a hub that must not be there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.places import shards
from tests.places.loopback import Loopback
from weigh.places import hub
from weigh.places.hub_requests import Patience

NAMES = (
    "HF_TOKEN", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE",
    "OLLAMA_MODELS", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy",
)  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's home, empty."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    # Port 1 on loopback answers nobody.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    quick = Patience(attempts=3, timeout_s=0.5, pause_s=0.01, longest_pause_s=2.0)
    monkeypatch.setattr(hub, "PATIENCE", quick)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the hub serves, empty."""
    path = tmp_path / "served"
    path.mkdir()
    return path


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A hub with a small model of 3 shards in the folder `served`."""
    shards.safetensors(folder, 3, 40, 400_000)
    with Loopback(folder) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub
