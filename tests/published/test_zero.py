"""Table 1 of arXiv 1910.02054: GB of model states a device, mixed-precision Adam, by stage and data-parallel degree."""

from __future__ import annotations

import pytest

from weigh.cost.train.layout import Layout
from weigh.cost.train.model_states import model_states
from weigh.cost.train.optimizers import find_optimizer, find_precision
from weigh.parts import Linear, part
from weigh.types import Inventory, Model

TABLE = {
    7.5: {
        1: (120, 120, 120),
        4: (52.5, 41.3, 30),
        16: (35.6, 21.6, 7.5),
        64: (31.4, 16.6, 1.88),
        256: (30.4, 15.4, 0.47),
        1024: (30.1, 15.1, 0.12),
    },
    128: {
        1: (2048, 2048, 2048),
        4: (896, 704, 512),
        16: (608, 368, 128),
        64: (536, 284, 32),
        256: (518, 263, 8),
        1024: (513, 257, 2),
    },
    1000: {
        1: (16_000, 16_000, 16_000),
        4: (7000, 5500, 4000),
        16: (4750, 2875, 1000),
        64: (4187, 2218, 250),
        256: (4046, 2054, 62.5),
        1024: (4011, 2013, 15.6),
    },
}


def billions(count: float) -> Model:
    """One matrix of so many parameters."""
    matrix = part("matrix", Linear(10_000, int(count * 1e5)))
    return Model(Inventory("memory", "config", "hf"), "one", None, (matrix,), {"layers": 0})


@pytest.mark.parametrize("zero", [1, 2, 3])
@pytest.mark.parametrize(("size", "degree"), [(size, degree) for size, rows in TABLE.items() for degree in rows])
def test_model_states_by_stage(size: float, degree: int, zero: int) -> None:
    layout = Layout(dp=degree, zero=zero)
    ours = model_states(billions(size), layout, 0, find_optimizer("adam"), find_precision("bf16")).total / 1e9
    published = TABLE[size][degree][zero - 1]
    # Printed with three digits or none behind the point; some are cut off rather than rounded.
    assert ours == pytest.approx(published, abs=1.0 if published >= 200 else 0.051)


def test_without_zero_every_device_holds_everything() -> None:
    for size, rows in TABLE.items():
        found = model_states(billions(size), Layout(dp=64), 0, find_optimizer("adam"), find_precision("bf16"))
        assert found.total == rows[1][0] * 1e9
