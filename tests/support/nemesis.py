"""What goes wrong in a simulated run, drawn from its seed; and one whole run from founding to the final check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.support.cluster import Cluster
from tests.support.network import Weather
from tests.support.shop import Shop, write_seed

STORM = Weather(delay_s=(0.0002, 0.02), lost=0.03, reply_lost=0.03, repeated=0.05, held_back=0.03)
CALM = Weather()
SETTLE_LIMIT_S = 60.0


class Nemesis:
    """Breaks one thing after another, and mends it."""

    def __init__(self, cluster: Cluster, random: Random) -> None:
        self._cluster = cluster
        self._random = random
        self.faults: Counter[str] = Counter()

    def torment(self, rounds: int) -> None:
        """Do some rounds of damage (a job of the scheduler)."""
        acts: list[Callable[[], None]] = [
            self._crash, self._crash, self._crash_both, self._stop, self._cut, self._storm,
        ]  # fmt: skip
        for _ in range(rounds):
            self._pause(0.05, 1.0)
            act = self._random.choice(acts)
            self.faults[act.__name__.strip("_")] += 1
            act()

    def mend(self) -> None:
        """Heal the network and start whatever is dead."""
        self._cluster.heal()
        self._cluster.network.weather = CALM
        for names in self._cluster.names.values():
            for name in names:
                if name not in self._cluster.running:
                    self._cluster.start(name)

    def _pause(self, low: float, high: float) -> None:
        self._cluster.scheduler.sleep(self._random.uniform(low, high))

    def _any(self) -> str:
        names = self._cluster.names
        every = [*names["catalog"] * 3, *names["order"], *names["frontend"]]
        return self._random.choice([name for name in every if name in self._cluster.running] or every)

    def _crash(self) -> None:
        name = self._any()
        self._cluster.kill(name)
        self._pause(0.0, 3.0)
        if name not in self._cluster.running:
            self._cluster.start(name)

    def _crash_both(self) -> None:
        names = self._cluster.names["catalog"]
        for name in self._random.sample(names, 2):
            self._cluster.kill(name)
            self._pause(0.0, 0.3)
        for name in self._random.sample(names, 2):
            self._pause(0.0, 1.0)
            self._cluster.start(name)

    def _stop(self) -> None:
        name = self._any()
        if name in self._cluster.running:
            self._cluster.stop_for(name, self._random.uniform(0.2, 4.0))

    def _cut(self) -> None:
        every = [name for names in self._cluster.names.values() for name in names]
        one, other = self._random.sample(every, 2)
        self._cluster.cut(one, other, both=self._random.random() < 0.6)
        self._pause(0.2, 3.0)
        self._cluster.heal()

    def _storm(self) -> None:
        self._cluster.network.weather = STORM
        self._cluster.scheduler.note("storm")
        self._pause(0.5, 2.0)
        self._cluster.network.weather = CALM
        self._cluster.scheduler.note("calm")


@dataclass(frozen=True)
class Run:
    """A schedule that violated nothing."""

    shop: Shop
    faults: Counter[str]


def run_schedule(
    folder: Path, seed: int, *, frontends: int = 2, clients: int = 3, calls: int = 14, rounds: int = 4
) -> Run:
    """Run one seeded schedule and check it; the failure carries the seed and what happened."""
    random = Random(seed)
    cluster = Cluster(folder, seed, frontends=frontends, seed_file=write_seed(folder))
    shop = Shop(cluster, random)
    try:
        cluster.start()
        cluster.run(cluster.ready, 10)
        nemesis = Nemesis(cluster, Random(seed + 1))
        jobs = [
            cluster.client(f"client-{number}", lambda by=f"client-{number}": shop.shop(by, calls))  # type: ignore[misc]
            for number in range(1, clients + 1)
        ]
        jobs.append(cluster.client("nemesis", lambda: nemesis.torment(rounds)))
        cluster.run(lambda: all(job.done for job in jobs), 300)
        nemesis.mend()
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
