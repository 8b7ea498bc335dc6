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
    """The row with the errors of rounding in columns of their own."""
    return {**row, **{f"error_{name}": value for name, value in (row.get("error") or {}).items()}}


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
        click.option("--kv", default="f16", show_default=True, metavar="CODEC", help="Codec of the KV cache."),
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


TRAINING = ("tokens", "sequence", "parallel", "microbatch", "schedule", "recompute", "sequence_parallel",
            "flash_attention", "precision", "optimizer")  # fmt: skip


def training_options(function: Callable[..., None]) -> Callable[..., None]:
    """How a model is trained, of `cost --train`."""
    options = (
        click.option("--train", is_flag=True, help="The cost of training it; --batch is then the sequences a step."),
        click.option("--tokens", metavar="COUNT", help="Tokens of the whole run, as in 300B."),
        click.option("--seq", "sequence", type=click.IntRange(1), help="Tokens a sequence.  [default: 2048 or less]"),
        click.option("--parallel", metavar="LAYOUT", help="As in tp=8,pp=16,dp=8,cp=1,ep=1,zero=1,interleave=3."),
        click.option("--microbatch", type=click.IntRange(1), help="Sequences a device at once.  [default: 1]"),
        click.option("--schedule", type=click.Choice(["1f1b", "interleaved", "zero-bubble"]), help="Of the pipeline."),
        click.option("--recompute", type=click.Choice(["none", "selective", "full"]), help="In the backward pass."),
        click.option("--sequence-parallel/--no-sequence-parallel", default=False, help="Divide whole rows too."),
        click.option("--flash-attention/--no-flash-attention", default=False, help="Never write the scores."),
        click.option("--precision", default="bf16", show_default=True, help="fp32, bf16 or fp8."),
        click.option("--optimizer", default="adamw", show_default=True, help="adamw, adafactor, lion, muon, ..."),
    )
    for option in reversed(options):
        function = option(function)
    return function


HASHES = click.option("--hash", "hashes", is_flag=True, help="Tell the SHA-256 of every file.")
