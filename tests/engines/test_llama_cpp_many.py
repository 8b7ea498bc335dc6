"""The compute buffer of few layers is that of all, and that of many settings at once is that of each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from weigh.commands.setting import locate, setting
from weigh.commands.source import load
from weigh.engines.llama_cpp import decoder, settings, states
from weigh.engines.llama_cpp.allocator import Divided, agreed, peak_bytes, peaks
from weigh.engines.llama_cpp.buffers import Settings, compute_buffer_bytes, runs
from weigh.engines.llama_cpp.decoder import Decoder, decoder_graph, shortened

MODELS = (
    "bloom-560m", "falcon-7b", "gemma-2-2b", "gemma-3-1b", "gemma-7b", "gpt2-large", "llama-3.2-1b", "mixtral-8x7b",
    "phi-2", "pythia-410m", "qwen2.5-3b", "qwen3-30b-a3b", "smollm2-135m", "megatron-turing-530b",
)  # fmt: skip


def built(name: str, context: int = 4096, batch: int = 1, kv: str = "f16") -> tuple[Decoder, Settings, int | None]:
    chosen = setting(model=load(name), place=locate("80GB"), context=context, batch=batch, kv=kv, prompt=8, output=8)
    window = next((state.window for state in states(chosen.model) if state.window is not None), None)
    return decoder(chosen.job), settings(chosen.job), window


def test_what_graphs_do_not_agree_on_divides_them() -> None:
    assert agreed(True)
    assert agreed(np.array([True, True]))
    assert not agreed(np.array([False, False]))
    with pytest.raises(Divided) as divided:
        agreed(np.array([True, False]))
    assert divided.value.mask.tolist() == [True, False]


@pytest.mark.parametrize("name", MODELS)
def test_few_layers_take_the_buffer_of_all(name: str) -> None:
    for context, batch, kv in ((640, 1, "f16"), (8192, 5, "q8_0"), (2048, 64, "f16")):
        whole, how, window = built(name, context, batch, kv)
        short = shortened(whole)
        assert len(short.layers) < len(whole.layers)
        for run in runs(whole, how, window):
            assert peak_bytes(decoder_graph(short, run)) == peak_bytes(decoder_graph(whole, run))


def test_layers_that_do_not_repeat_stay() -> None:
    whole, _, _ = built("llama-3.2-1b")
    layers = tuple(replace(layer, heads=number + 1) for number, layer in enumerate(whole.layers))
    assert shortened(replace(whole, layers=layers)).layers == layers


@pytest.mark.parametrize("name", ["llama-3.2-1b", "gemma-3-1b", "mixtral-8x7b"])
@pytest.mark.parametrize("flash", [True, False])
def test_many_settings_at_once_are_each_as_alone(name: str, flash: bool) -> None:
    whole, how, window = built(name)
    contexts = np.array([[640], [700], [4096], [9000], [31_000]], np.int64)
    batches = np.array([[1, 2, 3, 17, 600]], np.int64)
    many = compute_buffer_bytes(whole, replace(how, context=contexts, sequences=batches, flash=flash), window)
    assert many.shape == (5, 5)
    for row, context in enumerate(contexts.ravel().tolist()):
        for column, batch in enumerate(batches.ravel().tolist()):
            alone = replace(how, context=context, sequences=batch, flash=flash)
            assert many[row, column] == compute_buffer_bytes(whole, alone, window)


def test_every_graph_is_laid_out_even_where_all_differ() -> None:
    whole, how, window = built("llama-3.2-1b")
    prompt, _ = runs(whole, how, window)
    cells = np.arange(1, 9, dtype=np.int64) * 256

    found = peaks(8, lambda numbers: decoder_graph(whole, replace(prompt, cells=cells[numbers])))
    alone = [peak_bytes(decoder_graph(whole, replace(prompt, cells=int(each)))) for each in cells]
    assert found.tolist() == alone
