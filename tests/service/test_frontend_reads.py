"""Reads at the frontend: the cache, the balancer, failover, dirty keys, conditions."""

import logging
from itertools import pairwise

import pytest

from common.peer import Request, Response
from tests.support.frontend_fakes import (
    FakeCatalog,
    World,
    answer,
    broken,
    dead,
    in_turn,
    refusal,
)

BOOK, PAGE = "/lookup/1", "/search/Art"


@pytest.fixture
def world() -> World:
    """A frontend that holds a session."""
    world = World()
    world.tick()
    return world


# The cache


@pytest.mark.parametrize("path", [BOOK, PAGE, "/search/Art?limit=10", "/search/Art?after=abc"])
def test_the_second_read_is_a_hit(world: World, path: str) -> None:
    """The frontend answers it in its own name, byte for byte the same."""
    miss, hit = world.get(path), world.get(path)
    assert (miss.status_code, hit.status_code) == (200, 200)
    assert miss.headers["Cache-Status"] == "bazar; fwd=miss"
    assert miss.headers["X-Served-By"] in ("catalog-1", "catalog-2")
    assert hit.headers["Cache-Status"] == "bazar; hit"
    assert hit.headers["X-Served-By"] == "frontend-1"
    assert hit.data == miss.data
    assert hit.headers["ETag"] == miss.headers["ETag"]


def test_reads_may_be_kept_but_must_be_asked_for_again(world: World) -> None:
    """Another cache that answered by itself would undo what ours promises."""
    for path in (BOOK, BOOK, PAGE, "/books", "/topics"):
        response = world.get(path)
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.content_type == "application/json"


@pytest.mark.parametrize("path", ["/books", "/books?q=whale", "/topics"])
def test_lists_that_no_hook_invalidates_are_not_cached(world: World, path: str) -> None:
    """They are balanced all the same."""
    served = [world.get(path).headers["X-Served-By"] for _ in range(4)]
    assert sorted(set(served)) == ["catalog-1", "catalog-2"]
    assert world.get(path).headers["Cache-Status"] == "bazar; fwd=miss"


def test_an_invalidation_makes_the_next_read_a_miss(world: World) -> None:
    """And what is read then is the new value."""
    world.get(BOOK)
    assert world.invalidate(11, "book:1")
    world.first.price = world.second.price = 600
    world.first.as_of = world.second.as_of = 11
    after = world.get(BOOK)
    assert after.headers["Cache-Status"] == "bazar; fwd=miss"
    assert after.get_json()["price_cents"] == 600
    assert world.get(BOOK).headers["Cache-Status"] == "bazar; hit"


def test_an_answer_older_than_the_invalidation_is_served_but_not_kept(world: World) -> None:
    """Served, for the write is not visible yet; not kept, for it soon will be."""
    world.invalidate(11, "book:1")
    for _ in range(2):
        response = world.get(BOOK)
        assert response.status_code == 200
        assert response.headers["Cache-Status"] == "bazar; fwd=miss"


def test_an_answer_overtaken_by_an_invalidation_is_not_kept(world: World) -> None:
    """The invalidation arrives while the answer is on its way."""

    def overtaken(request: Request) -> Response:
        world.first.over.clear()
        found = world.first(request)
        assert world.invalidate(11, "book:1")
        return found

    world.first.over["/books/1"] = overtaken
    assert world.get(BOOK).status_code == 200
    assert world.get(BOOK).headers["Cache-Status"] == "bazar; fwd=miss"


def test_an_answer_that_outlived_its_session_is_not_kept(world: World) -> None:
    """The new session was never told of what the answer may have missed."""

    def held_up(request: Request) -> Response:
        world.first.over.clear()
        found = world.first(request)
        world.first.sessions.clear()
        world.tick(2)
        return found

    world.first.over["/books/1"] = held_up
    assert world.get(BOOK).status_code == 200
    assert world.first.granted == 2
    assert world.get(BOOK).headers["Cache-Status"] == "bazar; fwd=miss"


def test_an_invalidation_of_a_topic_removes_its_pages(world: World) -> None:
    """Found by whatever spelling of the topic."""
    world.get("/search/Art")
    world.get("/search/Art?limit=3")
    world.invalidate(11, "topic:art")
    assert world.get("/search/Art").headers["Cache-Status"] == "bazar; fwd=miss"
    assert world.get("/search/Art?limit=3").headers["Cache-Status"] == "bazar; fwd=miss"


