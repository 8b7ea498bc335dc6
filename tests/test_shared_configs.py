"""Configurations as published, where a folder of them lies beside the checkout: exact counts or an orderly refusal."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from weigh.commands import show
from weigh.families import BY_MODEL_TYPE
from weigh.types import WeighError

FOLDER = Path(__file__).parents[2] / "shared" / "configs"

CLASSES_ELSEWHERE = {("step3p7", "Step3p7FlashForCausalLM")}
"""Classes that transformers 5.23 does not have: nobody can say what they hold, so they are refused by their name."""


def _rows() -> list[Any]:
    table = FOLDER / "published.csv"
    if not table.is_file():
        reason = f"there is no {FOLDER}"
        return [pytest.param({}, {}, id="absent", marks=pytest.mark.skip(reason=reason))]
    with table.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if (FOLDER / f"{row['model']}.json").is_file()]
    configurations = [json.loads((FOLDER / f"{row['model']}.json").read_text(encoding="utf-8")) for row in rows]
    return [pytest.param(row, held, id=row["model"]) for row, held in zip(rows, configurations, strict=True)]


@pytest.mark.parametrize(("row", "configuration"), _rows())
def test_a_published_configuration_is_counted_exactly_or_refused_by_name(
    row: dict[str, str], configuration: dict[str, Any]
) -> None:
    path = str(FOLDER / f"{row['model']}.json")
    model_type = configuration.get("model_type", configuration.get("_class_name"))
    if model_type not in BY_MODEL_TYPE:
        with pytest.raises(WeighError) as caught:
            show.run(path)
        assert (caught.value.rule, caught.value.exit_code) == ("ARCH-UNKNOWN", 3)
        assert f"`{model_type}`" in caught.value.message
        return
    named = (configuration.get("architectures") or [None])[0]
    if (model_type, named) in CLASSES_ELSEWHERE:
        with pytest.raises(WeighError) as caught:
            show.run(path)
        assert (caught.value.rule, caught.value.exit_code) == ("CONFIG-VARIANT", 3)
        assert f"`{named}`" in caught.value.message
        return
    total = show.run(path).result["parameters"]["total"]
    if row["meta_params"] and named == row["meta_class"]:
        assert total == int(row["meta_params"])
    elif row["meta_params"] and named is not None:
        # The class that was counted has no head, or another one, than the configuration names.
        assert total == pytest.approx(int(row["meta_params"]), rel=0.35)
