"""Efficiency curves: which files are refused and why, what a device is given, and that the shipped file is sound."""

from datetime import date
from pathlib import Path

import pytest

from weigh.devices import devices, find
from weigh.engines.curves import CLASSES, Phase, curve_class, efficiency, limit
from weigh.types import Device, Quoted, WeighError

ENTRY = """
[consumer.decode]
low = 0.4
value = 0.6
high = 0.8
basis = "measured"
why = "12 rounds on this machine"
source = "a profile"
fitted = 2026-01-31
"""
QUOTED = Quoted(1e12, "1 TFLOP/s", "https://example.com", "2026-01-31")
PHASES: tuple[Phase, ...] = ("decode", "prefill")


def device(kind: str = "consumer", *peaks: str, cores: bool = False) -> Device:
    peak = dict.fromkeys(peaks, QUOTED)
    return Device("example", "Example", "Example", kind, peak=peak, cores=QUOTED if cores else None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "example.toml").write_text(ENTRY)
    return tmp_path


def test_an_engine_without_curves_is_refused_with_what_there_is() -> None:
    with pytest.raises(WeighError) as caught:
        efficiency("no-such-engine", device(), "decode")
    assert caught.value.rule == "CURVE-ENGINE"
    assert "no-such-engine" in caught.value.message
    assert "llama.cpp" in caught.value.hint


def test_a_class_that_the_file_leaves_out_is_refused_and_never_guessed(folder: Path) -> None:
    with pytest.raises(WeighError) as caught:
        efficiency("example", device("phone"), "decode", (folder,))
    assert caught.value.rule == "CURVE-CLASS"
    assert "phone" in caught.value.message
    assert caught.value.where == "phone.decode"
    assert "consumer" in caught.value.hint


def test_a_phase_that_the_file_leaves_out_is_refused(folder: Path) -> None:
    with pytest.raises(WeighError) as caught:
        efficiency("example", device(), "prefill", (folder,))
    assert caught.value.where == "consumer.prefill"


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("[consumer.decode]", "[consumer.decode", ""),
        ("[consumer.decode]", "[fridge.decode]", "fridge"),
        ("[consumer.decode]", "[consumer.training]", "consumer.training"),
        ("[consumer.decode]", "[consumer]\ndecode = 1\n[rest]", "consumer.decode"),
        ("[consumer.decode]", "consumer = 1\n[rest]", "consumer"),
        ("low = 0.4", "", "consumer.decode.low"),
        ("low = 0.4", 'low = "0.4"', "consumer.decode.low"),
        ("low = 0.4", "low = true", "consumer.decode.low"),
        ("low = 0.4", "low = nan", "consumer.decode.low"),
        ("low = 0.4", "low = 0", "consumer.decode.low"),
        ("low = 0.4", "low = -0.4", "consumer.decode.low"),
        ("low = 0.4", "low = 0.7", "consumer.decode"),
        ("high = 0.8", "high = inf", "consumer.decode.high"),
        ("high = 0.8", "high = 80000", "consumer.decode.high"),
        ("high = 0.8", "high = 0.5", "consumer.decode"),
        ("high = 0.8", "high = 0.8\nhihg = 0.8", "consumer.decode.hihg"),
        ("high = 0.8", "high = 0.8\ntypes = 1", "consumer.decode.types"),
        ("high = 0.8", "high = 0.8\ntypes = { f16 = 0 }", "consumer.decode.types.f16"),
        ("high = 0.8", "high = 0.8\nkernel_s = -1e-6", "consumer.decode.kernel_s"),
        ("high = 0.8", "high = 0.8\nstep_s = 2", "consumer.decode.step_s"),
        ("high = 0.8", "high = 0.8\nseconds = [0.5]", "consumer.decode.seconds"),
        ("high = 0.8", "high = 0.8\nseconds = [1.2, 1.3]", "consumer.decode.seconds"),
        ('basis = "measured"', 'basis = "counted"', "consumer.decode.basis"),
        ('why = "12 rounds on this machine"', 'why = " "', "consumer.decode.why"),
        ('source = "a profile"', "", "consumer.decode.source"),
        ("fitted = 2026-01-31", 'fitted = "2026-01-31"', "consumer.decode.fitted"),
        ("fitted = 2026-01-31", "fitted = 2026-01-31T10:00:00", "consumer.decode.fitted"),
    ],
)
def test_a_malformed_file_is_refused_with_its_key(old: str, new: str, where: str, folder: Path) -> None:
    assert old in ENTRY
    (folder / "example.toml").write_text(ENTRY.replace(old, new))
    with pytest.raises(WeighError) as caught:
        efficiency("example", device(), "decode", (folder,))
    assert caught.value.rule == "CURVE-FILE"
    assert caught.value.where == where
    assert "example.toml" in caught.value.message


