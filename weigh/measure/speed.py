"""How fast llama.cpp runs here: models of one codec each are timed, and seconds a unit of each kind of work fitted.

`trials` says what is run. A new codec to measure is its name in CODECS (and its scales in `sample_models.py`); a new
kind of work is a name in `engines/llama_cpp/amounts.py` and a trial here in which much of it is done.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from weigh.engines import llama_cpp
from weigh.engines.llama_cpp import running
from weigh.engines.llama_cpp.amounts import Cache, decode_amounts, prompt_amounts
from weigh.engines.llama_cpp.running import Request, Session, Setup
from weigh.engines.measured import MULTIPLY, READ, fitted
from weigh.families.identify import identify
from weigh.formats import read
from weigh.measure import sample_models
from weigh.measure.sample_models import Shape
from weigh.types import Device, Job, Workload

CODECS = (
    "q4_k", "q6_k", "q8_0", "q4_0", "f16", "bf16", "f32", "q5_k", "q4_1", "q5_0", "q5_1", "q3_k", "q2_k", "iq4_nl",
    "iq4_xs",
)  # fmt: skip
"""The most used first."""
QUICK = ("q4_k", "q6_k", "q8_0", "f16")

_BEYOND = 2
"""A model of one codec has this many times the bytes of the last cache, so that each token reads it from memory."""
_SMALL_BYTES = 3 * 10**7
_LAYERS = (4, 16)
_PROMPT = 128
_TOKENS = 16
_SHORT = 8
_CACHED = " from a cache"
_DEPTHS = (512, 1280)
NARROW = Shape("q8_0", layers=4, width=128, heads=2, kv_heads=2, hidden=256)
"""Next to nothing to compute: what is left is the start of operations."""
HALF = Shape("q8_0", layers=30, width=512, heads=8, kv_heads=4, hidden=1536)
"""Many layers of few values: more operations and more values a FLOP than the models of one codec have."""
GROUPED = Shape("q8_0", layers=12, width=512, heads=16, kv_heads=4, hidden=256)
"""Much to attend to and little else: four queries share a key. So many layers that no cache keeps what they read."""
SINGLE = replace(GROUPED, heads=8, kv_heads=8, head_dim=128)

PLAIN = Cache()

Run = Callable[[Setup, Sequence[Request]], Session]
Tell = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Trial:
    """A model, how llama.cpp is started, and what it is asked."""

    name: str
    shape: Shape
    requests: tuple[Request, ...]
    context: int = 512
    cache: Cache = PLAIN


@dataclass(frozen=True, slots=True)
class Row:
    """One timed step, or many alike: its amounts and its seconds."""

    trial: str
    phase: str
    """`prefill` or `decode`."""
    amounts: Mapping[str, float]
    measured_s: float
    cached: bool
    """The model is small enough for the caches."""
    disturbed: bool
    """Other programs had more than a little of the machine."""


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured, and what a unit of each kind of work takes by it."""

    version: str
    threads: int
    rows: tuple[Row, ...]
    fit: Mapping[str, float]
    """Seconds a unit of each kind of work, those of models in caches as well."""
    loads: tuple[tuple[int, float], ...]
    """Bytes of each model's file and the seconds in which llama.cpp loaded it, the file being in memory."""

    @property
    def unit_s(self) -> dict[str, float]:
        """Seconds a unit of each kind of work that `amounts` names."""
        return {name: value for name, value in self.fit.items() if not name.endswith(_CACHED)}

    @property
    def disturbed(self) -> int:
        """Rows beside which other programs were at work."""
        return sum(row.disturbed for row in self.rows)

    def off(self, phase: str) -> list[float]:
        """Relative errors of the fit on its own rows of a phase, sorted by size."""
        own = [row for row in self.rows if row.phase == phase]
        return sorted(abs(self._predicted(row) / row.measured_s - 1) for row in own)

    def _predicted(self, row: Row) -> float:
        return sum(amount * self.fit[name] for name, amount in _deciding(row).items())


