"""Run the cog blocks of README.md and docs/*.md, and draw its chart: `python -m docs.generate`; `--check` fails if one
is stale.

A block holds Python between `[[[cog` and `]]]`; what it gives to `cog.out` stands up to `[[[end]]]`. The functions
to call are in `docs/blocks.py`. Nothing here asks the network or looks at this machine.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from cogapp import Cog

ROOT = Path(__file__).parents[1]


def pages() -> list[Path]:
    """README.md and the pages under docs/ that hold a block, relative to the root."""
    candidates = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path.relative_to(ROOT) for path in candidates if "[[[cog" in path.read_text(encoding="utf-8")]


CHART = "docs/errors.svg"
"""Errors by quantity, as `weigh validate --chart` draws them; README shows it."""


def draw(*, check: bool) -> bool:
    """Write the chart where README shows it, or with `check` say whether it is current."""
    if CHART not in (ROOT / "README.md").read_text(encoding="utf-8"):
        return True
    from weigh.commands import validate
    from weigh.report.validation import chart

    drawn = chart(validate.run().result["summary"])
    if check:
        return (ROOT / CHART).read_text(encoding="utf-8") == drawn
    (ROOT / CHART).write_text(drawn, encoding="utf-8")
    return True


def main(arguments: list[str] | None = None) -> int:
    """Rewrite the pages, or with `--check` print the differences. Gives the exit code: 0, or what cog says."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description="Regenerate the documentation.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a page would change")
    check = parser.parse_args(arguments).check
    os.chdir(ROOT)
    how = ["--check", "--diff", "--check-fail-msg=`make docs` brings the pages up to date"] if check else ["-r"]
    code: int = Cog().main(["cog", "-U", "-n", "utf-8", "--verbosity=1", *how, *map(str, pages())])
    if not draw(check=check):
        print(f"{CHART} is stale: `make docs` draws it again")
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
