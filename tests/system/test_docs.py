"""The documentation is complete: settings, codes, routes and faults are in it, and its tests
exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from flask import Flask

import catalog.app
import catalog.backup
import frontend.app
import order.app
from common.clock import SystemClock
from common.config import CONFIG, KEYS, load
from common.connections import Connections
from common.errors import PUBLIC
from common.service import service_of
from common.tasks import Threads
from tests.backup_mutations import BACKUP_MUTATIONS
from tests.mutations import MUTATIONS, Mutation
from tests.support.processes import ROOT, write_cluster

README = (ROOT / "README.md").read_text("utf-8")
DOCS = {path: path.read_text("utf-8") for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]}
WIRE = (ROOT / "docs" / "wire.md").read_text("utf-8")
FAILURES = (ROOT / "docs" / "failures.md").read_text("utf-8")
TESTS = {path: path.read_text("utf-8") for path in ROOT.glob("tests/**/*.py")}
DEFINED = set(re.findall(r"^def (test_\w+)", "\n".join(TESTS.values()), re.MULTILINE))
METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")
APPS: dict[str, Callable[..., Flask]] = {
    "frontend": frontend.app.create_app,
    "catalog": catalog.app.create_app,
    "order": order.app.create_app,
    "backup": catalog.backup.create_app,
}


@pytest.mark.parametrize("key", KEYS)
def test_every_setting_is_in_the_file_that_ships_and_in_the_docs(key: str) -> None:
    """With a word on what it does."""
    shipped = CONFIG.read_text("utf-8")
    assert re.search(rf"^(# )?{key}=", shipped, re.MULTILINE), f"{key} is not in config/cluster.env"
    explained = [f"`{key}`" in text for text in DOCS.values()]
    assert any(explained), f"{key} is not explained in README.md or docs/"


def test_every_setting_in_the_file_that_ships_is_one() -> None:
    """Nobody sets what nobody reads."""
    shipped = re.findall(r"^(?:# )?([A-Z_]+)=", CONFIG.read_text("utf-8"), re.MULTILINE)
    assert sorted(shipped) == sorted(KEYS)


@pytest.mark.parametrize("code", PUBLIC)
def test_every_public_code_is_explained_with_its_status(code: str) -> None:
    """In the table of docs/failures.md: what happened, what to do."""
    row = re.search(rf"^\| `{code}` \| (\d+) \| (.+) \|$", FAILURES, re.MULTILINE)
    assert row, f"{code} has no row in docs/failures.md"
    assert int(row[1]) == PUBLIC[code][0]


def test_no_code_is_explained_that_is_never_sent() -> None:
    """Each row's code is in `common/errors.py`."""
    explained = re.findall(r"^\| `([a-z-]+)` \| \d+ \|", FAILURES, re.MULTILINE)
    assert set(explained) == set(PUBLIC)


# --- routes ---


def plain(path: str) -> str:
    """Return a path without what varies: parameters, queries, options."""
    return re.sub(r"\[.*|\?.*", "", re.sub(r"<[^>]*>", "<>", path))


def documented() -> set[tuple[str, str]]:
    """Return (method, path) of every call in the README and docs/wire.md.

    `POST /replication/state` · `promise`: the second is a call beside the first.
    """
    found = set()
    for line in (README + WIRE).splitlines():
        method, path = "GET", ""
        for span in re.findall(r"`([^`]+)`", line):
            words = span.split()
            if words[0] in METHODS and len(words) > 1:
                method, path = words[0], plain(words[1])
            elif span.startswith("/"):
                path = plain(span)
            elif re.fullmatch(r"[a-z]+", span) and path.count("/") > 1:
                path = path.rpartition("/")[0] + "/" + span
            else:
                continue
            found.add((method, path))
    return found


@pytest.fixture
def routes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[set[tuple[str, str]]]:
    """(method, path) of every route of one service."""
    config, _ = write_cluster(tmp_path, BACKUP="backup=http://127.0.0.1:8301")
    node = "backup" if request.param == "backup" else f"{request.param}-1"
    settings = load(request.param, node, config)
    with closing(Connections()) as http:
        app = APPS[request.param](
            settings, clock=SystemClock(), http=http, tasks=Threads(), random=Random(1)
        )
        yield {
            (method, plain(rule.rule))
            for rule in app.url_map.iter_rules()
            for method in (rule.methods or set()) & set(METHODS)
        }
        service_of(app).close()


@pytest.mark.parametrize("routes", APPS, indirect=True)
def test_every_route_is_in_the_readme_or_in_wire_md(routes: set[tuple[str, str]]) -> None:
    """With its method."""
    assert len(routes) > 5
    assert not routes - documented()


# --- tests that the docs name ---


def test_every_rule_that_is_taken_out_is_in_the_table_of_proofs() -> None:
    """docs/proof.md, with the test that holds it."""
    proof = (ROOT / "docs" / "proof.md").read_text("utf-8")
    for mutation in (*MUTATIONS, *BACKUP_MUTATIONS):
        test = mutation.held_by.rpartition("::")[2]
        held_by = f"`{test}`" if test else "random schedules"
        assert f"| {mutation.rule} | {held_by} |" in proof


def named_tests(text: str) -> set[str]:
    return set(re.findall(r"\btest_\w+(?![\w.]|\.py)", re.sub(r"[\w/]+\.py", "", text)))


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_and_file_that_a_page_names_exists(path: Path) -> None:
    """`test_name`, `path::test_name`, `path`, and links."""
    text = DOCS[path]
    assert named_tests(text) <= DEFINED
    for name in re.findall(r"`((?:[\w-]+/)+[\w.-]+\.\w+)(?:::\w+)?`", text):
        assert (ROOT / name).exists() or name.endswith("/secrets.env"), name
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (path.parent / link).exists(), link


def test_every_test_is_in_the_file_that_a_page_names_it_with() -> None:
    """`path::test_name`, and not just anywhere."""
    for text in DOCS.values():
        for path, name in re.findall(r"`([\w/]+\.py)::(\w+)`", text):
            assert f"def {name}(" in (ROOT / path).read_text("utf-8"), f"{path}::{name}"


def fault_rows() -> list[list[str]]:
    """Return the cells of each row in both tables of faults."""
    tables = [part.partition("\n\n")[0] for part in FAILURES.split("|---|---|---|---|\n")[1:]]
    assert len(tables) == 2
    rows = [row for table in tables for row in table.splitlines()]
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]


@pytest.mark.parametrize("row", fault_rows(), ids=lambda row: row[0])
def test_every_fault_in_the_table_has_a_test_that_shows_it(row: list[str]) -> None:
    """Its last cell names one."""
    assert len(row) == 4
    assert named_tests(row[-1])


def test_every_promise_has_a_test() -> None:
    """The rows under "Guarantees" in docs/ARCHITECTURE.md name tests or files of tests."""
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text("utf-8")
    table = text.partition("## Guarantees")[2].partition("\n## ")[0]
    rows = [row for row in table.splitlines() if row.startswith("| **")]
    assert len(rows) > 5
    for row in rows:
        held_by = row.strip("| ").rpartition(" | ")[2]
        assert re.search(r"test_\w+|tests/", held_by), row


@pytest.mark.parametrize("mutation", [*MUTATIONS, *BACKUP_MUTATIONS], ids=lambda it: it.rule)
def test_each_rule_stands_where_its_mutation_looks_for_it(mutation: Mutation) -> None:
    """Once: `make mutate`, which takes minutes, would only say so."""
    assert (ROOT / mutation.file).read_text("utf-8").count(mutation.old) == 1
