"""What must always be true of the shop, judged from what its nodes tell. PURE.

Law: "broken" is said only of numbers that belong to one moment; what cannot be compared now is
"open", and the text says why.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

HOLDS, OPEN, BROKEN = "holds", "open", "broken"
SUMS = ("books", "received", "left", "orders")

Told = Mapping[str, Mapping[str, Any]]  # node -> what it tells; who says nothing is left out


@dataclass(frozen=True)
class Verdict:
    """One invariant: its state, why in a sentence, and the numbers by node."""

    name: str
    state: str
    text: str
    numbers: list[dict[str, Any]] = field(default_factory=list)


def stock_conserved(names: Iterable[str], totals: Told) -> Verdict:
    """Copies received are sold or left, at each catalog in its own snapshot."""
    numbers, broken, counting = [], [], []
    for name, told in totals.items():
        numbers.append({"node": name} | {key: told[key] for key in ("received", "sold", "left")})
        if told["counted"] < told["orders"]:
            counting.append(f"{name} has counted {told['counted']:,} of {told['orders']:,} orders")
            continue
        extra = told["sold"] + told["left"] - told["received"]
        if extra:
            what = f"{abs(extra):,} {'too many' if extra > 0 else 'missing'}"
            broken.append(f"{name}: {_sum_of(told)}: {what}")
    name = "stock"
    if broken:
        return Verdict(name, BROKEN, "; ".join(broken), numbers)
    if counting or not totals:
        return Verdict(name, OPEN, "; ".join(counting) or "no catalog answers", numbers)
    silent = _silent(names, totals)
    newest = max(totals.values(), key=lambda told: told["position"])
    return Verdict(name, HOLDS, f"{_sum_of(newest)}{silent}", numbers)


def _sum_of(told: Mapping[str, Any]) -> str:
    return f"{told['received']:,} copies received, {told['sold']:,} sold and {told['left']:,} left"


def _silent(names: Iterable[str], told: Told) -> str:
    silent = [name for name in names if name not in told]
    return f" ({', '.join(silent)} cannot be asked)" if silent else ""


def catalogs_equal(names: Iterable[str], totals: Told, rows: Told) -> Verdict:
    """Both catalogs have one history, and in the same position the same rows."""
    name = "catalogs"
    numbers = [
        {"node": node, "position": told["position"]} | {key: told[key] for key in SUMS}
        for node, told in totals.items()
    ]
    if len(totals) < 2:
        return Verdict(name, OPEN, f"not comparable now{_silent(names, totals)}", numbers)
    (one, here), (other, there) = sorted(totals.items(), key=lambda item: -item[1]["position"][1])
    shared = _shared_history(here, there)
    differs = [seq for seq, same in shared.items() if not same]
    if differs:
        text = f"{one} and {other} hold different entries from {min(differs)} on"
        return Verdict(name, BROKEN, text, numbers)
    difference = _difference(one, here, other, there) or _rows_difference(rows)
    if difference:
        return Verdict(name, BROKEN, difference, numbers)
    behind = here["position"][1] - there["position"][1]
    if behind:
        known = f"; up to entry {max(shared)} their history is the same" if shared else ""
        text = f"not comparable now: {other} is behind by {behind:,}{known}"
        return Verdict(name, OPEN, text, numbers)
    text = f"the same history and sums at {_position(here['position'])}{_rows_said(rows)}"
    return Verdict(name, HOLDS, text, numbers)


def _shared_history(here: Mapping[str, Any], there: Mapping[str, Any]) -> dict[int, bool]:
    """Return entry -> whether both have the same one, of those that both tell of."""
    known = dict(map(tuple, there["history"]))
    return {seq: known[seq] == digest for seq, digest in here["history"] if seq in known}


def _difference(one: str, here: Mapping[str, Any], other: str, there: Mapping[str, Any]) -> str:
    if here["position"] != there["position"]:
        return ""
    found = [f"{key} {here[key]:,} and {there[key]:,}" for key in SUMS if here[key] != there[key]]
    at = _position(here["position"])
    return f"{one} and {other} differ at {at}: {', '.join(found)}" if found else ""


def _rows_difference(rows: Told) -> str:
    if not _same_moment(rows) or len({told["digest"] for told in rows.values()}) == 1:
        return ""
    at = _position(next(iter(rows.values()))["position"])
    return f"rows of {' and '.join(rows)} differ at {at}"


def _same_moment(rows: Told) -> bool:
    positions = {tuple(told["position"]) for told in rows.values()}
    return len(rows) > 1 and len(positions) == 1


def _rows_said(rows: Told) -> str:
    if not _same_moment(rows):
        return "; their rows have not been read at one position yet"
    return f"; every row the same at {_position(next(iter(rows.values()))['position'])}"


def _position(position: Iterable[int]) -> str:
    return ":".join(map(str, position))


def orders_equal(
    catalogs: Collection[str], logs: Collection[str], ends: Mapping[str, int], ledgers: Told
) -> Verdict:
    """Every order of the ledger stands in both order logs as it stands in the ledger. `ends` are
    the orders that each node has; `ledgers` the digests of as many as all of them have.
    """
    name, longest = "orders", max(ends.values(), default=0)
    numbers = [
        {"node": node, "orders": ends.get(node), "compared": told["upto"], "digest": told["digest"]}
        for node, told in ledgers.items()
    ]
    least = min((told["upto"] for told in ledgers.values()), default=0)
    most = max((told["upto"] for told in ledgers.values()), default=0)
    alike = [told["digest"] for told in ledgers.values() if told["upto"] == most]
    if len(set(alike)) > 1:
        text = f"{_odd_ones(ledgers, most)} in the first {most:,} orders"
        return Verdict(name, BROKEN, text, numbers)
    if least < most:
        return Verdict(name, OPEN, f"{least:,} of {most:,} orders have been read so far", numbers)
    silent = _silent([*catalogs, *logs], ledgers)
    if set(logs) - set(ledgers) or not set(catalogs) & set(ledgers):
        return Verdict(name, OPEN, f"{most:,} orders, the same where they are{silent}", numbers)
    behind = [(node, longest - end) for node, end in ends.items() if end < longest]
    said = [f"{node} is behind by {missing:,}" for node, missing in behind]
    text = "; ".join([f"{most:,} orders, the same everywhere{silent}", *said])
    return Verdict(name, HOLDS, text, numbers)


def _odd_ones(ledgers: Told, upto: int) -> str:
    """Return who differs from the others; without a majority nobody knows who is right."""
    by_digest: dict[str, list[str]] = {}
    for node, told in ledgers.items():
        if told["upto"] == upto:
            by_digest.setdefault(told["digest"], []).append(node)
    groups = sorted(by_digest.values(), key=len)
    if len(groups[-1]) == len(groups[-2]):
        return f"{' and '.join(node for group in groups for node in group)} differ"
    odd = [node for group in groups[:-1] for node in group]
    return f"{' and '.join(odd)} differ{'' if odd[1:] else 's'} from the others"
