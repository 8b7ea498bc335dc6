"""Reading stays in the model's folder, never waits, and notices a file that changes under it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile import craft
from weigh import files, formats
from weigh.types import WeighError

MODEL = craft.safetensors({"a": craft.entry("F32", [1], 0, 4)}, b"\0" * 4)
posix = pytest.mark.skipif(os.name != "posix", reason="needs links and pipes")


def _refusal(path: Path | str) -> WeighError:
    with pytest.raises(WeighError) as caught:
        formats.read(path)
    return caught.value


# ----------------------------------------------------------------------------------------------- what is opened


_LISTEN = """
import json, os, sys
opened = []
runs = ("exec", "compile", "import", "os.system", "subprocess.Popen", "socket.connect", "ctypes.dlopen")
def listen(event, arguments):
    if event == "open" and watching:
        opened.append(arguments[0])
    if event in runs and watching:
        opened.append("!" + event)
watching = False
sys.addaudithook(listen)
from weigh import formats
from weigh.types import WeighError
for path in sys.argv[1:]:
    watching = True
    try:
        formats.read(path)
    except WeighError:
        pass
    watching = False
print(json.dumps([os.fsdecode(name) if isinstance(name, (str, bytes, os.PathLike)) else name for name in opened]))
"""


def _opened(*paths: Path) -> list[str]:
    done = subprocess.run([sys.executable, "-c", _LISTEN, *map(str, paths)], check=True, capture_output=True, text=True)
    return list(json.loads(done.stdout))


def test_nothing_outside_the_folder_is_opened_and_nothing_is_run(tmp_path: Path) -> None:
    inside = tmp_path / "model"
    inside.mkdir()
    (tmp_path / "secret.safetensors").write_bytes(MODEL)
    (inside / "a.safetensors").write_bytes(MODEL)
    (inside / "config.json").write_text('{"model_type": "llama", "auto_map": {"AutoModel": "evil.Model"}}')
    (inside / "evil.py").write_text("raise SystemExit(9)")
    (inside / "up.safetensors.index.json").write_bytes(craft.index({"a": "../secret.safetensors"}))
    (inside / "pickle.bin").write_bytes(b"\x80\x02cos\nsystem\n.")
    (inside / "b.gguf").write_bytes(craft.llama())
    if os.name == "posix":
        (inside / "link.safetensors.index.json").write_bytes(craft.index({"a": "link.safetensors"}))
        (inside / "link.safetensors").symlink_to("../secret.safetensors")
    listed = sorted(inside.iterdir())
    names = _opened(inside, *(path for path in listed if path.name not in ("link.safetensors", "evil.py")))
    assert names
    for name in names:
        # Below the folder's own descriptor names are relative, one step each.
        assert name == str(inside) or (os.sep not in name and name != "..") or Path(name).parent == inside, name
        assert not name.startswith("!"), name
        assert "secret" not in name
        assert name != "evil.py"


@posix
def test_a_link_that_the_user_names_is_followed_once(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.safetensors").write_bytes(MODEL)
    (tmp_path / "real" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "one").symlink_to("real/a.safetensors")
    (tmp_path / "two").symlink_to("one")
    inventory = formats.read(tmp_path / "two")
    assert inventory.folder == str(tmp_path / "real")
    assert inventory.configuration == {"model_type": "llama"}
    (tmp_path / "folder").symlink_to("real")
    assert formats.read(tmp_path / "folder").folder == str(tmp_path / "real")


@posix
@pytest.mark.parametrize("target", ["../secret.safetensors", "/etc/hostname", "below/../../secret.safetensors"])
def test_a_shard_that_links_outside_is_refused(target: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "below").mkdir(parents=True)
    (tmp_path / "secret.safetensors").write_bytes(MODEL)
    (folder / "s.safetensors").symlink_to(target)
    (folder / "m.safetensors.index.json").write_bytes(craft.index({"a": "s.safetensors"}))
    refusal = _refusal(folder / "m.safetensors.index.json")
    assert refusal.rule in ("FILE-OUTSIDE", "INDEX-MISSING")


@posix
def test_a_folder_that_links_outside_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "s.safetensors").write_bytes(MODEL)
    (folder / "sub").symlink_to("../other")
    (folder / "m.safetensors.index.json").write_bytes(craft.index({"a": "sub/s.safetensors"}))
    assert _refusal(folder / "m.safetensors.index.json").rule == "FILE-OUTSIDE"


@posix
def test_a_configuration_that_links_outside_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (folder / "config.json").symlink_to("../config.json")
    (folder / "a.safetensors").write_bytes(MODEL)
    inventory = formats.read(folder / "a.safetensors")
    assert inventory.configuration is None
    assert "FILE-OUTSIDE" in inventory.warnings[0]


def _cache(root: Path) -> Path:
    repository = root / "hub" / "models--org--name"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for name, content in (("model.safetensors", MODEL), ("config.json", b'{"model_type": "llama"}')):
        (repository / "blobs" / f"blob-{name[0]}").write_bytes(content)
        (snapshot / name).symlink_to(f"../../blobs/blob-{name[0]}")
    return snapshot


@posix
def test_the_hub_cache_is_read_through_its_links(tmp_path: Path) -> None:
    snapshot = _cache(tmp_path)
    for path in (snapshot, snapshot / "model.safetensors"):
        inventory = formats.read(path)
        assert inventory.folder == str(snapshot)
        assert inventory.files[0][0] == "model.safetensors"
        assert inventory.configuration == {"model_type": "llama"}


@posix
def test_a_snapshot_reaches_its_own_repository_only(tmp_path: Path) -> None:
    snapshot = _cache(tmp_path)
    other = tmp_path / "hub" / "models--org--other" / "blobs"
    other.mkdir(parents=True)
    (other / "s").write_bytes(MODEL)
    (snapshot / "s.safetensors").symlink_to("../../../models--org--other/blobs/s")
    (snapshot / "r.safetensors").symlink_to("../../refs")
    for name in ("s.safetensors", "r.safetensors"):
        (snapshot / "m.safetensors.index.json").write_bytes(craft.index({"a": name}))
        assert _refusal(snapshot / "m.safetensors.index.json").rule in ("FILE-OUTSIDE", "INDEX-MISSING")


# -------------------------------------------------------------------------------------------- what is no file


@posix
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.safetensors")
    refusal = _refusal(tmp_path / "a.safetensors")
    assert (refusal.rule, refusal.exit_code) == ("FILE-KIND", 3)
    assert "pipe" in refusal.message


@posix
def test_a_pipe_beside_the_weights_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(MODEL)
    os.mkfifo(tmp_path / "config.json")
    assert "FILE-KIND" in formats.read(tmp_path / "a.safetensors").warnings[0]


@posix
def test_devices_and_sockets_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _refusal("/dev/zero").rule == "FILE-KIND"
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.gguf")
        assert "socket" in _refusal("s.gguf").message


def test_what_does_not_exist_exits_with_4(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(MODEL)
    for path in (tmp_path / "no.gguf", tmp_path / "file" / "below", tmp_path / ("n" * 5000), "a\0b"):
        assert _refusal(path).exit_code == 4


@posix
def test_broken_and_circular_links_are_told(tmp_path: Path) -> None:
    (tmp_path / "broken").symlink_to("nothing")
    (tmp_path / "circle").symlink_to("circle")
    broken = _refusal(tmp_path / "broken")
    assert (broken.rule, broken.exit_code) == ("FILE-MISSING", 4)
    assert _refusal(tmp_path / "circle").rule == "FILE-LOOP"


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.safetensors").write_bytes(MODEL)

    def denied(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.os, "open", denied)
    refusal = _refusal(tmp_path / "a.safetensors")
    assert (refusal.rule, refusal.exit_code) == ("FILE-DENIED", 3)


def test_a_failing_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.safetensors").write_bytes(MODEL)

    def failing(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files, "_read", failing)
    assert _refusal(tmp_path / "a.safetensors").rule == "FILE-READ"


@posix
def test_a_link_put_in_place_of_the_file_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(MODEL)
    path = folder / "a.safetensors"
    path.write_bytes(MODEL)
    check = files._require_regular

    def swap(status: os.stat_result, where: Path) -> None:
        check(status, where)
        if not path.is_symlink():
            path.unlink()
            path.symlink_to("../secret")

    monkeypatch.setattr(files, "_require_regular", swap)
    with pytest.raises(WeighError) as caught, files.opened(folder, path.name):
        pass
    assert caught.value.rule == "FILE-LOOP"


def test_a_file_that_grows_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1234")
    with pytest.raises(WeighError) as caught, files.opened(tmp_path, "a"):
        path.write_bytes(b"12345")
    assert caught.value.rule == "FILE-CHANGED"


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345678")
    with pytest.raises(WeighError) as caught, files.opened(tmp_path, "a") as file:
        os.truncate(path, 4)
        files.read_at(file, 0, 8)
    assert caught.value.rule == "FILE-CHANGED"


def test_bytes_that_the_file_does_not_hold(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1234")
    with files.opened(tmp_path, "a") as file:
        for offset, count in ((0, 5), (4, 1), (-1, 1), (0, -1), (1 << 64, 1)):
            with pytest.raises(WeighError) as caught:
                files.read_at(file, offset, count)
            assert caught.value.rule == "FILE-RANGE"


def test_a_folder_where_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.safetensors").mkdir()
    (tmp_path / "m.safetensors.index.json").write_bytes(craft.index({"a": "s.safetensors"}))
    assert _refusal(tmp_path / "m.safetensors.index.json").rule == "FILE-FOLDER"


@pytest.mark.parametrize(
    "fault", [KeyError("x"), RecursionError(), ZeroDivisionError(), UnicodeDecodeError("a", b"", 0, 1, "")]
)
def test_a_fault_of_a_reader_is_told_as_one(fault: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise fault

    monkeypatch.setattr(formats.folder, "read", broken)
    refusal = _refusal(tmp_path)
    assert (refusal.rule, refusal.exit_code) == ("READ-UNEXPECTED", 3)
    assert refusal.__cause__ is fault


def test_running_out_of_memory_is_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(formats.folder, "read", broken)
    refusal = _refusal(tmp_path)
    assert (refusal.rule, refusal.exit_code) == ("READ-MEMORY", 5)
