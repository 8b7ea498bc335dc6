"""The command line: parse, call, print. It computes nothing.

Every command is a function in `weigh/commands/` that gives plain data; here it gets its options, and its answer
is printed (`weigh/options.py`) as text, JSON (`--json`), CSV (`--csv`) or HTML (`--html FILE`). Standard output is
data, everything else goes to standard error. Modules are imported when their command runs, so that `weigh --version`
stays cheap.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from weigh import __version__, volumes
from weigh.options import (
    HASHES,
    SEARCH,
    TRAINING,
    cluster_options,
    emit,
    money_options,
    output_options,
    search_options,
    serving_options,
    training_options,
    workload_options,
)
from weigh.types import WeighError

if TYPE_CHECKING:
    from weigh.report.answer import Answer
    from weigh.report.text import Page

SUMMARY = "summary"


class Weigh(click.Group):
    """A first word that is a command is the command; any other is the model of the weigh-in."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the hidden command of the weigh-in in front of a model."""
        first = next((word for word in args if not word.startswith("-")), None)
        if first is not None and first not in self.commands:
            args = [SUMMARY, *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=Weigh,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="\b\nExamples:\n  weigh SmolLM2-135M-Instruct.Q4_1.gguf\n  weigh gpt-3-175b --json\n"
    "  weigh cost llama-3.1-8b --on rtx-4090 --weights q4_k_m\n  weigh explain kv-cache llama-3.1-8b --lang zh",
)
@click.version_option(__version__, prog_name="weigh")
def cli() -> None:
    """What is in a model's parameters, and what they cost: `weigh MODEL` prints the page that says it all.

    MODEL is a file, a folder, a config.json, a name from `weigh catalogue`, a model of Ollama (llama3.2:1b), of LM
    Studio or of the Hugging Face cache, or one on the hub (org/name), of which only the headers are fetched.
    """


# ------------------------------------------------------------------------------------------------ commands


@cli.command(SUMMARY, hidden=True)
@click.argument("model")
@workload_options
@HASHES
@output_options(rows=False)
def summary(model: str, json: bool, html: str | None, why: bool, **workload: Any) -> None:
    """The weigh-in: everything that matters about MODEL, for one machine."""
    from weigh.commands import summary as command
    from weigh.report.progress import Meter

    answer = command.run(model, tell=Meter("hashing"), **workload)
    from weigh.report import weigh_in

    emit(answer, lambda: weigh_in.page(answer, why=why), json=json, html=html)


@cli.command(
    epilog="\b\nExamples:\n  weigh show bert-large\n  weigh show mixtral-8x7b --json\n  weigh show gpt2 --csv\n"
    "  weigh show model.safetensors --stats"
)
@click.argument("model")
@click.option("--tensors", is_flag=True, help="List every tensor.")
@click.option("--stats", is_flag=True, help="Read all values: moments, outliers, entropy, error of rounding.")
@click.option("--spectrum", is_flag=True, help="With them the singular values of every matrix: ranks and tail.")
@click.option("--unsafe-report", "unsafe", is_flag=True, help="List what a PyTorch checkpoint would import.")
@HASHES
@output_options(rows=True)
def show(
    model: str,
    tensors: bool,
    stats: bool,
    spectrum: bool,
    unsafe: bool,
    hashes: bool,
    json: bool,
    csv: bool,
    html: str | None,
) -> None:
    """The inventory of MODEL by role, layer, codec and tensor."""
    from weigh.commands import show as command
    from weigh.report.progress import Meter

    if unsafe:
        from weigh.report import inventory

        told = command.run_imports(model)
        page_of = inventory.imports_page
        emit(told, lambda: page_of(told.result, told.warnings), json=json, html=html, csv=csv, rows="imports")
        return

    if stats or spectrum:
        from weigh.commands import stats as statistics

        if hashes:
            raise click.UsageError("--hash goes with the inventory, not with --stats")
        counted = statistics.run(model, tensors=tensors, spectra=spectrum, tell=Meter("reading"))

        def statistics_page() -> Page:
            from weigh.report import weights

            return weights.page(counted.result, counted.warnings, every=tensors)

        emit(counted, statistics_page, json=json, html=html, csv=csv, rows="stats.tensors")
        return

    answer = command.run(model, tensors=tensors or csv, hashes=hashes, tell=Meter("hashing"))

    def page() -> Page:
        from weigh.report import inventory

        return inventory.page(answer.result, answer.warnings)

    emit(answer, page, json=json, html=html, csv=csv, rows="tensors")


