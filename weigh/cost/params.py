"""How many parameters, where, and under which of the three published conventions of "active"."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from weigh.codecs import by_id, from_safetensors
from weigh.families import family_of
from weigh.families.audit import Audit, Promise, Share, audit, shares_of, stacked_promises
from weigh.types import NOT_COUNTED, Codec, Model, Role, WeighError


@dataclass(slots=True)
class Tally:
    """Parameters and bytes of a group of tensors."""

    parameters: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """The count of a model. `None` = not known: some conventions need a family."""

    total: int
    active: int | None
    active_without_embedding: int | None
    active_without_embedding_and_head: int | None
    embedding: int
    trainable: int
    mtp: int
    buffers: int
    by_role: dict[Role, Tally]
    by_layer: dict[int | None, Tally]
    by_depth: dict[str, int]
    """Parameters before the layers (`input`), in the `first`, `middle` and `last` third of them, behind (`output`)."""
    bytes: int
    """Tensor data, everything included."""
    counted_bytes: int
    """Less those of buffers and multi-token prediction."""
    codecs: dict[str, dict[str, int]]
    unknown: tuple[str, ...]
    """Tensors of unknown codec: their bytes count, their parameters cannot."""
    audit: Audit | None
    warnings: tuple[str, ...] = field(default=())

    @property
    def bits_per_parameter(self) -> float | None:
        """Stored bits of what is counted, by its parameters."""
        return 8 * self.counted_bytes / self.total if self.total else None


def count(model: Model) -> Counts:
    """Count what the file holds, or what the configuration promises where there is no file.

    `total`: trained parameters of the class, a tied tensor once, without buffers and multi-token-prediction
    layers. `active`: those on a token's path, tables and head included (convention 1); without the input
    embedding (2); without embedding and head (3). A tied head is part of the embedding and subtracted once.
    """
    if model.inventory.tensors:
        return _of_file(model)
    return _of_configuration(model)


def _of_file(model: Model) -> Counts:
    found = audit(model)
    codecs: dict[str, dict[str, int]] = {}
    unknown: list[str] = []
    for holding in found.holdings:
        tensor = holding.tensor
        held = tensor.parameters
        group = codecs.setdefault(tensor.codec, {"tensors": 0, "parameters": 0, "bytes": 0})
        group["tensors"] += 1
        group["bytes"] += tensor.nbytes
        if held is None:
            unknown.append(tensor.name)
        else:
            group["parameters"] += held
    shares = (share for holding in found.holdings for share in holding.shares)
    warnings = _file_warnings(found, unknown)
    return _tally(shares, codecs, found, tuple(unknown), warnings, understood=bool(model.parts))


def _of_configuration(model: Model) -> Counts:
    codec, warnings = configured_codec(model)
    shares = list(shares_of(model, 8 * codec.block_bytes // codec.block))
    count = sum(share.parameters or 0 for share in shares)
    tensors = sum(_tensors_of(promise) for promise in stacked_promises(model, family_of(model), "hf"))
    codecs = {codec.id: {"tensors": tensors, "parameters": count, "bytes": sum(s.nbytes for s in shares)}}
    return _tally(shares, codecs, None, (), warnings, understood=True)


def _tensors_of(promise: Promise) -> int:
    if promise.optional:
        return 0
    return promise.shape[0] if "{expert}" in promise.name else 1


def _tally(
    shares: Iterable[Share],
    codecs: dict[str, dict[str, int]],
    found: Audit | None,
    unknown: tuple[str, ...],
    warnings: tuple[str, ...],
    *,
    understood: bool,
) -> Counts:
    by_role: dict[Role, Tally] = defaultdict(Tally)
    by_layer: dict[int | None, Tally] = defaultdict(Tally)
    entrance = 0
    total = active = table = head = frozen = nbytes = counted = 0
    for share in shares:
        held = share.parameters or 0
        role, layer = by_role[share.role], by_layer[share.layer]
        role.parameters += held
        role.bytes += share.nbytes
        layer.bytes += share.nbytes
        nbytes += share.nbytes
        if share.role in NOT_COUNTED:
            continue
        layer.parameters += held
        counted += share.nbytes
        total += held
        active += share.active or 0
        frozen += held if share.frozen else 0
        table += held if share.table else 0
        head += held if share.role == "head" else 0
        entrance += held if share.entrance else 0
    ordered = dict(sorted(by_layer.items(), key=lambda item: (item[0] is not None, item[0] or 0)))
    return Counts(
        total=total,
        active=active if understood else None,
        active_without_embedding=active - table if understood else None,
        active_without_embedding_and_head=active - table - head if understood else None,
        embedding=table,
        trainable=total - frozen,
        mtp=by_role["mtp"].parameters if "mtp" in by_role else 0,
        buffers=by_role["buffer"].parameters if "buffer" in by_role else 0,
        by_role=dict(by_role),
        by_layer=ordered,
        by_depth=_depths(ordered, entrance),
        bytes=nbytes,
        counted_bytes=counted,
        codecs=codecs,
        unknown=unknown,
        audit=found,
        warnings=warnings,
    )


def _depths(by_layer: dict[int | None, Tally], entrance: int) -> dict[str, int]:
    """Thirds of the layers; where they do not divide by three, the middle is the longest."""
    layers = [tally.parameters for layer, tally in by_layer.items() if layer is not None]
    outside = by_layer[None].parameters if None in by_layer else 0
    third = len(layers) // 3
    return {
        "input": entrance,
        "first": sum(layers[:third]),
        "middle": sum(layers[third : len(layers) - third]),
        "last": sum(layers[len(layers) - third :]) if third else 0,
        "output": outside - entrance,
    }


def _file_warnings(found: Audit, unknown: list[str]) -> tuple[str, ...]:
    told = []
    if unknown:
        told.append(f"{len(unknown)} tensors of unknown type are left out of the count: {_some(unknown)}")
    for names, what in (
        (found.missing, "promised by the configuration are missing"),
        (found.extra, "are not promised by the configuration, and counted as they are"),
        (found.wrong_shape, "have another shape than the configuration promises"),
        (found.stored_though_tied, "are stored although tied, and counted once"),
    ):
        if names:
            noun = "tensor" if len(names) == 1 else "tensors"
            told.append(f"{len(names)} {noun} {what}: {_some(names)}")
    return tuple(told)


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


_DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "half": "F16", "bfloat16": "BF16", "float": "F32"}


def configured_codec(model: Model) -> tuple[Codec, tuple[str, ...]]:
    """The codec that the configuration's `dtype` names, float32 with a warning where it names none.

    `quantization_config` is named in a warning and not applied: what it does to which tensor is in the files.
    """
    configuration = model.inventory.configuration or {}
    warnings = []
    dtype = configuration.get("dtype") or configuration.get("torch_dtype")
    quantized = configuration.get("quantization_config")
    if isinstance(quantized, dict):
        warnings.append(f"`quantization_config` ({quantized.get('quant_method', 'no method')}) is not applied to sizes")
    if dtype is None:
        warnings.append("the configuration names no `dtype`: sizes are those of float32")
        return by_id("f32"), tuple(warnings)
    word = str(dtype).removeprefix("torch.")
    codec = from_safetensors(_DTYPES.get(word, word.upper()))
    if codec is None:
        raise WeighError(
            f"the configuration's `dtype` {word!r} is not known",
            rule="CONFIG-VARIANT",
            path=model.inventory.source,
            where="key dtype",
        )
    return codec, tuple(warnings)
