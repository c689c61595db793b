"""Writes what a chaos run came to: chaos.json for machines, chaos.md and a picture for people."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.support.chaos_figures import (
    READS_PATIENCE_S,
    WRITES_PATIENCE_S,
    ambiguous,
    by_kind,
    felt,
)
from tests.support.chaos_history import READS, WRITES, History
from tests.support.chaos_nemesis import Fault
from tests.support.chaos_shop import SelfEnd

PLOT = "chaos"


@dataclass
class Outcome:
    """All that is known of a run when it is over."""

    seed: int
    lease_s: float
    began: float
    ended: float  # of the faults; settling and checking come after
    history: History
    faults: list[Fault] = field(default_factory=list)
    signals: Counter[str] = field(default_factory=Counter)
    self_ends: list[SelfEnd] = field(default_factory=list)
    skipped: int = 0
    settled_s: float | None = None
    checked_s: float = 0.0
    auditor: Mapping[str, int] = field(default_factory=dict)
    clocks: bool = True
    violations: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """Return the verdict in one word."""
        return "violated" if self.violations else "ok"


def document(outcome: Outcome) -> dict[str, Any]:
    """Return chaos.json."""
    history, began = outcome.history, outcome.began
    faults = [
        asdict(fault)
        | asdict(felt(fault, history))
        | {
            "began": round(fault.began - began, 3),
            "healed": round(fault.healed - began, 3),
            "next_began": round(fault.next_began - began, 3),
        }
        for fault in outcome.faults
    ]
    return {
        "verdict": outcome.verdict, "violations": outcome.violations, "seed": outcome.seed,
        "seconds": round(outcome.ended - began, 1), "lease_s": outcome.lease_s,
        "operations": {kind: dict(counts) for kind, counts in sorted(history.counts().items())},
        "ambiguous": dict(ambiguous(history)),
        "writes_given_up": sum(write.given_up for write in history.writes),
        "orders": len(history.orders),
        "operations_checked": sum(map(len, history.operations.values())),
        "faults": dict(Counter(fault.kind for fault in outcome.faults)),
        "signals": dict(outcome.signals), "faults_skipped": outcome.skipped,
        "felt": by_kind(outcome.faults, history), "auditor": dict(outcome.auditor),
        "ended_by_themselves": [
            {"node": end.node, "code": end.code, "at": round(end.at - began, 2), "disk": end.disk}
            for end in outcome.self_ends
        ],
        "wall_clocks_faked": outcome.clocks, "settled_s": outcome.settled_s,
        "checked_s": round(outcome.checked_s, 2), "timeline": faults,
    }  # fmt: skip


def write(folder: Path, outcome: Outcome) -> dict[str, Any]:
    """Write the report into a folder; return what chaos.json says."""
    folder.mkdir(parents=True, exist_ok=True)
    found = document(outcome)
    (folder / "chaos.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    _calls(folder / "calls.csv", outcome)
    (folder / "chaos.md").write_text(_markdown(found), "utf-8")
    _plot(folder, outcome, headline(found))
    return found


def _calls(path: Path, outcome: Outcome) -> None:
    """Write every call, for whoever wants to know what happened at some moment."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["called", "ended", "kind", "frontend", "answer", "why"])
        for call in sorted(outcome.history.calls, key=lambda call: call.called):
            times = (round(moment - outcome.began, 3) for moment in (call.called, call.ended))
            rows.writerow([*times, call.kind, call.frontend, call.answer, call.why])


def _plot(folder: Path, outcome: Outcome, title: str) -> None:
    from tests.support.chaos_plot import draw  # matplotlib takes a second: only when it is needed

    draw(folder, outcome.history.calls, outcome.faults, (outcome.began, outcome.ended), title)


def headline(found: Mapping[str, Any]) -> str:
    """Say in a line what the run was and what it came to."""
    faults, kills = sum(found["faults"].values()), found["signals"].get("kill -9", 0)
    wrong = len(found["violations"])
    verdict = f"{wrong} violation{'s' * (wrong != 1)}" if wrong else "no violation"
    return (
        f"{found['seconds']:.0f} s of chaos, seed {found['seed']}: {faults} faults,"
        f" {kills} kill -9, {verdict}"
    )


def _markdown(found: Mapping[str, Any]) -> str:
    parts = [f"# {headline(found)}", "", f"![{PLOT}]({PLOT}.svg)", ""]
    parts += ["## Verdict", "", found["verdict"], ""]
    parts += [f"```\n{violation}\n```" for violation in found["violations"]]
    parts += ["## Operations", "", *_operations(found["operations"]), ""]
    parts += _sentences(found)
    parts += ["", "## Faults", "", *_faults(found["felt"]), ""]
    parts.append(
        "Away: seconds, until the next fault began, in which nobody had been answered for"
        f" {READS_PATIENCE_S} s (reads) or {WRITES_PATIENCE_S:g} s (writes). Back: seconds from"
        " healing to the first answer to a call begun after it. Median / maximum, of faults that"
        " hit a shop that had recovered from the one before; Back if no other one came first."
    )
    return "\n".join(parts) + "\n"


def _operations(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    kinds = [kind for kind in (*READS, *WRITES) if kind in counts]
    answers = sorted({answer for kind in kinds for answer in counts[kind]})
    rows = [[kind, *(str(counts[kind].get(answer, "")) for answer in answers)] for kind in kinds]
    return _table(["call", *answers], rows)


def _sentences(found: Mapping[str, Any]) -> list[str]:
    auditor = found["auditor"]
    ends = found["ended_by_themselves"]
    clocks = "shifted" if found["wall_clocks_faked"] else "NOT shifted (no libfaketime)"
    return [
        f"- ambiguous answers to writes: {sum(found['ambiguous'].values())} ({found['ambiguous']});"
        f" all decided later under their keys",
        f"- given up after refusals only, and found nowhere: {found['writes_given_up']}",
        f"- orders: {found['orders']}; operations in the histories checked:"
        f" {found['operations_checked']}, in {found['checked_s']:g} s",
        f"- auditor: told of {auditor.get('told', 0)} entries, {auditor.get('reads', 0)} reads,"
        f" {auditor.get('comparisons', 0)} comparisons",
        f"- ready after the last healing in {found['settled_s']} s",
        f"- nodes that ended by themselves and were started again: {len(ends)}"
        f" (disk full: {sum(end['disk'] for end in ends)})",
        f"- wall clocks: {clocks}; lease {found['lease_s']:g} s",
    ]  # fmt: skip


def _faults(felt_by_kind: Mapping[str, Mapping[str, Any]]) -> list[str]:
    columns = ("reads_away_s", "writes_away_s", "reads_back_s", "writes_back_s")
    rows = [
        [kind, str(one["count"]), *(_pair(one, column) for column in columns)]
        for kind, one in felt_by_kind.items()
    ]
    heads = ["fault", "times", "reads away", "writes away", "reads back", "writes back"]
    return _table(heads, rows)


def _pair(one: Mapping[str, Any], column: str) -> str:
    middle, most = one[f"{column}_median"], one[f"{column}_max"]
    return "" if middle is None else f"{middle:g} / {most:g}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
