"""Which array of a Keras file is which: its name, whether it is trained, and what belongs to no layer.

Keras 2 writes the variables' own names. Keras 3 writes numbers under `vars`; what they are follows from the layer's
class, which the configuration tells, else the path. To teach weigh another layer: a line in `VARIABLES`.
Source: the `build` method of each class in github.com/keras-team/keras, keras/src/layers (3.15).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from weigh.formats.hdf5 import Contents, Dataset

KERNEL = ("kernel", "bias")
RECURRENT = ("kernel", "recurrent_kernel", "bias")
SEPARABLE = ("depthwise_kernel", "pointwise_kernel", "bias")
SCALED = ("gamma", "beta")
RENORM = ("moving_stddev", "renorm_mean", "renorm_stddev")
"""What BatchNormalization keeps besides where it renormalizes."""
VARIABLES: Mapping[str, tuple[str, ...]] = {
    "batch_normalization": (*SCALED, "moving_mean", "moving_variance", *RENORM),
    "conv1d": KERNEL, "conv2d": KERNEL, "conv3d": KERNEL, "conv1d_transpose": KERNEL, "conv2d_transpose": KERNEL,
    "conv3d_transpose": KERNEL, "conv_lstm1d_cell": RECURRENT, "conv_lstm2d_cell": RECURRENT,
    "conv_lstm3d_cell": RECURRENT, "dense": KERNEL, "depthwise_conv1d": KERNEL, "depthwise_conv2d": KERNEL,
    "einsum_dense": KERNEL, "embedding": ("embeddings",), "group_normalization": SCALED, "gru_cell": RECURRENT,
    "layer_normalization": SCALED, "lstm_cell": RECURRENT, "normalization": ("mean", "variance", "count"),
    "p_re_lu": ("alpha",), "rms_normalization": ("scale",), "seed_generator": ("seed_generator_state",),
    "separable_conv1d": SEPARABLE, "separable_conv2d": SEPARABLE, "simple_rnn_cell": RECURRENT,
    "spectral_normalization": ("vector_u",),
}  # fmt: skip
"""Variables of a class, its name written with underscores, in the order of their numbers."""
SWITCHES = {"bias": "use_bias", "gamma": "scale", "beta": "center"}
"""Settings without which a variable is not there."""
STATISTICS = frozenset({
    "moving_mean", "moving_variance", *RENORM, "seed_generator_state", "StateVar", "sn_u", "vector_u",
})  # fmt: skip
"""Variables that the layer keeps and no optimizer trains, whatever the class."""
NORMALIZATION = frozenset({"mean", "variance", "count"})
"""The same of the class Normalization, which measures its input once."""
CONTAINERS = frozenset({"layers", "_layers", "_operations", "_layer_checkpoint_dependencies"})
"""Groups of Keras 3 that list layers by class and number."""
PARTS = {"query_dense": "einsum_dense", "key_dense": "einsum_dense", "value_dense": "einsum_dense",
         "output_dense": "einsum_dense"}  # fmt: skip
"""Classes of the parts that attention layers hold under these names."""
OPTIMIZER = "optimizer_weights"
APART = {"optimizer": "optimizer", OPTIMIZER: "optimizer", "metrics": "metrics", "_metrics": "metrics"}
"""Groups that hold no part of the network; but for OPTIMIZER those of Keras 3, since a layer may be called anything."""
WEIGHTS = "model_weights"
QUANTIZABLE = ("dense", "einsum_dense", "embedding")
ONE_BYTE = ("int8", "float8")
"""Ways of quantizing in which a value of the matrix takes a byte; in the others several share one."""

_NUMBER = re.compile(r"_\d+$")
_RUNNING = re.compile(r"_running_(mean|std)$")
"""Statistics of Keras 1: `batchnormalization_1_running_mean`."""
_HUMP = re.compile(r"(.)([A-Z][a-z]+)")
_HUMP_END = re.compile(r"([a-z])([A-Z])")


class Variable(NamedTuple):
    """An array of the network."""

    name: str
    dataset: Dataset
    codec: str
    buffer: bool


@dataclass(slots=True)
class Arranged:
    """What a file holds, told apart."""

    variables: list[Variable] = field(default_factory=list)
    apart: dict[str, list[Dataset]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Layer:
    """What the configuration says of a layer."""

    kind: str
    name: str
    settings: Mapping[str, Any]


def arrange(contents: Contents, configuration: Mapping[str, Any] | None) -> Arranged:
    """Every dataset as a variable with its name, or apart."""
    found = Arranged()
    inside: list[tuple[Dataset, tuple[str, ...]]] = []
    rooted = any(dataset.path.startswith(f"/{WEIGHTS}/") for dataset in contents.datasets)
    for dataset in contents.datasets:
        steps = tuple(dataset.path.split("/")[1:])
        if steps[0] in APART and (steps[0] == OPTIMIZER or "vars" in steps):
            found.apart.setdefault(APART[steps[0]], []).append(dataset)
        else:
            inside.append((dataset, steps[1:] if rooted and steps[0] == WEIGHTS else steps))
    numbered = [(dataset, steps) for dataset, steps in inside if len(steps) > 1 and steps[-2] == "vars"]
    layers = configured(configuration)
    if numbered:
        _by_number(numbered, contents.names, layers, found)
    told = {layer.name: layer.kind for layer in layers.values()}
    for dataset, steps in inside:
        if len(steps) < 2 or steps[-2] != "vars":
            found.variables.append(_by_name(dataset, steps, told))
    _make_distinct(found.variables)
    return found


def _make_distinct(variables: list[Variable]) -> None:
    """Where two arrays would be called the same, both keep their whole path."""
    times = Counter(variable.name for variable in variables)
    for place, variable in enumerate(variables):
        if times[variable.name] > 1:
            variables[place] = variable._replace(name=variable.dataset.path[1:])


# -------------------------------------------------------------------------------------------------- Keras 2 and 1


def _by_name(dataset: Dataset, steps: tuple[str, ...], told: Mapping[str, str]) -> Variable:
    """An array in the group of its layer, under the variable's own name."""
    name = "/".join(steps[1:] if len(steps) > 1 else steps)
    last = steps[-1].partition(":")[0]
    holders = {steps[0], steps[-2]} if len(steps) > 1 else set()
    kinds = {told.get(holder, _NUMBER.sub("", holder)) for holder in holders}
    buffer = last in STATISTICS or _RUNNING.search(last) is not None
    buffer = buffer or ("normalization" in kinds and last in NORMALIZATION)
    return Variable(name, dataset, dataset.codec, buffer)


