"""Random schedules: everything that can go wrong, in combinations, checked at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.nemesis import run_schedule


@pytest.mark.parametrize("seed", range(1, 31))
def test_a_random_schedule_breaks_no_promise(folder: Path, seed: int) -> None:
    """Linearizable, exactly once, nothing lost, stock conserved, copies equal, writable again."""
    run = run_schedule(folder, seed)
    assert run.shop.answered > 20


def test_a_schedule_is_a_pure_function_of_its_seed(folder: Path) -> None:
    """The same seed twice: the same history, to the microsecond."""
    (folder / "one").mkdir()
    (folder / "two").mkdir()
    one, two = run_schedule(folder / "one", 7), run_schedule(folder / "two", 7)
    assert one.shop.histories == two.shop.histories