@cli.command(
    epilog="\b\nExamples:\n  weigh diff base/ fine-tuned/\n  weigh diff model/ model.Q4_K_M.gguf --tensors\n"
    "  weigh diff a.safetensors b.safetensors --max-change 0.01 --json"
)
@click.argument("a")
@click.argument("b")
@click.option("--tensors", is_flag=True, help="List every tensor, unchanged ones too.")
@click.option(
    "--max-change", "most", type=click.FloatRange(0), metavar="SHARE", help="Exit with 1 where a tensor changed more."
)
@output_options(rows=True)
def diff(a: str, b: str, tensors: bool, most: float | None, json: bool, csv: bool, html: str | None) -> None:
    """What changed from model A to model B, by how much, and what that makes of B: a copy, a fine-tune, a rounding."""
    from weigh.commands import diff as command
    from weigh.report.progress import Meter

    answer = command.run(a, b, tell=Meter("comparing"))

    def page() -> Page:
        from weigh.report import difference

        return difference.page(answer.result, answer.warnings, every=tensors)

    emit(answer, page, json=json, html=html, csv=csv, rows="changes")
    refusal = None if most is None else command.exceeds(answer, most)
    if refusal is not None:
        raise refusal


@cli.command(
    epilog="\b\nExamples:\n  weigh cost llama-3.1-8b --on rtx-4090 --weights q4_k_m --context 8192\n"
    "  weigh cost mixtral-8x7b --on h100x2 --why\n  weigh cost gpt2 --on 8GB --require-fit --json\n"
    "  weigh cost llama-3.1-8b --find largest-batch --on rtx-4090 --weights q4_k_m --max-tpot 50\n"
    "  weigh cost llama-3.1-8b --sweep 'context=1k..32k batch=1..16 weights=q4_k_m,q8_0 on=rtx-4090,h100' --csv\n"
    "  weigh cost gpt-3-175b --train --on a100x1024 --tokens 300B --batch 1536 --parallel tp=8,pp=16,dp=8\n"
    "  weigh cost gpt-3-175b --train --on h100x1024 --tokens 2T --plan"
)
@click.argument("model")
@workload_options
@money_options
@cluster_options
@serving_options
@search_options
@training_options
@click.option("--require-fit", is_flag=True, help="Exit with 1 unless it fits for certain.")
@output_options(rows=True)
def cost(
    model: str, json: bool, csv: bool, html: str | None, why: bool, require_fit: bool, train: bool, **options: Any
) -> None:
    """Memory, compute, time, money and energy to run MODEL on a device, or with --train to train it."""
    given = {name for name in options if _named(name)}
    training = {name: options.pop(name) for name in TRAINING}
    search = {name: options.pop(name) for name in SEARCH}
    if search["find"] or search["sweep"]:
        _refuse(given & {*TRAINING, "storage"} | ({"train"} if train else set()), "does not go with a search")
        _search(model, options, search, given, json=json, csv=csv, html=html)
        return
    if csv:
        raise click.UsageError("--csv goes with --find and --sweep: one estimate has no rows")
    if train:
        answer = _training(model, options, training, given)
    else:
        _refuse(given & set(TRAINING), "goes with --train")
        from weigh.commands import cost as command

        answer = command.run(model, **options)

    def page() -> Page:
        from weigh.report import bill, training

        return training.page(answer, why=why) if train else bill.page(answer, why=why)

    emit(answer, page, json=json, html=html)
    if answer.refusal is not None:
        raise answer.refusal
    if require_fit and answer.result["fits"] != "yes":
        raise WeighError(
            f"it does not fit for certain: fits = {answer.result['fits']}",
            rule="FIT-REQUIRED",
            hint=answer.result.get("advice", ""),
            exit_code=1,
        )


