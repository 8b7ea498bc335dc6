"""No reader passes its limits: counts are checked before loops, sizes before reads, and big headers stay cheap."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile import cases_pytorch, craft, seeds
from tests.hostile.cases import REFUSED
from tests.hostile.test_hostile_files import EXOTIC as ALL_EXOTIC
from tests.hostile.test_hostile_files import REFUSED as ALL_REFUSED
from weigh import formats
from weigh.types import Limits, WeighError

linux = pytest.mark.skipif(sys.platform != "linux", reason="address-space limits are kept on Linux only")


def _rule(path: Path, limits: Limits) -> str:
    with pytest.raises(WeighError) as caught:
        formats.read(path, limits)
    assert caught.value.exit_code == 5
    assert "Limits(" in caught.value.hint
    return caught.value.rule


def _tensors(folder: Path, count: int, name: str = "a.safetensors", stem: str = "t") -> Path:
    path = folder / name
    path.write_bytes(craft.safetensors({f"{stem}{i}": craft.entry("F32", [0], 0, 0) for i in range(count)}))
    return path


def test_too_many_tensors(tmp_path: Path) -> None:
    assert _rule(_tensors(tmp_path, 11), Limits(tensors=10)) == "ST-TENSORS"


def test_far_too_many_values_are_refused_before_they_are_parsed(tmp_path: Path) -> None:
    assert _rule(_tensors(tmp_path, 100), Limits(tensors=10)) == "JSON-VALUES"


def test_a_long_safetensors_header(tmp_path: Path) -> None:
    assert _rule(_tensors(tmp_path, 11), Limits(header_bytes=100)) == "ST-HEADER"


def test_shards_share_one_budget(tmp_path: Path) -> None:
    names = [f"m-{number:05d}-of-00002.safetensors" for number in (1, 2)]
    for name in names:
        _tensors(tmp_path, 8, name, stem=name)
    path = tmp_path / names[0]
    assert _rule(path, Limits(tensors=10)) == "ST-TENSORS"
    assert _rule(path, Limits(header_bytes=1200)) == "ST-HEADER"
    assert _rule(path, Limits(files=1)) == "ST-SHARDS"


def test_an_index_has_budgets_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors.index.json"
    path.write_bytes(craft.index({f"t{i}": f"s{i}.safetensors" for i in range(20)}))
    assert _rule(path, Limits(header_bytes=100)) == "INDEX-SIZE"
    assert _rule(path, Limits(tensors=19)) == "INDEX-TENSORS"
    assert _rule(path, Limits(files=19)) == "INDEX-FILES"


def test_a_crowded_folder(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / str(number)).touch()
    with pytest.raises(WeighError) as caught:
        formats.read(tmp_path, Limits(files=2))
    assert (caught.value.rule, caught.value.exit_code) == ("FOLDER-FILES", 5)


def _gguf(folder: Path, content: bytes, name: str = "a.gguf") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_too_many_keys_or_tensors_in_gguf(tmp_path: Path) -> None:
    keys = [craft.size(f"k{i}", i) for i in range(5)]
    assert _rule(_gguf(tmp_path, craft.gguf(keys)), Limits(keys=4)) == "GGUF-BUDGET"
    tensors = [craft.tensor(f"t{i}", [0]) for i in range(5)]
    assert _rule(_gguf(tmp_path, craft.gguf([], tensors)), Limits(tensors=4)) == "GGUF-BUDGET"


def test_too_many_arrays_in_arrays(tmp_path: Path) -> None:
    inner = craft.array(craft.U8, [])
    keys = [craft.key(name, craft.ARRAY, craft.array(craft.ARRAY, [inner] * 6)) for name in "ab"]
    path = _gguf(tmp_path, craft.gguf(keys))
    assert _rule(path, Limits(keys=11)) == "GGUF-BUDGET"
    assert formats.read(path, Limits(keys=12)).metadata["b"] == {"array": "array", "length": 6}


def test_long_strings_and_headers_in_gguf(tmp_path: Path) -> None:
    path = _gguf(tmp_path, craft.gguf([craft.key("k", craft.STRING, craft.text("x" * 5000))]))
    assert _rule(path, Limits(string_bytes=4999)) == "GGUF-STRING"
    assert _rule(path, Limits(header_bytes=4999)) == "GGUF-HEADER"


def test_parts_share_one_budget(tmp_path: Path) -> None:
    for number in (0, 1):
        split = [
            craft.key("split.no", craft.U16, craft.number(craft.U16, number)),
            craft.key("split.count", craft.U16, craft.number(craft.U16, 2)),
        ]
        tensors = [craft.tensor(f"t{number}.{i}", [0]) for i in range(4)]
        path = _gguf(tmp_path, craft.gguf(split, tensors), f"m-{number + 1:05d}-of-00002.gguf")
    assert len(formats.read(path).tensors) == 8
    assert _rule(path, Limits(tensors=7)) == "GGUF-BUDGET"
    assert _rule(path, Limits(header_bytes=path.stat().st_size + 8)) == "GGUF-HEADER"
    assert _rule(path, Limits(files=1)) == "GGUF-PARTS"


def test_what_is_kept_of_metadata_is_bounded(tmp_path: Path) -> None:
    """Half a million numbers in arrays short enough to be kept: after 16 MiB only their lengths are."""
    block = craft.array(craft.U8, [bytes(4096)], count=4096)
    inventory = formats.read(_gguf(tmp_path, craft.gguf([craft.key(f"k{i}", craft.ARRAY, block) for i in range(130)])))
    kept = [value for value in inventory.metadata.values() if isinstance(value, list)]
    assert 50 < len(kept) < 100
    assert inventory.metadata["k129"] == {"array": "u8", "length": 4096}


def test_a_long_text_is_passed_over(tmp_path: Path) -> None:
    path = _gguf(tmp_path, craft.gguf([craft.key("k", craft.STRING, craft.text("x" * (2**20 + 1)))]))
    assert formats.read(path).metadata["k"] == {"array": "byte", "length": 2**20 + 1}


def test_a_sparse_file_of_a_terabyte_costs_its_header_only(tmp_path: Path) -> None:
    size = 1 << 40
    path = tmp_path / "a.safetensors"
    path.write_bytes(craft.safetensors({"a": craft.entry("U8", [size], 0, size)}))
    with path.open("r+b") as file:
        try:
            file.truncate(path.stat().st_size + size)
        except OSError:
            pytest.skip("the file system has no sparse files of this size")
    assert formats.read(path).tensors[0].nbytes == size


_UNDER_LIMITS = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
from weigh import formats
from weigh.types import WeighError
for path in sys.argv[1:]:
    try:
        formats.read(path)
    except WeighError as error:
        assert error.rule not in ("READ-MEMORY", "READ-UNEXPECTED"), (path, error.rule, error.message)
assert "numpy" not in sys.modules
"""


