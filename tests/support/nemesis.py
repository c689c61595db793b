"""What goes wrong in a simulated run, drawn from its seed; and one whole run from founding to the
final check.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from common.config import TRACES_PER_S
from common.errors import Problem
from common.peer import PeerDown, Request
from tests.support.cluster import Cluster
from tests.support.disk_nemesis import DRIFT, DiskNemesis
from tests.support.network import Weather
from tests.support.scheduler import Job, Scheduler
from tests.support.shop import Shop, write_seed

STORM = Weather(delay_s=(0.0002, 0.02), lost=0.03, reply_lost=0.03, repeated=0.05, held_back=0.03)
CALM = Weather()
SETTLE_LIMIT_S = 60.0
log = logging.getLogger("bazar")


HOPS = (
    "/replication/prepare", "/replication/commit", "/replication/promise", "/replication/follow",
    "/replication/state", "/internal/invalidate", "/sessions", "/operations", "/sales", "/books/",
    "/search", "/ledger",
)  # fmt: skip
PREPARE, COMMIT = HOPS[:2]


class Story(logging.Handler):
    """Puts the nodes' log lines into the script of their run."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self._scheduler = scheduler

    def emit(self, record: logging.LogRecord) -> None:
        running = self._scheduler.running
        self._scheduler.note(f"    {running.name if running else 'start'}: {record.getMessage()}")


@contextmanager
def told(cluster: Cluster) -> Iterator[None]:
    """Put each message and each log line into the script of a run."""
    cluster.network.telling = True
    story = Story(cluster.scheduler)
    log.addHandler(story)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(story)
        log.setLevel(logging.NOTSET)
        log.propagate = True