def _search(
    model: str,
    options: Mapping[str, Any],
    search: Mapping[str, Any],
    given: set[str],
    *,
    json: bool,
    csv: bool,
    html: str | None,
) -> None:
    """Answer a question (`--find`), or print the rows of a sweep."""
    from weigh.commands import questions, sweep

    if search["sweep"]:
        _refuse(given & {"find", "max_ttft", "max_tpot", "parallel", "offload", "images", "source"}, "is not swept")
        answer = sweep.run(model, search["sweep"], **options)
    else:
        drafting = {"draft", "draft_tokens", "accept"}
        _refuse(given & drafting, "does not go with --find")
        answer = questions.run(model, search["find"], **{k: v for k, v in options.items() if k not in drafting})

    def page() -> Page:
        from weigh.report import answers

        return answers.swept(answer) if search["sweep"] else answers.found(answer)

    emit(answer, page, json=json, html=html, csv=csv, rows="rows")


def _named(name: str) -> bool:
    """Whether an option of the running command was given, rather than left at its default."""
    source = click.get_current_context().get_parameter_source(name)
    return source not in (None, click.core.ParameterSource.DEFAULT)


def _refuse(names: set[str], why: str) -> None:
    if names:
        first = sorted(names)[0].replace("_", "-")
        raise click.UsageError(f"--{ {'sequence': 'seq', 'start': 'run'}.get(first, first) } {why}")


def _training(model: str, workload: Mapping[str, Any], training: Mapping[str, Any], given: set[str]) -> Answer:
    """The answer of `cost --train`, which takes of the rest the devices, their layout, the batch and what is paid."""
    from weigh.commands import train as command

    shared = ("on", "parallel", "prices", "carbon_intensity")
    _refuse(given & set(workload) - {*shared, "batch"}, "does not go with --train")
    batch = workload["batch"] if "batch" in given else None
    return command.run(model, batch=batch, **{name: workload[name] for name in shared}, **training)


@cli.command(
    epilog="\b\nExamples:\n  weigh devices --class consumer --min-memory 16GB\n"
    "  weigh devices h100 --why\n  weigh devices --this"
)
@click.argument("search", required=False)
@click.option("--class", "kind", help="datacenter, consumer, workstation, apple, tpu, desktop, laptop, edge, phone.")
@click.option("--vendor", help="Only of this vendor.")
@click.option("--min-memory", "minimum_memory", metavar="SIZE", help="With at least this memory.")
@click.option("--this", "this", is_flag=True, help="This machine, as detected.")
@click.option("--why", is_flag=True, help="Print the words and the source of every number.")
@output_options(rows=True)
def devices(json: bool, csv: bool, html: str | None, why: bool, **filters: Any) -> None:
    """The devices known, with the source of every number."""
    from weigh.commands import devices as command
    from weigh.report.answer import Answer

    found = command.run(**filters)
    answer = Answer("devices", filters, {k: found[k] for k in ("devices", "this")}, list(found["warnings"]))

    def page() -> Page:
        from weigh.report import registries

        return registries.devices(answer, why=why)

    emit(answer, page, json=json, html=html, csv=csv, rows="devices")


def registry(name: str, description: str) -> None:
    """A command that lists a registry: `commands/<name>.py` gives the rows, `report/registries.py` the page."""

    @click.argument("search", required=False)
    @output_options(rows=True)
    def command(search: str | None, json: bool, csv: bool, html: str | None) -> None:
        from importlib import import_module

        answer: Answer = import_module(f"weigh.commands.{name}").run(search)

        def page() -> Page:
            from weigh.report import registries

            listed: Page = getattr(registries, name)(answer)
            return listed

        rows = next(key for key, value in answer.result.items() if isinstance(value, list))
        emit(answer, page, json=json, html=html, csv=csv, rows=rows)

    cli.command(name, help=description, epilog=f"\b\nExamples:\n  weigh {name}\n  weigh {name} --json")(command)


registry("codecs", "The types in which parameters are stored, with their exact size.")
registry("families", "The architectures that are understood.")
registry("engines", "The runtimes whose memory and speed are modelled.")
registry("recipes", "The mixes of codecs that runtimes really produce.")
registry("catalogue", "The known models: our count beside the published one.")


@cli.command(
    epilog="\b\nExamples:\n  weigh explain quantization\n  weigh explain kv-cache gpt2\n  weigh explain 量化 --lang zh"
)
@click.argument("term", required=False)
@click.argument("model", required=False)
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="Language.")
@output_options(rows=False)
def explain(term: str | None, model: str | None, lang: str, json: bool, html: str | None) -> None:
    """A term of the field in plain words, worked through for MODEL; all terms where none is named."""
    from weigh.commands import explain as command

    answer = command.run(term, model, language=lang)

    def page() -> Page:
        from weigh.report import glossary

        return glossary.page(answer)

    emit(answer, page, json=json, html=html)


