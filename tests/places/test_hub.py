"""A model on a hub: what is fetched, what is kept, who is contacted, and that all commands work on it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.places import shards
from tests.places.loopback import COMMIT, Answer, Loopback, Request
from weigh import formats
from weigh.commands import cost, show, source, summary
from weigh.places import hub_kept
from weigh.types import WeighError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A hub that redirects large files to another host, as the real one does."""
    with Loopback(folder) as other, Loopback(folder, elsewhere=other) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub


def sent(hub: Loopback) -> int:
    return hub.sent + (hub.elsewhere.sent if hub.elsewhere else 0)


# ------------------------------------------------------------------------------------------------ how much


def test_of_a_model_of_800_gb_some_megabytes_are_fetched(hub: Loopback, folder: Path) -> None:
    total = shards.safetensors(folder, 40, 200, 20 * 10**9)
    model = source.load("org/model")
    assert sum(tensor.nbytes for tensor in model.inventory.tensors) == 40 * 200 * (20 * 10**9 // 400) * 2
    assert len(model.inventory.tensors) == 40 * 200
    assert total > 790 * 10**9
    assert sent(hub) < 5 * 10**6


def test_of_a_gguf_of_5_gb_the_header_is_fetched(hub: Loopback, folder: Path) -> None:
    total = shards.gguf(folder / "model.gguf", 291, 128_256, 5 * 10**9)
    model = source.load("org/model")
    assert len(model.inventory.tensors) == 291
    assert sent(hub) < total // 500


def test_of_pytorch_shards_the_pickles_and_entries_are_fetched(hub: Loopback, folder: Path) -> None:
    torch = pytest.importorskip("torch")
    weight_map = {}
    for shard in (1, 2):
        name = f"pytorch_model-{shard:05d}-of-00002.bin"
        tensors = {f"layers.{shard}.{i}.weight": torch.zeros(2048, 1024) for i in range(5)}
        torch.save(tensors, folder / name)
        weight_map |= dict.fromkeys(tensors, name)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    total = sum(path.stat().st_size for path in folder.iterdir())
    model = source.load("org/model")
    assert sum(tensor.parameters or 0 for tensor in model.inventory.tensors) == 10 * 2048 * 1024
    assert sent(hub) < total // 100


def test_160_shards_are_not_waited_for_one_after_the_other(hub: Loopback, folder: Path) -> None:
    shards.safetensors(folder, 160, 150, 10**9)
    other = hub.elsewhere
    assert other is not None
    other.latency_s = 0.05
    started = time.monotonic()
    model = source.load("org/model")
    waited = time.monotonic() - started
    assert len(model.inventory.tensors) == 160 * 150
    assert len(other.requests) < 2 * 160
    assert waited < 160 * 0.05  # one after the other it would be this at least, and twice that with two requests each


def test_a_file_of_the_repository_and_a_folder_in_it_can_be_named(hub: Loopback, folder: Path) -> None:
    (folder / "sub").mkdir()
    shards.gguf(folder / "one.gguf", 3, 10, 10**6)
    shards.gguf(folder / "two.gguf", 4, 10, 10**6)
    shards.safetensors(folder / "sub", 2, 5, 10**5)
    with pytest.raises(WeighError) as caught:
        source.load("org/model")
    assert caught.value.rule == "FOLDER-MANY"
    assert len(source.load("org/model/two.gguf").inventory.tensors) == 4
    assert len(source.load(f"hub:org/model@{COMMIT}/sub").inventory.tensors) == 10
    assert len(source.load("org/model@main/sub").inventory.tensors) == 10


def test_a_long_list_comes_in_pages(hub: Loopback, folder: Path) -> None:
    shards.safetensors(folder, 12, 3, 10**5)
    hub.page = 4
    assert len(source.load("org/model").inventory.tensors) == 36
    assert sum("/tree/" in request.path for request in hub.requests) == 4


# ------------------------------------------------------------------------------------------------ commands


def test_every_command_takes_a_hub_id(server: Loopback) -> None:
    inventory = show.run("org/model", tensors=True).result
    assert inventory["source"].startswith(f"hub:org/model@{COMMIT}/")
    assert inventory["bytes"] == 3 * 40 * 2 * (400_000 // 40 // 2)
    assert len(inventory["tensors"]) == 120
    assert summary.run("org/model", on="rtx-4090").result["refused"]["rule"]
    assert cost.run("org/model", on="rtx-4090").refusal is not None


def test_a_configuration_alone_says_what_else_lies_there(server: Loopback, folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    config = {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 100, "n_positions": 32}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "flax_model.msgpack").write_bytes(b"x")
    answer = show.run("org/model")
    assert answer.result["family"] == "gpt2"
    assert any("flax_model.msgpack" in warning for warning in answer.warnings)


def test_values_of_one_tensor_are_fetched_alone(hub: Loopback, folder: Path) -> None:
    shards.safetensors(folder, 2, 10, 10**9)
    name = "model-00002-of-00002.safetensors"
    tensor = next(tensor for tensor in formats.read(folder).tensors if tensor.pieces[0].file == name)
    with (folder / name).open("r+b") as file:
        file.seek(tensor.pieces[0].offset)
        file.write(np.arange(10**6, dtype=np.uint16).tobytes())
    inventory = source.load("org/model").inventory
    before = sent(hub)
    chunk = next(formats.chunks(inventory, tensor, 10**6))
    expected = (np.arange(10**6, dtype=np.uint16).astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(chunk, expected)
    assert sent(hub) - before < 2 * 10**6 + 10**5


def test_digests_of_large_files_are_those_that_the_hub_states(server: Loopback, folder: Path) -> None:
    answer = show.run("org/model", hashes=True)
    name = "model-00001-of-00003.safetensors"
    assert answer.result["sha256"][name] == server.digest(folder / name)
    assert any("stated by the hub" in warning for warning in answer.warnings)


def test_a_large_file_without_a_stated_digest_is_not_fetched_to_be_hashed(server: Loopback, folder: Path) -> None:
    shards.gguf(folder / "model.gguf", 4, 10, 10**9)
    server.large = 10**12
    with pytest.raises(WeighError) as caught:
        show.run("org/model/model.gguf", hashes=True)
    assert caught.value.rule == "HASH-REMOTE"
    assert server.sent < 2 * 10**6


# ---------------------------------------------------------------------------------------------------- kept


def test_what_was_fetched_is_not_fetched_again(server: Loopback) -> None:
    source.load("org/model")
    before = len(server.ranges())
    assert len(source.load("org/model").inventory.tensors) == 120
    assert len(server.ranges()) == before


def test_another_commit_is_fetched_anew(server: Loopback, folder: Path) -> None:
    source.load("org/model")
    before = len(server.ranges())
    with (folder / "model-00003-of-00003.safetensors").open("r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) + 2)
    with pytest.raises(WeighError) as caught:
        source.load("org/model")
    assert caught.value.rule == "ST-REST"
    assert len(server.ranges()) == before + 1


def test_a_spoiled_record_is_fetched_again(server: Loopback, home: Path) -> None:
    source.load("org/model")
    (journal,) = home.rglob("*.blocks")
    data = bytearray(journal.read_bytes())
    data[len(data) // 2] ^= 1
    journal.write_bytes(data)
    before = len(server.ranges())
    assert len(source.load("org/model").inventory.tensors) == 120
    assert 0 < len(server.ranges()) - before < before


@pytest.mark.parametrize("left", [0.0, 0.3, 0.9])
def test_a_torn_journal_is_good_up_to_the_tear(server: Loopback, home: Path, left: float) -> None:
    source.load("org/model")
    (journal,) = home.rglob("*.blocks")
    data = journal.read_bytes()
    journal.write_bytes(data[: int(left * len(data))])
    assert len(source.load("org/model").inventory.tensors) == 120


def test_nothing_that_is_kept_could_be_taken_for_a_model(server: Loopback, home: Path) -> None:
    source.load("org/model")
    kept = [path for path in (home / "cache").rglob("*") if path.is_file()]
    assert len(kept) == 1
    assert kept[0].read_bytes().startswith(hub_kept.TITLE)
    assert kept[0].stat().st_size < 200_000
    with pytest.raises(WeighError) as caught:
        formats.read(kept[0])
    assert caught.value.rule == "FORMAT-UNKNOWN"


def test_what_is_kept_is_for_the_user_alone_and_bounded(
    server: Loopback, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.load("org/model")
    (journal,) = home.rglob("*.blocks")
    if os.name == "posix":
        assert journal.stat().st_mode & 0o077 == 0
        assert journal.parent.stat().st_mode & 0o077 == 0
    monkeypatch.setattr(hub_kept, "TOTAL_BYTES", 1000)
    source.load("org/model")
    assert not journal.exists()


def test_a_full_cache_only_costs_more_requests(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_kept, "REPOSITORY_BYTES", 1)
    assert len(source.load("org/model").inventory.tensors) == 120


def test_a_cache_that_cannot_be_written_is_told(server: Loopback, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "file"))
    with pytest.raises(WeighError) as caught:
        source.load("org/model")
    assert caught.value.rule == "HUB-CACHE"
    assert "XDG_CACHE_HOME" in caught.value.hint


@pytest.mark.skipif(os.name != "posix", reason="kills with a signal")
def test_a_weighing_that_was_killed_is_taken_up(hub: Loopback, folder: Path) -> None:
    shards.safetensors(folder, 30, 100, 10**9)
    other = hub.elsewhere
    assert other is not None
    code = "from weigh.commands import source; source.load('org/model')"
    command = [sys.executable, "-c", code]
    seen: list[int] = []

    def stall(answer: Answer, request: Request) -> bool:
        seen.append(1)
        if len(seen) <= 15:
            return False
        time.sleep(0.2)
        answer.cut()
        return True

    other.fault = stall
    child = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    while len(seen) < 20 and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    other.fault = None
    before = len(other.requests)
    assert len(source.load("org/model").inventory.tensors) == 3000
    whole = {request.path for request in other.requests if request.path.endswith(".safetensors")}
    again = {request.path for request in other.requests[before:]}
    assert len(whole) == 30
    assert len(again) <= 20


# -------------------------------------------------------------------------------------------------- contacted

AUDITED = """
import sys
contacted = set()
def hook(event, arguments):
    if event == "socket.connect":
        contacted.add(str(arguments[1][0]) if isinstance(arguments[1], tuple) else str(arguments[1]))
    elif event == "socket.getaddrinfo":
        contacted.add(str(arguments[0]))
    elif event in ("socket.sendto", "socket.gethostbyname", "socket.gethostbyaddr"):
        contacted.add(event)
sys.addaudithook(hook)
from weigh.commands import source
from weigh.types import WeighError
try:
    source.load(sys.argv[1])
except WeighError as error:
    print(error.rule)
print(sorted(contacted))
"""


def contacted(word: str) -> list[str]:
    """What a process told of its own sockets while it loaded this model: the rule of an error, and the hosts."""
    command = [sys.executable, "-c", AUDITED, word]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split("\n")[:-1]


def test_nothing_but_the_endpoint_is_contacted(hub: Loopback, folder: Path) -> None:
    shards.safetensors(folder, 3, 5, 10**6)
    assert contacted("org/model") == ["['127.0.0.1']"]


@pytest.mark.parametrize(
    ("word", "rule"),
    [
        ("gpt2", []),
        ("no-such-model", ["MODEL-UNKNOWN"]),
        ("./org/model", ["MODEL-UNKNOWN"]),
        ("tests/no-such-model", ["MODEL-UNKNOWN"]),
        ("ollama:llama3.2", ["MODEL-UNKNOWN"]),
        ("hf:org/model", ["MODEL-UNKNOWN"]),
        ("lmstudio:org/model", ["MODEL-UNKNOWN"]),
        ("../org/model", ["MODEL-UNKNOWN"]),
        ("org/../model", ["MODEL-UNKNOWN"]),
        ("hub:../model", ["MODEL-UNKNOWN"]),
        ("http://127.0.0.1/org/model", ["MODEL-UNKNOWN"]),
    ],
)
def test_without_a_hub_id_nobody_is_contacted(server: Loopback, word: str, rule: list[str]) -> None:
    assert contacted(word) == [*rule, "[]"]
    assert server.requests == []


def test_the_command_line_tells_progress_and_errors_on_standard_error(server: Loopback) -> None:
    code = "import sys; sys.argv[0] = 'weigh'; from weigh.cli import main; sys.exit(main())"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def weigh(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, *words]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    done = weigh("show", "org/model", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["result"]["parameters"]["total"] > 0
    failed = weigh("show", "org/other", "--json")
    assert failed.returncode == 4
    assert json.loads(failed.stderr)["error"]["rule"] == "HUB-UNKNOWN"
