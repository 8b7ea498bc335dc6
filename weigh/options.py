"""The options that commands share, and how an answer is printed in the form that they ask for.

A new option of one command stands at that command in `weigh/cli.py`; one that several take belongs here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from weigh.report.answer import Answer
    from weigh.report.text import Page


def output_options(*, rows: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """--json and --html on every command, --csv where the answer has rows."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        function = click.option(
            "--html", "html", type=click.Path(dir_okay=False), help="Write a page that stands alone."
        )(function)
        if rows:
            function = click.option("--csv", "csv", is_flag=True, help="Print the rows as CSV.")(function)
        return click.option("--json", "json", is_flag=True, help="Print a JSON document.")(function)

    return decorate


def _nested(value: Any) -> bool:
    """Whether a value has rows of its own, which a CSV cell cannot hold."""
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value))


def _rows(answer: Answer, name: str) -> Any:
    """The rows of a result by their name, `stats.tensors` where they lie deeper; None where there are none."""
    found: Any = answer.result
    for key in name.split("."):
        found = found.get(key)
    return found


def _widened(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with the errors of rounding, where it has several, in columns of their own."""
    errors = row.get("error")
    return (
        {**row, **{f"error_{name}": value for name, value in errors.items()}}
        if isinstance(errors, Mapping)
        else {**row}
    )


def _say_nothing_matches(answer: Answer, rows: str) -> None:
    if rows and _rows(answer, rows) == []:
        click.echo("nothing matches", err=True)


def emit(
    answer: Answer,
    page: Callable[[], Page],
    *,
    json: bool,
    html: str | None = None,
    csv: bool = False,
    rows: str = "",
) -> None:
    """Print the answer in the form that was asked for; `rows` names the part of the result that has rows."""
    _say_nothing_matches(answer, rows)
    if json:
        from weigh.report.document import to_json

        click.echo(to_json(answer.document(), indent=1 if sys.stdout.isatty() else None))
    elif csv:
        from weigh.report.document import to_csv

        table: Sequence[Mapping[str, Any]] = [_widened(row) for row in _rows(answer, rows)]
        columns = [name for name, value in (table[0] if table else {}).items() if not _nested(value)]
        click.echo(to_csv(table, columns), nl=False)
    elif html:
        from weigh.report import text
        from weigh.writing import write_text

        write_text(Path(html), text.html(page()))
        click.echo(f"wrote {html}", err=True)
    else:
        from weigh.report import text

        text.write(page())


def workload_options(function: Callable[..., None]) -> Callable[..., None]:
    """What is asked of the model, and in which form it runs."""
    options = (
        click.option("--on", "on", default="this", metavar="DEVICE", help="Device, `h100x8`, `8GB`, or this machine."),
        click.option("--engine", default="llama.cpp", show_default=True, help="Runtime."),
        click.option("--context", type=click.IntRange(1), help="Tokens a sequence that room is made for."),
        click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Sequences at once."),
        click.option(
            "--prompt", type=click.IntRange(1), default=None, help="Tokens in.  [default: 512, or what the model takes]"
        ),
        click.option(
            "--output",
            type=click.IntRange(1),
            default=None,
            help="Tokens out.  [default: 128, or what the model takes]",
        ),
        click.option("--weights", metavar="CODEC|RECIPE", help="As if stored so; by default as it is."),
        click.option("--kv", default=None, metavar="CODEC", help="Codec of the KV cache.  [default: the engine's own]"),
        click.option(
            "--source", type=click.IntRange(0), help="Tokens or frames for the encoder of an encoder-decoder."
        ),
        click.option(
            "--images", type=click.IntRange(0), default=0, help="Images of each sequence, where it reads any."
        ),
        click.option("--why", is_flag=True, help="Print how each number came about."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def money_options(function: Callable[..., None]) -> Callable[..., None]:
    """What is paid for it, and where it is kept."""
    options = (
        click.option("--prices", type=click.Path(), metavar="FILE", help="Your own prices, in TOML."),
        click.option(
            "--owned", metavar="TERMS", help="As in price=30000,years=4,utilisation=0.6,power_usd_per_kwh=0.1."
        ),
        click.option("--carbon-intensity", metavar="G|GRID", help="Grams of CO2 a kWh, or a grid such as france."),
        click.option("--pue", type=float, metavar="RATIO", help="Power of the building to that of its machines."),
        click.option("--months", type=float, default=1.0, help="Of keeping the file in a cloud.  [default: 1]"),
        click.option("--storage", is_flag=True, help="Size in every form, clouds, and load time from every store."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def search_options(function: Callable[..., None]) -> Callable[..., None]:
    """Many settings instead of one: a question, or a sweep."""
    questions = ("largest-context", "largest-batch", "smallest-device", "cheapest", "fewest-devices")
    options = (
        click.option("--find", type=click.Choice(questions), help="The setting that a question asks for."),
        click.option("--sweep", metavar="AXES", help="As in 'context=1k..128k batch=1..64 weights=q4_k_m on=h100,l4'."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def cluster_options(function: Callable[..., None]) -> Callable[..., None]:
    """How the model is spread over devices, to run it or to train it, and beside the host."""
    options = (
        click.option(
            "--parallel",
            metavar="LAYOUT",
            help="As in tp=4,pp=2; with --train as in tp=8,pp=16,dp=8,cp=1,ep=1,zero=1,interleave=3.",
        ),
        click.option("--offload", type=click.IntRange(0), default=0, metavar="N", help="Layers left with the host."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def serving_options(function: Callable[..., None]) -> Callable[..., None]:
    """Many users at once, and a draft that proposes tokens, of `cost`."""
    options = (
        click.option("--max-ttft", type=float, metavar="MS", help="Largest batch whose first token comes within it."),
        click.option("--max-tpot", type=float, metavar="MS", help="Largest batch whose tokens come within it."),
        click.option("--draft", metavar="MODEL", help="Proposes tokens; `mtp` = the model's own layers for it."),
        click.option("--draft-tokens", type=click.IntRange(1), metavar="K", help="Tokens it proposes.  [default: 4]"),
        click.option("--accept", type=click.FloatRange(0, 1), metavar="RATE", help="Share of them that is accepted."),
    )
    for option in reversed(options):
        function = option(function)
    return function


SEARCH = ("find", "sweep")
MONEY = ("prices", "owned", "carbon_intensity", "pue", "months", "storage")
TRAINING = ("tokens", "sequence", "microbatch", "schedule", "recompute", "recompute_every",
            "sequence_parallel", "flash_attention", "precision", "optimizer", "framework", "lora", "lora_targets",
            "qlora", "freeze", "offload_optimizer", "checkpoint_gbs", "failures_per_day", "emit", "out",
            "start", "steps", "plan", "limit")  # fmt: skip


def tuning_options() -> tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...]:
    """What of a model is trained, where its states lie, and its checkpoints."""
    return (
        click.option("--lora", type=click.IntRange(1), metavar="RANK", help="Adapters of this rank, the rest frozen."),
        click.option("--lora-targets", metavar="ROLES", help="all, attention, mlp or roles.  [default: all]"),
        click.option("--qlora", is_flag=True, help="The frozen base in 4 bit (NF4)."),
        click.option("--freeze", metavar="ROLE[,ROLE]", help="Roles that are not trained, as in embedding,head."),
        click.option("--offload-optimizer", is_flag=True, help="Its states in the host's memory."),
        click.option("--checkpoint-gbs", type=float, metavar="GB/S", help="Speed at which checkpoints are written."),
        click.option("--failures-per-day", type=float, metavar="N", help="Of all devices: tells the best interval."),
    )


def training_options(function: Callable[..., None]) -> Callable[..., None]:
    """How a model is trained, of `cost --train`."""
    options: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
        click.option("--train", is_flag=True, help="The cost of training it; --batch is then the sequences a step."),
        click.option("--tokens", metavar="COUNT", help="Tokens of the whole run, as in 300B."),
        click.option("--seq", "sequence", type=click.IntRange(1), help="Tokens a sequence.  [default: 2048 or less]"),
        click.option("--microbatch", type=click.IntRange(1), help="Sequences a device at once.  [default: 1]"),
        click.option("--schedule", type=click.Choice(["1f1b", "interleaved", "zero-bubble"]), help="Of the pipeline."),
        click.option("--recompute", type=click.Choice(["none", "selective", "full"]), help="In the backward pass."),
        click.option("--sequence-parallel/--no-sequence-parallel", default=None, help="Divide whole rows too."),
        click.option("--flash-attention/--no-flash-attention", default=None, help="Never write the scores."),
        click.option("--precision", default="bf16", show_default=True, help="fp32, bf16 or fp8."),
        click.option("--optimizer", default="adamw", show_default=True, help="adamw, adafactor, lion, muon, ..."),
        click.option(
            "--recompute-every",
            type=click.IntRange(1),
            default=None,
            help="With full: of so many layers one.  [default: 1]",
        ),
        click.option("--framework", metavar="NAME", help="pytorch, compiled or megatron.  [default: by the layout]"),
        *tuning_options(),
        click.option("--emit", metavar="LAUNCHER", help="Files for a training framework: torchrun, accelerate."),
        click.option("-o", "--out", type=click.Path(), metavar="FOLDER", help="Where --emit writes."),
        click.option("--run", "start", is_flag=True, help="Start it on this machine, and measure it."),
        click.option("--steps", type=click.IntRange(1), help="Steps to run.  [default: of --tokens; 8 for --run]"),
        click.option("--plan", is_flag=True, help="Search the fastest layout; what is given stands."),
        click.option("--limit", type=click.IntRange(1), help="Layouts that --plan shows.  [default: 5]"),
    )
    for option in reversed(options):
        function = option(function)
    return function


HASHES = click.option("--hash", "hashes", is_flag=True, help="Tell the SHA-256 of every file.")
