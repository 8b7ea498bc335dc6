"""FLOPs, exactly per part: matrix products 2mn, attention by the pairs that attend, experts by those that run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from weigh import parts
from weigh.types import Figure, Model, Pass, WeighError, Why, Workload

SOURCE = "arXiv 2001.08361, section 2.1; attention summed over the pairs that attend"


def forward_flops(model: Model, step: Pass) -> int:
    """FLOPs of one forward pass, the sum over the parts."""
    return sum(parts.forward(part, step) for part in model.parts)


def backward_flops(model: Model, step: Pass) -> int:
    """FLOPs of the backward pass: gradients of inputs and weights of every part."""
    return sum(parts.backward(part, step) for part in model.parts)


def by_kind(model: Model, step: Pass) -> Mapping[str, int]:
    """Forward FLOPs by kind of part, only the kinds that compute."""
    sums: dict[str, int] = {}
    for part in model.parts:
        sums[part.kind] = sums.get(part.kind, 0) + parts.forward(part, step)
    return {kind: flops for kind, flops in sums.items() if flops}


def reads_images(model: Model) -> bool:
    """Whether the pass costs more with an image: a tower beside the text, whose images have a size of their own."""
    return forward_flops(model, Pass(tokens=1, images=1)) != forward_flops(model, Pass(tokens=1))


def generates(model: Model) -> bool:
    """Whether the model produces token after token: some part remembers what it has seen."""
    return any(parts.remembers(part) for part in model.parts)


def reads_source(model: Model) -> bool:
    """Whether the pass costs more for a longer source: an encoder beside the decoder, without a size of its own."""
    short, long = Pass(tokens=1, source=1), Pass(tokens=1, source=2)
    return forward_flops(model, short) != forward_flops(model, long)


def prompt_pass(model: Model, workload: Workload) -> Pass:
    """The pass over the prompts: what generates needs the head at the last position, an encoder at every one."""
    outputs = 1 if generates(model) else workload.prompt
    return Pass(workload.prompt, 0, workload.batch, outputs, source_of(workload), workload.images)


def source_of(workload: Workload) -> int:
    """Places of the source: as told, else as many as the prompt has tokens."""
    return workload.prompt if workload.source is None else workload.source


def compute(model: Model, workload: Workload) -> dict[str, Figure | None]:
    """prefill_flops of all prompts, decode_flops_per_token and backward_flops, exact.

    prefill: `prompt` tokens of each of `batch` sequences, as `prompt_pass` has it. decode: one token of
    one sequence, the mean over the `output` tokens that follow the prompt. backward: that of a training step over
    the same prompts with the head on every position. A model that generates nothing has no decode. The encoder of an
    encoder-decoder runs once, in prefill, over the source; the towers of a model of images run once an image.
    Errors: WeighError COST-SOURCE, COST-IMAGES (exit code 2) where the model reads nothing of the kind.
    """
    _refuse_unread(model, workload)
    prompt = prompt_pass(model, workload)
    trained = replace(prompt, outputs=workload.prompt)
    inputs, note = _inputs(model, workload)
    figures: dict[str, Figure | None] = {
        "prefill_flops": _exact(
            forward_flops(model, prompt),
            f"sum over the parts, each kind as given; the head on `outputs` positions of each sequence{note}",
            {**inputs, "outputs": prompt.outputs, **by_kind(model, prompt)},
        ),
        "backward_flops": _exact(
            backward_flops(model, trained),
            f"2 x forward, with the head on every position, less the gradient of an image that comes in{note}",
            {**inputs, "outputs": trained.outputs, "forward": forward_flops(model, trained)},
        ),
        "decode_flops_per_token": None,
    }
    if generates(model):
        kinds = by_kind(model, _generated(workload))
        inputs = {**inputs, "past": inputs.pop("prompt"), "output": workload.output, **kinds}
        del inputs["batch"]
        formula = f"sum over the parts, each kind as given for all output tokens, / output{note}"
        figures["decode_flops_per_token"] = _exact(decode_flops(model, workload), formula, inputs)
    return figures


def _refuse_unread(model: Model, workload: Workload) -> None:
    """A source or images that would change nothing were meant for another model, or their cost is not known."""
    if workload.source is not None and not reads_source(model):
        raise WeighError(
            "the model reads no source of a length that could be given",
            rule="COST-SOURCE",
            hint="only an encoder beside a decoder does, unless it always hears the same length, as Whisper's",
            exit_code=2,
        )
    if workload.images and not reads_images(model):
        raise WeighError(
            "the compute of images is not known for this model",
            rule="COST-IMAGES",
            hint="it has no tower for images, or one whose images have as many places as they are large",
            exit_code=2,
        )


def _inputs(model: Model, workload: Workload) -> tuple[dict[str, int], str]:
    """What the figures were computed from, and the words for a source that was not told."""
    inputs = {"prompt": workload.prompt, "batch": workload.batch}
    if workload.images:
        inputs["images"] = workload.images
    if not reads_source(model):
        return inputs, ""
    inputs["source"] = source_of(workload)
    return inputs, "; source = prompt (assumed)" if workload.source is None else ""


def decode_flops(model: Model, workload: Workload) -> float:
    """FLOPs of one generated token of one sequence, the mean over the output.

    A forward pass over `output` tokens after `prompt` ones attends exactly the pairs that as many single steps
    do, so one such pass with the head on every position is their sum.
    """
    return forward_flops(model, _generated(workload)) / workload.output


def _generated(workload: Workload) -> Pass:
    return Pass(workload.output, workload.prompt, outputs=workload.output, source=source_of(workload))


def _exact(value: float, formula: str, inputs: Mapping[str, int]) -> Figure:
    number = int(value) if value == int(value) else value
    return Figure(number, number, number, "FLOP", "counted", Why(formula, inputs, SOURCE))
