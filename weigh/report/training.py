"""The page of `weigh cost --train`: memory of a device, time of a step, the run; with `--why` every derivation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weigh.report import planned
from weigh.report.answer import Answer
from weigh.report.bill import VERDICTS, add_derivations, place
from weigh.report.text import Column, Page, number
from weigh.report.units import LEGEND, binary_size, shown, size

PARTS = {
    "parameters": "  parameters",
    "gradients": "  gradients",
    "master": "  master copy",
    "optimizer": "  optimizer's states",
    "recomputed": "  a layer computed again",
    "loss": "  logits of the loss",
    "gathered": "  parameters gathered",
    "casts": "  8-bit copies",
}

CHECKPOINTS = {
    "bytes": "size",
    "write": "time to write one",
    "interval": "best interval",
    "useful": "share of the time that is left for training",
}


def page(answer: Answer, *, why: bool) -> Page:
    """The bill of a training run."""
    out = Page()
    result, given = answer.result, answer.inputs
    out.say(
        f"training {given['model']} on {place(given)}",
        f"{given['batch']:,} sequences of {given['seq']:,} tokens a step, {given['precision']}, {given['optimizer']}",
        layout_words(result["layout"]),
    )
    add_parameters(out, result)
    add_memory(out, result)
    capacity = result["capacity"]
    limit = "unknown" if capacity is None else f"{size(capacity)} = {binary_size(capacity)} a device"
    out.say("Does it fit?", f"{VERDICTS[result['fits']]}: limit {limit}")
    add_time(out, result)
    add_checkpoints(out, result["checkpoints"])
    if "emitted" in result:
        written = result["emitted"]
        out.say("Written", f"{written['folder']}: {', '.join(written['files'])}", f"for {written['framework']}")
    if "run" in result:
        add_run(out, result)
    if "plan" in result:
        planned.add(out, result["plan"])
    if why:
        add_derivations(out, result)
    out.say("Warnings", *answer.warnings, style="warning")
    out.say("", LEGEND)
    return out


def layout_words(layout: Mapping[str, Any]) -> str:
    """The layout in one line."""
    degrees = ", ".join(f"{name} {layout[name]}" for name in ("tp", "pp", "dp", "cp", "ep"))
    extra = [f"ZeRO {layout['zero']}", f"{layout['microbatches']} microbatches of {layout['microbatch']}"]
    if layout["pp"] > 1:
        extra.append(f"schedule {layout['schedule']}")
    if layout["interleave"] > 1:
        extra.append(f"{layout['interleave']} runs a stage")
    extra.append(f"recompute {layout['recompute']}")
    extra += [name.replace("_", " ") for name in ("sequence_parallel", "flash_attention") if layout[name]]
    return f"{degrees}; {', '.join(extra)}"


def add_memory(out: Page, result: Mapping[str, Any]) -> None:
    """Memory of the device that holds the most, by what takes it."""
    memory, parts = result["memory"], result["parts"]
    whole = memory["per_device"].value or 1
    rows = []
    for name, words, pieces in (
        ("model_states", "model states", ("parameters", "gradients", "master", "optimizer")),
        ("activations", "activations", ()),
        ("buffers", "buffers", ("recomputed", "loss", "gathered", "casts")),
        ("per_device", "total", ()),
    ):
        value = memory[name].value
        rows.append((words, shown(memory[name]), f"{100 * value / whole:.1f} %", value / whole))
        for piece in pieces:
            if parts.get(piece):
                rows.append((PARTS[piece], size(parts[piece]), f"{100 * parts[piece] / whole:.1f} %", 0.0))
    if memory["host"] is not None:
        rows.append(("beside it, in the host's memory", shown(memory["host"]), "", 0.0))
    title = f"Memory of a device of stage {result['stage']}, which holds the most"
    out.add(title, ["", number(""), number(""), Column("", "bar")], rows)


def add_time(out: Page, result: Mapping[str, Any]) -> None:
    """The step and the run; what is not known is left out."""
    wires = result["communication"] or {"near": None, "far": None}
    labels = (
        (result["step"], "a step"),
        (wires["near"], "  of it waiting for links inside a node"),
        (wires["far"], "  of it waiting for links between nodes"),
        (result["mfu"], "model FLOPs utilisation"),
        (result["days"], "the run, at that speed"),
        (result["device_hours"], "device-hours"),
        (result["usd"], "rent"),
        (result["joules"], "energy of the devices"),
        (result["grams_co2"], "carbon, at the grid's intensity"),
        (result["goodput"], "goodput"),
        (result["planned"]["days"], "the run, with goodput"),
        (result["planned"]["usd"], "rent, with goodput"),
    )
    rows = [(words, shown(figure)) for figure, words in labels if figure is not None and figure.high > 0]
    out.add("Time and money", ["", ""], rows)


def add_parameters(out: Page, result: Mapping[str, Any]) -> None:
    """What is trained, where that is not everything."""
    total, trained = (result["parameters"][name] for name in ("total", "trained"))
    if trained < total:
        out.say("What is trained", f"{trained:,} of {total:,} parameters, {100 * trained / total:.2g} %")


def add_checkpoints(out: Page, found: Mapping[str, Any]) -> None:
    """Their size, and how often to write them where the speed and the failures are told."""
    rows = [(CHECKPOINTS[name], shown(found[name])) for name in CHECKPOINTS if found.get(name) is not None]
    out.add("Checkpoints", ["", ""], rows)


def add_run(out: Page, result: Mapping[str, Any]) -> None:
    """What was measured on this machine, beside what was foretold."""
    found, errors = result["run"], result["run"]["errors"]
    step = "unknown" if result["step"] is None else shown(result["step"])
    rows = [
        ("seconds a step", step, f"{found['step_s']:.3g} s", _percent(errors["step"])),
        (
            "memory of a process",
            shown(result["memory"]["per_device"]),
            size(found["peak_bytes"]),
            _percent(errors["per_device"]),
        ),
    ]
    out.add(
        f"Run here, {len(found['losses'])} steps on the same batch in {found['processes']} processes",
        ["", number("foretold"), number("measured"), number("error")],
        rows,
    )
    out.say("", f"loss {found['losses'][0]:.4f} at the first step, {found['losses'][-1]:.4f} at the last")


def _percent(error: float | None) -> str:
    return "" if error is None else f"{100 * error:+.0f} %"