@pytest.mark.parametrize("spelled", ["art", "ART", "%20art%20", "A%CC%8Art"])
def test_spellings_of_a_topic(world: World, spelled: str) -> None:
    """Case and blanks make no difference and share one cached page; other letters do not."""
    world.get("/search/Art")
    hit = world.get(f"/search/{spelled}").headers["Cache-Status"] == "bazar; hit"
    assert hit == ("%CC" not in spelled)


def test_no_hit_once_the_lease_has_ended(world: World) -> None:
    """The leader may have gone on without us."""
    world.get(BOOK)
    world.clock.advance(2.0)
    assert world.get(BOOK).headers["Cache-Status"] == "bazar; fwd=miss"


def test_without_a_session_reads_are_answered_and_not_kept() -> None:
    """A leader that is down costs hits, not reads."""
    world = World()
    for _ in range(2):
        assert world.get(BOOK).headers["Cache-Status"] == "bazar; fwd=miss"


def test_a_capacity_of_zero_means_no_cache_and_no_session() -> None:
    """Every read is forwarded, and no write has to wait for this frontend."""
    world = World(capacity=0)
    world.tick(3)
    for _ in range(2):
        assert world.get(BOOK).headers["Cache-Status"] == "bazar; fwd=miss"
    assert world.first.granted == 0


def test_a_404_is_an_answer_and_is_not_cached(world: World) -> None:
    """One node's word is enough, and the book may be there a moment later."""
    before = len(world.http.sent)
    for _ in range(2):
        response = world.get("/lookup/99")
        assert response.status_code == 404
        assert response.get_json()["code"] == "not-found"
        assert response.headers["Cache-Control"] == "no-store"
    assert len(world.http.sent) == before + 2


def test_a_bad_cursor_is_the_catalogs_to_refuse(world: World) -> None:
    """Its refusal is an answer; nobody else is asked."""
    bad = refusal("invalid-request", "not a cursor")
    world.first.over["/search"] = world.second.over["/search"] = bad
    response = world.get("/search/Art?after=zzz")
    assert (response.status_code, response.get_json()["code"]) == (400, "invalid-request")
    assert len(world.http.asked("/search")) == 1


def test_an_answer_without_labels_is_not_kept(world: World) -> None:
    """Without epoch and as-of nobody can say what it reflects."""
    bare = lambda request: answer({"id": 1}, etag='"x"')  # noqa: E731
    world.first.over["/books/1"] = world.second.over["/books/1"] = bare
    assert world.get(BOOK).status_code == 200
    assert world.get(BOOK).headers["Cache-Status"] == "bazar; fwd=miss"


# Who answers


def test_reads_take_turns(world: World) -> None:
    """Round robin over the catalogs."""
    served = [world.get(f"/books?limit={n}").headers["X-Served-By"] for n in range(1, 7)]
    assert served.count("catalog-1") == served.count("catalog-2") == 3
    assert all(one != other for one, other in pairwise(served))


@pytest.mark.parametrize("how", [dead, broken, refusal("unavailable"), refusal("rate-limited")])
@pytest.mark.parametrize("victim", ["catalog-1", "catalog-2"])
def test_the_other_node_answers_within_the_same_request(victim: str, how: object) -> None:
    """Dead, broken off, recovering or full: no read fails while one node can answer."""
    world = World()
    world.http.nodes[victim] = how  # type: ignore[assignment]
    for _ in range(4):
        response = world.get(BOOK)
        assert response.status_code == 200
        assert response.headers["X-Served-By"] != victim


def test_a_silent_node_costs_one_attempt(world: World) -> None:
    """400 ms, then the other node is asked."""
    world.http.nodes["catalog-1"] = world.silent()
    began = world.clock.now()
    assert {world.get(f"/lookup/{book}").status_code for book in (1, 2)} == {200}
    assert world.clock.now() - began == pytest.approx(0.4)


def test_a_failed_node_is_left_alone_for_a_second(world: World) -> None:
    """Then one read tries it again."""
    world.http.nodes["catalog-1"] = dead
    asked = []
    for _ in range(20):
        before = world.http.asked("/topics").count("catalog-1")
        world.get("/topics")
        asked.append(world.http.asked("/topics").count("catalog-1") - before)
        world.clock.advance(0.1)
    assert sum(asked) in (2, 3)


