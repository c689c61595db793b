"""Runs a seeded schedule of faults.

Law: whatever it began it undoes: at its time, or when it is stopped. A gentle schedule goes on only
once the shop is whole again, so a slow machine gets the same faults, later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from common.demo.diary import NOTE, Diary
from common.demo.faults import Faults
from common.demo.layout import Layout
from common.demo.schedule import (
    CUT,
    CUT_OFF,
    DELAY,
    KILL,
    LEADER,
    PAUSE,
    SHOWN_NEXT,
    Step,
    steps,
)  # fmt: skip
from common.demo.watch import Watch
from common.errors import Problem

LOOK_S = 0.2
SEED_MAX = 2**31

Sleep = Callable[[float], Awaitable[None]]


class Nemesis:
    """One schedule at a time."""

    def __init__(
        self, layout: Layout, faults: Faults, watch: Watch, diary: Diary, *, sleep: Sleep
    ) -> None:
        self._layout = layout
        self._faults = faults
        self._watch = watch
        self._diary = diary
        self._sleep = sleep
        self._changing = asyncio.Lock()  # one start or stop at a time
        self._task: asyncio.Task[None] | None = None
        self._on: dict[int, tuple[Step, str, float]] = {}  # number -> step, node, until
        self._undoing: set[asyncio.Task[None]] = set()
        self._next: list[Step] = []
        self._seed = 1
        self._rough = False
        self._number = 0
        self._phase = ""

    async def start(self, seed: int, *, rough: bool) -> None:
        """Begin a schedule from its first step, in place of one that runs."""
        if not 0 <= seed < SEED_MAX:
            raise Problem("invalid-request", f"seed: a whole number, 0 to {SEED_MAX - 1}")
        async with self._changing:
            await self._stop()
            self._start(seed, rough=rough)

    def _start(self, seed: int, *, rough: bool) -> None:
        self._seed, self._rough, self._number = seed, rough, 0
        kind = "rough" if rough else "gentle"
        self._diary.note(NOTE, f"schedule {seed} ({kind}) begins")
        nodes = [name for name in self._layout.names if name != "frontend-1"]
        found = steps(seed, nodes, self._layout.talking, rough=rough)
        self._task = asyncio.create_task(self._run(found))

    async def stop(self) -> None:
        """End the schedule, and undo what is on."""
        async with self._changing:
            await self._stop()

    async def _stop(self) -> None:
        if self._task is None:
            return
        for task in (self._task, *self._undoing):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._task, self._next, self._phase = None, [], ""
        for number in list(self._on):
            await self._undo(number)
        self._diary.note(NOTE, "schedule stopped")

    async def _run(self, found: Iterator[Step]) -> None:
        self._next = list(islice(found, SHOWN_NEXT + 1))
        while True:
            step = self._next.pop(0)
            self._next.append(next(found))
            self._number = step.number
            if not step.rough:
                await self._until_whole()
            await self._begin(step)
            if not step.rough:
                self._phase = "the fault is on"
                await self._sleep(step.hold_s)
                await self._undo(step.number)
                await self._until_whole()
            self._phase = "calm"
            await self._sleep(step.calm_s)

    async def _until_whole(self) -> None:
        self._phase = "waiting until the shop is whole"
        while not self._watch.is_whole():
            await self._sleep(LOOK_S)

    async def _begin(self, step: Step) -> None:
        node = step.node if step.node != LEADER else self._watch.leader or "catalog-1"
        if any(
            {node, step.other} & {hit, other.other} - {""} for other, hit, _ in self._on.values()
        ):
            self._diary.note(NOTE, f"left out: {step.words} (hurt already)")
            return
        try:
            await self._do(step, node)
        except Problem as problem:  # somebody was faster, by hand
            self._diary.note(NOTE, f"left out: {step.words} ({problem.detail})")
            return
        self._on[step.number] = (step, node, self._diary.now() + step.hold_s)
        if step.rough:
            task = asyncio.create_task(self._undo_later(step))
            self._undoing.add(task)
            task.add_done_callback(self._undoing.discard)

    async def _do(self, step: Step, node: str) -> None:
        if step.kind == KILL:
            await self._faults.kill(node)
        elif step.kind == PAUSE:
            self._faults.pause(node)
        elif step.kind == CUT_OFF:
            self._faults.cut_off(node)
        elif step.kind == CUT:
            self._faults.cut(node, step.other)
        else:
            self._faults.delay(node, step.amount_ms)

    async def _undo_later(self, step: Step) -> None:
        await self._sleep(step.hold_s)
        await self._undo(step.number)

    async def _undo(self, number: int) -> None:
        if number not in self._on:
            return
        step, node, _ = self._on.pop(number)
        if step.kind == KILL:
            await self._faults.restart(node)
        elif step.kind == PAUSE:
            self._faults.resume(node)
        elif step.kind == CUT_OFF:
            self._faults.rejoin(node)
        elif step.kind == CUT:
            self._faults.mend(node, step.other)
        elif step.kind == DELAY:
            self._faults.delay(node, 0)

    def shown(self) -> dict[str, Any]:
        """Return what is on, and what comes next."""
        now = self._diary.now()
        return {
            "running": self._task is not None, "seed": self._seed, "rough": self._rough,
            "number": self._number, "phase": self._phase,
            "on": [
                {"words": step.words, "node": node, "left_s": max(0.0, round(until - now, 1))}
                for step, node, until in self._on.values()
            ],
            "next": [step.words for step in self._next[:SHOWN_NEXT]],
        }  # fmt: skip
