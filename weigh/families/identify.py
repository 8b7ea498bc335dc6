"""From an inventory to a model: which family it is, and what its configuration promises."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from weigh.families import BY_MODEL_TYPE
from weigh.families.config import Config
from weigh.types import Inventory, Limits, Model, WeighError


def identify(inventory: Inventory, limits: Limits | None = None) -> Model:
    """The model that the inventory holds.

    Without weights, an unknown or incomplete configuration is an error (rules ARCH-UNKNOWN, CONFIG-*). With
    weights the model still comes back, to be counted from the file: its `refusal` says why there are no parts.
    """
    configuration = inventory.configuration
    if configuration is None:
        return _unidentified(inventory, None, None, _no_configuration(inventory))
    model_type = _model_type(configuration)
    family = BY_MODEL_TYPE.get(model_type or "")
    if family is None:
        return _unidentified(inventory, None, model_type, _unknown(inventory, model_type))
    config = Config({**configuration, "model_type": model_type}, inventory.source, limits=limits)
    try:
        architecture = family.build(config)
    except WeighError as refusal:
        return _unidentified(inventory, family.id, model_type, refusal)
    return Model(
        inventory,
        family.id,
        model_type,
        architecture.parts,
        architecture.dimensions,
        architecture.warnings,
        architecture.assumptions,
    )


def _model_type(configuration: Mapping[str, Any]) -> str | None:
    value = configuration.get("model_type") or configuration.get("_class_name")
    return value if isinstance(value, str) else None


def _unidentified(inventory: Inventory, family: str | None, model_type: str | None, refusal: WeighError) -> Model:
    if not inventory.tensors:
        raise refusal
    warning = f"{refusal.message}: counted from the file, roles by the names of tensors"
    return Model(inventory, family, model_type, warnings=(warning,), refusal=refusal)


def _no_configuration(inventory: Inventory) -> WeighError:
    return WeighError(
        "no configuration beside the weights",
        rule="CONFIG-ABSENT",
        path=inventory.source,
        hint="put the model's config.json into the same folder",
    )


def _unknown(inventory: Inventory, model_type: str | None) -> WeighError:
    if model_type is None:
        return WeighError(
            "the configuration names no `model_type`",
            rule="CONFIG-MISSING",
            path=inventory.source,
            where="key model_type",
            hint="is it the configuration of a model?",
        )
    near = get_close_matches(model_type, BY_MODEL_TYPE, n=3)
    hint = f"near ones: {', '.join(near)}; " if near else ""
    return WeighError(
        f"no family knows the architecture `{model_type}`",
        rule="ARCH-UNKNOWN",
        path=inventory.source,
        where="key model_type",
        hint=hint + "`weigh families` lists those that are known",
    )
