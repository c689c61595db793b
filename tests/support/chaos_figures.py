"""The figures of a chaos run: what was asked, what went wrong, how long it was felt. PURE."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.support.chaos_history import ANSWERED, READS, WRITES, Call, History, unavailable_s
from tests.support.chaos_nemesis import Fault

READS_PATIENCE_S, WRITES_PATIENCE_S = 0.5, 1.0  # gaps this long are ordinary under this load
AMBIGUOUS = ("outcome-unknown", "in-progress", "no-answer")


@dataclass(frozen=True)
class Felt:
    """What clients felt of one fault, until the next one began; None: others were in the way."""

    reads_away_s: float | None
    writes_away_s: float | None
    reads_back_s: float | None  # from healing to the first answer to a call begun after it
    writes_back_s: float | None


def felt(fault: Fault, history: History) -> Felt:
    """Return what clients felt of a fault."""
    if not fault.fresh:
        return Felt(None, None, None, None)
    end = max(fault.next_began, fault.healed)
    return Felt(
        unavailable_s(history.ends(READS), fault.began, end, READS_PATIENCE_S),
        unavailable_s(history.ends(WRITES), fault.began, end, WRITES_PATIENCE_S),
        back_s(history.calls, fault, READS),
        back_s(history.calls, fault, WRITES),
    )


def back_s(calls: Sequence[Call], fault: Fault, kinds: tuple[str, ...]) -> float | None:
    """Return how long after healing a call begun after it was answered; None: not before the next
    fault began.
    """
    ends = [
        call.ended
        for call in calls
        if call.called >= fault.healed and call.kind in kinds and call.answer in ANSWERED
    ]
    first = min(ends, default=None)
    return None if first is None or first > fault.next_began else first - fault.healed


def by_kind(faults: Sequence[Fault], history: History) -> dict[str, dict[str, Any]]:
    """Return kind of fault -> how often, and medians and maxima of what was felt."""
    found: dict[str, dict[str, Any]] = {}
    for kind in sorted({fault.kind for fault in faults}):
        mine = [felt(fault, history) for fault in faults if fault.kind == kind]
        found[kind] = {
            "count": len(mine),
            **_spread("reads_away_s", [one.reads_away_s for one in mine]),
            **_spread("writes_away_s", [one.writes_away_s for one in mine]),
            **_spread("reads_back_s", [one.reads_back_s for one in mine]),
            **_spread("writes_back_s", [one.writes_back_s for one in mine]),
        }
    return found


def _spread(name: str, values: Sequence[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    return {
        f"{name}_median": round(median(known), 2) if known else None,
        f"{name}_max": round(max(known), 2) if known else None,
    }


def too_slow(faults: Sequence[Fault], history: History, limit_s: float) -> list[str]:
    """Name the faults after which it took too long until reads and writes were answered again."""
    found: list[str] = []
    for fault in faults:
        for what, kinds in (("reads", READS), ("writes", WRITES)):
            back = back_s(history.calls, fault, kinds)
            waited = back if back is not None else fault.next_began - fault.healed
            if waited > limit_s:
                hit = ", ".join(fault.nodes)
                found.append(f"{what} were away for {waited:.1f} s after {fault.kind} ({hit})")
    return found


def ambiguous(history: History) -> Counter[str]:
    """Return how many answers to writes left open whether it happened."""
    calls = [call for call in history.calls if call.kind in WRITES]
    return Counter(call.answer for call in calls if call.answer in AMBIGUOUS)
