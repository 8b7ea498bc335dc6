"""FLOPs, exactly per part: matrix products 2mn, attention by the pairs that attend, experts by those that run."""

from __future__ import annotations

from collections.abc import Mapping

from weigh import parts
from weigh.types import Figure, Model, Pass, Why, Workload

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


def generates(model: Model) -> bool:
    """Whether the model produces token after token: some part remembers what it has seen."""
    return any(parts.remembers(part) is not None for part in model.parts)


def prompt_pass(model: Model, workload: Workload) -> Pass:
    """The pass over the prompts: what generates needs the head at the last position, an encoder at every one."""
    outputs = 1 if generates(model) else workload.prompt
    return Pass(tokens=workload.prompt, batch=workload.batch, outputs=outputs)


def compute(model: Model, workload: Workload) -> dict[str, Figure | None]:
    """prefill_flops of all prompts, decode_flops_per_token and backward_flops, exact.

    prefill: `prompt` tokens of each of `batch` sequences, as `prompt_pass` has it. decode: one token of
    one sequence, the mean over the `output` tokens that follow the prompt. backward: that of a training step over
    the same prompts with the head on every position. A model that generates nothing has no decode.
    """
    prompt = prompt_pass(model, workload)
    trained = Pass(tokens=workload.prompt, batch=workload.batch, outputs=workload.prompt)
    inputs = {"prompt": workload.prompt, "batch": workload.batch}
    figures: dict[str, Figure | None] = {
        "prefill_flops": _exact(
            forward_flops(model, prompt),
            "sum over the parts, each kind as given; the head on `outputs` positions of each sequence",
            {**inputs, "outputs": prompt.outputs, **by_kind(model, prompt)},
        ),
        "backward_flops": _exact(
            backward_flops(model, trained),
            "2 x forward, with the head on every position, less the gradient of an image that comes in",
            {**inputs, "outputs": trained.outputs, "forward": forward_flops(model, trained)},
        ),
        "decode_flops_per_token": None,
    }
    if generates(model):
        inputs = {"past": workload.prompt, "output": workload.output, **by_kind(model, _generated(workload))}
        formula = "sum over the parts, each kind as given for all output tokens, / output"
        figures["decode_flops_per_token"] = _exact(decode_flops(model, workload), formula, inputs)
    return figures


def decode_flops(model: Model, workload: Workload) -> float:
    """FLOPs of one generated token of one sequence, the mean over the output.

    A forward pass over `output` tokens after `prompt` ones attends exactly the pairs that as many single steps
    do, so one such pass with the head on every position is their sum.
    """
    return forward_flops(model, _generated(workload)) / workload.output


def _generated(workload: Workload) -> Pass:
    return Pass(tokens=workload.output, past=workload.prompt, outputs=workload.output)


def _exact(value: float, formula: str, inputs: Mapping[str, int]) -> Figure:
    number = int(value) if value == int(value) else value
    return Figure(number, number, number, "FLOP", "counted", Why(formula, inputs, SOURCE))
