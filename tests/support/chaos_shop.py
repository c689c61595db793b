"""The shop of a chaos run: every node in a namespace and on a disk of its own, its clock shiftable.

Law: a node that ends by itself is noticed and started again, as under `make run`; only after its
disk was full may it have ended at all.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common.config import load_cluster
from common.peer import RequestsHttp
from tests.support.auditor import Auditor
from tests.support.chaos_clocks import Clocks, forget_clock_of
from tests.support.chaos_disks import Disks
from tests.support.chaos_launch import faketime_library
from tests.support.chaos_network import NAMESPACES, PORT, Network, namespace_of
from tests.support.processes import Process
from tests.support.real import RealShop

FRONTENDS, CATALOGS = ("frontend-1", "frontend-2"), ("catalog-1", "catalog-2")
ORDERS, AUDITOR, BACKUP = ("order-1", "order-2"), "auditor", "backup"
FIVE = (*CATALOGS, *ORDERS, *FRONTENDS)  # and a second frontend
SIX = (*FIVE, BACKUP)
LAUNCH = Path(__file__).with_name("chaos_launch.py")
KEEPER_S = 1.0  # how long a node that ended by itself stays down
DISK_ERRORS_S = 8.0  # so long after its disk was full a node may still end because of that


@dataclass(frozen=True)
class SelfEnd:
    """A node that ended without having been killed."""

    at: float
    node: str
    code: int
    disk: bool  # its disk was full then, or had just been


class ChaosShop(RealShop):
    """A `RealShop` on a network of its own."""

    def __init__(
        self, folder: Path, network: Network, *, seed: str, lease_s: float, backup: bool
    ) -> None:
        super().__init__(
            folder, seed=seed, frontends=len(FRONTENDS), lease_s=lease_s, backup=backup
        )
        self.nodes = SIX if backup else FIVE
        self.network = network
        self.config.write_text(_cluster_env(folder, network, lease_s, backup), "utf-8")
        self.settings = load_cluster(self.config)
        self.clocks = Clocks(folder)
        self.clocks_shift = faketime_library() is not None
        self.self_ends: list[SelfEnd] = []
        self.signals: Counter[str] = Counter()
        self._down: set[str] = set()  # meant to be
        self._dead_since: dict[str, float] = {}
        self._disk_hurt_until: dict[str, float] = {}

    def auditor(self) -> Auditor:
        """Return the subscriber that the configuration names, yet to be started."""
        settings = self.settings
        return Auditor(
            AUDITOR, self.network.address(AUDITOR), PORT, settings.catalogs,
            settings.cluster_secret, RequestsHttp(),
        )  # fmt: skip

    # --- processes ---

    def start(self, *names: str) -> None:
        """Start nodes, each where it lives."""
        for name in names:
            clock = self.clocks.file(name)
            where = str(NAMESPACES / namespace_of(name))
            arguments = ["-E", "-S", str(LAUNCH), where, str(os.getpid()), str(clock)]
            node = [sys.executable, "-m", self.module(name), "--node", name]
            arguments += [*node, "--config", str(self.config)]
            self.processes[name] = Process(arguments, self.folder / f"{name}.log")
            self.clocks.started(self.processes[name].popen.pid)
            self._down.discard(name)
            self._dead_since.pop(name, None)

    def kill(self, *names: str) -> None:
        """kill -9, until they are started again."""
        self._down.update(names)
        self.signals["kill -9"] += len(set(names) & set(self.alive()))
        super().kill(*names)
        for name in names:
            forget_clock_of(self.processes[name].popen.pid)

    def terminate(self, name: str) -> int:
        """SIGTERM a node, until it is started again; return its exit code."""
        self._down.add(name)
        self.signals["SIGTERM"] += 1
        code = super().terminate(name)
        forget_clock_of(self.processes[name].popen.pid)
        return code

    def pause(self, name: str) -> None:
        """SIGSTOP a node."""
        self.signals["SIGSTOP"] += 1
        super().pause(name)

    def disk_hurts(self, name: str, *, now_full: bool) -> None:
        """Note that a node's disk is full, or no longer is."""
        until = float("inf") if now_full else time.monotonic() + DISK_ERRORS_S
        self._disk_hurt_until[name] = until

    def tend(self) -> None:
        """Notice nodes that ended by themselves; start them again after a while."""
        now = time.monotonic()
        for name, process in self.processes.items():
            code = process.popen.poll()
            if code is None or name in self._down:
                continue
            if name not in self._dead_since:
                self._dead_since[name] = now
                hurt = self._disk_hurt_until.get(name, 0.0) >= now
                self.self_ends.append(SelfEnd(now, name, code, hurt))
                forget_clock_of(process.popen.pid)
            elif now - self._dead_since[name] >= KEEPER_S:
                self.start(name)

    def start_all(self) -> None:
        """Start whatever does not run, wake whatever sleeps."""
        for name in self.nodes:
            if name in self.alive():
                self.resume(name)
            else:
                self.start(name)

    def close(self) -> None:
        """End every process, by force."""
        super().close()
        for process in self.processes.values():
            forget_clock_of(process.popen.pid)


def disks_of(folder: Path, nodes: Iterable[str], seconds: float) -> Disks:
    """Return disks for those that keep data, large enough for a run of that length."""
    keepers = tuple(name for name in nodes if name not in FRONTENDS)
    return Disks(folder / "data", keepers, size_mib=48 + int(seconds / 10))


def _cluster_env(folder: Path, network: Network, lease_s: float, backup: bool) -> str:
    def nodes(*names: str) -> str:
        return " ".join(f"{name}={network.url(name)}" for name in names)

    return "".join([
        f'FRONTENDS="{nodes(*FRONTENDS, AUDITOR)}"\n', f'CATALOGS="{nodes(*CATALOGS)}"\n',
        f'ORDERS="{nodes(*ORDERS)}"\n', f'BACKUP="{nodes(BACKUP) if backup else ""}"\n',
        f'DATA_DIR="{folder / "data"}"\n',
        "CLUSTER_SECRET=\n", "ADMIN_TOKEN=\n", "CACHE_CAPACITY=1024\n",
        f"CACHE_LEASE_S={lease_s}\n",
    ])  # fmt: skip
