"""What may be asked of a demo's controller, and by whom; and the tab that passes it on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from common.auth import Signer
from common.demo.api import BODY_BYTES_MAX, Api, Server
from common.demo.client import Answer, Client
from common.demo.controller import Demo
from common.demo.diary import Diary
from common.demo.layout import CONTROLLER, Layout
from common.demo.nemesis import Nemesis
from common.demo.schedule import CUT, CUT_OFF, DELAY, steps
from common.peer import Request
from tests.support.demo import free_range, run, until
from tests.support.frontend_fakes import SECRET, TOKEN, World, answer, dead, refusal
from tests.support.processes import free_ports

URL = "http://127.0.0.1:8509"


class Asking:
    """A demo whose nodes do not run, and its controller's calls, over a socket."""

    def __init__(self, demo: Demo, signer: Signer, port: int) -> None:
        self.demo = demo
        self.signer = signer
        self.client = Client(port)

    async def get(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.ask("GET", "/state")).json()
        return found

    async def post(self, path: str, **document: Any) -> Answer:
        return await self.ask("POST", path, document)

    async def ask(self, method: str, path: str, document: Any = None) -> Answer:
        body = b"" if document is None else json.dumps(document).encode()
        headers = self.signer.headers(CONTROLLER, method, path, "", body)
        return await self.client.ask(method, path, headers, document, timeout_s=5)

    async def says(self, path: str, **document: Any) -> str:
        """Return the code of a refusal."""
        refused = await self.post(path, **document)
        assert refused.headers["Content-Type"] == "application/problem+json"
        return str(refused.json()["code"])


@asynccontextmanager
async def asking(folder: Path) -> AsyncIterator[Asking]:
    layout = Layout(folder, free_range())  # nobody else's ports: its shoppers do go there
    settings = layout.prepare()
    (port,) = free_ports(1)
    demo = Demo(layout, settings, 0, lambda words: None)
    server = Server(Api(demo, Signer(CONTROLLER, settings.cluster_secret)), port)
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started, "the server")
    found = Asking(demo, Signer("frontend-1", settings.cluster_secret), port)
    yield found
    found.client.close()
    server.should_exit = True
    await serving
    await demo.close()


def test_the_state_has_all_there_is_to_see(tmp_path: Path) -> None:
    """Of every node, pair, shopper, step and event."""

    async def testing() -> None:
        async with asking(tmp_path) as it:
            state = await it.get()
            assert [node["state"] for node in state["nodes"]] == ["dead"] * 6
            assert len(state["pairs"]) == 12
            assert (state["leader"], state["whole"]) == (None, False)
            assert state["load"]["rate"] == 0
            assert state["receipts"]["lost"] == 0

    run(testing())


def test_each_button_has_its_effect_and_its_undoing(tmp_path: Path) -> None:
    """Those that need no process; the others are in test_demo_nodes.py."""

    async def testing() -> None:
        async with asking(tmp_path) as it:
            fault = "/fault"
            await it.post(fault, do="cut", node="catalog-1", other="backup")
            await it.post(fault, do="cut-off", node="order-1")
            await it.post(fault, do="delay", node="order-2", amount_ms=200)
            await it.post(fault, do="restarts", on=True)
            await it.post("/load", rate=5)
            await it.post("/schedule", do="start", seed=5, rough=True)
            state = await it.get()
            assert [(p["one"], p["other"]) for p in state["pairs"] if p["cut"]] == [
                ("catalog-1", "backup")
            ]
            assert [n["node"] for n in state["nodes"] if n["cut_off"]] == ["order-1"]
            assert [n["node"] for n in state["nodes"] if n["delay_ms"]] == ["order-2"]
            assert (state["restarts"], state["load"]["rate"]) == (True, 5)
            schedule = state["schedule"]
            assert (schedule["running"], schedule["seed"], schedule["rough"]) == (True, 5, True)
            assert len(schedule["next"]) == 3

            await it.post("/schedule", do="stop")
            await it.post(fault, do="mend", node="backup", other="catalog-1")
            await it.post(fault, do="rejoin", node="order-1")
            await it.post(fault, do="delay", node="order-2", amount_ms=0)
            await it.post(fault, do="restarts", on=False)
            await it.post("/load", rate=0)
            state = await it.get()
            assert not any(pair["cut"] or pair["delay_ms"] for pair in state["pairs"])
            assert not any(node["cut_off"] for node in state["nodes"])
            assert (state["restarts"], state["load"]["rate"]) == (False, 0)
            assert (state["schedule"]["running"], state["schedule"]["next"]) == (False, [])

    run(testing())


