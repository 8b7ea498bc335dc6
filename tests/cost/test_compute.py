"""FLOPs of whole models: by hand, as published, and as a counter inside the reference implementation sees them."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cost import test_flops_counted
from tests.families import draw, test_experts, test_image_flops
from weigh import catalogue, parts
from weigh.cost.compute import backward_flops, by_kind, compute, decode_flops, forward_flops, generates
from weigh.cost.params import count
from weigh.families import BY_MODEL_TYPE
from weigh.families.identify import identify
from weigh.parts import Conv
from weigh.types import Inventory, Model, Part, Pass, WeighError, Workload


def known(name: str) -> Model:
    return identify(Inventory("memory", "catalogue", "hf", configuration=catalogue.entry(name).configuration))


def configured(configuration: dict[str, Any]) -> Model:
    return identify(Inventory("memory", "config", "hf", configuration=configuration))


def small(model_type: str) -> dict[str, Any]:
    sizes = draw.sizes(model_type, random.Random(model_type))
    return {"model_type": model_type, "architectures": draw.classes(model_type)[:1], **sizes}


LLAMA = known("llama-3.1-8b")


# ------------------------------------------------------------------------------------------------- by hand


@pytest.mark.parametrize(("tokens", "past", "batch"), [(1, 0, 1), (512, 0, 1), (512, 0, 4), (1, 4096, 2), (100, 7, 3)])
def test_llama_by_hand(tokens: int, past: int, batch: int) -> None:
    """2 x parameters of the matrices x tokens, the head on the last one, and 4 x width a pair that attends."""
    layers, width, hidden, vocabulary, kv_width = 32, 4096, 14336, 128256, 1024
    matrices = layers * (2 * width * width + 2 * width * kv_width + 3 * width * hidden)
    pairs = sum(past + i for i in range(1, tokens + 1))
    by_hand = 2 * matrices * tokens + 2 * vocabulary * width + layers * 4 * width * pairs
    assert forward_flops(LLAMA, Pass(tokens, past, batch)) == batch * by_hand


def test_the_matrices_of_llama_are_its_parameters_less_the_table_and_the_norms() -> None:
    """Twice the parameters a token is what arXiv 2001.08361, section 2.1, takes: without attention it is exact."""
    counts = count(LLAMA)
    norms = counts.by_role["norm"].parameters
    alone = by_kind(LLAMA, Pass(1000, outputs=1000))
    attention = 32 * 4 * 4096 * (1000 * 1001 // 2)
    assert sum(alone.values()) - attention == 2 * 1000 * (counts.total - counts.embedding - norms)


def test_experts_compute_as_many_flops_as_they_have_active_parameters() -> None:
    mixtral = known("mixtral-8x7b")
    counts = count(mixtral)
    assert counts.active_without_embedding is not None
    norms = counts.by_role["norm"].parameters
    attention = 32 * 4 * 4096 * 1
    assert forward_flops(mixtral, Pass(1)) - attention == 2 * (counts.active_without_embedding - norms)


def test_a_window_bounds_what_a_late_token_attends_to() -> None:
    mistral = known("mistral-7b")
    late, later = (forward_flops(mistral, Pass(1, past)) for past in (5000, 30_000))
    assert late == later
    assert forward_flops(mistral, Pass(1, 4000)) < late


@pytest.mark.parametrize("model_type", BY_MODEL_TYPE)
def test_kinds_add_up_to_the_forward_pass(model_type: str) -> None:
    model = configured(small(model_type))
    step = Pass(5, batch=2, outputs=3)
    assert sum(by_kind(model, step).values()) == forward_flops(model, step)
    assert "norm" not in by_kind(model, step)


def _is_stem(part: Part) -> bool:
    """A convolution over what comes in, applied in whatever way: nobody asks for the gradient of an image."""
    layer = getattr(part.dimensions, "inner", part.dimensions)
    return isinstance(layer, Conv) and not layer.input_gradient


@pytest.mark.parametrize("model_type", BY_MODEL_TYPE)
def test_backward_is_twice_forward_except_for_the_gradient_of_the_image(model_type: str) -> None:
    model = configured(small(model_type))
    step = Pass(5, batch=2, outputs=5)
    stems = [part for part in model.parts if _is_stem(part)]
    assert model_type != "resnet" or len(stems) == 1
    spared = sum(parts.forward(part, step) for part in stems)
    assert backward_flops(model, step) == 2 * forward_flops(model, step) - spared


# --------------------------------------------------------------------------------------------- a workload


def test_an_encoder_and_a_classifier_of_images_generate_nothing() -> None:
    for name in ("bert-large", "resnet-50"):
        assert not generates(known(name))
        assert compute(known(name), Workload())["decode_flops_per_token"] is None


@given(prompt=st.integers(1, 60), output=st.integers(1, 40))
def test_decoding_is_the_mean_of_single_steps(prompt: int, output: int) -> None:
    model = known("gpt2")
    steps = sum(forward_flops(model, Pass(1, past)) for past in range(prompt, prompt + output))
    assert decode_flops(model, Workload(prompt=prompt, output=output)) == steps / output


def test_figures_are_counted_and_say_why() -> None:
    figures = compute(LLAMA, Workload(prompt=512, output=128, batch=2))
    assert set(figures) == {"prefill_flops", "decode_flops_per_token", "backward_flops"}
    for figure in figures.values():
        assert figure is not None
        assert figure.low == figure.high == figure.value
        assert (figure.unit, figure.basis) == ("FLOP", "counted")
        assert figure.why.formula
        assert figure.why.inputs
        assert figure.why.source
    prefill, backward = figures["prefill_flops"], figures["backward_flops"]
    assert prefill is not None
    assert backward is not None
    assert prefill.value == forward_flops(LLAMA, Pass(512, batch=2))
    assert backward.value == 2 * forward_flops(LLAMA, Pass(512, batch=2, outputs=512))


# ------------------------------------------------------------------------------------- sources and images

T5 = configured(
    {
        "model_type": "t5",
        "architectures": ["T5ForConditionalGeneration"],
        "d_model": 16,
        "num_heads": 2,
        "d_kv": 8,
        "d_ff": 32,
        "num_layers": 2,
        "vocab_size": 50,
    }
)
ENCODER_LAYER = 4 * 16 * 16 + 2 * 16 * 32
"""Multiply-adds a token in its matrices."""


def test_an_encoder_costs_by_its_source_and_a_decoder_by_its_target() -> None:
    short, long = (forward_flops(T5, Pass(3, source=source)) for source in (10, 20))
    pairs = 2 * 16 * (20**2 - 10**2) + 2 * 16 * 3 * 10
    keys = 2 * 16 * 16 * 10
    assert long - short == 2 * 2 * (10 * ENCODER_LAYER + pairs + keys)


def test_without_a_source_the_encoder_has_nothing_to_do() -> None:
    none = forward_flops(T5, Pass(3, source=0))
    assert none == 2 * (2 * 3 * (ENCODER_LAYER + 2 * 16 * 16) + 2 * 2 * 16 * 6 + 16 * 50)


def test_the_keys_of_the_source_are_made_once_and_then_read() -> None:
    first, later = (forward_flops(T5, Pass(1, past, source=10)) for past in (0, 1))
    encoder = 2 * 2 * (10 * ENCODER_LAYER + 2 * 16 * 100)
    assert first - later == encoder + 2 * 2 * 2 * 16 * 16 * 10 - 2 * 2 * 2 * 16


def test_a_source_that_is_not_told_is_as_long_as_the_prompt_and_says_so() -> None:
    told, assumed = (compute(T5, Workload(prompt=8, output=4, source=source)) for source in (8, None))
    for name, figure in assumed.items():
        same = told[name]
        assert figure is not None
        assert same is not None
        assert figure.value == same.value
        assert figure.why.formula == same.why.formula + "; source = prompt (assumed)"
        assert figure.why.inputs["source"] == 8


def test_a_decoder_alone_has_no_source_and_no_images() -> None:
    figure = compute(LLAMA, Workload())["prefill_flops"]
    assert figure is not None
    assert "source" not in figure.why.inputs
    for rule, workload in (("COST-SOURCE", Workload(source=99)), ("COST-IMAGES", Workload(images=1))):
        with pytest.raises(WeighError) as caught:
            compute(LLAMA, workload)
        assert (caught.value.rule, caught.value.exit_code) == (rule, 2)


def test_images_without_a_size_of_their_own_are_not_taken_to_be_free() -> None:
    with pytest.raises(WeighError) as caught:
        compute(configured(small("qwen3_vl")), Workload(images=1))
    assert caught.value.rule == "COST-IMAGES"


def test_images_cost_the_tower_once_each() -> None:
    model = configured(small("llama4"))
    text = forward_flops(model, Pass(5))
    one, three = (forward_flops(model, Pass(5, images=images)) - text for images in (1, 3))
    assert three == 3 * one > 0
    figure = compute(model, Workload(prompt=5, images=2))["prefill_flops"]
    assert figure is not None
    assert figure.value == text + 2 * one
    assert figure.why.inputs["images"] == 2


# ----------------------------------------------------------------------------------------------- published


def test_resnet_50_computes_what_torchvision_says() -> None:
    """`"_ops": 4.089`, in 10^9 multiply-adds of one image of 224 x 224, beside `"num_params": 25557032`.

    Source: https://github.com/pytorch/vision/blob/main/torchvision/models/resnet.py, ResNet50_Weights; its
    documentation heads the column GFLOPS (docs/source/conf.py), though a multiply-add counts once there.
    """
    resnet = known("resnet-50")
    assert forward_flops(resnet, Pass(1)) == 8_178_368_512
    assert forward_flops(resnet, Pass(1)) / 2e9 == pytest.approx(4.089, abs=0.0005)
    assert count(resnet).total == 25_557_032


def test_images_of_a_batch_cost_the_same() -> None:
    resnet = known("resnet-50")
    assert forward_flops(resnet, Pass(8)) == 8 * forward_flops(resnet, Pass(1))


def test_a_larger_image_costs_in_proportion() -> None:
    configuration = {**catalogue.entry("resnet-50").configuration, "image_size": 448}
    head = 2 * 2048 * 1000
    assert forward_flops(configured(configuration), Pass(1)) - head == 4 * (8_178_368_512 - head)


# --------------------------------------------------------------------------------------- inside the reference


def _seen(built: Any, **inputs: Any) -> int:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        built(**inputs)
    return int(counter.get_total_flops())


def _with_every_pair(model: Model) -> Model:
    """Plain attention multiplies the masked pairs as well."""
    return replace(
        model,
        parts=tuple(
            replace(part, dimensions=replace(part.dimensions, causal=False, window=None))
            if part.kind == "attention"
            else part
            for part in model.parts
        ),
    )


_ROTARY = {
    **{model_type: {"rotary_dim": 2} for model_type in ("gptj", "codegen")},
    **{model_type: {"partial_rotary_factor": 1.0} for model_type in ("phi", "stablelm", "persimmon")},
}
"""The classes' defaults rotate more values, or an odd number of them, than so small a head has."""


