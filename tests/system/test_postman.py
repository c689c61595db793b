"""The Postman collection runs from top to bottom, by newman, against a real shop."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ROOT
from tests.support.real import RealShop

COLLECTION = ROOT / "config" / "bazar.postman_collection.json"
NEWMAN = ROOT / "tests" / "node_modules" / ".bin" / "newman"
MISSING = "newman is not installed; `make newman` does it (needs nodejs and npm)"
WHOLE_S = 120


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealShop]:
    """A shop of a few books, which the collection leaves alone: it adds its own."""
    if not NEWMAN.exists():
        pytest.skip(MISSING)
    with RealShop(tmp_path_factory.mktemp("postman")) as shop:
        yield shop


def newman(shop: RealShop, report: Path) -> tuple[str, dict[str, Any]]:
    """Run the collection; return what newman says, and its report."""
    variables = {"baseUrl": shop.url("frontend-1"), "adminToken": shop.settings.admin_token}
    command = [str(NEWMAN), "run", str(COLLECTION), "--color", "off", "--reporters", "cli,json"]
    command += ["--reporter-json-export", str(report)]
    for name, value in variables.items():
        command += ["--env-var", f"{name}={value}"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=WHOLE_S, check=False, cwd=report.parent
    )
    return done.stdout + done.stderr, json.loads(report.read_text("utf-8"))["run"]


@pytest.mark.parametrize("time", ["first", "second"])
def test_every_request_of_the_collection_is_answered_as_it_claims(
    shop: RealShop, tmp_path: Path, time: str
) -> None:
    """As often as you like: what it needs it adds, under new keys."""
    said, run = newman(shop, tmp_path / f"{time}.json")
    assert not run["failures"], said
    assert run["stats"]["requests"]["failed"] == 0, said
    assert run["stats"]["requests"]["total"] == len(list(named(json.loads(COLLECTION.read_text()))))
    assert run["stats"]["assertions"]["total"] >= run["stats"]["requests"]["total"]


def named(item: dict[str, Any]) -> Iterator[str]:
    """Yield the names of the requests in a collection."""
    if "request" in item:
        yield item["name"]
    for child in item.get("item", []):
        yield from named(child)
