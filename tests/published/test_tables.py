"""Every published table is computed, and held to the bound that it names."""

from __future__ import annotations

from statistics import mean

import pytest

from weigh.commands.validate import computed
from weigh.published import Table, tables


@pytest.mark.parametrize("table", tables(), ids=lambda table: table.id)
def test_a_table_holds_its_bounds(table: Table) -> None:
    rows = computed(table)
    errors = [abs(row["error"]) for row in rows if not row["fitted"]]
    assert len(rows) == len(table.rows)
    if table.worst is not None:
        worst = max(rows, key=lambda row: 0.0 if row["fitted"] else abs(row["error"]))
        assert max(errors) <= table.worst, f"{worst['name']}: {worst['ours']} for {worst['measured']}"
    if table.mean is not None:
        assert mean(errors) <= table.mean


@pytest.mark.parametrize("table", tables(), ids=lambda table: table.id)
def test_rows_have_names_of_their_own(table: Table) -> None:
    names = [row.name for row in table.rows]
    assert len(set(names)) == len(names)


def test_a_bound_is_about_rows_that_were_not_fitted() -> None:
    for table in tables():
        if table.worst is not None or table.mean is not None:
            assert any(not row.fitted for row in table.rows), table.id
