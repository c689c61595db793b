"""`make demo` in a real browser: six real processes, real shoppers, and a leader that dies."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from common.auth import Signer
from common.config import load_cluster
from common.demo.layout import CONTROLLER
from common.peer import Peer, RequestsHttp
from tests.support.browser import Look, Visitors, accessibility, overflow
from tests.support.demo import free_range, gone
from tests.support.processes import Process
from tests.support.wait import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

START_S, END_S, PATIENCE_S = 90, 30, 30.0
EACH_MS = 1000 * PATIENCE_S


@dataclass
class Shown:
    """A demo that runs: where its shop is, and what its controller says."""

    url: str
    token: str
    process: Process
    controller: Peer

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.controller.call("GET", "/state", timeout_s=5).json()
        return found

    def node(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(n for n in self.state()["nodes"] if n["node"] == name)
        return found

    def until(self, condition: Any, what: str) -> None:
        """Wait until the state is as it should be."""
        wait_until(lambda: condition(self.state()), PATIENCE_S, what, self.process.logs)

    def enter(self, visitors: Visitors, look: Look = Look()) -> Page:  # noqa: B008  # a constant
        """Sign in, at the page where things are broken."""
        page = visitors.arrive(self.url, look).tab("/ops/faults")
        page.get_by_label("Admin token").fill(self.token)
        page.keyboard.press("Enter")
        expect(page.locator("#node-backup .badge")).to_have_text("running", timeout=EACH_MS)
        return page


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """One demo for all tests; Ctrl-C ends it, and leaves no process behind."""
    folder: Path = tmp_path_factory.mktemp("demo")
    port = free_range()
    arguments = ["-m", "common.demo", "--folder", str(folder), "--port", str(port)]
    log = tmp_path_factory.mktemp("terminal") / "log"
    with Process(arguments, log) as process:
        process.wait_for("Ctrl-C ends it all", START_S)
        settings = load_cluster(folder / "cluster.env", {})
        signer = Signer("tester", settings.cluster_secret)
        peer = Peer(
            CONTROLLER, settings.demo, http=RequestsHttp(), signer=signer, cluster=lambda: ""
        )
        shown = Shown(f"http://127.0.0.1:{port}", settings.admin_token, process, peer)
        assert settings.admin_token not in process.logs()
        yield shown
        pids = [node["pid"] for node in shown.state()["nodes"] if node["pid"]]
        process.popen.send_signal(signal.SIGINT)
        assert process.ends(END_S) == 0
        assert len(pids) == 6
        assert all(map(gone, pids))


@pytest.fixture
def page(demo: Shown, visitors: Visitors) -> Iterator[Page]:
    """The page of an operator who is signed in; what a test has broken is mended after it."""
    yield demo.enter(visitors)
    demo.controller.call("POST", "/load", timeout_s=5, document={"rate": 0})
    demo.controller.call("POST", "/fault", timeout_s=5, document={"do": "heal"})
    demo.until(lambda state: state["whole"], "a whole shop")


def number(shown: Locator) -> int:
    return int(re.sub(r"\D", "", shown.inner_text()) or 0)


def sold(page: Page) -> int:
    return number(page.locator("#sold"))


def press(page: Page, name: str) -> None:
    """Press a button with the keyboard."""
    button = page.get_by_role("button", name=name, exact=True)
    button.focus()
    page.keyboard.press("Enter")


def test_a_leader_dies_and_nothing_is_lost(demo: Shown, page: Page) -> None:
    """With shoppers at work the leader is killed: another takes over, sales go on, it comes back;
    in the end each purchase that a shopper was told of is in the shop's list, once.
    """
    page.get_by_label("how many a second").fill("40")
    press(page, "Let them in")
    wait_until(lambda: sold(page) > 20, PATIENCE_S, "sales", demo.process.logs)
    old = demo.state()["leader"]
    new = "catalog-2" if old == "catalog-1" else "catalog-1"
    press(page, "Kill the leader")
    verdict = page.locator("#verdict")
    expect(verdict).to_have_text(f"{old} is dead. {new} leads.", timeout=EACH_MS)
    expect(page.locator(f"#node-{old} .badge")).to_have_text("dead")
    expect(page.locator(f"#node-{new} .badge")).to_have_text("★ running")
    expect(page.locator("#diary")).to_contain_text(f"{new} has taken over and leads in epoch")
    before = sold(page)
    wait_until(lambda: sold(page) > before + 20, PATIENCE_S, "more sales", demo.process.logs)
    press(page, f"Start {old} again")
    expect(verdict).to_have_text(re.compile(r"^All is well\. catalog-\d leads\.$"), timeout=EACH_MS)
    press(page, "Send them home")
    demo.until(
        lambda state: (
            not state["receipts"]["open"]
            and state["receipts"]["found"] == state["receipts"]["sold"]
        ),
        "every purchase decided and found",
    )
    receipts = demo.state()["receipts"]
    assert receipts["sold"] > 40
    assert (receipts["lost"], receipts["doubled"], receipts["others"]) == (0, 0, 0), receipts
    for name in ("lost", "doubled"):
        expect(page.locator(f"#{name}")).to_have_text("0")
    wait_until(lambda: sold(page) == receipts["sold"], PATIENCE_S, "the same on the page")
    expect(page.locator("#invariants .is-holds")).to_have_count(3, timeout=EACH_MS)


def test_every_button_has_its_effect_and_its_undoing(demo: Shown, page: Page) -> None:
    """By keyboard alone, on real processes."""
    node = "order-2"
    press(page, "Kill backup")
    expect(page.locator("#node-backup .badge")).to_have_text("dead")
    press(page, "Start again backup")
    expect(page.locator("#node-backup .badge")).to_have_text("running", timeout=EACH_MS)
    press(page, f"Pause {node}")
    expect(page.locator(f"#node-{node} .badge")).to_have_text("paused")
    press(page, f"Cut off {node}")
    expect(page.locator(f"#node-{node}")).to_contain_text("cut off")
    press(page, "Cut between catalog-1 and order-1")
    expect(page.locator("#verdict")).to_contain_text("catalog-1 and order-1 are cut off")
    page.get_by_label("Delay backup").select_option("50")
    expect(page.locator("#node-backup")).to_contain_text("50 ms late")
    page.get_by_label("start dead nodes again after 3 s").check()
    demo.until(lambda state: state["restarts"], "the switch on")
    state = demo.state()
    assert [pair["other"] for pair in state["pairs"] if pair["cut"]] == ["order-1"]
    assert (demo.node(node)["state"], demo.node(node)["cut_off"]) == ("paused", True)

    press(page, f"Go on {node}")
    press(page, f"Rejoin {node}")
    press(page, "Mend between catalog-1 and order-1")
    page.get_by_label("Delay backup").select_option("0")
    page.get_by_label("start dead nodes again after 3 s").uncheck()
    expect(page.locator("#verdict")).to_contain_text("All is well", timeout=EACH_MS)
    state = demo.state()
    assert all(pair["through"] and not pair["delay_ms"] for pair in state["pairs"])
    assert not state["restarts"]

    press(page, f"Pause {node}")
    expect(page.locator(f"#node-{node} .badge")).to_have_text("paused")
    press(page, "Mend everything")
    expect(page.locator("#verdict")).to_contain_text("All is well", timeout=EACH_MS)


def test_a_schedule_runs_and_stops(demo: Shown, page: Page) -> None:
    """It says what it does and what comes next; stopped, it has undone it."""
    page.get_by_label("Seed").fill("4")
    page.get_by_label("rough: several at once").check()
    press(page, "Start")
    expect(page.locator("#schedule-now")).to_contain_text("Seed 4, rough, step")
    expect(page.locator("#schedule-next li")).to_have_count(3)
    demo.until(lambda state: state["schedule"]["on"], "a fault")
    press(page, "Stop")
    expect(page.locator("#schedule-now")).to_have_text("No schedule runs.")
    state = demo.state()
    assert all(pair["through"] and not pair["delay_ms"] for pair in state["pairs"])
    assert not state["schedule"]["on"]


def test_the_page_is_for_everybody(demo: Shown, visitors: Visitors) -> None:
    """Light on a desktop, dark on a phone: labels, contrast, landmarks; nothing is too wide."""
    for look in (Look("light"), Look("dark", phone=True)):
        page = demo.enter(visitors, look)
        expect(page.locator("#live-text")).to_contain_text("live")
        assert accessibility(page) == [], look
        assert overflow(page) <= 0, look


def test_a_second_demo_in_the_same_place_says_that_one_runs(demo: Shown, tmp_path: Path) -> None:
    """And leaves it alone."""
    folder = Path(demo.process.popen.args[4])  # type: ignore[index, arg-type]
    arguments = ["-m", "common.demo", "--folder", str(folder)]
    with Process(arguments, tmp_path / "log") as second:
        assert second.ends(START_S) == 1
        assert f"process {demo.process.popen.pid}" in second.logs()
    port = demo.url.rpartition(":")[2]
    elsewhere = [*arguments[:3], str(tmp_path / "new"), "--port", port]
    with Process(elsewhere, tmp_path / "log") as third:
        assert third.ends(START_S) == 2
        assert f"port {port} is in use" in third.logs()
    assert demo.state()["whole"]


def test_a_folder_that_is_not_a_demos_is_left_alone(tmp_path: Path) -> None:
    """A demo replaces what is in its folder."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "catalog.db").write_text("mine")
    arguments = ["-m", "common.demo", "--folder", str(tmp_path)]
    with Process(arguments, tmp_path / "log") as process:
        assert process.ends(START_S) == 2
        assert "holds something else than a demo" in process.logs()
    assert (tmp_path / "data" / "catalog.db").read_text() == "mine"
