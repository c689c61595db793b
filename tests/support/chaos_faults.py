"""What can go wrong in a chaos run: each fault as something to begin and something to heal.

Law: a plan is drawn from the seed alone; what it does, and when, is noted by the nemesis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.support.chaos_disks import Disks
from tests.support.chaos_network import Network
from tests.support.chaos_shop import BACKUP, CATALOGS, FRONTENDS, ORDERS, ChaosShop

LINKS = [
    *((f, c) for f in FRONTENDS for c in CATALOGS), *((f, o) for f in FRONTENDS for o in ORDERS),
    *((o, c) for o in ORDERS for c in CATALOGS), CATALOGS, CATALOGS, CATALOGS,
    *((f, CATALOGS[0]) for f in FRONTENDS for _ in range(2)),
]  # fmt: skip
BACKUP_LINKS = [(name, BACKUP) for name in CATALOGS for _ in range(3)]
CLOCK_HOLD_S = 1.0  # libfaketime looks into its file that often
JUMPS_S = (1, 30, 3_600, 86_400, 400 * 86_400)


@dataclass(frozen=True)
class Plan:
    """One fault. `whole_first`: begin it only while both of each pair hold everything."""

    kind: str
    nodes: tuple[str, ...]  # whom it hits
    hold_s: float
    begin: Callable[[], object]
    heal: Callable[[], object]
    whole_first: bool = False
    alone: bool = False  # nothing else at the same time


@dataclass(frozen=True)
class World:
    """What faults work on. `lost_disk` is told of a catalog that comes back with nothing."""

    shop: ChaosShop
    network: Network
    disks: Disks
    lost_disk: Callable[[str], object]

    @property
    def keepers(self) -> tuple[str, ...]:
        """Return those who keep data, the catalogs twice."""
        return (*CATALOGS, *(name for name in self.shop.nodes if name not in FRONTENDS))


def _kill(world: World, random: Random) -> Plan:
    node, shop = random.choice(world.shop.nodes), world.shop
    hold_s = random.choice((0.05, 0.4, 1.2))
    return Plan("kill -9", (node,), hold_s, lambda: shop.kill(node), lambda: shop.start(node))


def _kill_leader(world: World, random: Random) -> Plan:
    """The first catalog leads for ever while there is no backup; with one, either may."""
    shop = world.shop
    node = random.choice(CATALOGS) if BACKUP in shop.nodes else CATALOGS[0]
    hold_s = random.choice((0.0, 0.3, 1.2))
    return Plan("kill -9", (node,), hold_s, lambda: shop.kill(node), lambda: shop.start(node))


def _kill_several(world: World, random: Random) -> Plan:
    shop = world.shop
    pairs = (CATALOGS, CATALOGS, ORDERS, FRONTENDS, (CATALOGS[0], ORDERS[0]), shop.nodes)
    nodes = random.choice(pairs)
    back = random.sample(nodes, len(nodes))
    return Plan(
        "kill -9 of several", nodes, random.choice((0.0, 0.5)),
        lambda: shop.kill(*nodes), lambda: shop.start(*back), alone=True,
    )  # fmt: skip


def _restart(world: World, random: Random) -> Plan:
    node, shop = random.choice(world.shop.nodes), world.shop
    return Plan("SIGTERM", (node,), 0.0, lambda: shop.terminate(node), lambda: shop.start(node))


def _pause(world: World, random: Random) -> Plan:
    node, shop = random.choice(world.shop.nodes), world.shop
    longer = random.random() < 0.5
    hold_s = shop.lease_s * (random.uniform(1.3, 2.5) if longer else random.uniform(0.2, 0.8))
    kind = f"SIGSTOP, {'longer' if longer else 'shorter'} than a lease"
    return Plan(kind, (node,), hold_s, lambda: shop.pause(node), lambda: shop.resume(node))


def _cut(world: World, random: Random) -> Plan:
    links = [*LINKS, *BACKUP_LINKS] if BACKUP in world.shop.nodes else LINKS
    one, other = random.sample(random.choice(links), 2)
    both = random.random() < 0.5
    ways = [(one, other), (other, one)] if both else [(one, other)]
    kind = "link cut, both ways" if both else "link cut, one way"
    return Plan(kind, (one, other), random.uniform(0.4, 2.5), *_cutting(world, ways))


def _isolate(world: World, random: Random) -> Plan:
    nodes = world.shop.nodes
    node = random.choice(nodes)
    others = [other for other in nodes if other != node]
    ways = [way for other in others for way in ((node, other), (other, node))]
    return Plan("node cut off", (node,), random.uniform(0.5, 2.5), *_cutting(world, ways))


def _cutting(
    world: World, ways: list[tuple[str, str]]
) -> tuple[Callable[[], object], Callable[[], object]]:
    def begin() -> None:
        for way in ways:
            world.network.cut(*way)

    def heal() -> None:
        for way in ways:
            world.network.heal(*way)

    return begin, heal


def _fill_disk(world: World, random: Random) -> Plan:
    """Half of the time the node is restarted on the full disk: else there may be room in its
    journal, which it overwrites again and again.
    """
    node, shop = random.choice(world.keepers), world.shop
    restarted = random.random() < 0.5

    def begin() -> None:
        shop.disk_hurts(node, now_full=True)
        if restarted:
            shop.terminate(node)
        world.disks.fill(node)
        if restarted:
            shop.start(node)

    def heal() -> None:
        world.disks.free(node)
        shop.disk_hurts(node, now_full=False)

    kind = "disk full, restarted" if restarted else "disk full"
    return Plan(kind, (node,), random.uniform(0.8, 2.5), begin, heal)


def _lose_disk(world: World, random: Random) -> Plan:
    node, shop = random.choice(world.keepers), world.shop

    def begin() -> None:
        shop.kill(node)
        world.disks.empty(node)
        if node in CATALOGS:
            world.lost_disk(node)

    return Plan(
        "disk lost", (node,), random.choice((0.0, 0.5)), begin, lambda: shop.start(node),
        whole_first=True, alone=True,
    )  # fmt: skip


def _jump(world: World, random: Random) -> Plan:
    node = random.choice(world.shop.nodes)
    seconds = random.choice(JUMPS_S) * random.choice((-1, 1))
    return Plan(
        "wall clock jump", (node,), CLOCK_HOLD_S,
        lambda: world.shop.clocks.shift(node, seconds), lambda: None,
    )  # fmt: skip


KINDS: dict[Callable[[World, Random], Plan], int] = {
    _kill: 24, _kill_leader: 8, _kill_several: 8, _restart: 6, _pause: 18, _cut: 18, _isolate: 5,
    _fill_disk: 7, _lose_disk: 7, _jump: 7,
}  # fmt: skip


def draw(world: World, random: Random) -> Plan:
    """Return the next fault."""
    kinds = {
        kind: weight for kind, weight in KINDS.items() if world.shop.clocks_shift or kind != _jump
    }
    (kind,) = random.choices(list(kinds), list(kinds.values()))
    return kind(world, random)
