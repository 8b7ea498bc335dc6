"""Measured speeds of open licence as published tables, those that were fitted and those held out apart.

`python -m benchmarks.speed_tables --data FOLDER` writes `weigh/published/<phase>-speed-llmfit-<which>.toml` from
the tables of github.com/AlexsJones/llmfit (MIT): the samples of curve_rows.py whose model is in the catalogue, so that
every row can be asked for on the command line.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.curve_rows import Sample, parts_of, samples
from weigh import catalogue

FOLDER = Path(__file__).parents[1] / "weigh/published"
OPEN = {
    "llmfit_community_runs.csv": "llmfit-core/data/community",
    "llmfit_user_benchmarks.csv": "llmfit-core/data/benchmark_cache.json",
}
"""Tables whose licence allows their rows here, and where they lie in the repository."""
READ = "2026-11-23"


MEANS = {"decode": 0.09, "prefill": 0.19}
"""Mean errors of the rows held out that the tests allow: what they are today, rounded up."""


def table(some: Sequence[Sample], phase: str, *, fitted: bool) -> str:
    """One table: what all rows share, then a row for each sample."""
    which = "that the curves were fitted to" if fitted else "held out of the fit by a hash of device and model"
    figure = "latency.tokens_per_second" if phase == "decode" else "latency.ttft"
    head = {
        "title": f"{phase.capitalize()} speed of llama.cpp as users measured it, rows {which}",
        "quantity": f"{phase} speed",
        "unit": "tokens/s" if phase == "decode" else "s",
        "figure": figure,
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in head.items()]
    lines += ["train = false", f'source = "https://github.com/AlexsJones/llmfit ({", ".join(OPEN.values())})"']
    bound = [] if fitted else [f"mean = {MEANS[phase]}"]
    lines += [f"read = {READ}", 'licence = "MIT"', *bound, "", "[given]", 'engine = "llama.cpp"']
    runs: Counter[str] = Counter()
    for one in sorted(some, key=lambda one: (one.device.id, one.model, one.codec, one.given)):
        given = {"model": one.model, "on": one.device.id, "weights": one.codec.lower(), **dict(one.given)}
        if phase == "prefill":
            given["output"] = 1
        measured = 1 / one.seconds if phase == "decode" else one.seconds
        name = f"{one.name}, {given['prompt']} in"
        runs[name] += 1
        again = "" if runs[name] == 1 else f", run {runs[name]}"
        inline = ", ".join(f"{key} = {json.dumps(value)}" for key, value in given.items())
        lines += ["", "[[rows]]", f'name = "{name}{again}"', f"given = {{ {inline} }}"]
        lines += [f"measured = {measured:.6g}", f"fitted = {str(fitted).lower()}"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    asked = parser.parse_args()
    known = set(catalogue.names())
    found = [one for one in samples(asked.data, None) if one.file in OPEN and one.model in known]
    FOLDER.mkdir(parents=True, exist_ok=True)
    for phase in ("decode", "prefill"):
        for fitted in (True, False):
            some = [one for one in parts_of(found, held_out=not fitted) if one.phase == phase]
            if some:
                path = FOLDER / f"{phase}-speed-llmfit-{'fitted' if fitted else 'held-out'}.toml"
                path.write_text(table(some, phase, fitted=fitted), encoding="utf-8")
                print(path.name, len(some))


if __name__ == "__main__":
    main()
