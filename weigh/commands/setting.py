"""The words of a command line made into a job: which model in which form, on which device, under which engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from weigh.cost.compute import generates
from weigh.cost.loading import Loaded, loaded
from weigh.cost.memory import Memory, Spread, longest_context, spread
from weigh.cost.run.split import Split
from weigh.cost.run.split import split as split_of
from weigh.devices import find as find_device
from weigh.engines import check_codecs, own_cache
from weigh.engines import find as find_engine
from weigh.types import Cluster, Device, Engine, Figure, Job, Model, WeighError, Workload

DEFAULT_ENGINE = "llama.cpp"
HOSTS = frozenset({"host", "desktop", "laptop", "edge", "phone", "size"})
"""Kinds of device whose memory is the host's own: there is nothing beside it to leave layers with."""

PROMPT = 512
OUTPUT = 128
CONTEXT = 4096
"""Tokens in, out and that room is made for where none are named; less where the model was trained for less."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where it runs, and how many bytes it may take there."""

    cluster: Cluster
    capacity: float | None
    limit: str
    """What sets the capacity, in words."""
    warnings: tuple[str, ...] = ()
    host: Device | None = None
    """The machine around the device, where it is this one."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything that a cost is computed from."""

    model: Model
    place: Place
    engine: Engine
    loaded: Loaded
    job: Job
    split: Split
    own_cache: bool = False
    """Nobody named a codec for the KV cache: it is the engine's own."""

    @property
    def device(self) -> Device:
        """The device that it runs on."""
        return self.place.cluster.device

    @property
    def devices(self) -> int:
        """How many of them."""
        return self.place.cluster.count

    @property
    def capacity(self) -> float | None:
        """Bytes of one of them."""
        return None if self.place.capacity is None else self.place.capacity / self.devices

    def spread(self, job: Job | None = None) -> Spread:
        """Memory of the job, or of a variant of it, device by device."""
        return spread(job or self.job, self.engine, self.split)

    def needed(self, job: Job | None = None) -> Memory:
        """Memory of the device that holds the most."""
        return self.spread(job).fullest

    def longest(self, job: Job | None = None) -> Figure | None:
        """Longest context of the job, or of a variant of it, that fits here."""
        trained = self.model.dimensions.get("context")
        return longest_context(job or self.job, self.engine, self.capacity, trained, self.split)


def setting(
    *,
    model: Model,
    place: Place,
    engine: str = DEFAULT_ENGINE,
    context: int | None = None,
    batch: int = 1,
    prompt: int | None = None,
    output: int | None = None,
    weights: str | None = None,
    kv: str | None = None,
    source: int | None = None,
    images: int = 0,
    parallel: str | None = None,
    offload: int = 0,
    flash: bool = True,
) -> Setting:
    """Resolve every word. What is not given: 512 tokens in and 128 out, less where the model's own context is short;
    the cache in what the engine keeps it in by itself.

    Errors: those of the registries, of `loaded` and of `split`; WeighError OFFLOAD-DEVICE, KV-CODEC, CONTEXT-SHORT
    (exit code 2), ENGINE-CODEC.
    """
    runtime = find_engine(engine)
    device = place.cluster.device
    if kv is not None and kv.lower() not in runtime.state_codecs:
        raise WeighError(
            f"{runtime.id} keeps no cache in `{kv}`",
            rule="KV-CODEC",
            hint=f"it knows {', '.join(runtime.state_codecs)}",
            exit_code=2,
        )
    held = loaded(model, weights, runtime, device)
    check_codecs(runtime, held.tensors, device)
    state_codec = own_cache(runtime, held.tensors, device) if kv is None else kv.lower()
    trained = model.dimensions.get("context", CONTEXT)
    if "vocabulary" not in model.dimensions:
        # What such a model takes in is an image, and nobody asks for the cost of 512 of them.
        prompt = 1 if prompt is None else prompt
    going_in, coming_out, room = _tokens(trained, context, prompt, output, generating=generates(model))
    work = Workload(going_in, coming_out, batch, room, state_codec, source, images, flash)
    job = Job(model, held.tensors, work, device, file=held.as_stored)
    spread_over = split_of(model, runtime, place.cluster.count, parallel, offload)
    if offload:
        spread_over = replace(spread_over, host=_host(place))
    return Setting(model, place, runtime, held, job, spread_over, own_cache=kv is None)


