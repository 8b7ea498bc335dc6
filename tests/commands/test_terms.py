"""The words of money: what cannot be is an error, and what is given reaches the bill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from weigh.commands import cost
from weigh.commands.terms import OPTIONS, terms
from weigh.options import MONEY
from weigh.types import WeighError

OWNED = "price=30000,years=4,utilisation=0.6"


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"owned": ""}, "OWNED"),
        ({"owned": "price=30000"}, "OWNED"),
        ({"owned": OWNED.replace("0.6", "1.5")}, "OWNED"),
        ({"owned": OWNED.replace("30000", "nan")}, "OWNED"),
        ({"owned": OWNED.replace("30000", "0")}, "OWNED"),
        ({"owned": f"{OWNED},years=5"}, "OWNED"),
        ({"owned": f"{OWNED},power=5"}, "OWNED"),
        ({"carbon_intensity": "-1"}, "CARBON"),
        ({"carbon_intensity": "inf"}, "CARBON"),
        ({"carbon_intensity": "atlantis"}, "GRID-UNKNOWN"),
        ({"pue": 0.9}, "PUE"),
        ({"pue": float("nan")}, "PUE"),
        ({"months": 0.0}, "MONTHS"),
    ],
)
def test_what_cannot_be_is_an_error_with_a_hint(given: dict[str, Any], rule: str) -> None:
    with pytest.raises(WeighError) as refused:
        terms(**given)
    assert (refused.value.rule, refused.value.exit_code) == (rule, 2)
    assert refused.value.hint


def test_the_options_of_the_command_line_are_those_of_the_page() -> None:
    assert set(OPTIONS) == set(MONEY)


def bill(**options: Any) -> dict[str, Any]:
    return cost.run("llama-3.1-8b", on="h100", weights="q4_k_m", **options).result


def test_a_price_of_ones_own_scales_what_a_token_costs(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text("read = 2026-11-24\n[devices]\nh100 = 7.98\n[power]\ng_per_kwh = 100\npue = 1.5\n")
    ours, own = bill()["money"], bill(prices=str(path))["money"]
    assert own["usd_per_hour"].value == 7.98
    assert own["usd_per_million_tokens"].value == pytest.approx(
        ours["usd_per_million_tokens"].value * 7.98 / ours["usd_per_hour"].value
    )
    assert own["usd_per_million_tokens"].why.source == str(path)
    assert ours["g_co2_per_million_tokens"] is None
    expected = own["joules_per_token"].value / 3.6 * 1.5 * 100
    assert own["g_co2_per_million_tokens"].value == pytest.approx(expected)


def test_what_is_given_goes_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text("read = 2026-11-24\n[power]\ng_per_kwh = 100\npue = 1.5\nusd_per_kwh = 0.2\n")
    found = terms(prices=str(path), carbon_intensity="50", pue=1.1, owned=OWNED)
    assert found.g_per_kwh is not None
    assert found.pue is not None
    assert (found.g_per_kwh.value, found.pue.value) == (50, 1.1)
    assert found.owned is not None
    assert found.owned.usd_per_kwh == 0.2


def test_owned_hardware_has_a_price_where_no_list_has_one() -> None:
    rented = cost.run("llama-3.1-8b", on="rtx-2060", weights="q2_k").result["money"]
    owned = cost.run("llama-3.1-8b", on="rtx-2060", weights="q2_k", owned=OWNED).result["money"]
    assert rented["usd_per_million_tokens"] is None
    assert owned["usd_per_million_tokens"].value > 0


def test_carbon_of_a_device_without_a_stated_power_is_said_to_be_unknown() -> None:
    found = cost.run("llama-3.1-8b", on="80GB", weights="q4_k_m", carbon_intensity="france")
    assert found.result["money"]["g_co2_per_million_tokens"] is None
    assert any("power" in warning for warning in found.warnings)


def test_storage_lists_every_form_cloud_and_store_only_where_it_is_asked_for() -> None:
    short, whole = bill(), bill(storage=True, months=12)
    assert set(short["load"]["stores"]) == {"nvme"}
    assert "clouds" not in short["storage"]
    assert {row["weights"] for row in whole["storage"]["forms"]} >= {"bf16", "w4a16", "q4_k_m"}
    sizes = [row["bytes"].value for row in whole["storage"]["forms"] if row["format"] == "gguf"]
    assert sizes == sorted(sizes, reverse=True)
    month = bill(storage=True)["storage"]["clouds"]["s3"]["usd"].value
    assert whole["storage"]["clouds"]["s3"]["usd"].value == pytest.approx(12 * month)
    assert whole["load"]["stores"]["nvme"]["seconds"] == short["load"]["stores"]["nvme"]["seconds"]
