"""A hub that refuses, lies, stumbles or is not there: each ends in an error that says so, or in the truth."""

from __future__ import annotations

import configparser
import json
import socket
from collections.abc import Callable
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from huggingface_hub.errors import OIDCError

from tests.places.loopback import COMMIT, Answer, Loopback, Request
from weigh import files, formats
from weigh.commands import show, source
from weigh.places import addresses
from weigh.types import Limits, Model, WeighError

TENSORS = 120
Fault = Callable[[Answer, Request], bool]


def refused(word: str = "org/model", limits: Limits | None = None) -> WeighError:
    with pytest.raises(WeighError) as caught:
        source.load(word, limits)
    return caught.value


def count(word: str = "org/model") -> int:
    model: Model = source.load(word)
    return len(model.inventory.tensors)


def of_shards(fault: Fault, times: int = 10**6) -> Fault:
    """The fault on requests for bytes of shards, that many times."""
    left = [times]

    def only(answer: Answer, request: Request) -> bool:
        if not request.path.endswith(".safetensors") or left[0] <= 0:
            return False
        left[0] -= 1
        return fault(answer, request)

    return only


def status(code: int, error: str = "", headers: dict[str, str] | None = None) -> Fault:
    def fault(answer: Answer, request: Request) -> bool:
        answer.error(code, error, headers)
        return True

    return fault


# ------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("code", "error", "rule", "exit_code"),
    [
        (401, "", "HUB-DENIED", 3),
        (401, "GatedRepo", "HUB-DENIED", 3),
        (403, "GatedRepo", "HUB-DENIED", 3),
        (403, "", "HUB-DENIED", 3),
        (401, "RepoNotFound", "HUB-UNKNOWN", 4),
        (404, "RepoNotFound", "HUB-UNKNOWN", 4),
        (404, "RevisionNotFound", "HUB-REVISION", 4),
        (404, "", "HUB-UNKNOWN", 4),
        (418, "", "HUB-STATUS", 3),
        (500, "", "HUB-UNREACHABLE", 6),
        (429, "", "HUB-UNREACHABLE", 6),
    ],
)
def test_a_refusal_says_why_and_what_to_do(server: Loopback, code: int, error: str, rule: str, exit_code: int) -> None:
    server.fault = status(code, error)
    said = refused()
    assert (said.rule, said.exit_code) == (rule, exit_code)
    if code in (401, 403) or error == "RepoNotFound":
        assert "HF_TOKEN" in said.hint
    if error == "GatedRepo":
        assert "conditions" in said.hint


def test_an_unknown_repository_is_told_with_near_names(server: Loopback) -> None:
    said = refused("org/modle")
    assert said.exit_code == 4
    assert "did you mean org/model?" in said.hint


def test_an_unknown_file_is_told_with_near_names(server: Loopback) -> None:
    said = refused("org/model/model-00001-of-00004.safetensors")
    assert (said.rule, said.exit_code) == ("HUB-UNKNOWN", 4)
    assert "model-00001-of-00003.safetensors" in said.hint


def test_nobody_there_is_exit_6(monkeypatch: pytest.MonkeyPatch) -> None:
    said = refused()
    assert (said.rule, said.exit_code) == ("HUB-UNREACHABLE", 6)
    assert "HF_ENDPOINT" in said.hint


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_is_exit_6_and_asks_nobody(server: Loopback, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "1")
    said = refused()
    assert (said.rule, said.exit_code) == ("HUB-OFFLINE", 6)
    assert server.requests == []


def test_an_endpoint_that_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "file:///etc")
    assert refused().rule == "HUB-ENDPOINT"


# -------------------------------------------------------------------------------------- stumbles that pass


@pytest.mark.parametrize(
    "fault",
    [
        status(500),
        status(503),
        status(429, headers={"Retry-After": "0"}),
        status(429, headers={"Retry-After": formatdate(0, usegmt=True)}),
    ],
)
def test_a_busy_hub_is_asked_again(server: Loopback, fault: Fault) -> None:
    server.fault = of_shards(fault, times=2)
    assert count() == TENSORS


def test_a_hub_that_asks_to_wait_long_is_not_waited_for(server: Loopback) -> None:
    server.fault = status(429, headers={"Retry-After": "3600"})
    said = refused()
    assert (said.rule, said.exit_code) == ("HUB-BUSY", 6)
    assert "3,600 s" in said.message


