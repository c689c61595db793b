"""What an operator types, at a shop without a backup server: five real processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.buyers import Buyers
from tests.support.processes import ROOT
from tests.support.real import RealShop, code, seed_csv

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")

ONE, TWO = "catalog-1", "catalog-2"
BOOKS, STOCK = 3, 100_000


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealShop]:
    """One shop with two frontends; every test buys a book of its own."""
    folder, seed = tmp_path_factory.mktemp("operate"), seed_csv(BOOKS, STOCK)
    with RealShop(folder, seed=seed, frontends=2, lease_s=1) as shop:
        yield shop


def operate(shop: RealShop, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run `python -m catalog.operate`."""
    command = [sys.executable, "-m", "catalog.operate", *words, "--config", str(shop.config)]
    return subprocess.run(
        command, input=typed, capture_output=True, text=True, timeout=30, check=False, cwd=ROOT,
        env=os.environ | {"COLUMNS": "140"},
    )  # fmt: skip


def leader_of(shop: RealShop) -> str:
    """Return which catalog leads."""
    return next(name for name in (ONE, TWO) if shop.status(name)["role"] == "leader")


def test_the_lead_goes_there_and_back_while_everybody_buys(shop: RealShop) -> None:
    """No purchase and no look fails, and none is done twice."""
    first = leader_of(shop)
    with Buyers(shop, 1) as buyers:
        for number in range(4):
            buyers.wait_for_sales(20)
            done = operate(shop, "handover")
            expected = (TWO, ONE)[(number + (first == TWO)) % 2]
            assert (done.returncode, done.stdout) == (0, f"{expected} leads now\n"), done
            assert leader_of(shop) == expected
        buyers.wait_for_sales(20)
    assert set(buyers.attempts) == {"sold"}
    print(buyers.check(), dict(buyers.looks))
    shop.check_copies()


def test_a_catalog_is_promoted_when_the_other_one_is_lost(shop: RealShop) -> None:
    """While the other one answers it is not, nor without its name; then an empty one follows it."""
    lost = leader_of(shop)
    left = TWO if lost == ONE else ONE
    refused = operate(shop, "promote", "--node", left, "--confirm", left)
    assert refused.returncode == 1
    assert f"{lost} answers (leading): hand over instead" in refused.stderr
    sold = shop.buy(2)
    assert sold.ok
    shop.kill(lost)
    shutil.rmtree(shop.data(lost))
    assert operate(shop, "promote", "--node", left, typed="yes\n").returncode == 1
    done = operate(shop, "promote", "--node", left, typed=f"{left}\n")
    assert done.returncode == 0, done
    assert f"start {lost} with an empty data folder" in done.stdout
    assert shop.stock(2) == STOCK - 1
    assert code(shop.buy(2)) == "writes-unavailable"
    shop.start(lost)
    shop.wait_ready()
    assert leader_of(shop) == left
    assert shop.buy(2).ok
    assert shop.stock(2) == STOCK - 2
    shop.check_copies()