def trials(codecs: Sequence[str], cache_bytes: int, *, quick: bool = False, twice: bool = False) -> tuple[Trial, ...]:
    """What is run, for a machine whose last caches hold so many bytes together."""
    asked: tuple[Request, ...] = (Request(_SHORT, _TOKENS + 1), Request(_PROMPT, 1, repeats=1))
    found = [Trial(codec, _of_codec(codec, cache_bytes, quick=quick), asked) for codec in codecs]
    few, many = (2, 8) if quick else (4, 48)
    token = (Request(_SHORT, 2 * _TOKENS + 1),)
    found += [Trial(f"{count} layers", replace(NARROW, layers=count), token) for count in (few, many)]
    found.append(Trial("vocabulary", replace(NARROW, width=64, heads=1, kv_heads=1, vocabulary=60_000), token))
    found.append(Trial("half as wide", _of_codec("q8_0", cache_bytes, quick=True) if quick else HALF, asked))
    # A process is up to a fifth faster or slower than the next, as its memory happens to lie: two count as their mean.
    found += found if twice else []
    depths = (_SHORT * 4, _SHORT * 8) if quick else _DEPTHS
    for cache in (Cache(), Cache(flash=False), Cache("q8_0")):
        for label, shape in (("grouped", GROUPED), ("single", SINGLE)):
            if quick:
                shape = replace(shape, layers=1)
            asked = (Request(_SHORT, _TOKENS + 1), *(Request(depth, _TOKENS + 1, kept=1) for depth in depths))
            name = f"{cache.kind(alone=True).removesuffix(' one')} {label}"
            found.append(Trial(name, shape, asked, context=max(512, depths[-1] + 64), cache=cache))
    return tuple(found)


def _of_codec(codec: str, cache_bytes: int, *, quick: bool) -> Shape:
    one = Shape(codec, layers=1)
    if quick:
        return replace(one, layers=2, width=256, heads=4, kv_heads=4, hidden=512)
    least, most = _LAYERS
    wanted = -(-_BEYOND * cache_bytes // one.layer_bytes)
    return replace(one, layers=min(most, max(least, wanted)))


def measure(
    threads: int,
    cache_bytes: int,
    codecs: Sequence[str] = CODECS,
    *,
    quick: bool = False,
    twice: bool = False,
    run: Run = running.run,
    tell: Tell | None = None,
) -> Speed:
    """Run every trial, those of codecs in two processes where `twice`, and fit.

    Errors: those of `running.run`, WeighError SAMPLE-CODEC, those of writing a file.
    """
    planned = trials(codecs, cache_bytes, quick=quick, twice=twice)
    rows: list[Row] = []
    loads: list[tuple[int, float]] = []
    version = ""
    with tempfile.TemporaryDirectory(prefix="weigh-bench-") as folder:
        for number, trial in enumerate(planned):
            if tell is not None:
                tell(number, len(planned), trial.name)
            path = sample_models.write(trial.shape, Path(folder) / "sample.gguf")
            codec = trial.cache.codec
            session = run(
                Setup(str(path), threads, trial.context, 512, codec, codec, trial.cache.flash), trial.requests
            )
            version = session.version
            rows += _rows(trial, path, session)
            loads.append((path.stat().st_size, session.load_s))
            path.unlink()
    if tell is not None:
        tell(len(planned), len(planned), "done")
    fit = fitted([_deciding(row) for row in rows], [row.measured_s for row in rows])
    return Speed(version, threads, tuple(rows), fit, tuple(loads))


def _rows(trial: Trial, path: Path, session: Session) -> Iterator[Row]:
    """The prompts and the generations of a session with what each did."""
    model = identify(read(path))
    tensors = model.inventory.tensors
    decoder = llama_cpp.decoder(Job(model, tensors, Workload(), Device("this", "this", "", "host")))
    cached = trial.name != trial.shape.codec and trial.shape.layers * trial.shape.layer_bytes < _SMALL_BYTES
    for request, timed in zip(trial.requests, session.rows, strict=True):
        disturbed = timed.others > running.CALM
        past = request.prompt - timed.prompt_tokens
        prompt = prompt_amounts(decoder, tensors, trial.cache, timed.prompt_tokens, past)
        if timed.prompt_tokens > _SHORT:
            yield Row(trial.name, "prefill", prompt, timed.prompt_s, cached, disturbed)
        if timed.tokens:
            token = decode_amounts(decoder, tensors, trial.cache, request.prompt + timed.tokens / 2, 1)
            yield Row(trial.name, "decode", token, timed.token_s, cached, disturbed)


def _deciding(row: Row) -> dict[str, float]:
    """The amounts that decide a row's time: one token waits for what it reads, a prompt for what it multiplies.

    Matrices of a model that the caches hold are another kind of work, of which nothing is asked later.
    """
    other = MULTIPLY if row.phase == "decode" else READ
    found = {name: amount for name, amount in row.amounts.items() if not name.startswith(other)}
    if row.cached:
        own = {name for name in found if name.startswith((READ, MULTIPLY))}
        found = {name + _CACHED * (name in own): amount for name, amount in found.items()}
    return found