def test_what_is_no_text_is_refused(folder: Path) -> None:
    (folder / "example.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(WeighError, match="not TOML"):
        efficiency("example", device(), "decode", (folder,))


def test_a_folder_of_the_callers_goes_before_ours_class_by_class(folder: Path) -> None:
    (folder / "llama.cpp.toml").write_text(ENTRY)
    own = efficiency("llama.cpp", device(), "decode", (folder,))
    assert (own.low, own.value, own.high) == (0.4, 0.6, 0.8)
    assert own.basis == "measured"
    assert (own.why, own.source) == ("12 rounds on this machine", "a profile")
    assert efficiency("llama.cpp", device("apple"), "decode", (folder,)).basis == "derived"


def test_a_card_without_a_16_bit_peak_has_a_curve_of_its_own() -> None:
    half = efficiency("llama.cpp", device("consumer", "f32", "f16"), "prefill")
    single = efficiency("llama.cpp", device("consumer", "f32"), "prefill")
    assert single.value > half.value


@pytest.mark.parametrize(
    ("peaks", "chosen"), [(("f32", "bf16", "f16"), "f16"), (("f32", "bf16"), "bf16"), (("f32", "int8"), "f32")]
)
def test_prefill_is_held_against_the_half_precision_peak_else_bf16_else_f32(
    peaks: tuple[str, ...], chosen: str
) -> None:
    peak = {name: Quoted(number, name, "", "") for number, name in enumerate(peaks, start=1)}
    stated = limit(Device("x", "x", "", "consumer", peak=peak), "prefill")
    assert stated is not None
    assert stated.says == chosen


def test_what_the_vendor_does_not_state_is_no_limit() -> None:
    assert limit(device("consumer", "int8"), "prefill") is None
    assert limit(device(), "decode") is None


def test_a_processor_is_told_from_a_card_by_its_cores_and_the_lack_of_a_peak() -> None:
    assert curve_class(device("datacenter", cores=True)) == "processor"
    assert curve_class(device("datacenter", "f16", cores=True)) == "datacenter"
    assert curve_class(device("datacenter")) == "datacenter"
    assert curve_class(device("apple", cores=True)) == "apple"
    assert curve_class(device("phone", cores=True)) == "phone"
    assert curve_class(device("host", cores=True)) == "host"


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("one", [*devices(), find("8GB").device], ids=lambda one: one.id)
def test_llama_cpp_has_a_curve_for_every_device(one: Device, phase: Phase) -> None:
    found = efficiency("llama.cpp", one, phase)
    assert 0 < found.low <= found.value <= found.high
    assert found.why
    assert found.source


@pytest.mark.parametrize("kind", CLASSES)
def test_nothing_reads_faster_than_its_memory(kind: str) -> None:
    plain = device("datacenter", cores=True) if kind == "processor" else device(kind)
    assert efficiency("llama.cpp", plain, "decode").high <= 1


@pytest.mark.parametrize("kind", ["datacenter", "consumer", "workstation", "apple", "host"])
def test_measured_classes_say_how_many_rows_and_of_what(kind: str) -> None:
    found = efficiency("llama.cpp", device(kind, "f32", "f16"), "prefill")
    assert found.basis == "derived"
    assert any(letter.isdigit() for letter in found.why)
    assert "benchmarks/" in found.source


@pytest.mark.parametrize("kind", ["tpu", "laptop", "edge", "size"])
def test_a_class_without_rows_is_assumed_says_why_and_is_wider_than_one_with(kind: str) -> None:
    guess = efficiency("llama.cpp", device(kind), "decode")
    fitted = efficiency("llama.cpp", device("consumer"), "decode")
    assert guess.basis == "assumed"
    assert guess.why
    assert guess.high / guess.low > fitted.high / fitted.low


def test_a_day_is_a_day() -> None:
    # The entries' `fitted` is written by a program; a file from the future would hide which came last.
    import tomllib

    path = Path(__file__).parents[2] / "weigh/engines/curves/llama.cpp.toml"
    table = tomllib.loads(path.read_text())
    assert table.pop("stretch") == 512
    assert all(entry["fitted"] <= date.today() for curves in table.values() for entry in curves.values())
