"""What reading opens, runs and contacts, told by Python's audit events and, of child processes, by the kernel.

Each seed and every hostile file is read in a process that listens. What weigh itself imports when it is first needed
lies in the folders of Python and its packages; a model's file never does, so the two are told apart by their place.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.hostile import craft, craft_keras, craft_onnx, craft_tflite, seeds
from tests.hostile.test_hostile_files import BOOKS

_LISTEN = """
import json, os, sys
heard, watching = [], False
RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn", "subprocess.Popen", "ctypes.dlopen",
        "socket.", "exec", "compile", "import", "open", "os.listdir", "os.scandir", "os.remove", "os.rename",
        "os.mkdir", "os.symlink", "os.link", "os.truncate", "shutil.", "pickle.find_class", "marshal.", "webbrowser.")
def plain(value):
    if isinstance(value, (str, bytes, os.PathLike)):
        return os.fsdecode(value)
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if hasattr(value, "co_filename"):
        return value.co_filename
    return value if isinstance(value, (int, type(None))) else repr(type(value))
def listen(event, arguments):
    global watching
    if watching and event.startswith(RUNS):
        watching = False
        heard.append([event, plain(arguments)])
        watching = True
sys.addaudithook(listen)
from weigh import formats
from weigh.types import WeighError
for path in json.load(sys.stdin):
    watching = True
    try:
        formats.read(path)
    except WeighError:
        pass
    watching = False
print(json.dumps(heard))
"""
EVENTS_OF_IMPORTS = ("import", "exec", "compile", "marshal.loads", "marshal.load")
HARMLESS = ("os.listdir", "os.scandir", "open")
posix = pytest.mark.skipif(os.name != "posix", reason="needs links")


def heard(paths: list[Path]) -> list[tuple[str, list[Any]]]:
    """(event, its arguments) of everything that reading these files caused."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", _LISTEN], input=json.dumps([*map(str, paths)]),
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return [(event, arguments) for event, arguments in json.loads(done.stdout)]


def ours(name: Any) -> bool:
    """Whether a file is one of Python, of weigh or of the packages that it imports."""
    import weigh

    roots = [sys.prefix, sys.base_prefix, str(Path(weigh.__file__).parent), *(os.fspath(p) for p in sys.path if p)]
    root = Path(__file__).parents[2]
    return isinstance(name, str) and any(Path(name).is_relative_to(each) for each in roots if Path(each) != root)


def _is_scratch(name: Any) -> bool:
    """A new file without a name, or removed while it is open: for weights that an archive of Keras holds compressed."""
    scratch = Path(tempfile.gettempdir())
    return isinstance(name, str) and scratch in (Path(name), Path(name).parent)


def require_inside(events: list[tuple[str, list[Any]]], folder: Path) -> int:
    """Hold the events against the promise; how many files of the folder were opened."""
    inside = 0
    for event, arguments in events:
        first = arguments[0] if arguments else None
        if event in EVENTS_OF_IMPORTS:
            # Code of our own: a file of the packages, or text that Python's own modules compile for themselves.
            names = [word for word in (arguments if isinstance(arguments, list) else []) if isinstance(word, str)]
            assert not any("evil" in name or str(folder) in name for name in names), (event, names)
        elif event in HARMLESS:
            if (
                isinstance(first, int)
                or first is None
                or ours(first)
                or str(first).startswith(("/proc/self/", "/dev/null"))
            ):
                continue
            # A folder cannot be opened for writing but to make a file without a name in it.
            folder_itself = first == tempfile.gettempdir() and arguments[2] & os.O_RDWR
            if folder_itself or (_is_scratch(first) and arguments[2] & os.O_EXCL):
                continue
            # Below the folder's own descriptor names are relative, one step each.
            lies = Path(first).is_relative_to(folder) or (os.sep not in first and first not in ("..", ""))
            assert lies, (event, first)
            assert "secret" not in first and not first.endswith("evil.py"), first
            inside += event == "open"
        elif event == "subprocess.Popen":
            # The one program that is started is our own child, with Python, isolated.
            command = arguments[1]
            assert first == sys.executable and command[1:4] == ["-I", "-S", "-B"], arguments
            assert command[4].endswith("hdf5_child.py") and ours(command[4]), command
        else:
            removed = event == "os.remove" and _is_scratch(first)
            assert removed or event in ("os.fork", "os.posix_spawn"), (event, arguments)
    return inside


def _all_of_them(folder: Path) -> list[Path]:
    paths = []
    for name, seed in seeds.SEEDS.items():
        (folder / f"of-{name}").mkdir()
        paths.append(seeds.write(folder / f"of-{name}", name, seed))
        paths.append(paths[-1].parent)
    (folder / "cases").mkdir()
    for book in BOOKS:
        for case in (*book.REFUSED, *book.EXOTIC):
            if len(case.content) < 2**20:
                paths.append(folder / "cases" / case.name)
                paths[-1].write_bytes(case.content)
    return paths