@cli.command(
    epilog='\b\nExamples:\n  weigh validate\n  weigh validate "step time" --rows\n  weigh validate --csv\n'
    "  weigh validate --chart errors.svg"
)
@click.argument("search", required=False)
@click.option("--rows", "every", is_flag=True, help="Print every row, not only the errors by quantity.")
@click.option("--chart", type=click.Path(dir_okay=False), help="Write the errors by quantity as an SVG.")
@output_options(rows=True)
def validate(search: str | None, every: bool, chart: str | None, json: bool, csv: bool, html: str | None) -> None:
    """Published and measured tables beside our predictions; SEARCH names a table or a quantity."""
    from weigh.commands import validate as command
    from weigh.report import validation

    answer = command.run(search)
    if chart is not None:
        from pathlib import Path

        from weigh.writing import write_text

        write_text(Path(chart), validation.chart(answer.result["summary"]))
        click.echo(f"wrote {chart}", err=True)
    emit(answer, lambda: validation.page(answer, every=every), json=json, html=html, csv=csv, rows="rows")


@cli.command(epilog="\b\nExamples:\n  weigh bench --quick\n  weigh bench --quick -o mybox.toml --json")
@click.option(
    "-o", "output", type=click.Path(dir_okay=False), help="Write it as a device file too, such as mybox.toml."
)
@click.option("--device-name", "name", help="Name of the device in that file.")
@click.option("--quick", is_flag=True, help="A few seconds, to see what is measured; nothing is kept for `this`.")
@click.option("--thorough", is_flag=True, help="Each codec in two processes, which differ.")
@output_options(rows=False)
def bench(output: str | None, name: str | None, quick: bool, thorough: bool, json: bool, html: str | None) -> None:
    """Measure this machine in a minute or two and keep the profile, which `--on this` then uses."""
    from weigh.commands import bench as command
    from weigh.report.progress import Steps

    answer = command.run(output=output, name=name, quick=quick, thorough=thorough, tell=Steps("measuring"))

    def page() -> Page:
        from weigh.report import bench as report

        return report.page(answer)

    emit(answer, page, json=json, html=html)


# ------------------------------------------------------------------------------------------------- the edge


def main() -> None:
    """Run, and turn every outcome into one style of message and an exit code."""
    json = "--json" in sys.argv[1:]
    # A header of a million tensors makes millions of small objects that live until the end: looking through them
    # again and again for cycles took a third of the time, and Python does it once more before it leaves.
    gc.set_threshold(1_000_000, 50, 50)
    atexit.register(gc.freeze)
    volumes.watch(_fetching)
    if hasattr(sys.stdout, "reconfigure"):
        # A terminal that cannot show a character gets its escape instead of a crash.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        # Not `cli.main`: it would take a reader that went away for a failed gate (exit 1).
        with cli.make_context("weigh", sys.argv[1:] or ["--help"]) as context:
            cli.invoke(context)
    except click.UsageError as error:
        where = f"`{error.ctx.command_path} --help` shows how" if error.ctx else ""
        _fail(WeighError(error.format_message(), rule="USAGE", hint=where, exit_code=2), json=json)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except WeighError as error:
        _fail(error, json=json)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except BrokenPipeError:
        # The reader went away (`| head`): nothing is wrong, and Python must not complain again while closing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as bug:
        if os.environ.get("WEIGH_DEBUG") == "1":
            raise
        report = WeighError(
            f"a bug in weigh: {type(bug).__name__}: {bug}",
            rule="BUG",
            hint="WEIGH_DEBUG=1 shows where; please report it with the command",
            exit_code=70,
        )
        _fail(report, json=json)


def _fetching(done: int, total: int) -> None:
    """Progress of what is fetched from a hub; the meter's modules are imported when that happens."""
    from weigh.report.progress import Meter

    if not _meters:
        _meters.append(Meter("fetching"))
    _meters[0](done, total)


_meters: list[Callable[[int, int], None]] = []


def _fail(error: WeighError, *, json: bool) -> None:
    if json:
        from weigh.report.document import error_line

        click.echo(error_line(error), err=True)
    else:
        from weigh.report.errors import lines

        click.echo("\n".join(lines(error)), err=True)
    sys.exit(error.exit_code)
