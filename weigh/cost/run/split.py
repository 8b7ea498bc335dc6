"""How a model that runs is spread over devices and the host: what was asked, what is refused, who gets which layers.

What each device then holds is `shares.py`'s. A new way to deal out layers is a function in `DEALT`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from weigh.cost.links import NODE
from weigh.cost.train.layout import Layout, parse
from weigh.types import Device, Engine, Model, WeighError

SOURCE = "arXiv 1909.08053, section 3; vllm/distributed/utils.py (get_pp_indices); llama.cpp src/llama-model.cpp"


@dataclass(frozen=True, slots=True)
class Split:
    """How a model that runs is spread. It takes tp x pp x copies devices, and a host where layers are offloaded."""

    tp: int = 1
    """Tensor parallel: the devices that divide every layer between them."""
    pp: int = 1
    """Stages, each with a run of layers, one behind the other."""
    ep: int = 1
    """1, or tp: experts lie whole on one device each, rather than a slice of each on every device."""
    copies: int = 1
    """Of the whole model, each with its share of the sequences (data parallel)."""
    offloaded: int = 0
    """Layers, the first ones, that stay with the host."""
    host: Device | None = None
    """Where these lie; None = a machine of which nothing is known."""
    chosen: bool = True
    """By weigh, since nobody said."""

    @property
    def devices(self) -> int:
        """All of them."""
        return self.tp * self.pp * self.copies

    @property
    def words(self) -> str:
        """As the option would say it."""
        degrees = {"tp": self.tp, "pp": self.pp, "ep": self.ep, "dp": self.copies}
        return ",".join(f"{name}={degree}" for name, degree in degrees.items() if degree > 1) or "tp=1"


ONE = Split()


# ----------------------------------------------------------------------------------------------- what was asked


def split(model: Model, engine: Engine, devices: int, parallel: str | None = None, offload: int = 0) -> Split:
    """What `--parallel` and `--offload` say, and where they say nothing what the engine would do.

    Engines that divide layers take 8, 4 or 2 of a node under which everything divides, and stages for the rest; the
    others put the layers one behind the other.
    Errors: LAYOUT-WORDS, LAYOUT-DEVICES, LAYOUT-HEADS, LAYOUT-LAYERS, LAYOUT-EXPERTS, LAYOUT-ENGINE, OFFLOAD-ENGINE,
    OFFLOAD-LAYERS (all exit code 2).
    """
    if offload:
        _check_offload(model, engine, offload)
    if parallel is not None:
        asked = _asked(parallel)
        found = Split(asked.tp, asked.pp, asked.ep, asked.dp, offload, chosen=False)
    else:
        found = _chosen(model, engine, devices, offload)
    for problem in _problems(found, model, engine, devices):
        raise problem
    return found


def _asked(words: str) -> Layout:
    asked = parse(words)
    for name, usual in (("cp", 1), ("zero", 0), ("microbatch", 1), ("interleave", 1)):
        if getattr(asked, name) != usual:
            raise _refusal("WORDS", f"`{name}` in --parallel goes with --train", "to run there are tp, pp, ep and dp")
    return asked


def _chosen(model: Model, engine: Engine, devices: int, offload: int) -> Split:
    if engine.spreads == "tensor":
        for tp in (NODE, NODE // 2, NODE // 4):
            found = Split(tp, devices // tp, offloaded=offload)
            if devices % tp == 0 and not _problems(found, model, engine, devices):
                return found
    return Split(1, devices, offloaded=offload)


def _problems(split: Split, model: Model, engine: Engine, devices: int) -> list[WeighError]:
    """Everything that forbids the split; empty where it is legal."""
    sizes, tp = model.dimensions, split.tp
    wrong = []
    if min(tp, split.pp, split.ep, split.copies) < 1:
        return [_refusal("DEGREE", "every degree in --parallel must be at least 1")]
    if split.devices != devices:
        told = f"tp {tp} x pp {split.pp} x dp {split.copies} = {split.devices} devices, and there are {devices}"
        wrong.append(_refusal("DEVICES", told, f"name as many with --on, or {_filling(split, devices)}"))
    if tp > 1 and engine.spreads != "tensor":
        what = f"{engine.id} puts whole layers on devices: its tensor parallelism is not modelled"
        wrong.append(_refusal("ENGINE", what, f"say pp={devices}, or another --engine such as vllm"))
    if tp > 1:
        wrong += _undivided(model, split)
    stages = len(layers_of(model))
    if split.pp > max(1, stages):
        told = f"pp = {split.pp} stages, and the model has {stages} layers"
        wrong.append(_refusal("LAYERS", told, f"at most {max(1, stages)} devices can be one behind the other"))
    if split.ep not in (1, tp):
        hint = f"say ep={tp}" if tp > 1 else "say tp as well"
        wrong.append(_refusal("EXPERTS", f"ep = {split.ep}: experts are dealt to the {tp} devices of tp", hint))
    elif split.ep > 1 and sizes.get("experts", 0) % split.ep:
        wrong.append(_refusal("EXPERTS", f"{sizes['experts']} experts do not divide by ep = {split.ep}"))
    elif split.ep > 1 and not sizes.get("experts"):
        wrong.append(_refusal("EXPERTS", f"ep = {split.ep}, and the model has no experts", "leave ep out"))
    return wrong


def _filling(split: Split, devices: int) -> str:
    without = split.tp * split.pp
    return f"dp={devices // without} fills these" if devices % without == 0 else f"pp={devices} fills these"


def _undivided(model: Model, split: Split) -> list[WeighError]:
    """What tensor parallelism cannot divide: vLLM stops with an error of its own there (`divide`)."""
    sizes, tp = model.dimensions, split.tp
    heads = sizes.get("heads")
    if heads is None:
        return []
    legal = [degree for degree in range(1, heads + 1) if _divides(heads, sizes.get("kv_heads", heads), degree)]
    hint = f"tp may be {', '.join(map(str, legal[:8]))}"
    if heads % tp:
        return [_refusal("HEADS", f"{heads} heads do not divide by tp = {tp}", hint)]
    if not _divides(heads, sizes.get("kv_heads", heads), tp):
        told = f"{sizes['kv_heads']} heads of keys neither divide by tp = {tp} nor are repeated evenly"
        return [_refusal("HEADS", told, hint)]
    wrong = []
    for name, words in (("hidden", "hidden values of a block"), ("expert_hidden", "hidden values of an expert")):
        if sizes.get(name, 0) % tp and not (name == "expert_hidden" and split.ep > 1):
            wrong.append(_refusal("HIDDEN", f"{sizes[name]:,} {words} do not divide by tp = {tp}", hint))
    return wrong


def _divides(heads: int, kv: int, tp: int) -> bool:
    return heads % tp == 0 and (kv % tp == 0 or tp % kv == 0)


def _check_offload(model: Model, engine: Engine, offload: int) -> None:
    layers = len(layers_of(model))
    if engine.id != "llama.cpp":
        raise WeighError(
            f"layers that stay with the host are modelled for llama.cpp, not for {engine.id}",
            rule="OFFLOAD-ENGINE",
            hint="leave --offload out, or say --engine llama.cpp",
            exit_code=2,
        )
    if offload > layers:
        raise WeighError(
            f"--offload {offload}: the model has {layers} layers",
            rule="OFFLOAD-LAYERS",
            hint=f"--offload {layers} leaves only the head on the device",
            exit_code=2,
        )


def _refusal(rule: str, message: str, hint: str = "") -> WeighError:
    return WeighError(message, rule=f"LAYOUT-{rule}", hint=hint, exit_code=2)


# ------------------------------------------------------------------------------------------- who holds which layers


def layers_of(model: Model) -> list[int]:
    """Numbers of the layers, in order."""
    return sorted({part.layer for part in model.parts if part.layer is not None})


def even(layers: int, stages: int) -> list[range]:
    """As vLLM deals them: what does not divide goes to the stages before the last, from the back.

    Source: vllm/distributed/utils.py, get_pp_indices: the last stage has the norm and the head besides.
    """
    counts = [layers // stages] * stages
    for place in range(2, layers % stages + 2):
        counts[-place] += 1
    starts = [sum(counts[:stage]) for stage in range(stages)]
    return [range(start, start + count) for start, count in zip(starts, counts, strict=True)]


def with_output(layers: int, stages: int, offloaded: int = 0) -> list[range]:
    """As llama.cpp deals them over equal devices: the output counts as one more layer, the first ones stay behind.

    Item i of the n that go to devices lies on device floor(i x devices / n).
    Source: src/llama-model.cpp, load_tensors (`i_gpu_start`, `splits`).
    """
    items = layers + 1 - offloaded
    counts = [0] * stages
    for item in range(items):
        counts[item * stages // items] += 1
    ends = [offloaded + sum(counts[: stage + 1]) for stage in range(stages)]
    starts = [offloaded, *ends[:-1]]
    return [range(start, min(end, layers)) for start, end in zip(starts, ends, strict=True)]


DEALT: Mapping[str, Callable[[int, int, int], list[range]]] = {
    "llama.cpp": with_output,
}
"""Engine to its way of dealing layers out; every other engine deals evenly."""


def runs(layers: int, split: Split, engine: Engine) -> list[range]:
    """Layers of each stage on devices."""
    if engine.id in DEALT:
        return DEALT[engine.id](layers, split.pp, split.offloaded)
    return even(layers, split.pp)


@dataclass(frozen=True, slots=True)
class Held:
    """What a stage has of a model."""

    run: range
    """Of the layers, counted from the first."""
    layers: frozenset[int]
    """Their numbers."""
    first: bool
    """What stands before the layers, but for the token table."""
    last: bool
    """What stands behind them."""
    table: bool
    """The token table."""


def held_by(model: Model, split: Split, engine: Engine) -> list[tuple[bool, Held]]:
    """(is the host, what it has) of the host where it has layers, and of each stage."""
    numbers = layers_of(model)
    found = []
    if split.offloaded:
        run = range(split.offloaded)
        found.append((True, Held(run, frozenset(numbers[: split.offloaded]), True, False, True)))
    dealt = runs(len(numbers), split, engine)
    for stage, run in enumerate(dealt):
        first, last = stage == 0 and not split.offloaded, stage == len(dealt) - 1
        found.append((False, Held(run, frozenset(numbers[run.start : run.stop]), first, last, first)))
    return found
