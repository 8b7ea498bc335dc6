"""What every engine must keep, whoever adds it: run over the registry, on models that differ in what they keep."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weigh import codecs
from weigh.commands.setting import Setting, locate, setting
from weigh.commands.source import load
from weigh.cost.memory import STEP
from weigh.engines import ENGINES, find, own_cache, why_not
from weigh.engines.curves import efficiency
from weigh.types import Engine, Figure, Job, WeighError

MODELS = ("gpt2", "llama-3.1-8b", "gemma-3-1b", "mixtral-8x7b", "falcon-7b", "bert-base", "qwen3-0.6b")
DEVICES = ("8GB", "rtx-4090", "raspberry-pi-5", "m4-max")
EACH = pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.id)


@cache
def chosen(engine: Engine, name: str, on: str) -> Setting:
    return setting(model=load(name), place=locate(on), engine=engine.id)


def figures(engine: Engine, job: Job) -> dict[str, Figure]:
    return {
        **{f"weights.{name}": figure for name, figure in engine.weights(job).items()},
        **{f"activations.{name}": figure for name, figure in engine.activations(job).items()},
        "state": engine.state(job),
        "overhead": engine.overhead(job),
    }


def with_work(job: Job, **changes: object) -> Job:
    return replace(job, workload=replace(job.workload, **changes))  # type: ignore[arg-type]


def test_no_two_engines_share_an_id_or_a_name() -> None:
    for key in ("id", "name"):
        assert len({getattr(engine, key) for engine in ENGINES}) == len(ENGINES)


def test_an_engine_that_is_not_there_is_an_error_with_a_hint() -> None:
    with pytest.raises(WeighError) as refused:
        find("no-such-engine")
    assert (refused.value.rule, refused.value.exit_code) == ("ENGINE-UNKNOWN", 2)
    assert ENGINES[0].id in refused.value.hint


@EACH
def test_it_is_a_plain_record_that_is_found_in_any_case(engine: Engine) -> None:
    assert find(engine.id.upper()) is engine
    assert pickle.loads(pickle.dumps(engine)) == engine
    assert engine.source
    assert all(engine.notes)
    assert engine.dialect in ("hf", "ggml")


@EACH
def test_its_caches_are_in_codecs_that_we_know(engine: Engine) -> None:
    assert "f16" in engine.state_codecs
    assert {codecs.by_id(name).id for name in engine.state_codecs} == set(engine.state_codecs)


@EACH
def test_it_refuses_what_it_does_not_run_with_a_reason(engine: Engine) -> None:
    eight = locate("8GB").cluster.device
    tried = [engine.refuses(load("resnet-50"), eight)]
    tried += [engine.refuses(load("gpt2"), replace(eight, kind=kind)) for kind in ("tpu", "phone")]
    refused = [error for error in tried if error is not None]
    assert refused
    assert all(error.rule == "ENGINE-UNSUPPORTED" and error.hint for error in refused)


@EACH
def test_the_cache_that_it_keeps_by_itself_is_one_that_it_knows(engine: Engine) -> None:
    for on in DEVICES:
        one = chosen(engine, "llama-3.1-8b", on)
        assert one.job.workload.state_codec in engine.state_codecs
        assert own_cache(engine, one.job.tensors, one.device) == one.job.workload.state_codec


@EACH
def test_it_reads_f16_everywhere_and_says_why_it_does_not_read_a_codec(engine: Engine) -> None:
    devices = [locate(on).cluster.device for on in (*DEVICES, "h100", "b200")]
    assert not any(why_not(engine, "f16", device) for device in devices)
    reasons = [why_not(engine, codec.id, device) for codec in codecs.CODECS for device in devices]
    assert any(reasons) or engine.cannot_read is None
    assert all(not reason.endswith(".") for reason in reasons)


@EACH
def test_it_has_an_efficiency_on_the_commonest_devices(engine: Engine) -> None:
    for on in ("rtx-4090", "h100", "m4-max"):
        device = locate(on).cluster.device
        for phase in ("prefill", "decode"):
            assert efficiency(engine.id, device, phase).value > 0  # type: ignore[arg-type]


@EACH
@pytest.mark.parametrize("on", DEVICES)
@pytest.mark.parametrize("name", MODELS)
def test_every_buffer_is_a_figure_in_bytes_with_its_derivation(engine: Engine, name: str, on: str) -> None:
    one = chosen(engine, name, on)
    found = figures(engine, one.job)
    assert any(path.startswith("weights.") for path in found)
    for path, figure in found.items():
        assert 0 <= figure.low <= figure.value <= figure.high, path
        assert figure.unit == "B", path
        assert figure.basis in ("counted", "measured", "derived", "assumed"), path
        assert figure.why.formula, path
        if figure.basis == "counted":
            assert figure.low == figure.value == figure.high, path
            assert isinstance(figure.value, int), path
            assert figure.why.source or figure.why.inputs, path


@EACH
@pytest.mark.parametrize("name", MODELS)
def test_weights_are_at_least_most_of_the_file_and_hardly_more(engine: Engine, name: str) -> None:
    one = chosen(engine, name, "8GB")
    held = sum(tensor.nbytes for tensor in one.job.tensors)
    weights = sum(figure.value for figure in engine.weights(one.job).values())
    assert 0.99 * held <= weights <= 1.01 * held


@EACH
@pytest.mark.parametrize("name", MODELS)
def test_what_generates_keeps_a_state_and_an_encoder_none(engine: Engine, name: str) -> None:
    state = engine.state(chosen(engine, name, "8GB").job).value
    assert (state == 0) == (name == "bert-base")


@EACH
@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=25)
@given(data=st.data())
def test_more_context_or_more_sequences_never_take_less(engine: Engine, name: str, data: st.DataObject) -> None:
    one = chosen(engine, name, data.draw(st.sampled_from(DEVICES)))
    short, long = sorted((data.draw(st.integers(1, 20_000)), data.draw(st.integers(1, 20_000))))
    few, many = sorted((data.draw(st.integers(1, 8)), data.draw(st.integers(1, 8))))
    less = one.needed(with_work(one.job, context=short, batch=few)).total
    more = one.needed(with_work(one.job, context=long, batch=many)).total
    assert less.value <= more.value
    assert less.low <= more.low
    assert less.high <= more.high


@EACH
@pytest.mark.parametrize("name", [name for name in MODELS if name != "bert-base"])
def test_a_full_cache_grows_with_the_context_and_with_the_batch(engine: Engine, name: str) -> None:
    one = chosen(engine, name, "8GB")

    def state(**work: int) -> float:
        return engine.state(with_work(one.job, **work)).value

    assert state(context=8192) > state(context=4096) > 0
    assert state(context=4096, batch=4) == 4 * state(context=4096)


@EACH
def test_a_narrower_cache_is_smaller_by_its_bits(engine: Engine) -> None:
    one = chosen(engine, "llama-3.1-8b", "8GB")
    sizes = {
        codec: engine.state(with_work(one.job, state_codec=codec)).value / codecs.by_id(codec).bits
        for codec in engine.state_codecs
    }
    assert max(sizes.values()) == pytest.approx(min(sizes.values()), rel=0.01)


@EACH
@pytest.mark.parametrize("name", ["gpt2", "llama-3.1-8b", "gemma-3-1b"])
@pytest.mark.parametrize("share", [0, 0.02, 0.4, 0.7, 0.999, 1.1])
def test_the_longest_context_fits_and_the_next_step_does_not(engine: Engine, name: str, share: float) -> None:
    one = chosen(engine, name, "8GB")
    trained = one.model.dimensions["context"]
    smallest = one.needed(with_work(one.job, context=1)).total
    largest = one.needed(with_work(one.job, context=trained)).total
    capacity = smallest.low * 0.99 + share * (largest.high - smallest.low * 0.99)
    tight = replace(one, place=replace(one.place, capacity=capacity))
    longest = tight.longest()
    assert longest is not None
    assert 0 <= longest.low <= longest.value <= longest.high <= trained
    for context, end in ((longest.low, "high"), (longest.value, "value"), (longest.high, "low")):
        if context:
            assert getattr(one.needed(with_work(one.job, context=int(context))).total, end) <= capacity
        if context < trained:
            following = 1 if context == 0 else min(trained, (int(context) // STEP + 1) * STEP)
            assert getattr(one.needed(with_work(one.job, context=following)).total, end) > capacity
