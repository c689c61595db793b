"""The door of the control room: the token, the cookie, and what is done for nobody else."""

from __future__ import annotations

import re

import pytest
from werkzeug.test import TestResponse

from frontend.control.login import COOKIE, LASTS_S, PAUSE_S_MAX
from tests.support.frontend_fakes import TOKEN, World, dead

GUARDED = ("/ops/data/", "/ops/do/")


@pytest.fixture
def world() -> World:
    return World()


def enter(world: World, token: str = TOKEN, onward: str = "/ops") -> TestResponse:
    """Fill in the form."""
    return world.client.post("/ops/login", data={"token": token, "next": onward})


def paths(world: World, method: str) -> list[str]:
    """Return every path of the control room that takes a method, its parameters filled in."""
    rules = world.app.url_map.iter_rules()
    ours = [rule for rule in rules if rule.rule.startswith("/ops")]
    return [re.sub("<.*>", "1", rule.rule) for rule in ours if method in (rule.methods or ())]


def test_a_page_leads_to_the_form_and_back(world: World) -> None:
    """Who is not known sees the form, and afterwards the page that was asked for."""
    sent_away = world.get("/ops")
    assert (sent_away.status_code, sent_away.headers["Location"]) == (303, "/ops/login?next=/ops")
    form = world.get(sent_away.headers["Location"])
    assert form.status_code == 200
    assert 'value="/ops"' in form.text
    entered = enter(world)
    assert (entered.status_code, entered.headers["Location"]) == (303, "/ops")
    assert world.get("/ops").status_code == 200


def test_the_cookie_is_out_of_reach_and_ends(world: World) -> None:
    """No script reads it, no other site sends it, and half a day later it is worth nothing."""
    cookie = enter(world).headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/ops"} <= set(cookie.split("; "))
    assert TOKEN not in cookie
    world.clock.advance(LASTS_S - 1)
    assert world.get("/ops/data/overview").status_code == 200
    world.clock.advance(2)
    assert world.get("/ops/data/overview").status_code == 401


@pytest.mark.parametrize("change", ["", "x", "9", ".", "é"])
def test_a_cookie_cannot_be_made_or_changed(world: World, change: str) -> None:
    """Neither the end nor the signature."""
    enter(world)
    cookie = world.client.get_cookie(COOKIE, path="/ops")
    assert cookie is not None
    for forged in (f"{change}{cookie.value}x", f"9{cookie.value}", change):
        world.client.set_cookie(COOKIE, forged, path="/ops")
        assert world.get("/ops/data/overview").status_code == 401


def test_leaving_ends_it(world: World) -> None:
    """The undoing of the login."""
    enter(world)
    assert world.client.post("/ops/logout").headers["Location"] == "/ops/login"
    assert world.get("/ops").status_code == 303


@pytest.mark.parametrize(
    "onward", ["https://evil.example", "//evil.example", "/ops//evil", "/opsx?y", ""]
)
def test_the_form_leads_nowhere_else(world: World, onward: str) -> None:
    """Whatever a link to it says."""
    assert enter(world, onward=onward).headers["Location"] == "/ops"


def test_a_wrong_token_is_refused_kindly(world: World) -> None:
    """In words, with the form once more; nothing is shown."""
    refused = enter(world, TOKEN + "x")
    assert refused.status_code == 403
    assert "not the token" in refused.text
    assert "Set-Cookie" not in refused.headers
    assert enter(world, "é").status_code == 403


def test_tokens_cannot_be_guessed_at_speed(world: World) -> None:
    """After three wrong ones each attempt waits, twice as long each time; even the right one."""
    for _ in range(3):
        assert enter(world, "wrong").status_code == 403
    refused = enter(world)
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "2"
    pauses = 0.0
    for _ in range(20):
        world.clock.advance(PAUSE_S_MAX)
        pauses += PAUSE_S_MAX
        assert enter(world, "wrong").status_code == 403
    assert enter(world).status_code == 429
    world.clock.advance(PAUSE_S_MAX)
    assert enter(world).status_code == 303
    assert enter(world, "wrong").status_code == 403  # and all is forgotten


def test_without_the_login_nothing_is_told_or_done(world: World) -> None:
    """Every datum and every action: 401, and nobody is asked."""
    told = [path for path in paths(world, "GET") if path.startswith("/ops/data/")]
    done = [path for path in paths(world, "POST") if path.startswith("/ops/do/")]
    assert told
    for path in told:
        assert (world.get(path).status_code, world.get(path).get_json()["code"]) == (
            401,
            "unauthorized",
        )
    for path in done:
        found = world.client.post(path, headers={"X-Requested-By": "bazar"}, json={})
        assert found.status_code == 401
    assert not world.http.sent


def test_an_action_comes_from_our_own_pages(world: World) -> None:
    """A form of another site can send no such header, whatever its browser does with cookies."""
    enter(world)
    for path in paths(world, "POST"):
        if path.startswith("/ops/do/"):
            assert world.client.post(path, json={}).status_code == 400
    assert not world.http.sent


def test_the_form_and_the_pages_need_no_other_node(world: World) -> None:
    """When all of them are down, the room still opens."""
    world.http.nodes = dict.fromkeys(world.http.nodes, dead)
    enter(world)
    pages = [path for path in paths(world, "GET") if not path.startswith(GUARDED)]
    assert {world.get(path).status_code for path in pages} == {200}