class Nemesis:
    """Breaks one thing after another, and mends it; with `operator` somebody gives orders, too."""

    def __init__(self, cluster: Cluster, random: Random, *, operator: bool = False) -> None:
        self._cluster = cluster
        self._random = random
        self.faults: Counter[str] = Counter()
        self._acts: list[Callable[[], None]] = [
            self.crash, self.crash_at_hop, self.crash_at_hop, self.crash_both, self.lone_restarts,
            self.stop, self.cut, self.storm, self.hold, self.hold, self.lose_disk, self.lose_disk,
            *DiskNemesis(cluster, random, self._start_dead).acts,
        ]  # fmt: skip
        self._hops = HOPS
        if operator:
            self._acts += [self.hand_over] * 4 + [self.promote] * (not cluster.backup)
            self._hops += ("/replication/lead",) * 2

    def torment(self, rounds: int) -> None:
        """Do some rounds of damage (a job of the scheduler)."""
        for _ in range(rounds):
            self._pause(0.02, 0.6)
            act = self._random.choice(self._acts)
            self.faults[act.__name__] += 1
            act()

    def mend(self) -> None:
        """Heal the network and start whatever is dead."""
        self._cluster.heal()
        self._cluster.outage.mend()
        self._calm()
        self._start_dead()

    def _calm(self) -> None:
        network = self._cluster.network
        network.weather = CALM
        network.watch = lambda sender, request: None
        network.hold = network.hold_reply = lambda sender, request: 0.0

    def _start_dead(self) -> None:
        for names in self._cluster.names.values():
            for name in names:
                if name not in self._cluster.running:
                    self._cluster.start(name)

    def _pause(self, low: float, high: float) -> None:
        self._cluster.scheduler.sleep(self._random.uniform(low, high))

    def _any(self) -> str:
        names = self._cluster.names
        every = [*names["catalog"] * 3, *names["order"], *names["frontend"], *names["backup"]]
        return self._random.choice(
            [name for name in every if name in self._cluster.running] or every
        )

    def crash(self) -> None:
        """Kill -9 of any node, and its return."""
        self._cluster.kill(self._any())
        self._pause(0.0, 3.0)
        self._start_dead()

    def crash_at_hop(self) -> None:
        """Kill the sender or the receiver of one particular message, before or just after it."""
        self._crash_at_one_of(self._hops)

    def _crash_at_one_of(self, hops: Sequence[str]) -> None:
        hop, after = self._random.choice(hops), self._random.choice((0.0, 0.0, 0.001, 0.004))
        countdown = [self._random.choice((1, 1, 1, 2, 3))]
        sends = self._random.random() < 0.5
        scheduler = self._cluster.scheduler
        told: dict[tuple[str, str], bytes] = {}

        def says_nothing_new(sender: str, request: Request) -> bool:
            way, before = (sender, request.to), told.get((sender, request.to), request.body)
            told[way] = request.body
            return hop == COMMIT and request.body == before  # a heartbeat

        def watch(sender: str, request: Request) -> None:
            if sender == "client" or not request.target.startswith(hop):
                return
            if says_nothing_new(sender, request):
                return
            countdown[0] -= 1
            if countdown[0] == 0:
                victim = sender if sends else request.to
                scheduler.note(f"at {hop} of {sender} to {request.to}:")
                scheduler.at(scheduler.now + after, lambda: self._cluster.kill(victim))
                if not after:
                    scheduler.sleep(0)

        self._cluster.network.watch = watch
        self._pause(0.3, 1.5)
        self._cluster.network.watch = lambda sender, request: None
        self._pause(0.0, 2.0)
        self._start_dead()

    def crash_both(self) -> None:
        """Kill both catalogs, in any order, and start them in any order."""
        names = self._cluster.names["catalog"]
        for name in self._random.sample(names, 2):
            self._cluster.kill(name)
            self._pause(0.0, 0.3)
        for name in self._random.sample(names, 2):
            self._pause(0.0, 1.0)
            self._cluster.start(name)

    def lone_restarts(self) -> None:
        """Kill both catalogs; let each live alone for a while."""
        names = self._cluster.names["catalog"]
        for name in names:
            self._cluster.kill(name)
        for name in self._random.choices(names, k=2):
            self._cluster.start(name)
            self._pause(0.1, 2.0)
            self._cluster.kill(name)
        self._start_dead()

    def stop(self) -> None:
        """SIGSTOP of any node, for shorter or longer than a lease."""
        name = self._any()
        if name in self._cluster.running:
            self._cluster.stop_for(name, self._random.choice((0.3, 1.0, 2.5, 4.0)))

    def cut(self) -> None:
        """Cut a link, both ways or one way."""
        every = [name for names in self._cluster.names.values() for name in names]
        one, other = self._random.sample(every, 2)
        self._cluster.cut(one, other, both=self._random.random() < 0.6)
        self._pause(0.2, 3.0)
        self._cluster.heal()

    def storm(self) -> None:
        """Lose, repeat and hold back any message."""
        self._cluster.network.weather = STORM
        self._cluster.scheduler.note("storm")
        self._pause(0.5, 2.0)
        self._cluster.network.weather = CALM
        self._cluster.scheduler.note("calm")

    def hold(self) -> None:
        """Hold back one kind of message, or its answers, at random."""
        hop, reply = self._random.choice(self._hops), self._random.random() < 0.5
        network, most = self._cluster.network, self._random.choice((0.02, 0.3, 2.0))
        self._cluster.scheduler.note(f"hold {hop} {'answers' if reply else ''} up to {most} s")

        def late(sender: str, request: Request) -> float:
            if sender == "client" or not request.target.startswith(hop):
                return 0.0
            return self._random.uniform(0.0, most) if self._random.random() < 0.7 else 0.0

        if reply:
            network.hold_reply = late
        else:
            network.hold = late
        self._pause(0.5, 2.5)
        network.hold = network.hold_reply = lambda sender, request: 0.0

    def lose_disk(self) -> None:
        """Replace the disk of one node by an empty one, while the other of its pair holds
        everything; half the time somebody else dies before it is back.
        """
        if not self._cluster.ready():
            return
        names = self._cluster.names
        name = self._random.choice([*names["catalog"], *names["order"], *names["backup"] * 3])
        self._cluster.kill(name)
        self._cluster.outage.lose_disk(name)
        if self._random.random() < 0.5:
            self._crash_at_one_of((PREPARE, COMMIT))
        else:
            self._pause(0.0, 1.0)
        self._start_dead()
        self._cluster.scheduler.sleep(3.0)

    def hand_over(self) -> None:
        """Ask for a planned change of leader, and break something else meanwhile."""
        name = self._random.choice(self._cluster.names["catalog"])
        self._cluster.client("operator", lambda: self._order(name, "/replication/handover"))

    def promote(self) -> None:
        """Lose the leader of a pair for good, promote the other one, and start an empty one."""
        if not self._cluster.ready():
            return
        nodes = {name: self._cluster.node(name) for name in self._cluster.names["catalog"]}
        lost = next(name for name, node in nodes.items() if node.leads)
        left = next(name for name in nodes if name != lost)
        self._cluster.kill(lost)
        self._cluster.outage.lose_disk(lost)
        self._pause(0.0, 0.5)
        self._order(left, "/replication/promotion")
        self._pause(0.0, 1.0)
        self._cluster.start(lost)
        self._cluster.scheduler.sleep(3.0)

    def _order(self, name: str, what: str) -> None:
        with suppress(PeerDown, Problem):
            self._cluster.peer(name).call("POST", what, document={}, timeout_s=4)


