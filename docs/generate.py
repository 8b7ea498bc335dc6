"""Run the cog blocks of README.md and docs/*.md: `python -m docs.generate`, or with `--check` fail if one is stale.

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


def main(arguments: list[str] | None = None) -> int:
    """Rewrite the pages, or with `--check` print the differences. Gives the exit code: 0, or what cog says."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description="Regenerate the documentation.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a page would change")
    check = parser.parse_args(arguments).check
    os.chdir(ROOT)
    how = ["--check", "--diff", "--check-fail-msg=`make docs` brings the pages up to date"] if check else ["-r"]
    code: int = Cog().main(["cog", "-U", "-n", "utf-8", "--verbosity=1", *how, *map(str, pages())])
    return code


if __name__ == "__main__":
    sys.exit(main())