# ------------------------------------------------------------------------------------------------------- Keras 3


def _by_number(
    numbered: list[tuple[Dataset, tuple[str, ...]]],
    names: Mapping[str, str],
    layers: Mapping[tuple[str, ...], Layer],
    found: Arranged,
) -> None:
    """Arrays under `vars`, group by group."""
    groups: dict[tuple[str, ...], list[tuple[Dataset, str]]] = {}
    for dataset, steps in numbered:
        groups.setdefault(steps[:-2], []).append((dataset, steps[-1]))
    unsure, packed = [], []
    for group, members in groups.items():
        members.sort(key=lambda member: (len(member[1]), member[1]))
        layer = layers.get(group)
        kind = layer.kind if layer is not None else _kind(group, names)
        words = _words(kind, layer, len(members))
        mode = _quantized(kind, layer, members[0][0])
        place = "/".join(_title(group, names, layers))
        if mode and mode not in ONE_BYTE:
            packed.append(f"{place} ({mode})")
        if kind not in VARIABLES and len(members) == 4 and len({member.shape for member, _ in members}) == 1:
            unsure.append(place)
        for number, (dataset, key) in enumerate(members):
            word = words[number] if number < len(words) else key
            buffer = word in STATISTICS or (kind == "normalization" and word in NORMALIZATION)
            scale = bool(mode) and number >= len(words)
            several = mode and mode not in ONE_BYTE and not scale and dataset.codec[0] in "iu"
            codec = f"unknown:{mode}" if several else dataset.codec
            found.variables.append(Variable(f"{place}/{word}".lstrip("/"), dataset, codec, buffer or scale))
    if packed:
        found.warnings.append(f"layers with packed weights, which are not counted: {_some(packed)}")
    if unsure:
        text = "four equal vectors as BatchNormalization has them, in layers whose class nothing tells"
        found.warnings.append(f"{text}; all counted as parameters: {_some(unsure)}")


def _kind(group: tuple[str, ...], names: Mapping[str, str]) -> str:
    """Class of a group's layer by its path, else by its name."""
    if not group:
        return ""
    last = _NUMBER.sub("", group[-1])
    if len(group) > 1 and group[-2] in CONTAINERS:
        return last
    told = _NUMBER.sub("", names.get("/" + "/".join((*group, "vars")), ""))
    return next((word for word in (last, told, PARTS.get(last, "")) if word in VARIABLES), last)


