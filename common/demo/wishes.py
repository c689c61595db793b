"""What may be asked of a demo over the wire, as documents; who asks for nonsense is told so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from common.demo.controller import Demo
from common.demo.faults import Faults
from common.fields import invalid

Wish = Mapping[str, Any]
Doing = Awaitable[None] | None

OF_A_NODE: Mapping[str, Callable[[Faults, str], Doing]] = {
    "kill": Faults.kill, "restart": Faults.restart,
    "pause": Faults.pause, "resume": Faults.resume,
    "cut-off": Faults.cut_off, "rejoin": Faults.rejoin,
}  # fmt: skip
OF_A_PAIR: Mapping[str, Callable[[Faults, str, str], Doing]] = {
    "cut": Faults.cut, "mend": Faults.mend,
}  # fmt: skip


async def fault(demo: Demo, wish: Wish) -> None:
    """Break or mend: `do`, and what that needs of `node`, `other`, `amount_ms`, `on`."""
    do, faults = _text(wish, "do"), demo.faults
    if do in OF_A_NODE:
        doing = OF_A_NODE[do](faults, _text(wish, "node"))
        if doing is not None:
            await doing
    elif do in OF_A_PAIR:
        OF_A_PAIR[do](faults, _text(wish, "node"), _text(wish, "other"))
    elif do == "delay":
        faults.delay(_text(wish, "node"), _number(wish, "amount_ms"))
    elif do == "restarts":
        faults.restarts = _flag(wish, "on")
    elif do == "heal":
        await demo.heal()
    else:
        raise invalid("do", f"no such fault: {do[:100]!r}")


async def schedule(demo: Demo, wish: Wish) -> None:
    """Start a schedule (`seed`, `rough`), or stop the one that runs."""
    do = _text(wish, "do")
    if do == "start":
        await demo.nemesis.start(_number(wish, "seed"), rough=_flag(wish, "rough"))
    elif do == "stop":
        await demo.nemesis.stop()
    else:
        raise invalid("do", "start or stop")


async def load(demo: Demo, wish: Wish) -> None:
    """Have `rate` shoppers come each second."""
    demo.load.set_rate(_number(wish, "rate"))


def _text(wish: Wish, name: str) -> str:
    value = wish.get(name)
    if not isinstance(value, str):
        raise invalid(name, "must be a string")
    return value


def _number(wish: Wish, name: str) -> int:
    value = wish.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise invalid(name, "must be a whole number")
    return value


def _flag(wish: Wish, name: str) -> bool:
    value = wish.get(name)
    if not isinstance(value, bool):
        raise invalid(name, "must be true or false")
    return value