_ELSEWHERE = {*test_flops_counted.COMPARED, *test_experts.COUNTED, *test_image_flops.SEEN, *test_image_flops.SOUND}
"""Types that this counter cannot be held against, and that are held against it in those files: the class runs a
recurrence in steps of its own, or is given images, sound or two texts instead of token numbers."""


def test_every_type_is_held_against_the_counter_or_has_a_reason_not_to_be() -> None:
    uncompared = set(test_flops_counted.UNCOMPARED)
    assert uncompared <= set(BY_MODEL_TYPE)
    assert not uncompared & _ELSEWHERE
    assert set(BY_MODEL_TYPE) >= _ELSEWHERE
    assert set(draw.REMOTE) <= uncompared


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize(
    "model_type", [name for name in BY_MODEL_TYPE if name not in {*_ELSEWHERE, *test_flops_counted.UNCOMPARED}]
)
def test_a_counter_inside_the_class_sees_the_same_products(model_type: str) -> None:
    """torch's FlopCounterMode over a pass of the real class, experts and all."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    configuration = small(model_type)
    built = draw.reference({**configuration, **_ROTARY.get(model_type, {})}, "cpu").eval()
    model = configured(configuration)
    if model_type == "resnet":
        seen = _seen(built, pixel_values=torch.zeros(2, 3, 224, 224))
        assert forward_flops(model, Pass(1, batch=2)) == seen
        return
    seen = _seen(built, input_ids=torch.ones(2, 6, dtype=torch.long))
    assert forward_flops(_with_every_pair(model), Pass(6, batch=2, outputs=6)) == seen