WRONG = [
    ("/fault", {}),
    ("/fault", {"do": "explode", "node": "catalog-1"}),
    ("/fault", {"do": "kill"}),
    ("/fault", {"do": "kill", "node": 7}),
    ("/fault", {"do": "kill", "node": "catalog-1"}),  # it is dead
    ("/fault", {"do": "cut", "node": "catalog-1", "other": "catalog-1"}),
    ("/fault", {"do": "delay", "node": "catalog-1", "amount_ms": 49}),
    ("/fault", {"do": "delay", "node": "catalog-1", "amount_ms": "50"}),
    ("/fault", {"do": "restarts", "on": "yes"}),
    ("/schedule", {"do": "begin"}),
    ("/schedule", {"do": "start", "seed": -1, "rough": False}),
    ("/schedule", {"do": "start", "seed": True, "rough": False}),
    ("/load", {"rate": 1.5}),
    ("/load", {"rate": 10_000}),
]


def test_nonsense_is_refused_in_words(tmp_path: Path) -> None:
    """And changes nothing."""

    async def testing() -> None:
        async with asking(tmp_path) as it:
            for path, document in WRONG:
                assert await it.says(path, **document) == "invalid-request", document
            assert await it.says("/fault", do="kill", node="catalog-9") == "not-found"
            assert await it.says("/elsewhere") == "not-found"
            assert await it.says("/fault", do="x" * BODY_BYTES_MAX) == "too-large"
            assert (await it.ask("POST", "/fault", ["kill"])).status == 400
            state = await it.get()
            assert not any(pair["cut"] for pair in state["pairs"])
            assert state["diary"] == []

    run(testing())


def test_who_does_not_know_the_secret_breaks_nothing(tmp_path: Path) -> None:
    """Nor sees anything; nor does a call that was signed for somebody else."""

    async def testing() -> None:
        async with asking(tmp_path) as it:
            it.signer = Signer("frontend-1", "x" * 40)
            assert await it.says("/fault", do="cut-off", node="order-1") == "unauthorized"
            assert (await it.ask("GET", "/state")).status == 401
            assert not it.demo.network.is_cut_off("order-1")

    run(testing())


# --- the schedule ---


def first_seed(kind: str, *, rough: bool) -> int:
    """Return a seed that begins with one kind of fault, at a node that has a name."""
    layout = Layout(Path("unused"), 21_000)
    hurt = [name for name in layout.names if name != "frontend-1"]
    for seed in range(1000):
        step = next(steps(seed, hurt, layout.talking, rough=rough))
        if step.kind == kind and step.node in hurt:
            return seed
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", [CUT_OFF, CUT, DELAY])
def test_a_schedule_that_is_stopped_undoes_what_it_had_begun(kind: str, tmp_path: Path) -> None:
    """At once."""

    async def testing() -> None:
        async with asking(tmp_path) as it:
            seed = first_seed(kind, rough=True)
            await it.post("/schedule", do="start", seed=seed, rough=True)
            await until(lambda: it.demo.nemesis.shown()["on"], "the first fault")
            state = await it.get()
            assert any(not pair["through"] or pair["delay_ms"] for pair in state["pairs"])
            await it.post("/schedule", do="stop")
            state = await it.get()
            assert all(pair["through"] and not pair["delay_ms"] for pair in state["pairs"])
            assert state["schedule"]["on"] == []

    run(testing())


def test_a_gentle_schedule_hurts_nobody_before_the_shop_is_whole(tmp_path: Path) -> None:
    """Here it never is: its nodes do not run."""

    async def testing() -> None:
        async with asking(tmp_path) as it:
            seed = first_seed(CUT_OFF, rough=False)
            await it.post("/schedule", do="start", seed=seed, rough=False)
            await until(lambda: it.demo.nemesis.shown()["number"] == 1, "the first step")
            schedule = (await it.get())["schedule"]
            assert (schedule["on"], schedule["phase"]) == ([], "waiting until the shop is whole")

    run(testing())


class PretendWatch:
    """Sees a shop that is whole again after a few looks."""

    leader = "catalog-2"

    def __init__(self) -> None:
        self.looks = 0

    def is_whole(self) -> bool:
        self.looks += 1
        return self.looks % 3 == 0


class PretendFaults:
    """Writes down what was done, and when it was looked whether the shop is whole."""

    def __init__(self, watch: PretendWatch) -> None:
        self.done: list[tuple[str, int]] = []
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        def do(*arguments: Any) -> asyncio.Future[None]:
            words = " ".join(map(str, (name, *arguments)))
            self.done.append((words, self._watch.looks))
            finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            finished.set_result(None)
            return finished

        return do


