"""Links between the nodes of a demo, over real sockets: passed on, cut, delayed, refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from common.demo.layout import Layout
from common.demo.links import Link
from common.demo.network import Network
from tests.support.demo import call, echo, run, until
from tests.support.processes import free_ports

LATE_S = 0.15


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[Link, int, int]]:
    """Run a link before a node that sends back what it hears; yield it, its port and the node's."""
    port, node = free_ports(2)
    link = Link(port, node)
    async with echo(node):
        await link.open()
        yield link, port, node
    link.close()


def test_what_is_sent_comes_back_whole() -> None:
    """More than fits into any buffer, both ways."""

    async def testing() -> None:
        async with linked() as (_, port, _):
            caller = await call(port)
            sent = bytes(range(256)) * 20_000
            caller.say(sent)
            await caller.hears(sent)
            await caller.hang_up()

    run(testing())


def test_a_cut_link_holds_what_is_sent_until_it_is_mended() -> None:
    """In order; nothing is lost and nothing refused, also for who connects meanwhile."""

    async def testing() -> None:
        async with linked() as (link, port, node):
            early = await call(port)
            early.say(b"one ")
            await early.hears(b"one ")
            link.change(cut=True, delay_s=0)
            early.say(b"two ")
            late = await call(port)
            late.say(b"hello")
            other = await call(node)  # when this has been answered the others would have been, too
            other.say(b"x")
            await other.hears(b"x")
            early.say(b"three")
            assert (early.heard, late.heard) == (b"one ", b"")
            link.change(cut=False, delay_s=0)
            await early.hears(b"one two three")
            await late.hears(b"hello")
            for caller in (early, late, other):
                await caller.hang_up()

    run(testing())


def test_who_hangs_up_while_a_link_is_cut_is_still_heard() -> None:
    """What was sent before arrives, late: as it does on a real network."""

    async def testing() -> None:
        port, node = free_ports(2)
        link, got = Link(port, node), bytearray()

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got.extend(await reader.read())
            writer.close()

        async with await asyncio.start_server(take, "127.0.0.1", node):
            await link.open()
            link.change(cut=True, delay_s=0)
            caller = await call(port)
            caller.say(b"too late")
            await caller.hang_up()
            link.change(cut=False, delay_s=0)
            await until(lambda: bytes(got) == b"too late", "what was sent")
        link.close()

    run(testing())


def test_a_delayed_link_is_late_both_ways_until_it_is_undone() -> None:
    """Messages one after the other do not add up."""

    async def testing() -> None:
        async with linked() as (link, port, _):
            caller = await call(port)
            caller.say(b"a")
            await caller.hears(b"a")
            link.change(cut=False, delay_s=LATE_S)
            began = time.monotonic()
            for _ in range(20):
                caller.say(b"b")
                await asyncio.sleep(0)
            await caller.hears(b"a" + 20 * b"b")
            assert 2 * LATE_S <= time.monotonic() - began < 20 * LATE_S
            link.change(cut=False, delay_s=0)
            caller.say(b"c")
            await caller.hears(b"a" + 20 * b"b" + b"c")
            await caller.hang_up()

    run(testing())


def test_a_dead_node_refuses() -> None:
    """Its links accept nobody; one that was just too early is broken off."""

    async def testing() -> None:
        port, node = free_ports(2)
        link = Link(port, node)
        with pytest.raises(ConnectionRefusedError):
            await call(port)
        await link.open()
        caller = await call(port)
        await until(lambda: caller.closed, "the end of the connection")
        await caller.hang_up()
        link.refuse()
        with pytest.raises(ConnectionRefusedError):
            await call(port)
        async with echo(node):
            await link.open()
            caller = await call(port)
            caller.say(b"back")
            await caller.hears(b"back")
            await caller.hang_up()
        link.close()

    run(testing())


# --- all links ---


@pytest.fixture
def network() -> Network:
    """The links of a demo that is not running."""
    return Network(Layout(Path("unused"), 21_000))


PAIRS = [("frontend-1", "catalog-1"), ("catalog-1", "catalog-2"), ("catalog-2", "backup")]


def through(network: Network) -> list[bool]:
    return [pair["through"] for pair in network.shown(PAIRS)]


def test_a_pair_is_cut_and_mended(network: Network) -> None:
    """And nobody else."""
    network.cut("catalog-2", "catalog-1")
    assert through(network) == [True, False, True]
    network.mend("catalog-1", "catalog-2")
    assert through(network) == [True, True, True]


def test_a_node_is_cut_off_and_rejoins(network: Network) -> None:
    """A pair that was cut besides stays so."""
    network.cut("catalog-2", "backup")
    network.cut_off("catalog-1")
    assert through(network) == [False, False, False]
    network.rejoin("catalog-1")
    assert through(network) == [True, True, False]
    network.heal()
    assert through(network) == [True, True, True]


def test_a_node_is_delayed_and_no_longer(network: Network) -> None:
    """Two late nodes add up between them."""
    network.delay("catalog-1", 200)
    network.delay("catalog-2", 50)
    assert [pair["delay_ms"] for pair in network.shown(PAIRS)] == [200, 250, 50]
    network.delay("catalog-1", 0)
    network.delay("catalog-2", 0)
    assert [pair["delay_ms"] for pair in network.shown(PAIRS)] == [0, 0, 0]