def _words(kind: str, layer: Layer | None, count: int) -> tuple[str, ...]:
    """Names of a layer's variables, without those that its settings switch off."""
    words = VARIABLES.get(kind, ())
    if words[-3:] == RENORM and count <= len(words) - 3:
        words = words[:-3]
    if layer is not None:
        words = tuple(word for word in words if layer.settings.get(SWITCHES.get(word, "")) is not False)
    if kind == "batch_normalization" and count < len(words):
        return words[len(words) - count :]
    return words


def _quantized(kind: str, layer: Layer | None, first: Dataset) -> str:
    """How the layer's matrix is quantized: what its configuration says, `int8` where only the array tells."""
    policy = layer.settings.get("dtype") if layer is not None else None
    settings = policy.get("config") if isinstance(policy, dict) else None
    mode = settings.get("mode") if isinstance(settings, dict) else None
    if isinstance(mode, str) and kind in QUANTIZABLE:
        return mode.partition("/")[0][:40]
    return "int8" if kind in QUANTIZABLE and first.codec == "i8" else ""


def _title(group: tuple[str, ...], names: Mapping[str, str], layers: Mapping[tuple[str, ...], Layer]) -> Iterator[str]:
    """The names of the layers on the way to a group, as users gave them."""
    for depth in range(1, len(group) + 1):
        step = group[:depth]
        if step[-1] in CONTAINERS:
            continue
        layer = layers.get(step)
        name = names.get("/" + "/".join((*step, "vars"))) or (layer.name if layer is not None else "")
        yield name or step[-1]


def _some(names: list[str]) -> str:
    return ", ".join(name[:80] for name in names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")


# -------------------------------------------------------------------------------------------------- configuration


def configured(configuration: Mapping[str, Any] | None) -> dict[tuple[str, ...], Layer]:
    """The layers of a configuration by the path under which Keras 3 saves them."""
    found: dict[tuple[str, ...], Layer] = {}
    left: list[tuple[tuple[str, ...], Mapping[str, Any]]] = [((), configuration)] if configuration else []
    while left:
        path, one = left.pop()
        settings = one.get("config")
        # The first Sequential models of Keras had a bare list.
        settings = {"layers": settings} if isinstance(settings, list) else settings
        kind = one.get("class_name")
        if not isinstance(settings, dict) or not isinstance(kind, str):
            continue
        name = settings.get("name")
        if path:
            found[path] = Layer(_snake(kind), name if isinstance(name, str) else "", settings)
        left += [((*path, key), inner) for key, inner in settings.items() if isinstance(inner, dict)]
        listed = settings.get("layers")
        left += [((*path, *step), inner) for step, inner in _numbered(listed if isinstance(listed, list) else [])]
    return found


def _numbered(listed: list[Any]) -> Iterator[tuple[tuple[str, str], Mapping[str, Any]]]:
    """The layers of a container as Keras 3 calls them: `dense`, `dense_1`."""
    used: Counter[str] = Counter()
    for inner in listed:
        if isinstance(inner, dict) and isinstance(inner.get("class_name"), str):
            kind = _snake(inner["class_name"])
            number = used[kind]
            used[kind] += 1
            yield ("layers", f"{kind}_{number}" if number else kind), inner


def _snake(kind: str) -> str:
    """A class's name in small letters with underscores, as Keras writes it; a registered one without its package."""
    bare = re.sub(r"\W+", "", kind.rpartition(">")[2])
    return _HUMP_END.sub(r"\1_\2", _HUMP.sub(r"\1_\2", bare)).lower()


def own_code(configuration: Mapping[str, Any]) -> list[str]:
    """What loading the model with Keras would run beyond its own layers: Lambda layers, registered classes."""
    found: Counter[str] = Counter()
    left: list[Any] = [configuration]
    while left:
        one = left.pop()
        if isinstance(one, list):
            left += [inner for inner in one if isinstance(inner, dict | list)]
            continue
        kind, registered = one.get("class_name"), one.get("registered_name")
        if kind in ("Lambda", "__lambda__"):
            found[kind] += 1
        elif isinstance(registered, str) and ">" in registered:
            found[registered[:80]] += 1
        elif isinstance(kind, str) and ">" in kind:
            found[kind[:80]] += 1
        left += [inner for inner in one.values() if isinstance(inner, dict | list)]
    return [f"{name} ({count})" if count > 1 else name for name, count in sorted(found.items())]