def _host(place: Place) -> Device | None:
    """The machine beside the accelerator: this one where the accelerator is of this one, else unknown.

    Error: OFFLOAD-DEVICE where there is no accelerator to leave out.
    """
    device = place.cluster.device
    if device.kind in HOSTS:
        raise WeighError(
            f"--offload leaves layers with the host, and {device.name} is no accelerator beside one",
            rule="OFFLOAD-DEVICE",
            hint="name an accelerator, such as --on rtx-4090",
            exit_code=2,
        )
    return place.host


def _tokens(
    trained: int, context: int | None, prompt: int | None, output: int | None, *, generating: bool
) -> tuple[int, int, int]:
    """Tokens in, tokens out, and tokens that room is made for. What is given stands; the rest goes by `trained`."""
    # Four to one, as 512 to 128 are. An encoder gives no tokens out, and so may be filled to the brim.
    least_out = min(OUTPUT, max(1, trained // 5)) if generating else 0
    coming_out = least_out if output is None else output
    kept_free = coming_out if generating else 0
    going_in = min(PROMPT, max(1, trained - kept_free)) if prompt is None else prompt
    least = going_in + kept_free
    if context is None:
        # An encoder keeps nothing: it needs no room beyond what goes in.
        return going_in, coming_out, max(least, min(CONTEXT, trained)) if generating else least
    if least > context:
        raise WeighError(
            f"{going_in} tokens in and {kept_free} out do not go into a context of {context}",
            rule="CONTEXT-SHORT",
            hint="raise --context, or lower --prompt and --output",
            exit_code=2,
        )
    return going_in, coming_out, context


def locate(on: str) -> Place:
    """The device of that name with its memory; for this machine what is free now, its first GPU if it has one."""
    if on.strip().lower() == "this":
        return _this_machine()
    cluster = find_device(on)
    own = cluster.device.memory_bytes
    if own is None:
        return Place(cluster, None, "unknown: the vendor states no memory of the device itself")
    name = cluster.device.name if cluster.count == 1 else f"{cluster.device.name} x {cluster.count}"
    return Place(cluster, own.value * cluster.count, name)


def _this_machine() -> Place:
    from weigh.devices.detect import machine
    from weigh.devices.profile import rated

    here = machine()
    own = next((gpu for gpu in here.gpus if gpu.device.memory_bytes and not gpu.device.unified_memory), None)
    if own is not None and own.device.memory_bytes is not None:
        free = own.free_bytes if own.free_bytes is not None else own.device.memory_bytes.value
        return Place(
            Cluster(own.device), free, f"free on {own.device.name} now", here.warnings, host=rated(here).device
        )
    here = rated(here)
    device = here.device
    limit = f"free now{', as the control group allows' if here.memory_limit is not None else ''}"
    return Place(Cluster(device), here.memory_available, limit, here.warnings)


def inputs(chosen: Setting, name: str) -> dict[str, Any]:
    """The inputs as understood, for the JSON document."""
    work = chosen.job.workload
    return {
        "model": name,
        "on": chosen.device.id,
        "devices": chosen.devices,
        "engine": chosen.engine.id,
        "weights": chosen.loaded.weights,
        "kv": work.state_codec,
        "kv_chosen_by": "engine" if chosen.own_cache else "user",
        "context": work.context,
        "batch": work.batch,
        "prompt": work.prompt,
        "output": work.output,
        **({} if work.source is None else {"source": work.source}),
        **({"images": work.images} if work.images else {}),
        **({"parallel": chosen.split.words} if chosen.devices > 1 else {}),
        **({"offload": chosen.split.offloaded} if chosen.split.offloaded else {}),
    }


def at_context(chosen: Setting, context: int) -> Setting:
    """The same with room for another number of tokens."""
    return replace(chosen, job=replace(chosen.job, workload=replace(chosen.job.workload, context=context)))