@dataclass(frozen=True)
class Run:
    """A schedule that violated nothing."""

    shop: Shop
    faults: Counter[str]


def run_schedule(
    folder: Path,
    seed: int,
    *,
    frontends: int = 2,
    clients: int = 3,
    calls: int = 12,
    rounds: int = 3,
    backup: bool = False,
    telling: bool = False,
) -> Run:
    """Run one seeded schedule and check it; the failure carries the seed and what happened, with
    each message and each line of the nodes' logs when `telling`.
    """
    cluster = Cluster(
        folder, seed, frontends=frontends, seed_file=write_seed(folder),
        drift=DRIFT, tight=seed % 3 == 0, backup=backup,
        traces_per_s=TRACES_PER_S if seed % 5 == 0 else 0.0,  # a tenth of a schedule's time
    )  # fmt: skip
    shop = Shop(cluster, Random(seed))
    with told(cluster) if telling else nullcontext():
        return _run(cluster, shop, seed, clients=clients, calls=calls, rounds=rounds)


def _over(jobs: list[Job]) -> bool:
    """Tell whether all are done; asked before each step, so those that are done are dropped."""
    while jobs and jobs[-1].done:
        jobs.pop()
    return not jobs


def _run(cluster: Cluster, shop: Shop, seed: int, *, clients: int, calls: int, rounds: int) -> Run:
    try:
        cluster.start()
        cluster.run(cluster.ready, 10)
        nemesis = Nemesis(cluster, Random(seed + 1), operator=seed % 5 == 0)
        jobs = [
            cluster.client(f"client-{number}", lambda by=f"client-{number}": shop.shop(by, calls))  # type: ignore[misc]
            for number in range(1, clients + 1)
        ]
        over: list[bool] = []
        readers = [
            cluster.client(f"reader-{number}", lambda number=number: shop.watch(number, over))  # type: ignore[misc]
            for number in range(1, 3)
        ]
        jobs.append(cluster.client("nemesis", lambda: nemesis.torment(rounds)))
        cluster.run(lambda: _over(jobs), 300)
        over.append(True)
        cluster.run(lambda: _over(readers), 30)
        nemesis.mend()
        cluster.run_until_all_are_awake()
        cluster.run(cluster.ready, SETTLE_LIMIT_S)
        cluster.do(shop.settle, SETTLE_LIMIT_S)
        cluster.run_for(1.0)
        shop.check()
        return Run(shop, nemesis.faults)
    except AssertionError as error:
        script = "\n".join(cluster.scheduler.script)
        raise AssertionError(f"seed {seed}: {error}\n--- what happened ---\n{script}") from error
    finally:
        cluster.close()
