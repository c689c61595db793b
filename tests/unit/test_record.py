"""`node.db`: what a disk is and has promised survives the process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from catalog.record import NodeRecord
from catalog.replication import Promise, refuse_record
from common.database import Corrupt
from common.position import ORIGIN
from tests.support.catalog_fakes import ONE, TWO, empty, record


@contextmanager
def opened(folder: Path, seed: int = 1) -> Iterator[NodeRecord]:
    found = NodeRecord(folder / "node.db", Random(seed))
    try:
        yield found
    finally:
        found.close()


def state(of: NodeRecord) -> tuple[Any, ...]:
    return of.disk, of.cluster, of.promise, of.record


def test_a_new_disk_is_nobody_yet(tmp_path: Path) -> None:
    """No cluster, no promise, no record, but a name of its own."""
    with opened(tmp_path) as new:
        assert state(new)[1:] == ("", Promise(0, ""), None)
        assert len(new.disk) == 16


def test_a_disk_keeps_its_name(tmp_path: Path) -> None:
    """Whatever the chance of the next process is."""
    with opened(tmp_path, seed=1) as before:
        disk = before.disk
    with opened(tmp_path, seed=2) as after:
        assert after.disk == disk


def test_two_disks_have_two_names(tmp_path: Path) -> None:
    """A new one never passes for the old one."""
    (tmp_path / "other").mkdir()
    with opened(tmp_path, 1) as one, opened(tmp_path / "other", 2) as other:
        assert one.disk != other.disk


ACTS: dict[str, Callable[[NodeRecord], None]] = {
    "agree": lambda node: node.agree(Promise(4, ONE)),
    "enter": lambda node: node.enter("shop", record(5, TWO, lease_s_max=3.5)),
    "become_new_disk": lambda node: node.become_new_disk("shop"),
    "filled_from": lambda node: node.filled_from(record(6), Promise(7, ONE)),
    "all of it": lambda node: (
        [act(node) for name, act in ACTS.items() if name != "all of it"] and None
    ),
}


@pytest.mark.parametrize("name", ACTS)
def test_what_is_written_is_there_after_a_restart(tmp_path: Path, name: str) -> None:
    """And the process that wrote it sees the same."""
    with opened(tmp_path) as before:
        ACTS[name](before)
        expected = state(before)
    with opened(tmp_path, seed=2) as after:
        assert state(after) == expected


@pytest.mark.parametrize("name", ACTS)
def test_what_is_written_is_durable_before_it_is_said(tmp_path: Path, name: str) -> None:
    """The files as they lie there when the method returns are what a crash would leave."""
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    with opened(tmp_path) as before:
        ACTS[name](before)
        expected = state(before)
        for file in tmp_path.glob("node.db*"):
            if not file.name.endswith("-shm"):
                (crashed / file.name).write_bytes(file.read_bytes())
    with opened(crashed, seed=2) as after:
        assert state(after) == expected


def test_a_promise_is_remembered(tmp_path: Path) -> None:
    """Its number and its candidate."""
    with opened(tmp_path) as node:
        node.agree(Promise(4, TWO))
        assert node.promise == Promise(4, TWO)


def test_entering_an_epoch_promises_it(tmp_path: Path) -> None:
    """No lower one may begin afterwards; a higher promise stands."""
    with opened(tmp_path) as node:
        node.enter("shop", record(5))
        assert (node.cluster, node.record, node.promise.epoch) == ("shop", record(5), 5)
        node.agree(Promise(9, ONE))
        node.enter("shop", record(7))
        assert (node.record, node.promise) == (record(7), Promise(9, ONE))


def test_entering_an_epoch_promises_it_to_its_leader(tmp_path: Path) -> None:
    """So the same FOLLOW may arrive twice, also the one that founds the cluster."""
    with opened(tmp_path) as node:
        node.enter("shop", record(1, ONE))
        assert node.promise == Promise(1, ONE)
        seen = empty(TWO, disk="disk-2", cluster="shop", record=node.record, promise=node.promise)
        assert refuse_record(seen, record(1, ONE), ORIGIN) is None


def test_a_new_disk_has_given_up_all_but_its_cluster(tmp_path: Path) -> None:
    """It has another name, holds nothing, and has promised nothing that counts."""
    with opened(tmp_path) as node:
        node.enter("shop", record(5))
        node.agree(Promise(6, ONE))
        disk = node.disk
        node.become_new_disk("shop")
        assert node.disk != disk
        assert state(node)[1:] == ("shop", Promise(0, ""), None)


def test_a_filled_disk_knows_the_epoch_but_is_no_member(tmp_path: Path) -> None:
    """The record it was filled with does not name it."""
    with opened(tmp_path) as node:
        node.become_new_disk("shop")
        node.filled_from(record(5), Promise(6, ONE))
        assert (node.record, node.promise.epoch) == (record(5), 6)
        assert node.record is not None
        assert not node.record.counts(TWO, node.disk)


def test_a_damaged_record_is_refused(tmp_path: Path) -> None:
    """It holds promises: nobody may go on as if there were none."""
    (tmp_path / "node.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(Corrupt):
        NodeRecord(tmp_path / "node.db", Random(1))