def played(seed: int, faults: int) -> list[tuple[str, int]]:
    """Return what a gentle schedule does, with no time lost; then it is stopped."""

    async def testing() -> list[tuple[str, int]]:
        watch = PretendWatch()
        done = PretendFaults(watch)
        layout, diary = Layout(Path("unused"), 21_000), Diary(lambda words: None)
        nemesis = Nemesis(layout, done, watch, diary, sleep=lambda seconds: asyncio.sleep(0))  # type: ignore[arg-type]
        await nemesis.start(seed, rough=False)
        await until(lambda: len(done.done) >= 2 * faults, "the faults")
        await nemesis.stop()
        return done.done[: 2 * faults]

    return run(testing())


UNDOING = {
    "kill": "restart", "pause": "resume", "cut_off": "rejoin", "cut": "mend", "delay": "delay",
}  # fmt: skip


def test_a_gentle_schedule_undoes_each_fault_and_waits_for_the_shop_before_the_next() -> None:
    """One at a time; who is called the leader is the one of that moment."""
    done = played(1, 30)
    for (broken, at), (mended, later) in zip(done[::2], done[1::2], strict=True):
        kind, node, *_ = broken.split()
        assert mended.split()[:2] == [UNDOING[kind], node]
        assert later == at, "undone first, looked at then"
    for (_, undone), (_, begun) in zip(done[1::2], done[2::2], strict=False):
        assert begun >= undone + 3, "it was seen whole in between"
    assert not any("leader" in words for words, _ in done)
    assert [words for words, _ in played(1, 30)] == [words for words, _ in done]


# --- the frontend's side ---


@pytest.fixture
def world() -> World:
    """A frontend in a demo, with its operator signed in."""
    world = World(demo=URL)
    world.client.post("/ops/login", data={"token": TOKEN})
    world.http.nodes[CONTROLLER] = lambda request: answer({"asked": request.target})
    return world


def act(world: World, path: str, document: Any) -> Any:
    headers = {"X-Requested-By": "bazar"}
    return world.client.post(path, data=json.dumps(document), headers=headers)


def test_without_a_demo_there_is_no_tab() -> None:
    """Neither page, nor data, nor actions, nor a link."""
    world = World()
    world.client.post("/ops/login", data={"token": TOKEN})
    for path in ("/ops/faults", "/ops/data/demo"):
        assert world.get(path).status_code == 404
    for path in ("/ops/do/fault", "/ops/do/load", "/ops/do/schedule"):
        assert act(world, path, {}).status_code == 404
    assert "/ops/faults" not in world.get("/ops").text


def test_the_tab_shows_the_page(world: World) -> None:
    """And the other tabs lead to it."""
    assert world.get("/ops/faults").status_code == 200
    assert "/ops/faults" in world.get("/ops").text
    assert world.get("/ops/data/demo").get_json() == {"asked": "/state"}


@pytest.mark.parametrize("name", ["fault", "load", "schedule"])
def test_an_action_is_passed_on_signed(world: World, name: str) -> None:
    """As it was asked."""
    asked = {"do": "kill", "node": "catalog-1"}
    assert act(world, f"/ops/do/{name}", asked).get_json() == {"asked": f"/{name}"}
    sent: Request = world.http.sent[-1]
    assert (sent.method, sent.url, json.loads(sent.body)) == ("POST", URL, asked)
    assert Signer(CONTROLLER, SECRET).check(sent.headers, "POST", sent.target, sent.body)


def test_only_an_operator_sees_or_breaks_anything(world: World) -> None:
    """And breaks only from our own page."""
    asked = len(world.http.sent)
    assert world.client.post("/ops/do/fault", data="{}").status_code == 400
    world.client.post("/ops/logout")
    assert world.get("/ops/data/demo").status_code == 401
    assert act(world, "/ops/do/fault", {}).status_code == 401
    assert world.get("/ops/faults").status_code == 303
    assert len(world.http.sent) == asked


def test_what_the_controller_refuses_is_told(world: World) -> None:
    """In its words; where there is none that is said."""
    world.http.nodes[CONTROLLER] = refusal("invalid-request", "catalog-1 is dead")
    refused = act(world, "/ops/do/fault", {"do": "kill", "node": "catalog-1"})
    assert (refused.status_code, refused.get_json()["detail"]) == (400, "catalog-1 is dead")
    assert act(world, "/ops/do/fault", ["kill"]).status_code == 400
    world.http.nodes[CONTROLLER] = dead
    gone = world.get("/ops/data/demo")
    assert (gone.status_code, gone.get_json()["code"]) == (503, "unavailable")
