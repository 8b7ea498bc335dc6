"""Terms of the field in plain words, English and Chinese, each a TOML file beside this one.

To add one: write `terms/<id>.toml` with term, aliases, formula, figures, see, sources, and [en] and [zh] texts.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from weigh.types import WeighError

FOLDER = Path(__file__).parent
LANGUAGES = ("en", "zh")


@dataclass(frozen=True, slots=True)
class Term:
    """One term in one language."""

    id: str
    term: str
    text: str
    formula: str
    figures: tuple[str, ...]
    """Names of results that work the term through for a model: `memory.state`, `parameters.total`."""
    see: tuple[str, ...]
    sources: tuple[str, ...]
    aliases: tuple[str, ...]


def ids() -> tuple[str, ...]:
    """All terms, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


@cache
def read(name: str, language: str = "en") -> Term:
    """The term of that id. Errors: WeighError TERM-FILE where its file is malformed."""
    path = FOLDER / f"{name}.toml"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        local = data[language]
        aliases = (*data.get("aliases", ()), *(data.get("zh", {}).get("aliases", ())), data["zh"].get("term", ""))
        return Term(
            id=name,
            term=local.get("term", data["term"]),
            text=local["text"].strip(),
            formula=data.get("formula", ""),
            figures=tuple(data.get("figures", ())),
            see=tuple(data.get("see", ())),
            sources=tuple(data.get("sources", ())),
            aliases=(data["term"].lower(), *(alias.lower() for alias in aliases if alias)),
        )
    except (tomllib.TOMLDecodeError, KeyError) as cause:
        raise WeighError(f"malformed term: {cause}", rule="TERM-FILE", path=path) from cause


def find(word: str, language: str = "en") -> Term:
    """The term of that id, name or alias, in either language.

    Errors: WeighError TERM-UNKNOWN (exit code 2) with the nearest terms.
    """
    wanted = word.strip().lower()
    known = ids()
    dashed = wanted.replace(" ", "-").replace("_", "-")
    if dashed in known:
        return read(dashed, language)
    by_alias = {alias: name for name in known for alias in read(name).aliases}
    if wanted in by_alias:
        return read(by_alias[wanted], language)
    near = get_close_matches(wanted, [*known, *by_alias], n=3, cutoff=0.75)
    hint = f"did you mean {', '.join(near)}?" if near else "`weigh explain` lists the terms"
    raise WeighError(f"the term `{word}` is not explained here", rule="TERM-UNKNOWN", hint=hint, exit_code=2)
