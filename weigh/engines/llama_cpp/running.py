"""Runs llama.cpp, where its wheel (`xllamacpp`) is installed, and takes its own times of prompts and tokens.

It runs in a process of its own (`python -m weigh.engines.llama_cpp.running SETTINGS`): llama.cpp logs at C level and
gives memory back when the process ends. The child prints a line of JSON for each request.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from weigh.types import WeighError

PACKAGE = "xllamacpp"
INSTALL = "pip install 'weigh[measure]'"
CALM = 0.08
"""Cores' worth of other programs beside which a time counts as undisturbed."""
_TRIES = 6
"""Of a request, at most, until it was undisturbed as often as asked."""
_PAUSE_S = 0.3
_CHILD_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt of so many tokens and the tokens to generate, of which the first belongs to the prompt's time.

    `kept` of the prompt's tokens are those of the request before, and stand in the cache already.
    """

    prompt: int
    output: int
    kept: int = 0
    repeats: int = 2
    """Undisturbed runs of it to take the best of."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How llama.cpp is started."""

    gguf: str
    threads: int
    context: int = 512
    micro_batch: int = 512
    key_codec: str = "f16"
    value_codec: str = "f16"
    flash: bool = True


@dataclass(frozen=True, slots=True)
class Timed:
    """llama.cpp's own times of one request: the best of those that other programs left alone, if any were."""

    prompt_tokens: int
    prompt_s: float
    tokens: int
    """That were timed: the first comes with the prompt."""
    token_s: float
    """Of one of them; 0 where only the first was asked for."""
    others: float
    """Cores' worth of other programs meanwhile, where the system tells; 0 elsewhere."""


@dataclass(frozen=True, slots=True)
class Session:
    """What one process of llama.cpp did."""

    version: str
    load_s: float
    rows: tuple[Timed, ...]


def installed() -> str | None:
    """Version of the wheel, or None."""
    if find_spec(PACKAGE) is None:
        return None
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return None


