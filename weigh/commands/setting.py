"""The words of a command line made into a job: which model in which form, on which device, under which engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from weigh.cost.compute import generates
from weigh.cost.loading import Loaded, loaded
from weigh.devices import find as find_device
from weigh.engines import find as find_engine
from weigh.types import Cluster, Device, Engine, Job, Model, WeighError, Workload

DEFAULT_ENGINE = "llama.cpp"

CONTEXT = 4096
"""Tokens that room is made for where none are named, or what the model was trained for if that is less."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where it runs, and how many bytes it may take there."""

    cluster: Cluster
    capacity: float | None
    limit: str
    """What sets the capacity, in words."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything that a cost is computed from."""

    model: Model
    place: Place
    engine: Engine
    loaded: Loaded
    job: Job

    @property
    def device(self) -> Device:
        """The device that it runs on."""
        return self.place.cluster.device


def setting(
    *,
    model: Model,
    place: Place,
    engine: str = DEFAULT_ENGINE,
    context: int | None = None,
    batch: int = 1,
    prompt: int = 512,
    output: int = 128,
    weights: str | None = None,
    kv: str = "f16",
) -> Setting:
    """Resolve every word. Errors: those of the readers and registries; WeighError KV-CODEC, CONTEXT-SHORT (2)."""
    runtime = find_engine(engine)
    state_codec = kv.lower()
    if state_codec not in runtime.state_codecs:
        raise WeighError(
            f"{runtime.id} keeps no cache in `{kv}`",
            rule="KV-CODEC",
            hint=f"it knows {', '.join(runtime.state_codecs)}",
            exit_code=2,
        )
    if context is not None and prompt + output > context:
        raise WeighError(
            f"{prompt} tokens in and {output} out do not go into a context of {context}",
            rule="CONTEXT-SHORT",
            hint="raise --context, or lower --prompt and --output",
            exit_code=2,
        )
    held = loaded(model, weights, runtime)
    trained = model.dimensions.get("context", CONTEXT)
    if generates(model):
        room = context or max(prompt + output, min(CONTEXT, trained))
    else:
        # An encoder keeps nothing and gives no tokens out: it reads what goes in.
        prompt = min(prompt, trained)
        room = context or prompt
    work = Workload(prompt=prompt, output=output, batch=batch, context=room, state_codec=state_codec)
    job = Job(model, held.tensors, work, place.cluster.device, file=held.as_stored)
    return Setting(model, place, runtime, held, job)


def locate(on: str) -> Place:
    """The device of that name with its memory; for this machine what is free now, its first GPU if it has one."""
    if on.strip().lower() == "this":
        return _this_machine()
    cluster = find_device(on)
    memory = cluster.device.memory_bytes
    if memory is None:
        return Place(cluster, None, "unknown: the vendor states no memory of the device itself")
    return Place(cluster, memory.value * cluster.count, f"{cluster.device.name}{_times(cluster)}")


def _times(cluster: Cluster) -> str:
    return "" if cluster.count == 1 else f" x {cluster.count}"


def _this_machine() -> Place:
    from weigh.devices.detect import machine

    here = machine()
    own = next((gpu for gpu in here.gpus if gpu.device.memory_bytes and not gpu.device.unified_memory), None)
    if own is not None and own.device.memory_bytes is not None:
        free = own.free_bytes if own.free_bytes is not None else own.device.memory_bytes.value
        return Place(Cluster(own.device), free, f"free on {own.device.name} now", here.warnings)
    from weigh.devices.probe import probe

    device = probe(here).device
    limit = f"free now{', as the control group allows' if here.memory_limit is not None else ''}"
    return Place(Cluster(device), here.memory_available, limit, here.warnings)


def inputs(chosen: Setting, name: str) -> dict[str, Any]:
    """The inputs as understood, for the JSON document."""
    work = chosen.job.workload
    return {
        "model": name,
        "on": chosen.device.id,
        "devices": chosen.place.cluster.count,
        "engine": chosen.engine.id,
        "weights": chosen.loaded.weights,
        "kv": work.state_codec,
        "context": work.context,
        "batch": work.batch,
        "prompt": work.prompt,
        "output": work.output,
    }


def at_context(chosen: Setting, context: int) -> Setting:
    """The same with room for another number of tokens."""
    return replace(chosen, job=replace(chosen.job, workload=replace(chosen.job.workload, context=context)))
