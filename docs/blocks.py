"""What the cog blocks of the pages call: output of commands, listings of source, tables of the registries.

Every function gives Markdown as text, ending in a newline, the same on every machine: commands run in this process
with a width of 100 columns, without colour and without a user's own devices.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
WIDTH = "100"

# ------------------------------------------------------------------------------------------------- commands


def run(command: str) -> str:
    """Standard output of `weigh ...`. Whatever the command raises is raised here."""
    from click.testing import CliRunner

    from weigh.cli import cli

    program, *arguments = shlex.split(command)
    if program != "weigh":
        raise ValueError(f"not a weigh command: {command}")
    with _plain_terminal():
        result = CliRunner().invoke(cli, arguments, prog_name="weigh", catch_exceptions=False, standalone_mode=False)
    return result.stdout


@contextmanager
def _plain_terminal() -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(COLUMNS=WIDTH, NO_COLOR="1")
    for name in ("FORCE_COLOR", "WEIGH_DEVICES", "WEIGH_DEBUG"):
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def console(command: str, keep: Sequence[str] | None = None, *, by: str = "") -> str:
    """A command and its output; `keep` names the sections to show by their first words, others become `...`.

    `by` stands before the command where it is shown: `uvx `.
    """
    sections = run(command).rstrip().split("\n\n")
    if keep is not None:
        lacking = [words for words in keep if not any(section.startswith(words) for section in sections)]
        if lacking:
            raise ValueError(f"{command} prints no section that begins with {lacking}")
        sections = _shortened(sections, keep)
    return fenced(f"$ {by}{command}\n" + "\n\n".join(sections), "console")


def _shortened(sections: Sequence[str], keep: Sequence[str]) -> list[str]:
    shown: list[str] = []
    for section in sections:
        if section.startswith(tuple(keep)):
            shown.append(section)
        elif shown[-1:] != ["..."]:
            shown.append("...")
    return shown


def derivation(command: str, figure: str) -> str:
    """A command with `--why`, and of its output the lines about one Figure: `memory.state`."""
    lines = run(command).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"{figure} = "))
    end = next((i for i in range(start + 1, len(lines)) if not lines[i].startswith("    ")), len(lines))
    return fenced("\n".join([f"$ {command}", "...", *lines[start:end], "..."]), "console")


def fenced(text: str, language: str) -> str:
    """A fenced block, without blanks at the ends of lines."""
    body = "\n".join(line.rstrip() for line in text.rstrip("\n").splitlines())
    return f"```{language}\n{body}\n```\n"


def all_help() -> str:
    """The help of the program and of every command, one heading each."""
    from weigh.cli import cli

    out = []
    for name in ("", *sorted(name for name, command in cli.commands.items() if not command.hidden)):
        words = f"weigh {name}".rstrip()
        out.append(f"## `{words}`\n\n" + fenced(run(f"{words} --help"), "text"))
    return "\n".join(out)


# -------------------------------------------------------------------------------------------------- listings


def listing(path: str, *names: str) -> str:
    """A source file as it is, or only the top-level definitions of these names, in the order of the file."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if names:
        found = {name: node for node in ast.parse(text).body for name in _defines(node) if name in names}
        missing = [name for name in names if name not in found]
        if missing:
            raise ValueError(f"{path} defines no {', '.join(missing)}")
        nodes = sorted(found.values(), key=lambda node: node.lineno)
        text = "\n\n\n".join(ast.get_source_segment(text, node) or "" for node in nodes)
    return f"{_link(path)}:\n\n" + fenced(text, "python")