@pytest.mark.slow
def test_no_seed_and_no_hostile_file_leads_out(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    paths = _all_of_them(folder)
    assert require_inside(heard(paths), folder) > len(paths)


def _reaching(folder: Path) -> list[Path]:
    """A file of every format that names a file outside in each way that the format has."""
    weights = craft.safetensors({"a": craft.entry("F32", [1], 0, 4)}, b"\0" * 4)
    outside = folder.parent / "secret"
    for name in ("secret", "secret.safetensors", "secret.h5"):
        (folder.parent / name).write_bytes(weights)
    (folder / "evil.py").write_text("raise SystemExit(9)")
    files: dict[str, bytes] = {
        "auto.json": b'{"model_type": "llama", "auto_map": {"AutoModel": "evil.Model"}}',
        "pickle.bin": b"\x80\x02cevil\nrun\n.",
        "global.pt": b"\x80\x02cposix\nsystem\nX\x04\0\0\0true\x85R.",
        "builtin.pt": b"\x80\x02c__builtin__\neval\nX\x01\0\0\x001\x85R.",
        "outer.h5": craft_keras.h5(lambda f: f.__setitem__("x", craft_keras.h5py.ExternalLink(str(outside), "/a"))),
        "stored.h5": craft_keras.h5(
            lambda f: f.create_dataset("d", shape=(4,), dtype="u1", external=[(str(outside), 0, 4)])
        ),
        "lambda.keras": craft_keras.keras(
            craft_keras.h5(craft_keras.dense),
            {
                "class_name": "Lambda",
                "module": "evil",
                "registered_name": "evil>Run",
                "config": {"function": {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None}}},
            },
        ),
        "objects.npy": craft_onnx.npy(
            "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"\x80\x02cevil\nrun\n."
        ),
    }
    for number, name in enumerate(("../secret", str(outside), "below/../../secret", "link", "up/secret", "C:\\secret")):
        files[f"shard{number}.safetensors.index.json"] = craft.index({"a": name + ".safetensors", "b": name})
        files[f"m{number}.weights.json"] = json.dumps({"metadata": {}, "weight_map": {"/layers/a": [name]}}).encode()
        files[f"far{number}.onnx"] = craft_onnx.onnx([craft_onnx.tensor("w", external={"location": name})])
        number_of = craft_tflite.Number
        entry = craft_tflite.Table(
            {n: number_of("I" if n < 2 else "Q", v) for n, v in ((0, 7), (1, 0), (2, 0), (3, 8))}
        )
        files[f"far{number}.tflite"] = craft_tflite.tflite(
            [craft_tflite.tensor(buffer=0, extra={10: number_of("I", 7)})],
            extra={8: [craft_tflite.Table({0: name})], 9: [entry]},
        )
        files[f"p{number}.weigh-manifest.json"] = json.dumps(
            {"weigh.manifest": {"state": "finished", "parts": {name: {"size": 4}}}}
        ).encode()
        files[f"p{number}-00001-of-00002.gguf"] = seeds.PARTS["p-00001-of-00002.gguf"]
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "link").symlink_to("../secret")
    (folder / "link.safetensors").symlink_to("../secret.safetensors")
    (folder / "up").symlink_to("..")
    (folder / "config.json").symlink_to("../secret")
    return [folder, *(folder / name for name in files)]


@posix
def test_no_way_out_of_the_folder_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    assert require_inside(heard(_reaching(folder)), folder)


@posix
def test_the_listener_hears(tmp_path: Path) -> None:
    """What the promise forbids would be seen: a file outside, a program, a socket, code of the model's."""
    secret = str(tmp_path / "secret")
    for event, arguments in (
        ("open", [secret, "r", 0]),
        ("open", ["..", "r", 0]),
        ("socket.connect", [None, None]),
        ("socket.getaddrinfo", ["example.org"]),
        ("os.system", ["true"]),
        ("subprocess.Popen", ["/bin/true", ["/bin/true"], None, None]),
        ("import", ["evil", None]),
        ("pickle.find_class", ["os", "system"]),
    ):
        with pytest.raises(AssertionError):
            require_inside([(event, arguments)], tmp_path / "model")
    assert ("open" in {event for event, _ in heard([_written(tmp_path)])}) is True


def _written(folder: Path) -> Path:
    (folder / "a.safetensors").write_bytes(seeds.SAFETENSORS)
    return folder / "a.safetensors"


@posix
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_the_child_that_reads_hdf5_opens_nothing_and_contacts_nobody(tmp_path: Path) -> None:
    """After its limits are set, the child cannot open a file at all: what the kernel saw of it, for files that try."""
    folder = tmp_path / "model"
    folder.mkdir()
    paths = [path for path in _reaching(folder) if path.suffix in (".h5", ".keras")]
    log = tmp_path / "log"
    read = "for path in sys.argv[1:]:\n try: formats.read(path)\n except Exception: pass"
    code = f"import sys; from weigh import formats\n{read}"
    subprocess.run(
        ["strace", "-f", "-qq", "-s", "4096", "-e", "trace=openat,open,connect,socket,execve", "-o", str(log),
         sys.executable, "-B", "-c", code, *map(str, paths)], check=True, timeout=120,
    )  # fmt: skip
    lines = log.read_text().splitlines()
    assert any("hdf5_child.py" in line and "execve" in line for line in lines)
    assert not [line for line in lines if "secret" in line or "evil.py" in line]
    assert not [line for line in lines if "connect(" in line or "socket(" in line]
