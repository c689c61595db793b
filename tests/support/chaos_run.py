"""One chaos run from the first node's start to the verdict, on a network that is already there.

Law: whatever happens, what it knows by then is returned, and everything it started has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from time import monotonic

from tests.support.auditor import Auditor
from tests.support.chaos_check import (
    check_copies,
    check_decided,
    check_files,
    check_histories,
)
from tests.support.chaos_disks import Disks
from tests.support.chaos_faults import World
from tests.support.chaos_figures import too_slow
from tests.support.chaos_history import History
from tests.support.chaos_load import BOOKS, Load, seed_csv
from tests.support.chaos_nemesis import Nemesis
from tests.support.chaos_network import Network
from tests.support.chaos_report import Outcome
from tests.support.chaos_shop import FRONTENDS, ChaosShop

LEASE_S = 1.0
CALM_S = 1.5  # of load before the first fault
SETTLE_S = 40.0  # generous: a busy machine is no defect
BACK_S = 15.0  # nothing else may keep reads or writes away longer, once healed
AGAIN = 40  # writes asked for again at the end

Watch = Callable[[Nemesis, History, Auditor], None]


def run(
    folder: Path, network: Network, disks: Disks, *,
    seed: int, seconds: float, backup: bool, watch: Watch,
) -> Outcome:  # fmt: skip
    """Run the shop under load and faults, settle, and check everything."""
    history = History()
    shop = ChaosShop(folder, network, seed=seed_csv(), lease_s=LEASE_S, backup=backup)
    outcome = Outcome(seed, LEASE_S, monotonic(), monotonic(), history, clocks=shop.clocks_shift)
    auditor = shop.auditor()
    with auditor, shop:
        world = World(shop, network, disks, auditor.lost_its_disk)
        nemesis = Nemesis(world, history, Random(seed), lambda: watch(nemesis, history, auditor))
        try:
            _break(outcome, shop, nemesis, seconds)
        finally:
            _note(outcome, shop, nemesis, auditor)
    return outcome


def _note(outcome: Outcome, shop: ChaosShop, nemesis: Nemesis, auditor: Auditor) -> None:
    outcome.faults, outcome.skipped = nemesis.faults, nemesis.skipped
    outcome.signals, outcome.self_ends = shop.signals, shop.self_ends
    outcome.auditor = auditor.figures()
    outcome.violations = [*outcome.history.violations, *auditor.violations, *outcome.violations]
    outcome.violations += [
        f"{end.node} ended by itself with code {end.code}" for end in shop.self_ends if not end.disk
    ]


def _break(outcome: Outcome, shop: ChaosShop, nemesis: Nemesis, seconds: float) -> None:
    """Load, faults, healing, checks: in this order."""
    history, found = outcome.history, outcome.violations
    load = Load(shop, history, outcome.seed)
    outcome.began = monotonic()
    try:
        with load:
            with suppress(KeyboardInterrupt):  # enough is broken: what was done is checked
                nemesis.calm(CALM_S)
                nemesis.run(outcome.began + seconds)
            outcome.ended = monotonic()
            outcome.settled_s = round(nemesis.settle(SETTLE_S), 2)
            nemesis.calm(CALM_S)
    except AssertionError as error:
        found.append(str(error))
        return
    _last_looks(load, history, outcome.seed)
    began = monotonic()
    found += too_slow(outcome.faults, history, BACK_S)
    found += check_decided(history)
    found += check_histories(history)
    found += check_copies(shop, history)
    found += _end(shop)
    found += check_files(shop, history)
    outcome.checked_s = monotonic() - began


def _last_looks(load: Load, history: History, seed: int) -> None:
    """Look at everything once more, fresh and from the cache; ask for some writes again."""
    for book in range(1, BOOKS + 1):
        for frontend in (*FRONTENDS, *FRONTENDS):
            load.look(book, frontend, "end")
    decided = [write for write in history.writes if write.answer is not None]
    for write in Random(seed).sample(decided, min(AGAIN, len(decided))):
        load.send(write, FRONTENDS[seed % len(FRONTENDS)])


def _end(shop: ChaosShop) -> list[str]:
    """SIGTERM every node, catalogs last; each must end well."""
    codes = {name: shop.terminate(name) for name in reversed(shop.nodes)}
    return [f"{name} ended with code {code} on SIGTERM" for name, code in codes.items() if code]