def _defines(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def registration(path: str, word: str) -> str:
    """The lines of a registry that hold the word, as a diff adds them: the import and the entry."""
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    found = [f"+{line}" for line in lines if re.search(rf"\b{word}\b", line)]
    if len(found) < 2:
        raise ValueError(f"{path} does not import and list {word}")
    return fenced("\n".join([f"+++ b/{path}", *found]), "diff")


def _link(path: str) -> str:
    return f"[`{path}`](../{path})"


# ---------------------------------------------------------------------------------------------------- tables


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> str:
    """A Markdown table; the columns named in `right` are aligned right."""
    lines = [head, ["---:" if name in right else "---" for name in head], *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)


@cache
def catalogue() -> list[Mapping[str, Any]]:
    """The models of the catalogue with our counts, as `weigh catalogue` gives them."""
    from weigh.commands import catalogue as command

    models: list[Mapping[str, Any]] = command.run().result["models"]
    return models


def agreement() -> str:
    """How our counts compare with the published ones, in a sentence."""
    rows = [stated for model in catalogue() for stated in model["published"]]
    exact = [row for row in rows if row["exact"]]
    same = sum(row["difference"] == 0 for row in exact)
    rounded = [abs(row["difference"]) for row in rows if not row["exact"]]
    near = sum(difference <= 0.02 for difference in rounded)
    return (
        f"Of {len(exact)} counts that publishers give to the last digit, {same} are equal to ours; a few that "
        "contradict another source, or count something else, are not among them and are explained in the notes. "
        f'Of {len(rounded)} rounded ones ("7B"), {near} lie within 2 %.\n'
    )


def chosen_counts(*names: str) -> str:
    """Our count of some models beside the nearest statement of their publishers."""
    models = {model["id"]: model for model in catalogue()}
    rows = []
    for name in names:
        model = models[name]
        stated = min(model["published"], key=lambda row: abs(row["difference"]))
        theirs = f"{stated['parameters']:,}" if stated["exact"] else _says(stated["says"])
        rows.append((f"`{name}`", f"{model['parameters']:,}", theirs, _percent(stated), _source(stated["source"])))
    head = ("model", "weigh counts", "published", "difference", "source")
    return table(head, rows, right=("weigh counts", "published", "difference"))


def buffers() -> str:
    """What llama.cpp printed when it loaded SmolLM2-135M, beside what an estimate says; in MiB as printed."""
    import weigh

    model = weigh.load("smollm2-135m")
    rows = []
    for name, settings, state, compute, output in _log_lines():
        kv = settings.get("key_codec", "f16")
        if name != "smollm2" or settings.get("value_codec", "f16") != kv or set(settings) - _ASKED_FOR:
            continue
        context = settings["context"]
        with _plain_terminal():
            found = weigh.estimate(model, on="64GB", context=context, kv=kv, prompt=context // 2)
        sizes = [found["memory"]["state"], found["buffers"]["compute"], found["buffers"]["logits"]]
        pairs = [
            f"{figure.value / 2**20:.2f} / {printed:.2f}"
            for figure, printed in zip(sizes, (state, compute, output), strict=True)
        ]
        rows.append((f"{context:,}", kv, *pairs))
    head = ("context", "cache in", "KV cache", "compute buffer", "output buffer")
    return table(head, rows, right=("context", *head[2:]))


_ASKED_FOR = {"context", "key_codec", "value_codec"}
"""Settings of the log's lines that `weigh cost` has an option for."""


def _log_lines() -> list[Any]:
    """The lines of llama.cpp's log that the tests hold the formulas against."""
    path = ROOT / "tests" / "engines" / "test_llama_cpp.py"
    found = spec_from_file_location("recorded_log", path)
    if found is None or found.loader is None:
        raise ValueError(f"{path} cannot be loaded")
    module = module_from_spec(found)
    found.loader.exec_module(module)
    lines: list[Any] = module.MEASURED
    return lines


def catalogue_table() -> str:
    """Every model: ours, theirs, the difference, the source."""
    rows = []
    for model in catalogue():
        for position, stated in enumerate(model["published"]):
            first = (f"`{model['id']}`", f"{model['parameters']:,}") if position == 0 else ("", "")
            exact = "exact" if stated["exact"] else "rounded"
            rows.append((*first, _says(stated["says"]), exact, _percent(stated), _source(stated["source"])))
    head = ("model", "weigh counts", "published", "as", "difference", "source")
    return table(head, rows, right=("weigh counts", "difference"))


def catalogue_notes() -> str:
    """What is inconsistent or assumed, by note; models that share a note stand together."""
    shared: dict[str, list[str]] = {}
    for model in catalogue():
        for note in model["notes"]:
            shared.setdefault(note, []).append(f"`{model['id']}`")
    return "".join(f"- {', '.join(names)}: {_says(note)}\n" for note, names in shared.items())


def catalogue_assumptions() -> str:
    """The keys of configurations that no page states."""
    rows = [
        (f"`{model['id']}`", f"`{key}`", _says(fact.removeprefix("assumed").lstrip(": ")))
        for model in catalogue()
        for key, fact in model["facts"].items()
        if fact.startswith("assumed")
    ]
    return table(("model", "key", "why this value"), rows)


def _percent(stated: Mapping[str, Any]) -> str:
    difference = 100 * stated["difference"]
    return "0" if stated["difference"] == 0 else f"{difference:+.2f} %"


def _says(text: str) -> str:
    """Text of a source as Markdown shows it: its own marks mean nothing."""
    return re.sub(r"([*<>\[\]`])", r"\\\1", text)


def _source(address: str) -> str:
    """A link that shows the site, and of GitHub also the repository."""
    site, *rest = address.removeprefix("https://").removeprefix("www.").split("/")
    names = {"github.com": rest[:2], "raw.githubusercontent.com": rest[:2], "huggingface.co": rest[:2]}.get(site)
    return f"[{'/'.join(names) if names else site}]({address})"


def formats() -> str:
    """The formats that are read."""
    from weigh.formats import FORMATS

    listed = ((kind.name, ", ".join(f"`{suffix}`" for suffix in kind.suffixes)) for kind in FORMATS)
    return ", ".join(f"{name} ({suffixes})" if suffixes else name for name, suffixes in listed)


def codecs() -> str:
    """Names of the codecs whose values are decoded, integers folded, and how many are only counted."""
    from weigh.codecs import CODECS

    decoded = [codec.name for codec in CODECS if codec.decode is not None]
    names = [name for name in decoded if not re.fullmatch(r"[IU]\d+|BOOL", name)]
    rest = len(CODECS) - len(decoded)
    return f"{', '.join(names)} and integers, bit for bit as their reference does; counts the exact size of {rest} more"


def model_types() -> str:
    """The `model_type` of every architecture that is understood."""
    from weigh.families import FAMILIES

    return ", ".join(f"`{name}`" for family in FAMILIES for name in family.model_types)


def amounts() -> str:
    """How many there are of each kind, in a sentence."""
    from weigh.catalogue import names
    from weigh.codecs import CODECS
    from weigh.devices import devices
    from weigh.families import FAMILIES
    from weigh.recipes import RECIPES

    with _plain_terminal():
        known = len(devices())
    types = sum(len(family.model_types) for family in FAMILIES)
    return (
        f"{len(names())} models, {known} devices, {len(CODECS)} codecs, {len(RECIPES)} recipes, "
        f"{types} architectures in {len(FAMILIES)} families"
    )


# -------------------------------------------------------------------------------------------------- formulas

_FORMULA = re.compile(
    r"\d ?x |\w x \w|\) x | / | \+ |\^|\d[a-z]{2} |max\(|min\(|"
    r"\bsum (of|over)|\bproducts? (of|has)|as large as|\blarger of|\blargest|mean over",
)
_LABELS = ("Source", "Ignores", "Off by", "Errors", "Raises", "Defaults")


def formulas(*rooms: str) -> str:
    """Each public function of the rooms whose docstring holds a formula: its name, the docstring, its file."""
    out = []
    for room in rooms:
        for path in sorted((ROOT / room).rglob("*.py")):
            entries = [_formula(function) for function in _functions(path) if _holds_formula(function)]
            if entries:
                out.append(f"## {_link(path.relative_to(ROOT).as_posix())}\n\n" + "\n".join(entries))
    return "\n".join(out)


def figure_formulas(*commands: str) -> str:
    """The formula and source of every Figure that the commands give, each formula of a Figure once."""
    found: dict[tuple[str, str], str] = {}
    for command in commands:
        for name, figure in _figures(json.loads(run(f"{command} --json"))["result"]):
            found.setdefault((name, figure["why"]["formula"]), figure["why"]["source"])
    rows = sorted((f"`{name}`", _says_code(formula), _general(source)) for (name, formula), source in found.items())
    return table(("number", "formula", "source"), rows)


def _general(source: str) -> str:
    """A source without what belongs to the case alone: the device's own pages, the rows behind an efficiency."""
    if source.startswith("https://"):
        return "the device's sheet, `weigh devices --why`"
    pieces = ["weigh/engines/curves/" if piece.startswith("benchmarks/") else piece for piece in source.split("; ")]
    return "; ".join(pieces)


def _figures(value: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, dict) and "basis" in value and "why" in value:
        yield path, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _figures(inner, f"{path}.{name}".lstrip("."))


def _functions(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node


def _holds_formula(function: ast.FunctionDef) -> bool:
    text = ast.get_docstring(function) or ""
    return bool(_FORMULA.search(text)) or "\nSource:" in text


def _formula(function: ast.FunctionDef) -> str:
    """A function's heading and docstring; the labelled lines (Source, Ignores, Off by) as a list."""
    arguments = ", ".join(argument.arg for argument in (*function.args.args, *function.args.kwonlyargs))
    prose: list[str] = []
    labelled: list[str] = []
    for paragraph in re.split(r"\n\s*\n", ast.get_docstring(function) or ""):
        flat = " ".join(paragraph.split())
        head, *rest = re.split(rf"(?<![^\s])(?=(?:{'|'.join(_LABELS)}): )", flat)
        if head.strip():
            prose.append(_says_code(head.strip()))
        labelled += [f"- *{piece.partition(':')[0]}*:{_says_code(piece.partition(':')[2].rstrip())}" for piece in rest]
    listed = "\n" + "\n".join(labelled) + "\n" if labelled else ""
    return f"**`{function.name}({arguments})`**\n\n" + "\n\n".join(prose) + "\n" + listed


def _says_code(text: str) -> str:
    """Prose of a docstring: `code` stays code, other marks of Markdown mean nothing."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if piece.startswith("`") else re.sub(r"([*<>\[\]])", r"\\\1", piece) for piece in pieces)