def run(setup: Setup, requests: Sequence[Request]) -> Session:
    """The requests one after the other in one process.

    Errors: WeighError ENGINE-MISSING (exit code 2) where the wheel is not installed, ENGINE-RUN where it fails.
    """
    if installed() is None:
        raise WeighError(
            f"llama.cpp is not installed: there is no package {PACKAGE}",
            rule="ENGINE-MISSING",
            hint=INSTALL,
            exit_code=2,
        )
    asked = json.dumps({"setup": asdict(setup), "requests": [asdict(one) for one in requests]})
    try:
        child = subprocess.run(
            [sys.executable, "-m", __name__, asked],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_CHILD_SECONDS,
            # A folder named `weigh` where the user stands must not be taken for this package, nor ours be missed.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    except subprocess.TimeoutExpired as cause:
        raise _failed(setup, f"took more than {_CHILD_SECONDS} s") from cause
    found = [json.loads(line) for line in child.stdout.splitlines() if line.startswith('{"weigh"')]
    if child.returncode or len(found) != len(requests) + 1:
        raise _failed(setup, child.stderr.strip()[-400:] or f"exit code {child.returncode}")
    rows = tuple(Timed(**line["weigh"]) for line in found[1:])
    return Session(found[0]["weigh"]["version"], found[0]["weigh"]["load_s"], rows)


def _failed(setup: Setup, words: str) -> WeighError:
    return WeighError(
        f"llama.cpp did not run the model: {words}",
        rule="ENGINE-RUN",
        path=setup.gguf,
        hint="WEIGH_DEBUG=1 shows more; without llama.cpp the rest is still measured",
    )


# ------------------------------------------------------------------------------------------------ the child


def parameters(setup: Setup) -> Any:
    """The setup in llama.cpp's own terms; what only a server would keep beside the model is off."""
    import xllamacpp

    asked = xllamacpp.CommonParams()
    asked.model.path = setup.gguf
    asked.n_ctx = setup.context
    asked.n_parallel = 1
    asked.n_batch = max(512, setup.micro_batch)
    asked.n_ubatch = setup.micro_batch
    types = xllamacpp.ggml_type
    asked.cache_type_k = getattr(types, "GGML_TYPE_" + setup.key_codec.upper())
    asked.cache_type_v = getattr(types, "GGML_TYPE_" + setup.value_codec.upper())
    flash = "ENABLED" if setup.flash else "DISABLED"
    asked.flash_attn_type = getattr(xllamacpp.llama_flash_attn_type, "LLAMA_FLASH_ATTN_TYPE_" + flash)
    asked.cpuparams.n_threads = setup.threads
    asked.cpuparams_batch.n_threads = setup.threads
    asked.n_gpu_layers = 0
    asked.fit_params = False
    asked.warmup = False
    asked.verbosity = 0
    asked.port = 0
    asked.cache_ram_mib = 0
    asked.n_ctx_checkpoints = 0
    return asked


def _tokens(count: int, number: int) -> list[int]:
    """Some tokens; requests of another number share no first token, so nothing of them is in the cache."""
    return [(1 + number % 200 + 7 * place) % 200 + 1 for place in range(count)]


def main() -> None:
    """Load, answer each request, print a line of JSON for each, and leave without clean-up."""
    asked = json.loads(sys.argv[1])
    setup = Setup(**asked["setup"])
    import xllamacpp

    parametered = parameters(setup)
    started = time.perf_counter()
    server = xllamacpp.Server(parametered)
    _tell({"version": xllamacpp.__version__, "load_s": time.perf_counter() - started})
    number = 0
    for request in (Request(**one) for one in asked["requests"]):
        number += not request.kept
        _tell(asdict(_best(server, request, number)))
    # llama.cpp's own clean-up takes long and gives nothing here.
    os._exit(0)


def _best(server: Any, request: Request, number: int) -> Timed:
    """The request as often as it says, and again while other programs were in the way."""
    rows: list[Timed] = []
    calm = 0
    while calm < request.repeats and len(rows) < max(_TRIES, request.repeats):
        rows.append(_asked(server, request, number))
        calm += rows[-1].others <= CALM
        if rows[-1].others > CALM:
            time.sleep(_PAUSE_S)
    kept = [row for row in rows if row.others <= CALM] or rows
    # What is kept of a prompt is there when the same request comes again: only the first run had all to do.
    whole = [row for row in kept if row.prompt_tokens == rows[0].prompt_tokens] or rows[:1]
    first = min(whole, key=lambda row: row.prompt_s)
    return replace(min(kept, key=lambda row: row.token_s), prompt_tokens=first.prompt_tokens, prompt_s=first.prompt_s)


def _asked(server: Any, request: Request, number: int) -> Timed:
    start, own, busy = time.monotonic(), time.process_time(), busy_seconds()
    answer = server.handle_completions(
        {
            "prompt": _tokens(request.prompt, number),
            "n_predict": request.output,
            "cache_prompt": bool(request.kept),
            "ignore_eos": True,
            "temperature": 0,
        }
    )
    own_s, spent = time.process_time() - own, time.monotonic() - start
    if "timings" not in answer:
        raise SystemExit(f"a prompt of {request.prompt} tokens was refused: {str(answer)[:300]}")
    timings = answer["timings"]
    later = timings["predicted_n"] - 1
    return Timed(
        timings["prompt_n"],
        timings["prompt_ms"] / 1000,
        later,
        timings["predicted_ms"] / 1000 / later if later else 0.0,
        max(0.0, busy_seconds() - busy - own_s) / spent,
    )


def busy_seconds() -> float:
    """Seconds of all cores that were not idle since the machine started; 0 where the system does not tell."""
    try:
        line = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    except OSError:
        return 0.0
    user, nice, system, _, _, *interrupts = (int(word) for word in line.split()[1:9])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def _tell(row: dict[str, Any]) -> None:
    print(json.dumps({"weigh": row}), flush=True)


if __name__ == "__main__":
    main()