def _cut(answer: Answer, request: Request) -> bool:
    """Half of what was announced, then silence."""
    assert request.range is not None
    begin, end = request.range
    path = answer.hub.folder / request.path.rpartition("/")[2]
    size = path.stat().st_size
    told = {"Content-Range": f"bytes {begin}-{end - 1}/{size}", "Content-Length": str(end - begin)}
    answer.begin(206, told)
    with path.open("rb") as file:
        file.seek(begin)
        answer.body(file.read((end - begin) // 2))
    answer.cut()
    return True


def test_a_broken_connection_is_taken_up_where_it_broke(server: Loopback) -> None:
    server.fault = of_shards(_cut, times=3)
    assert count() == TENSORS
    spans = sorted((r.path, r.range) for r in server.ranges() if r.path.endswith(".safetensors") and r.range)
    resumed = [(a, b) for (path, a), (other, b) in pairwise(spans) if path == other and a[1] == b[1]]
    assert len(resumed) >= 2
    assert all(again[0] == first[0] + (first[1] - first[0]) // 2 for first, again in resumed)


def test_a_hub_that_falls_silent_is_asked_again(server: Loopback) -> None:
    import time

    def silent(answer: Answer, request: Request) -> bool:
        time.sleep(0.7)
        answer.cut()
        return True

    server.fault = of_shards(silent, times=1)
    assert count() == TENSORS


def test_an_expired_address_of_another_host_is_asked_for_anew(server: Loopback, folder: Path) -> None:
    with Loopback(folder) as other:
        server.elsewhere = other
        asked: list[str] = []

        def expired(answer: Answer, request: Request) -> bool:
            asked.append(request.path)
            if asked.count(request.path) == 2:
                answer.error(403, "")
                return True
            return False

        other.fault = expired
        inventory = source.load("org/model").inventory
        values = formats.values(inventory, inventory.tensors[-1])
        assert values.size == inventory.tensors[-1].parameters
        assert asked.count(asked[-1]) == 3


# ------------------------------------------------------------------------------------------------------- lies


def _part(change: Callable[[dict[str, str], bytes], tuple[dict[str, str], bytes]], code: int = 206) -> Fault:
    """A true answer with something changed."""

    def fault(answer: Answer, request: Request) -> bool:
        begin, end = request.range or (0, 0)
        path = answer.hub.folder / request.path.rpartition("/")[2]
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(begin)
            data = file.read(end - begin)
        told = {"Content-Range": f"bytes {begin}-{end - 1}/{size}", "Content-Length": str(len(data))}
        told, data = change(told, data)
        answer.begin(code, told)
        answer.body(data)
        answer.cut()
        return True

    return of_shards(fault)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda told, data: (told | {"Content-Range": "bytes 5-9/100"}, data), "HUB-RANGE"),
        (lambda told, data: (told | {"Content-Range": "nonsense"}, data), "HUB-RANGE"),
        (lambda told, data: ({"Content-Length": told["Content-Length"]}, data), "HUB-RANGE"),
        (lambda told, data: (told | {"Content-Range": told["Content-Range"] + "7"}, data), "HUB-CHANGED"),
        (lambda told, data: (told | {"Content-Length": "3"}, data[:3]), "HUB-LENGTH"),
        (lambda told, data: ({"Content-Range": told["Content-Range"]}, data + b"more"), "HUB-LENGTH"),
        (lambda told, data: (told | {"Content-Encoding": "gzip"}, data), "HUB-ENCODING"),
        (lambda told, data: (told | {"X-Repo-Commit": "d" * 40}, data), "HUB-CHANGED"),
        (lambda told, data: (told | {"X-Linked-Size": "12"}, data), "HUB-CHANGED"),
        (lambda told, data: (told | {"X-Linked-Etag": '"' + "0" * 64 + '"'}, data), "HUB-CHANGED"),
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_is_refused(
    server: Loopback, change: Callable[[dict[str, str], bytes], tuple[dict[str, str], bytes]], rule: str
) -> None:
    server.fault = _part(change)
    said = refused()
    assert (said.rule, said.exit_code) == (rule, 3)


def test_a_file_shorter_than_listed_is_refused(server: Loopback) -> None:
    server.fault = of_shards(status(416))
    assert refused().rule == "HUB-RANGE"


def test_a_file_replaced_between_two_requests_is_refused(server: Loopback) -> None:
    inventory = source.load("org/model").inventory
    server.tag = "another"
    with pytest.raises(WeighError) as caught:
        formats.values(inventory, inventory.tensors[-1])
    assert caught.value.rule == "HUB-CHANGED"


def _whole(answer: Answer, request: Request) -> bool:
    """Ranges ignored: the whole file, and told so."""
    path = answer.hub.folder / request.path.rpartition("/")[2]
    answer.send(200, path.read_bytes()) if path.stat().st_size < 10**7 else answer.begin(
        200, {"Content-Length": str(path.stat().st_size)}
    )
    return True


def test_a_server_without_ranges_serves_small_files(server: Loopback) -> None:
    server.fault = of_shards(_whole)
    assert count() == TENSORS


def test_a_server_without_ranges_does_not_send_us_a_large_file(server: Loopback, folder: Path) -> None:
    with (folder / "model-00002-of-00003.safetensors").open("r+b") as file:
        file.truncate(10**9)
    server.fault = of_shards(_whole)
    assert refused().rule == "HUB-RANGE"
    assert server.sent < 10**6


def test_a_circle_of_redirects_is_left(server: Loopback) -> None:
    hops = ["/a", "/b", "/c"]

    def circle(answer: Answer, request: Request) -> bool:
        at = hops.index(request.path) if request.path in hops else -1
        if at < 0 and not request.path.endswith(".safetensors"):
            return False
        answer.send(302, b"", {"Location": hops[(at + 1) % 3]})
        return True

    server.fault = circle
    assert refused().rule == "HUB-REDIRECT"
    assert len(server.requests) < 20


@pytest.mark.parametrize("location", ["file:///etc/passwd", "", "ftp://127.0.0.1/x", "http://[broken"])
def test_a_redirect_to_nowhere_is_refused(server: Loopback, location: str) -> None:
    server.fault = of_shards(status(302, headers={"Location": location}))
    assert refused().rule == "HUB-REDIRECT"


def test_the_token_stays_with_the_hub(server: Loopback, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.token = "hf_secret"
    with Loopback(folder) as other:
        server.elsewhere = other
        assert count() == TENSORS
        assert {request.authorization for request in server.requests} == {"Bearer hf_secret"}
        assert other.requests
        assert {request.authorization for request in other.requests} == {None}


def test_without_its_token_a_private_repository_is_not_there(server: Loopback) -> None:
    server.token = "hf_secret"
    assert (refused().rule, refused().exit_code) == ("HUB-UNKNOWN", 4)


# ------------------------------------------------------------------------------------------- hostile lists


def _entry(**changed: object) -> dict[str, object]:
    return {"type": "file", "path": "a.safetensors", "size": 100, "oid": "0" * 40} | changed


@pytest.mark.parametrize(
    ("listing", "rule", "exit_code"),
    [
        (b"[" * 100_000, "JSON-DEPTH", 3),
        (b"{}", "HUB-LISTING", 3),
        (b'[1, "two"]', "HUB-LISTING", 3),
        (b'[], "more": []', "HUB-LISTING", 3),
        (b"<html>", "JSON-SYNTAX", 3),
        (b"[\xff]", "JSON-TEXT", 3),
        (b"[" + b"0," * 500_000 + b"0]", "JSON-VALUES", 5),
        (b" " * (17 * 2**20), "HUB-SIZE", 5),
        (json.dumps([_entry(path="../../x")]).encode(), "HUB-NAME", 3),
        (json.dumps([_entry(path="/etc/passwd")]).encode(), "HUB-NAME", 3),
        (json.dumps([_entry(path="a//b")]).encode(), "HUB-NAME", 3),
        (json.dumps([_entry(path="./a")]).encode(), "HUB-NAME", 3),
        (json.dumps([_entry(path="a\0b")]).encode(), "HUB-NAME", 3),
        (json.dumps([_entry(path="")]).encode(), "HUB-NAME", 3),
        (json.dumps([_entry(size=-1)]).encode(), "HUB-LISTING", 3),
        (json.dumps([_entry(size=2**63)]).encode(), "HUB-LISTING", 3),
        (json.dumps([_entry(size=1.5)]).encode(), "HUB-LISTING", 3),
        (json.dumps([_entry(size=True)]).encode(), "HUB-LISTING", 3),
        (json.dumps([_entry(path=None)]).encode(), "HUB-LISTING", 3),
        (json.dumps([_entry(lfs={"oid": "x"})]).encode(), "HUB-LISTING", 3),
        (json.dumps([_entry(), _entry()]).encode(), "HUB-LISTING", 3),
        (json.dumps([_entry(path=f"{i}") for i in range(10_001)]).encode(), "FOLDER-FILES", 5),
        (b"[]", "FOLDER-EMPTY", 3),
    ],
)
def test_a_hostile_list_is_refused(server: Loopback, listing: bytes, rule: str, exit_code: int) -> None:
    server.listing = listing
    said = refused()
    assert (said.rule, said.exit_code) == (rule, exit_code)


def test_an_endless_list_is_left(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    server.page = 1
    monkeypatch.setattr(Loopback, "entries", lambda hub: ({"type": "directory"} for _ in range(10**4)))
    said = refused(limits=Limits(files=20))
    assert (said.rule, said.exit_code) == ("FOLDER-FILES", 5)
    assert len(server.requests) < 30


def test_a_list_does_not_go_on_at_another_host(server: Loopback) -> None:
    def elsewhere(answer: Answer, request: Request) -> bool:
        if "/tree/" not in request.path:
            return False
        answer.send(200, b"[]", {"Link": '<http://127.0.0.1:2/next>; rel="next"'})
        return True

    server.fault = elsewhere
    assert refused().rule == "HUB-LISTING"


def test_a_commit_that_is_none_is_refused(server: Loopback) -> None:
    def wrong(answer: Answer, request: Request) -> bool:
        answer.send(200, b'{"sha": "../../x"}')
        return True

    server.fault = wrong
    assert refused().rule == "HUB-LISTING"


def test_an_index_that_names_a_file_outside_the_repository_is_refused(server: Loopback, folder: Path) -> None:
    for shard in folder.glob("*.safetensors"):
        shard.unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))
    assert refused().rule == "FILE-OUTSIDE"
    assert not any("etc" in request.path for request in server.requests)


def test_a_missing_shard_is_told(server: Loopback, folder: Path) -> None:
    (folder / "model-00002-of-00003.safetensors").unlink()
    assert refused().rule == "INDEX-MISSING"


def test_an_empty_file_of_the_repository_is_told(server: Loopback, folder: Path) -> None:
    (folder / "model-00002-of-00003.safetensors").write_bytes(b"")
    assert refused().rule == "FILE-EMPTY"


# ---------------------------------------------------------------------------------------------------- budgets


def test_the_bytes_that_may_be_fetched_are_limited(server: Loopback) -> None:
    said = refused(limits=Limits(fetched_bytes=10_000))
    assert (said.rule, said.exit_code) == ("HUB-BYTES", 5)
    assert "Limits(fetched_bytes=...)" in said.hint


def test_a_hub_that_drips_is_left_when_the_time_is_over(server: Loopback) -> None:
    import time

    def drip(answer: Answer, request: Request) -> bool:
        assert request.range is not None
        begin, end = request.range
        size = (answer.hub.folder / request.path.rpartition("/")[2]).stat().st_size
        answer.begin(206, {"Content-Range": f"bytes {begin}-{end - 1}/{size}", "Content-Length": str(end - begin)})
        for _ in range(100):
            answer.body(b" ")
            answer.wfile.flush()
            time.sleep(0.05)
        answer.cut()
        return True

    server.fault = of_shards(drip)
    started = time.monotonic()
    said = refused(limits=Limits(fetch_seconds=0.4))
    assert (said.rule, said.exit_code) == ("HUB-TIME", 5)
    assert time.monotonic() - started < 4


def test_a_read_beyond_the_file_never_leaves_this_machine(server: Loopback) -> None:
    folder = Path(source.load("org/model").inventory.folder)
    before = len(server.requests)
    with files.opened(folder, "config.json") as file, pytest.raises(WeighError) as caught:
        files.read_at(file, 0, file.size + 1)
    assert caught.value.rule == "FILE-RANGE"
    assert len(server.requests) == before


def test_a_commit_is_read_without_asking_which_it_is(server: Loopback) -> None:
    assert count(f"org/model@{COMMIT}") == TENSORS
    assert not any("/revision/" in request.path for request in server.requests)


# --------------------------------------------------------------------------------- redirects into the user's network


def _resolving(monkeypatch: pytest.MonkeyPatch, endpoint: str, address: str) -> None:
    """Let the endpoint's name stand for an address of the internet; connections still go to loopback."""
    truth = socket.getaddrinfo
    host = urlsplit(endpoint).hostname

    def resolve(name: str, *rest: Any, **more: Any) -> Any:
        return truth(address if name == host else name, *rest, **more)

    monkeypatch.setattr(addresses, "socket", SimpleNamespace(getaddrinfo=resolve, SOCK_STREAM=socket.SOCK_STREAM))


@pytest.mark.parametrize(
    "there",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://[::1]:{port}/",
        "http://[fe80::1]/",
        "http://2130706433:{port}/",
        "http://127.1:{port}/",
        "http://0.0.0.0:{port}/",
        "http://10.0.0.1/",
        "http://224.0.0.1/",
    ],
)
def test_a_public_hub_does_not_lead_into_the_users_network(
    server: Loopback, folder: Path, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    port = urlsplit(server.endpoint).port
    _resolving(monkeypatch, server.endpoint, "8.8.8.8")
    asked: list[str] = []

    def lead(answer: Answer, request: Request) -> bool:
        asked.append(request.path)
        answer.error(302, "", headers={"Location": there.format(port=port)})
        return True

    server.fault = lead
    said = refused()
    assert (said.rule, said.exit_code) == ("HUB-REDIRECT", 3)
    assert "private network" in said.message
    assert len(asked) == 1


def test_a_hub_in_a_private_network_may_lead_to_its_neighbours(server: Loopback, folder: Path) -> None:
    with Loopback(folder) as other:
        server.elsewhere = other
        assert count() == TENSORS
        assert other.requests


def test_addresses_are_told_apart() -> None:
    for host in ("127.0.0.1", "10.1.2.3", "192.168.0.1", "[fd00::1]", "[2002:7f00:1::]", "100.64.0.1", "0.0.0.0"):
        assert not addresses.is_public(f"http://{host}/")
    for host in ("8.8.8.8", "[2606:4700::1111]"):
        assert addresses.is_public(f"https://{host}/")


# --------------------------------------------------------------------------------------------------- the token


@pytest.mark.parametrize("token", ["hf_\u00e9", "hf_\x07x", "hf_a b\nHost: evil"])
def test_a_token_that_is_none_is_refused(server: Loopback, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: token)
    said = refused()
    assert (said.rule, said.exit_code) == ("HUB-TOKEN", 2)
    assert token not in said.message
    assert server.requests == []


@pytest.mark.parametrize(
    "fault",
    [
        PermissionError(13, "no"),
        UnicodeDecodeError("utf-8", b"", 0, 1, "no"),
        OIDCError("no"),
        configparser.Error("no"),
    ],
)
def test_a_token_that_cannot_be_had_is_told(
    server: Loopback, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def failing() -> str:
        raise fault

    monkeypatch.setattr("huggingface_hub.get_token", failing)
    said = refused()
    assert (said.rule, said.exit_code) == ("HUB-TOKEN", 2)
    assert "hf auth login" in said.hint


@pytest.mark.parametrize("wait", ["\u00b2", "Mon, 01 Jan 0001 00:00:00 -0000", "soon"])
def test_a_wait_that_is_no_number_is_passed_over(server: Loopback, wait: str) -> None:
    server.fault = of_shards(status(429, headers={"Retry-After": wait}), times=1)
    assert count() == TENSORS


def test_the_report_of_a_model_on_a_hub(server: Loopback, folder: Path) -> None:
    (folder / "evil.bin").write_bytes(b"\x80\x02cposix\nsystem\n.")
    rows = show.run_imports("org/model/evil.bin").result["imports"]
    assert [(row["module"], row["name"], row["allowed"]) for row in rows] == [("posix", "system", False)]
    for name in ("org/model", "org/model/model-00001-of-00003.safetensors"):
        with pytest.raises(WeighError) as caught:
            show.run_imports(name)
        assert caught.value.rule not in ("READ-UNEXPECTED", "BUG")