@linux
def test_every_hostile_file_is_told_within_400_megabytes(tmp_path: Path) -> None:
    paths = []
    for case in (*REFUSED, *cases_pytorch.REFUSED):
        paths.append(tmp_path / case.name)
        paths[-1].write_bytes(case.content)
    subprocess.run([sys.executable, "-c", _UNDER_LIMITS, *map(str, paths)], check=True, timeout=60)


MEGABYTES = 256
SECONDS = 2.0
_MEASURED = """
import json, resource, sys, time
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))
from weigh import formats
from weigh.types import WeighError
for path in json.load(sys.stdin):
    open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
    before, begin = resident(), time.process_time()
    try:
        formats.read(path)
    except WeighError as error:
        assert error.rule not in ("READ-MEMORY", "READ-UNEXPECTED"), (path, error.rule, error.message)
    print(json.dumps([path, (peak() - before) / 1024, time.process_time() - begin]), flush=True)
"""


@pytest.mark.slow
@linux
def test_every_case_and_every_seed_stays_under_256_megabytes_and_2_seconds(tmp_path: Path) -> None:
    """Of every format, in process; what h5py's own process may take is the limit that `hdf5.py` sets it."""
    paths = []
    for number, (name, seed) in enumerate(seeds.SEEDS.items()):
        (tmp_path / str(number)).mkdir()
        paths.append(seeds.write(tmp_path / str(number), name, seed))
    for case in (*ALL_REFUSED, *ALL_EXOTIC):
        paths.append(tmp_path / case.name)
        paths[-1].write_bytes(case.content)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED], input=json.dumps([*map(str, paths)]),
        check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) == len(paths)
    assert not [(path, megabytes) for path, megabytes, _ in told if megabytes > MEGABYTES]
    assert not [(path, seconds) for path, _, seconds in told if seconds > SECONDS]


@pytest.mark.slow
@linux
def test_200_000_tensors_take_little_memory(tmp_path: Path) -> None:
    """The whole command may take 400 MB; its time is measured in benchmarks/."""
    header = {f"model.layers.{i // 9}.t{i % 9}.weight": craft.entry("F32", [0], 0, 0) for i in range(200_000)}
    path = tmp_path / "many.safetensors"
    path.write_bytes(craft.safetensors(json.dumps(header).encode()))
    code = (
        f"from weigh import formats; assert len(formats.read({str(path)!r}).tensors) == 200_000; "
        # Not ru_maxrss: it keeps what the parent held when it forked.
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True, text=True)
    assert int(done.stdout) < 250_000


@pytest.mark.slow
def test_a_million_tokens_are_passed_over(tmp_path: Path) -> None:
    tokens = craft.array(craft.STRING, [craft.text(f"t{i}") for i in range(1_000_000)])
    keys = [craft.named(), craft.key("tokenizer.ggml.tokens", craft.ARRAY, tokens)]
    inventory = formats.read(_gguf(tmp_path, craft.gguf(keys)))
    assert inventory.metadata["tokenizer.ggml.tokens"] == {"array": "string", "length": 1_000_000}
    assert inventory.configuration is not None
    assert inventory.configuration["vocab_size"] == 1_000_000
