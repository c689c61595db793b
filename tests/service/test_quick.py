"""Reads of a catalog on the event loop: to the byte what the routes answer, refused alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, cast

import apsw
import pytest

from catalog.replication import ALONE, FOLLOWING, RECOVERING, REFUSING
from common.auth import CLUSTER, FROM, SIGNATURE, Signer
from common.database import Database
from common.peer import NoAnswer, Request
from common.service import Call
from common.wsgi import Answer, call, environ_of
from tests.support.catalog_fakes import FRONTEND, ONE, SECRET, TWO, Catalogs, book, sale

AT_ONCE = (
    "/books/1", "/books/2", "/search?topic=systems&limit=50", "/search?topic=Systems&limit=1",
    "/search?topic=ml%2Fai&limit=200", "/search?topic=no+such+topic&limit=50",
    "/search?topic=%C3%A4rzte&limit=2", "/search?topic=&limit=5",
)  # fmt: skip
ORDINARY = (
    "/books/3", "/books/01", "/books/0", "/books/9223372036854775808", "/books/1?x=1", "/books",
    "/search", "/search?topic=systems", "/search?limit=50&topic=systems", "/topics", "/ledger",
    "/search?topic=systems&limit=0", "/search?topic=systems&limit=201", "/status", "/livez",
    "/search?topic=systems&limit=50&after=broken", "/search?topic=systems&limit=50&x=1",
    "/search?topic=%FF&limit=50", "/search?topic=a%zz&limit=50", "//books/1", "/books/1/",
)  # fmt: skip


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Catalogs]:
    """Two catalogs, open, with two books."""
    catalogs = Catalogs(tmp_path)
    catalogs.open()
    for key, topics in (("new-1", ["Systems"]), ("new-2", ["Systems", "ML/AI", "Ärzte"])):
        assert catalogs.operate(key, "add", book(title=key, topics=topics)).status == 200
    catalogs.tick()
    yield catalogs
    catalogs.close()


def signed(target: str, *, cluster: str, to: str = ONE, secret: str = SECRET) -> Call:
    headers = Signer(FRONTEND, secret).headers(to, "GET", target, cluster, b"")
    named = {name.lower().encode(): text.encode() for name, text in headers.items()}
    return Call("GET", target.encode(), {b"host": b"catalog"} | named)


def asked(shop: Catalogs, target: str, to: str = ONE) -> Call:
    return signed(target, cluster=shop.node(to).record.cluster, to=to)


def quickly(shop: Catalogs, one: Call, at: str = ONE) -> Answer | None:
    return shop.service(at).at_once(one)


def by_routes(shop: Catalogs, one: Call, at: str = ONE) -> Answer:
    path, _, query = one.target.partition(b"?")
    scope = {
        "method": one.method, "raw_path": path, "query_string": query, "http_version": "1.1",
        "scheme": "http", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1234),
        "headers": list(one.headers.items()),
    }  # fmt: skip
    return call(shop.apps[at].wsgi_app, environ_of(scope, b""))


@pytest.mark.parametrize("at", [ONE, TWO])
@pytest.mark.parametrize("target", AT_ONCE)
def test_both_ways_answer_the_same(shop: Catalogs, target: str, at: str) -> None:
    """Status, headers in their order, body; at the leader and at the replica."""
    answer = quickly(shop, asked(shop, target, at), at)
    assert answer is not None
    assert answer == by_routes(shop, asked(shop, target, at), at)


def test_the_next_page_is_read_at_once(shop: Catalogs) -> None:
    """With the cursor of the page before."""
    first = shop.get("/search?topic=systems&limit=1").json
    one = asked(shop, f"/search?topic=systems&limit=1&after={first['next']}")
    answer = quickly(shop, one)
    assert answer is not None
    assert answer == by_routes(shop, one)
    assert b'"id":2' in answer.body


@pytest.mark.parametrize("target", ORDINARY)
def test_what_is_not_plain_or_not_there_is_left_to_the_routes(shop: Catalogs, target: str) -> None:
    """They know how to refuse it."""
    assert quickly(shop, asked(shop, target)) is None


def test_only_get_is_answered_at_once(shop: Catalogs) -> None:
    """Nobody asks for a HEAD in here."""
    assert quickly(shop, asked(shop, "/books/1")._replace(method="HEAD")) is None


@pytest.mark.parametrize("header", [FROM, CLUSTER, SIGNATURE])
def test_a_call_that_is_not_signed_is_not_answered(shop: Catalogs, header: str) -> None:
    """Neither without a part of the signature, nor with another."""
    one = asked(shop, "/books/1")
    name = header.lower().encode()
    rest = {key: value for key, value in one.headers.items() if key != name}
    for headers in (rest, rest | {name: b"x"}):
        forged = one._replace(headers=headers)
        assert quickly(shop, forged) is None
        assert by_routes(shop, forged).status == 401


def test_a_call_signed_for_something_else_is_not_answered(shop: Catalogs) -> None:
    """For another target, node or cluster, or with another secret."""
    cluster = shop.node().record.cluster
    assert quickly(shop, asked(shop, "/books/1")._replace(target=b"/books/2")) is None
    assert quickly(shop, asked(shop, "/books/1", TWO)) is None
    assert quickly(shop, signed("/books/1", cluster="another")) is None
    assert quickly(shop, signed("/books/1", cluster="")) is not None  # it knows none yet
    assert quickly(shop, signed("/books/1", cluster=cluster, secret="x" * 40)) is None


def test_a_dirty_key_is_not_read_at_once(shop: Catalogs) -> None:
    """The replica has the write prepared: the routes send the reader to the leader."""
    shop.line.before.append(lose_commits)
    assert shop.operate("sale", "sell", sale((1, 1))).status == 200
    assert shop.node(TWO).view().prepared is not None
    assert quickly(shop, asked(shop, "/books/1", TWO), TWO) is None
    assert by_routes(shop, asked(shop, "/books/1", TWO), TWO).status == 409
    assert quickly(shop, asked(shop, "/books/2", TWO), TWO) is not None


def lose_commits(request: Request) -> None:
    if request.target == "/replication/commit":
        raise NoAnswer("lost on the way")


@pytest.mark.parametrize("status", [RECOVERING, REFUSING])
def test_a_node_without_the_right_to_answer_does_not(shop: Catalogs, status: str) -> None:
    """Its database may be being replaced."""
    shop.node().become(status, "for a test")
    assert quickly(shop, asked(shop, "/books/1")) is None


@pytest.mark.parametrize("status", [ALONE, FOLLOWING])
def test_a_node_with_the_right_to_answer_does(shop: Catalogs, status: str) -> None:
    """Whatever its role."""
    shop.node().become(status, "for a test")
    assert quickly(shop, asked(shop, "/books/1")) is not None


class Busy:
    """A database that is being replaced."""

    def read(self) -> NoReturn:
        raise apsw.BusyError("for a test")


def test_a_busy_database_is_left_to_the_routes(shop: Catalogs) -> None:
    """Somebody else may wait for it."""
    node = shop.node()
    one, db = asked(shop, "/books/1"), node.db
    node.db = cast(Database, Busy())
    assert quickly(shop, one) is None
    node.db = db
    assert quickly(shop, one) is not None
