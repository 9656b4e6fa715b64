"""The benchmark of hypersurfaces fits exponents. No timing is asserted."""

import pytest

from benchmarks.hypersurfaces import growth_of, hypersurface_rows


def test_exponents_are_slopes() -> None:
    assert growth_of({n: 3e-5 * n**1.5 for n in (10, 100, 1000)}) == pytest.approx(1.5, abs=1e-5)


def test_rows_come_with_goals() -> None:
    rows = list(hypersurface_rows(quick=True, rounds=1, warmup=0))
    assert [row.goal for row in rows] == ["≤ 0.01", "≤ 1.1"]
