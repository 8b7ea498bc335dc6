"""The documentation under test: generated parts are current, examples run, links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from docs.blocks import ROOT, run
from weigh.catalogue import names
from weigh.cli import cli

PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")],
    key=lambda path: path.relative_to(ROOT).as_posix(),
)
FENCE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLE = re.compile(r"^(?:\$ (?:uvx )?)?(weigh .*)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
A_FILE = re.compile(r"[/\\]|\.(gguf|safetensors|json|html|toml)\b")


def title(path: object) -> str:
    return path.relative_to(ROOT).as_posix() if isinstance(path, Path) else str(path)


def needs_a_file(command: str) -> bool:
    return any(A_FILE.search(word) for word in shlex.split(command)[1:])


def page_examples() -> list[str]:
    found = [
        example
        for page in PAGES
        for block in FENCE.findall(page.read_text(encoding="utf-8"))
        for example in EXAMPLE.findall(block)
    ]
    return sorted({example for example in found if not needs_a_file(example)})


def help_examples(command: click.Command) -> list[str]:
    """The lines under `Examples:` at the end of a command's help."""
    _, found, examples = (command.epilog or "").partition("Examples:\n")
    return [line.strip() for line in examples.splitlines() if line.strip()] if found else []


COMMANDS = {"": cli, **{name: command for name, command in cli.commands.items() if not command.hidden}}
HELP_EXAMPLES = sorted({example for command in COMMANDS.values() for example in help_examples(command)})


def test_generated_parts_are_current():
    done = subprocess.run(
        [sys.executable, "-m", "docs.generate", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_stale_page_fails_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from docs import generate

    page = tmp_path / "README.md"
    page.write_text("<!-- [[[cog\ncog.outl('new')\n]]] -->\nold\n<!-- [[[end]]] -->\n")
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert generate.main(["--check"]) != 0
    assert "old" in page.read_text()
    assert generate.main([]) == 0
    assert "new" in page.read_text()
    assert generate.main(["--check"]) == 0


def test_the_library_example_of_the_readme_runs():
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("8030261248\nFigure(")


def test_there_are_examples():
    assert len(page_examples()) > 10


@pytest.mark.parametrize("example", page_examples())
def test_an_example_of_a_page_runs(example: str):
    assert run(example).strip()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_examples_of_that_command(name: str):
    printed = run(f"weigh {name} --help").rstrip().splitlines()
    examples = help_examples(COMMANDS[name])
    assert examples
    assert all(example.startswith(f"weigh {name}".strip()) for example in examples)
    assert [line.strip() for line in printed[-len(examples) :]] == examples


@pytest.mark.parametrize("example", [example for example in HELP_EXAMPLES if not needs_a_file(example)])
def test_an_example_of_the_help_runs(example: str):
    assert run(example).strip()


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_links_lead_to_files_and_headings(page: Path):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if target.startswith(("https://", "http://")):
            continue
        place, _, heading = target.partition("#")
        there = (page.parent / place).resolve() if place else page
        assert there.is_relative_to(ROOT), target
        assert there.exists(), target
        assert not heading or heading in headings(there), target


def headings(page: Path) -> set[str]:
    """Anchors as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_code_spans_name_files_that_exist(page: Path):
    """`weigh/...`, `docs/...` and `tests/...` in running text are places in this tree."""
    for place in re.findall(r"`((?:weigh|docs|tests|benchmarks)/[\w./-]*\w/?)`", page.read_text(encoding="utf-8")):
        assert (ROOT / place).exists(), place


def test_where_is_names_what_is_there():
    """Each name in the second column of the table stands in a file that the row links."""
    page = ROOT / "docs" / "how-it-works.md"
    rows = re.findall(r"^\| [a-z].* \| (.*\]\(.*) \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) > 15
    for row in rows:
        places = [(page.parent / target).resolve() for target in LINK.findall(row)]
        files = [file for place in places for file in ([place] if place.is_file() else place.glob("*.*"))]
        text = "\n".join(file.read_text(encoding="utf-8") for file in files)
        for name in re.findall(r"(?<!\[)`([A-Za-z_]+)`", row):
            assert re.search(rf"\b{name}\b", text), f"{name}: {row}"


def test_every_model_of_the_catalogue_is_on_its_page():
    text = (ROOT / "docs" / "catalogue.md").read_text(encoding="utf-8")
    assert [name for name in names() if f"| `{name}` |" not in text] == []
