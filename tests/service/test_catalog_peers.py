"""Two catalogs that meet: founding, refilling, promising, following, damage. One step at a time, no
schedules.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import apsw
import pytest

from catalog import store
from catalog.disk import open_catalog
from catalog.membership import Candidacy
from catalog.model import SCHEMA_VERSION, Entry, decode_entries
from catalog.node import Node
from catalog.replication import ALONE, FOLLOWING, LEADING, RECOVERING, REFUSING
from catalog.transport import SNAPSHOT_CHUNK_BYTES
from common.peer import NoAnswer, Request, Response
from common.position import ORIGIN, Position
from common.service import StartRefused
from tests.support.catalog_fakes import ONE, TWO, Answered, Catalogs, book, sale
from tests.support.scheduler import Scheduler, SimClock


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Catalogs]:
    """Two catalogs, open, with one book of five copies."""
    catalogs = Catalogs(tmp_path)
    catalogs.open()
    catalogs.operate("first book", "add", book(title="Graphs", quantity=5))
    catalogs.run_for(0.1)
    yield catalogs
    catalogs.close()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Catalogs]:
    """Two catalogs, not started."""
    catalogs = Catalogs(tmp_path)
    yield catalogs
    catalogs.close()


def statuses(shop: Catalogs) -> tuple[str, str]:
    return shop.node(ONE).status, shop.node(TWO).status


def say(shop: Catalogs, what: str, document: Any, to: str = TWO, sender: str = ONE) -> Answered:
    return shop.call("POST", f"/replication/{what}", document, to=to, sender=sender)


def sell(shop: Catalogs, key: str = "k") -> Answered:
    return shop.operate(key, "sell", sale((1, 1)), timeout_s=9.0)


def prepare(
    shop: Catalogs, entry: Entry, prev: Position, *, epoch: int = 1, to: str = TWO
) -> Answered:
    target = (
        f"/replication/prepare?epoch={epoch}&committed={prev.seq}"
        f"&prev_epoch={prev.epoch}&prev_seq={prev.seq}&prev_hash={prev.hash}"
    )
    return shop.call("POST", target, body=entry.encode(), to=to, sender=ONE)


def restart(shop: Catalogs, *names: str) -> None:
    for name in names:
        shop.kill(name)
    shop.start(*names)


def recover(shop: Catalogs) -> None:
    """Tick until both are where they belong, and something can be sold again."""
    shop.settle()
    shop.run_for(2.1)
    assert sell(shop, f"after recovery {shop.scheduler.now}").json["status"] == 201
    shop.run_for(0.3)
    shop.tick()
    assert shop.node(ONE).digest() == shop.node(TWO).digest()


# --- founding ---


def test_a_cluster_is_founded_when_both_answer_and_are_empty(fresh: Catalogs) -> None:
    """The first configured node leads; nothing is waited for."""
    fresh.start(ONE)
    fresh.tick()
    assert (fresh.node().status, fresh.node().record.cluster) == (RECOVERING, "")
    fresh.start(TWO)
    fresh.settle()
    assert statuses(fresh) == (LEADING, FOLLOWING)
    assert fresh.node(ONE).record.cluster == fresh.node(TWO).record.cluster != ""
    assert fresh.node(ONE).record.record == fresh.node(TWO).record.record


def test_a_founder_that_did_not_hear_the_answer_joins_what_it_founded(fresh: Catalogs) -> None:
    """The second node has the cluster already; the first one refills from it and leads."""
    heard: list[Request] = []

    def lose_reply(request: Request) -> Response | None:
        if request.target == "/replication/follow" and not heard:
            heard.append(request)
            fresh.apps[TWO].test_client().open(
                request.target, method="POST", data=request.body, headers=dict(request.headers)
            )
            raise NoAnswer("the reply was lost")
        return None

    fresh.line.before.append(lose_reply)
    fresh.start()
    fresh.settle()
    assert statuses(fresh) == (LEADING, FOLLOWING)
    assert fresh.node(ONE).record.cluster == fresh.node(TWO).record.cluster != ""


def test_a_follow_may_arrive_twice(fresh: Catalogs) -> None:
    """Also the one that founds: the second changes nothing and is no error."""
    statuses_seen: list[int] = []

    def twice(request: Request) -> Response | None:
        if request.target == "/replication/follow":
            for _ in range(2):
                answer = (
                    fresh.apps[TWO]
                    .test_client()
                    .open(
                        request.target,
                        method="POST",
                        data=request.body,
                        headers=dict(request.headers),
                    )
                )
                statuses_seen.append(answer.status_code)
            return Response(200, {}, b"{}")
        return None

    fresh.line.before.append(twice)
    fresh.start()
    fresh.settle()
    assert statuses_seen == [200, 200]


# --- starting again ---


def test_both_start_again(shop: Catalogs) -> None:
    """The recorded leader leads a new epoch."""
    restart(shop, ONE, TWO)
    recover(shop)
    assert shop.node().epoch > 1


def test_a_node_whose_peer_is_away_reads_but_does_not_write(shop: Catalogs) -> None:
    """Nothing can have been written without it."""
    shop.kill(ONE)
    restart(shop, TWO)
    assert shop.get("/books/1", to=TWO).code == "unavailable"
    shop.tick()
    assert shop.node(TWO).status == ALONE
    assert shop.get("/books/1", to=TWO).status == 200
    assert shop.operate("k", "sell", sale((1, 1)), to=TWO).code == "not-leader"


def test_a_restarted_replica_catches_up_and_follows(shop: Catalogs) -> None:
    """In the same epoch."""
    restart(shop, TWO)
    recover(shop)
    assert (shop.node().epoch, statuses(shop)) == (1, (LEADING, FOLLOWING))


@pytest.mark.parametrize("name", [ONE, TWO])
def test_an_empty_disk_is_refilled_and_made_a_member(shop: Catalogs, name: str) -> None:
    """Under a new name, by a new epoch; the recorded leader leads."""
    before = shop.node(name).record.disk
    shop.kill(name)
    shop.lose_disk(name)
    shop.start(name)
    recover(shop)
    record = shop.node().record.record
    assert record is not None
    assert record.epoch >= 2
    assert record.leader == ONE
    assert before not in record.members.values()
    assert shop.get("/books/1", to=name).json["quantity"] == 4


@pytest.mark.parametrize("name", [ONE, TWO])
def test_a_rolled_back_disk_is_refilled(shop: Catalogs, name: str, tmp_path: Path) -> None:
    """It neither votes nor leads as it is."""
    shop.kill(name)
    old = {
        file: file.read_bytes()
        for file in (tmp_path / name).iterdir()
        if file.name.startswith("catalog.db")
    }
    shop.start(name)
    recover(shop)
    shop.kill(name)
    for file in (tmp_path / name).glob("catalog.db*"):
        file.unlink()
    for file, content in old.items():
        file.write_bytes(content)
    shop.start(name)
    recover(shop)
    assert shop.get("/books/1").json["quantity"] == 3


@pytest.mark.parametrize("name", [ONE, TWO])
def test_a_corrupt_database_is_moved_aside_and_refilled(
    shop: Catalogs, name: str, tmp_path: Path
) -> None:
    """A person can look at it later."""
    shop.kill(name)
    path = tmp_path / name / "catalog.db"
    path.write_bytes(path.read_bytes()[:5000])
    shop.start(name)
    recover(shop)
    assert (tmp_path / name / "catalog.db.corrupt-1").exists()


def flip(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    assert len(old) == len(new)
    path.write_bytes(content.replace(old, new))


@pytest.mark.parametrize(
    "damage", [b"Grxphs", b"Gr\xffphs"], ids=["another letter", "no text any more"]
)
def test_bytes_flipped_inside_a_row_of_the_replica_are_noticed(
    shop: Catalogs, tmp_path: Path, damage: bytes
) -> None:
    """SQLite cannot see it, the digests do: that node refuses, loudly; the leader reads on."""
    shop.kill(TWO)
    flip(tmp_path / TWO / "catalog.db", b"Graphs", damage)
    shop.start(TWO)
    for _ in range(4):
        shop.tick()
    assert shop.node(TWO).status == REFUSING
    assert "differ" in shop.node(TWO).why
    assert shop.get("/books/1", to=TWO).code == "unavailable"
    assert shop.get("/books/1").json["title"] == "Graphs"


def test_both_disks_lost_is_refused(shop: Catalogs) -> None:
    """Of a shop that was there: empty disks found a new cluster only if both never were part of
    one.
    """
    shop.kill(TWO)
    shop.lose_disk(TWO)
    with shop.node().lock:
        shop.node().record.become_new_disk(shop.node().record.cluster)
    restart(shop, ONE)
    shop.start(TWO)
    shop.tick()
    assert statuses(shop) == (REFUSING, REFUSING)
    assert "restore" in shop.node().why


def test_a_node_of_another_cluster_is_refused_loudly(shop: Catalogs, tmp_path: Path) -> None:
    """Two shops wired together by mistake: each says so, instead of waiting without a word."""
    other = Catalogs(tmp_path / "other")
    other._random.seed(3)
    other.open()
    other.kill(TWO)
    other.kill(ONE)
    shop.kill(TWO)
    shop.lose_disk(TWO)
    (tmp_path / "other" / TWO).rename(tmp_path / TWO)
    shop.start(TWO)
    shop.tick()
    assert shop.node(TWO).status == REFUSING
    assert "cluster" in shop.node(TWO).why
    assert shop.get("/books/1").status == 200


# --- a node's own files ---


def open_node(folder: Path) -> Node:
    clock = SimClock(Scheduler(1))
    return Node(ONE, TWO, folder, 2.0, clock=clock, random=Random(5))


def test_a_catalog_without_its_record_does_not_start(shop: Catalogs, tmp_path: Path) -> None:
    """Its promises are lost: it must not pass for a new disk with old data."""
    shop.kill(ONE)
    for file in (tmp_path / ONE).glob("node.db*"):
        file.unlink()
    with pytest.raises(StartRefused, match=r"node\.db"):
        open_node(tmp_path / ONE)


def test_a_damaged_record_stops_the_start(shop: Catalogs, tmp_path: Path) -> None:
    """And says what to do."""
    shop.kill(ONE)
    (tmp_path / ONE / "node.db").write_bytes(b"x" * 8192)
    with pytest.raises(StartRefused, match="promises"):
        open_node(tmp_path / ONE)


def test_a_database_of_another_schema_version_is_not_thrown_away(
    shop: Catalogs, tmp_path: Path
) -> None:
    """Both catalogs started with another version would otherwise lose both copies."""
    shop.kill(ONE)
    connection = apsw.Connection(str(tmp_path / ONE / "catalog.db"))
    connection.pragma("user_version", SCHEMA_VERSION + 1)
    connection.close()
    with pytest.raises(StartRefused):
        open_node(tmp_path / ONE)
    assert not list((tmp_path / ONE).glob("*corrupt*"))


# --- messages between them ---


def asked(epoch: int, candidate: str = ONE) -> dict[str, Any]:
    """Return what a candidate says of itself."""
    return Candidacy(epoch, candidate, "a-disk", ORIGIN).document()


def test_a_promise_is_kept_and_repeated(shop: Catalogs) -> None:
    """The answer is the replica as it is then; a lower one is fenced."""
    promised = say(shop, "promise", asked(5))
    assert promised.json["promise"] == {"epoch": 5, "candidate": ONE}
    assert promised.json["end"] == list(shop.node(TWO).end())
    assert say(shop, "promise", asked(5)).body == promised.body
    for epoch, candidate in ((4, ONE), (1, ONE), (6, TWO)):
        fenced = say(shop, "promise", asked(epoch, candidate))
        assert (fenced.code, fenced.json["promised"]) == ("fenced", 5)


def test_a_promise_survives_a_restart(shop: Catalogs) -> None:
    """Or an old leader could write after it."""
    say(shop, "promise", asked(5))
    shop.kill(ONE)
    restart(shop, TWO)
    assert shop.node(TWO).record.promise.epoch == 5
    assert say(shop, "promise", asked(4)).code == "fenced"


def test_a_replica_that_has_just_started_does_not_promise(shop: Catalogs) -> None:
    """It may have been rolled back: it must have met its peer first."""
    restart(shop, TWO)
    assert say(shop, "promise", asked(5)).code == "fenced"


def test_a_promise_fences_the_old_epoch(shop: Catalogs) -> None:
    """Neither prepared nor committed in it any more."""
    end = shop.node(TWO).end()
    entry = Entry.build(1, end, ("book:1",), ("k",), b"")
    assert prepare(shop, entry, end).status == 200
    say(shop, "promise", asked(5))
    after = Entry.build(1, entry.position, (), ("k2",), b"")
    assert prepare(shop, after, entry.position).code == "fenced"
    say(shop, "commit", {"epoch": 1, "position": list(entry.position)})
    assert shop.node(TWO).end() == end


def test_a_prepared_entry_is_durable_when_it_is_acknowledged(
    shop: Catalogs, tmp_path: Path
) -> None:
    """What a crash leaves at that moment has it, dirty keys and all."""
    end = shop.node(TWO).end()
    entry = Entry.build(1, end, ("book:1",), ("k",), b"")
    assert prepare(shop, entry, end).json == {"position": list(entry.position)}
    (tmp_path / "crashed").mkdir()
    for name in ("catalog.db", "catalog.db-wal"):
        (tmp_path / "crashed" / name).write_bytes((tmp_path / TWO / name).read_bytes())
    left = open_catalog(tmp_path / "crashed" / "catalog.db")
    with left.read() as db:
        assert store.prepared(db) == entry
        assert store.is_dirty(db, "book:1")
        assert store.end(db) == end
    left.close()


def test_an_entry_whose_hash_does_not_fit_its_content_is_refused(shop: Catalogs) -> None:
    """Damaged on the way, or made up."""
    end = shop.node(TWO).end()
    good = Entry.build(1, end, ("book:1",), ("k",), b"")
    forged = Entry(good.position, good.keys, ("other",), good.changeset)
    assert prepare(shop, forged, end).code == "invalid-request"
    assert shop.node(TWO).view().prepared is None


def test_another_content_for_one_place_is_a_divergence(shop: Catalogs) -> None:
    """The replica stops answering, and says so."""
    end = shop.node(TWO).end()
    assert prepare(shop, Entry.build(1, end, (), ("k",), b""), end).status == 200
    assert prepare(shop, Entry.build(1, end, (), ("other",), b""), end).code == "diverged"
    assert shop.node(TWO).status == REFUSING


def test_a_gap_is_refused(shop: Catalogs) -> None:
    """With where this node is."""
    end = shop.node(TWO).end()
    missing = Entry.build(1, end, (), ("k",), b"")
    refused = prepare(shop, Entry.build(1, missing.position, (), ("k2",), b""), missing.position)
    assert (refused.code, refused.json["end"]) == ("behind", end.seq)
    assert shop.node(TWO).view().prepared is None


def test_a_replica_that_is_behind_catches_up(shop: Catalogs) -> None:
    """However it came to be: it must not refuse every write from then on."""
    end = shop.node(TWO).end()
    missing = Entry.build(1, end, (), ("k",), b"")
    prepare(shop, Entry.build(1, missing.position, (), ("k2",), b""), missing.position)
    assert shop.node(TWO).status != FOLLOWING
    shop.tick()
    assert shop.node(TWO).status == FOLLOWING


def test_a_commit_applies_exactly_the_prepared_entry(shop: Catalogs) -> None:
    """Another position, or none prepared: nothing happens; twice: nothing more."""
    end = shop.node(TWO).end()
    entry = Entry.build(1, end, ("book:1",), ("k",), b"")
    other = Entry.build(1, end, ("book:1",), ("other",), b"")
    prepare(shop, entry, end)
    for position in (other.position, end, ORIGIN, entry.position._replace(epoch=2)):
        say(shop, "commit", {"epoch": 1, "position": list(position)})
        assert shop.node(TWO).end() == end
    for _ in range(2):
        view = say(shop, "commit", {"epoch": 1, "position": list(entry.position)}).json
        assert (view["end"], view["prepared"]) == (list(entry.position), None)


def test_the_leader_takes_no_orders(shop: Catalogs) -> None:
    """It prepares, commits and follows nothing."""
    end = shop.node(ONE).end()
    entry = Entry.build(1, end, (), ("k",), b"")
    assert prepare(shop, entry, end, to=ONE).code == "unavailable"
    say(shop, "commit", {"epoch": 9, "position": list(entry.position)}, to=ONE, sender=TWO)
    assert (shop.node(ONE).status, shop.node(ONE).end()) == (LEADING, end)


# --- entries, digests, snapshots ---


def test_entries_can_be_fetched(shop: Catalogs) -> None:
    """From any place in the log on."""
    sell(shop)
    body = shop.call("GET", "/replication/entries?after=1", sender=TWO).body
    assert [entry.position.seq for entry in decode_entries(body)] == [2, 3]
    assert shop.call("GET", "/replication/entries?after=3", sender=TWO).body == b""
    assert shop.call("GET", "/replication/entries?after=99", sender=TWO).code == "too-far-behind"
    assert shop.call("GET", "/replication/entries?after=x", sender=TWO).code == "invalid-request"


def test_the_prepared_entry_can_be_fetched(shop: Catalogs) -> None:
    """Nothing when there is none."""
    end = shop.node(TWO).end()
    assert shop.call("GET", "/replication/prepared", to=TWO).body == b""
    entry = Entry.build(1, end, ("book:1",), ("k",), b"\0\n")
    prepare(shop, entry, end)
    body = shop.call("GET", "/replication/prepared", to=TWO).body
    assert list(decode_entries(body)) == [entry]


def test_both_have_the_same_digest(shop: Catalogs) -> None:
    """At one position."""
    assert say(shop, "digest", {}).body == say(shop, "digest", {}, to=ONE, sender=TWO).body


def test_a_topic_moved_twice_in_one_batch_is_no_divergence(shop: Catalogs) -> None:
    """Two edits in one entry, then a restart: the copies are equal, and the shop writes again."""
    answers = shop.operate_at_once(
        [
            ("there", "edit", {"book_id": 1, "topics": ["Go"]}),
            ("back", "edit", {"book_id": 1, "topics": ["Systems"]}),
        ]
    )
    assert [answer.status for answer in answers] == [200, 200]
    rows = [book(sku="a", topics=["Rust"]), book(sku="a", topics=["C"])]
    assert shop.operate("import", "import", {"rows": rows}).status == 200
    shop.run_for(0.3)
    restart(shop, TWO)
    shop.tick()
    assert (shop.node(TWO).status, shop.node(TWO).why) == (FOLLOWING, f"{ONE} leads")


def fetch(shop: Catalogs, snapshot: dict[str, Any]) -> bytes:
    found = b""
    while len(found) < snapshot["bytes"]:
        target = f"/replication/snapshot/{snapshot['id']}?offset={len(found)}"
        part = shop.call("GET", target, sender=TWO)
        assert part.status == 200
        assert 0 < len(part.body) <= SNAPSHOT_CHUNK_BYTES
        found += part.body
    return found


def test_a_snapshot_fetched_in_pieces_equals_the_database(shop: Catalogs, tmp_path: Path) -> None:
    """Every row, the log and the position."""
    rows = [
        book(sku=f"s{number}", title=f"Title {number} " + "x" * 900, authors=["y" * 250] * 3)
        for number in range(500)
    ]
    shop.operate("many", "import", {"rows": rows})
    made = say(shop, "snapshot", {}, to=ONE, sender=TWO).json
    assert made["bytes"] > SNAPSHOT_CHUNK_BYTES
    content = fetch(shop, made)
    assert len(content) == made["bytes"]
    assert hashlib.sha256(content).hexdigest() == made["sha256"]
    (tmp_path / "fetched.db").write_bytes(content)
    fetched = open_catalog(tmp_path / "fetched.db")
    with fetched.read() as db:
        assert (store.end(db), store.digest(db)) == shop.node().digest()
        page = store.text_page(db, "title 499", 9, 0, str)
        assert page["total"] == 1
    fetched.close()


def test_a_snapshot_does_not_change_while_it_is_fetched(shop: Catalogs) -> None:
    """Writes go on; what is behind its end is empty."""
    made = say(shop, "snapshot", {}, to=ONE, sender=TWO).json
    sell(shop)
    assert hashlib.sha256(fetch(shop, made)).hexdigest() == made["sha256"]
    behind = shop.call(
        "GET", f"/replication/snapshot/{made['id']}?offset={made['bytes']}", sender=TWO
    )
    assert (behind.status, behind.body) == (200, b"")


def test_a_newer_snapshot_replaces_the_older_one(shop: Catalogs) -> None:
    """A fetch of the old one is told so, and begins anew."""
    old, new = (say(shop, "snapshot", {}, to=ONE, sender=TWO).json for _ in range(2))
    assert shop.call("GET", f"/replication/snapshot/{old['id']}", sender=TWO).code == "not-found"
    assert shop.call("GET", f"/replication/snapshot/{new['id']}", sender=TWO).status == 200


def test_a_node_with_nothing_gives_no_snapshot(fresh: Catalogs) -> None:
    """Nobody can be refilled from it."""
    fresh.start(ONE)
    assert say(fresh, "snapshot", {}, to=ONE, sender=TWO).code == "unavailable"


def test_a_snapshot_damaged_on_the_way_is_not_used(shop: Catalogs) -> None:
    """It is fetched again."""
    shop.kill(TWO)
    shop.lose_disk(TWO)
    shop.start(TWO)
    damaged: list[int] = []

    def damage(request: Request) -> Response | None:
        if request.target.startswith("/replication/snapshot/") and not damaged:
            damaged.append(1)
            answer = shop.apps[ONE].test_client().get(request.target, headers=dict(request.headers))
            return Response(200, {}, answer.data[:-1] + b"\xff")
        return None

    shop.line.before.append(damage)
    shop.tick(TWO)
    assert shop.node(TWO).record.record is None
    shop.tick(TWO)
    assert shop.node(TWO).record.record is not None


def test_a_refill_leaves_no_files_behind(shop: Catalogs, tmp_path: Path) -> None:
    """Neither the download nor its journal."""
    shop.kill(TWO)
    shop.lose_disk(TWO)
    shop.start(TWO)
    recover(shop)
    assert sorted(file.name for file in (tmp_path / TWO).glob("refill*")) == []


# --- the disk ---


def test_a_row_that_cannot_be_read_stops_the_node(shop: Catalogs, tmp_path: Path) -> None:
    """A page gone bad while running: the process ends, and its next start verifies and refills."""
    node = shop.node(TWO)

    def damaged(db: apsw.Connection) -> None:
        raise apsw.CorruptError("database disk image is malformed")

    with pytest.raises(Exception, match="malformed"):
        node.read("book:1", damaged)
    assert node.halted


def test_a_disk_that_fails_stops_the_node(shop: Catalogs) -> None:
    """After an error of fsync nobody knows what is on it."""
    node = shop.node(TWO)

    def failing(db: apsw.Connection) -> None:
        raise apsw.IOError("disk I/O error")

    with node.lock, pytest.raises(Exception, match="disk"):
        node.write(failing)
    assert node.halted
    assert shop.get("/books/1", to=TWO).code == "unavailable"
    with pytest.raises(AssertionError, match="Halted"):
        shop.run_for(1.0)  # the writer's loop ends, and the process with it


def test_a_halted_node_stays_halted(shop: Catalogs) -> None:
    """Whatever arrives in its last moments."""
    node = shop.node(TWO)
    node.halt("the disk failed")
    with pytest.raises(AssertionError, match="Halted"):
        shop.run_for(1.0)  # its writer ends
    record = node.record.record
    assert record is not None
    document = {
        "cluster": node.record.cluster,
        "record": record.document(),
        "end": list(node.end()),
    }
    say(shop, "follow", json.loads(json.dumps(document)))
    shop.tick(TWO)
    assert node.status == REFUSING
    assert shop.get("/books/1", to=TWO).code == "unavailable"


def test_a_full_disk_at_the_replica_is_said_and_got_over(shop: Catalogs) -> None:
    """The write waits; when there is room again it goes on."""
    node = shop.node(TWO)
    with node.lock, pytest.raises(Exception, match="full"):
        node.write(raise_full)
    assert node.halted is None
    assert node.status == FOLLOWING
    assert sell(shop).json["status"] == 201


def raise_full(db: apsw.Connection) -> None:
    raise apsw.FullError("database or disk is full")