def test_nobody_answers_within_900_ms(world: World) -> None:
    """A clear failure that names what was tried."""
    world.http.nodes["catalog-1"] = world.http.nodes["catalog-2"] = world.silent()
    began = world.clock.now()
    response = world.get(BOOK)
    assert world.clock.now() - began <= 0.9
    assert (response.status_code, response.get_json()["code"]) == (503, "unavailable")
    assert "catalog-1" in response.get_json()["detail"]
    assert "catalog-2" in response.get_json()["detail"]
    assert response.headers["Retry-After"] == "1"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.content_type == "application/problem+json"


def test_everybody_dead_is_told_at_once(world: World) -> None:
    """Nobody waits for nodes that refuse."""
    world.http.nodes["catalog-1"] = world.http.nodes["catalog-2"] = dead
    began = world.clock.now()
    assert world.get(BOOK).status_code == 503
    assert world.clock.now() == began


def test_a_hit_needs_nobody(world: World) -> None:
    """As long as the lease lasts."""
    world.get(BOOK)
    world.http.nodes["catalog-1"] = world.http.nodes["catalog-2"] = dead
    assert world.get(BOOK).headers["Cache-Status"] == "bazar; hit"


def test_nodes_with_another_secret_are_not_believed(world: World) -> None:
    """Their 401 is not the client's: it may not be told to log in."""
    world.first.over["/books"] = world.second.over["/books"] = refusal("unauthorized")
    assert world.get(BOOK).status_code == 503


# Dirty keys


def test_a_dirty_key_is_read_at_the_leader(world: World) -> None:
    """The replica may not say, the leader can."""
    world.second.over["/books/1"] = refusal("dirty", leader="catalog-1")
    for _ in range(4):
        world.invalidate(10, "book:1")
        assert world.get(BOOK).headers["X-Served-By"] == "catalog-1"


def test_dirty_from_the_leader_itself_is_unavailable(world: World) -> None:
    """An adopted entry: nobody can say yet, the replica least of all."""
    world.first.over["/books/1"] = refusal("dirty", leader="catalog-1")
    world.second.over["/books/1"] = refusal("dirty", leader="catalog-1")
    for asked in (1, 2):  # the leader's turn, then the replica's
        before = len(world.http.asked("/books/1"))
        response = world.get(BOOK)
        assert (response.status_code, response.get_json()["code"]) == (503, "unavailable")
        assert len(world.http.asked("/books/1")) == before + asked


def test_a_key_that_was_dirty_a_moment_ago_is_read_though_the_leader_is_silent(
    world: World,
) -> None:
    """The replica had not heard of the commit yet; by the time the leader has failed it has."""
    said_dirty = refusal("dirty", leader="catalog-1")
    world.get("/lookup/2")  # so that it is the replica's turn
    world.first.over["/books/1"] = world.silent()
    world.second.over["/books/1"] = in_turn(said_dirty, FakeCatalog("catalog-2"))
    assert world.get(BOOK).headers["X-Served-By"] == "catalog-2"
    assert world.http.asked("/books/1") == ["catalog-2", "catalog-1", "catalog-2"]


def test_a_slow_leader_is_asked_again_when_only_it_can_say(world: World) -> None:
    """Its first attempt timed out, the replica says dirty: the leader, in what time is left."""
    world.first.over["/books/1"] = in_turn(world.silent(), FakeCatalog("catalog-1"))
    world.second.over["/books/1"] = refusal("dirty", leader="catalog-1")
    assert world.get(BOOK).headers["X-Served-By"] == "catalog-1"
    assert world.http.asked("/books/1") == ["catalog-1", "catalog-2", "catalog-1"]


def test_a_chain_of_attempts_stays_within_900_ms(world: World) -> None:
    """The last one gets what is left."""

    def slowly_dirty(request: Request) -> Response:
        world.clock.advance(0.3)
        return refusal("dirty", leader="catalog-1")(request)

    world.first.over["/books/1"] = world.silent()
    world.second.over["/books/1"] = slowly_dirty
    began = world.clock.now()
    assert world.get(BOOK).status_code == 503
    assert world.clock.now() - began == pytest.approx(0.9)


def test_dirty_naming_a_dead_leader_is_unavailable(world: World) -> None:
    """The replica is not asked again: it has said that it does not know."""
    world.http.nodes["catalog-1"] = dead
    world.second.over["/books/1"] = refusal("dirty", leader="catalog-1")
    assert world.get(BOOK).get_json()["code"] == "unavailable"


@pytest.mark.parametrize("leader", [None, "catalog-9", 7, ["catalog-1"]])
def test_dirty_naming_nobody_we_know_is_unavailable(world: World, leader: object) -> None:
    """There is nobody to ask."""
    for catalog in (world.first, world.second):
        catalog.over["/books/1"] = refusal("dirty", leader=leader)
    document = world.get(BOOK).get_json()
    assert document["code"] == "unavailable"
    assert "write to this is under way" in document["detail"]
    assert len(world.http.asked("/books/1")) == 1


def test_leaders_that_name_each_other_are_asked_once(world: World) -> None:
    """No read goes round in circles."""
    world.first.over["/books/1"] = refusal("dirty", leader="catalog-2")
    world.second.over["/books/1"] = refusal("dirty", leader="catalog-1")
    assert world.get(BOOK).status_code == 503
    assert len(world.http.asked("/books/1")) == 2


def test_a_dirty_answer_does_not_put_the_node_into_quarantine(world: World) -> None:
    """It is well; it just may not answer this."""
    world.second.over["/books"] = refusal("dirty", leader="catalog-1")
    for book in (1, 2):
        assert world.get(f"/lookup/{book}").headers["X-Served-By"] == "catalog-1"
    assert world.http.asked("/books/").count("catalog-2") == 1
    served = {world.get("/topics").headers["X-Served-By"] for _ in range(2)}
    assert served == {"catalog-1", "catalog-2"}


# Conditions, HEAD


@pytest.mark.parametrize("template", ["{0}", '"x", {0}', "W/{0}", "*", ' "y" ,W/"z",{0}'])
@pytest.mark.parametrize("path", [BOOK, PAGE, "/topics"])
def test_a_page_the_client_has_is_not_sent_again(world: World, template: str, path: str) -> None:
    """A list, weak or any: RFC 9110 compares weakly here."""
    etag = world.get(path).headers["ETag"]
    response = world.get(path, If_None_Match=template.format(etag))
    assert (response.status_code, response.data) == (304, b"")
    assert response.headers["ETag"] == etag
    assert response.headers["Cache-Control"] == "no-cache"
    assert {"Cache-Status", "X-Served-By"} <= set(response.headers.keys())
    assert "Content-Type" not in response.headers


@pytest.mark.parametrize("tag", ['"other"', 'W/"other"', "", "nonsense", '"a", "b"'])
def test_a_page_the_client_has_not_is_sent(world: World, tag: str) -> None:
    """No tag of the list is the page's."""
    assert world.get(BOOK, If_None_Match=tag).status_code == 200


def test_a_tag_does_not_turn_an_error_into_304(world: World) -> None:
    """`*` stands for whatever is there; nothing is."""
    assert world.get("/lookup/99", If_None_Match="*").status_code == 404


@pytest.mark.parametrize("path", [BOOK, PAGE, "/books", "/topics", "/info/2"])
def test_head_answers_like_get_without_the_body(world: World, path: str) -> None:
    """Length, tag and all."""
    get, head = world.get(path), world.client.head(path)
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Length"] == str(len(get.data))
    assert head.headers["ETag"] == get.headers["ETag"]


def test_info_is_another_name_for_lookup(world: World) -> None:
    """They share one entry."""
    world.get("/lookup/1")
    assert world.get("/info/1").headers["Cache-Status"] == "bazar; hit"


# What goes out


def test_what_is_asked_of_a_catalog(world: World) -> None:
    """Topic key, limit, cursor and text, as the wire has them."""
    for path in ("/search/A%20%20b/c?limit=7&after=x", "/books?q=a%20b", "/topics", BOOK):
        world.get(path)
    assert [request.target for request in world.http.sent if request.method == "GET"] == [
        "/search?topic=a+b%2Fc&limit=7&after=x",
        "/books?q=a+b&limit=50",
        "/topics",
        "/books/1",
    ]


def test_a_cluster_that_changes_is_not_mixed_in(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A catalog with another cluster's disk is no catalog of ours, and the cache is dropped."""
    world.get(BOOK)
    world.second.cluster = "cluster-b"
    with caplog.at_level(logging.ERROR):
        served = [world.get("/topics").headers["X-Served-By"] for _ in range(2)]
    assert served == ["catalog-1", "catalog-1"]
    assert "cluster-b" in caplog.text
    assert world.get(BOOK).headers["Cache-Status"] == "bazar; fwd=miss"
