"""A whole Bazar in one process: real routes, real SQLite files, a pretend network, a fake clock,
one seed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import catalog.app
import catalog.backup
import frontend.app
import order.app
from common.auth import Signer
from common.config import TRACES_PER_S, Settings
from common.peer import Peer, Request, Response
from common.service import Service, service_of
from tests.support.disk import Disk, Disks
from tests.support.keeper import Keeper
from tests.support.network import Network
from tests.support.outage import Outage
from tests.support.scheduler import Scheduler, SimClock, SimTasks

SECRET, TOKEN = "s" * 40, "t" * 40
TIGHT_PAGES = 8
CREATE: dict[str, Callable[..., Any]] = {
    "frontend": frontend.app.create_app,
    "catalog": catalog.app.create_app,
    "order": order.app.create_app,
    "backup": catalog.backup.create_app,
}  # fmt: skip


@dataclass
class Running:
    """One incarnation of a node."""

    service: Service
    owner: object


@dataclass
class Cluster:
    """Nodes that can be started, killed, stopped and cut off."""

    folder: Path
    seed: int = 0
    frontends: int = 1
    seed_file: Path | None = None
    cache_capacity: int = 64
    lease_s: float = 2.0
    drift: float = 0.0  # how far each clock's rate may be from 1
    backup: bool = False  # with the backup server
    traces_per_s: float = TRACES_PER_S
    tight: bool = False  # tiny caches and checkpoints: SQLite writes where it seldom would
    running: dict[str, Running] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self.seed)
        self.network = Network(self.scheduler)
        self._random = Random(self.seed)
        self.disks = Disks(self.folder, self.seed, TIGHT_PAGES if self.tight else None)
        self.outage = Outage(self)
        self._keeper = Keeper(
            self.scheduler, Random(self.seed), dying=self.network.mute, end=self._end,
            start=self._start_unless_running,
        )  # fmt: skip
        self.scheduler.failed = self._keeper.failed
        self.clocks: dict[str, SimClock] = {}
        self.names = {
            "frontend": [f"frontend-{number + 1}" for number in range(self.frontends)],
            "catalog": ["catalog-1", "catalog-2"],
            "order": ["order-1", "order-2"],
            "backup": ["backup"] if self.backup else [],
        }
        for role in self.names:
            for name in self.names[role]:
                offset = self._random.uniform(0, 1000)
                rate = 1.0 + self._random.uniform(-self.drift, self.drift)
                self.clocks[name] = SimClock(self.scheduler, rate, offset)

    def role_of(self, name: str) -> str:
        return name.rsplit("-", 1)[0]

    def _urls(self, role: str) -> dict[str, str]:
        return {name: f"http://{name}" for name in self.names[role]}

    def settings(self, name: str) -> Settings:
        """Return what a node is told."""
        return Settings(
            role=self.role_of(name), node=name, frontends=self._urls("frontend"),
            catalogs=self._urls("catalog"), orders=self._urls("order"),
            backup=self._urls("backup"),
            data_dir=self.folder / name, cluster_secret=SECRET, admin_token=TOKEN,
            cache_capacity=self.cache_capacity, cache_lease_s=self.lease_s, listen_host="",
            listen_port=0, seed_file=self.seed_file, traces_per_s=self.traces_per_s,
        )  # fmt: skip

    # --- life and death ---

    def start(self, *names: str) -> None:
        """Start nodes (all of them when none is named)."""
        for name in names or [name for role in self.names.values() for name in role]:
            self._start_unless_running(name)

    def _start_unless_running(self, name: str) -> None:
        if name not in self.running:
            self._keeper.start(name, lambda: self._start_on(self.disks.of(name), name))

    def _start_on(self, disk: Disk, name: str) -> None:
        try:
            self._start(name)
        except BaseException:
            with disk.dying():
                raise

    def _start(self, name: str) -> None:
        owner = (name, self._random.getrandbits(32))
        settings = self.settings(name)
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        app = CREATE[settings.role](
            settings, clock=self.clocks[name], http=self.network.port(name, owner),
            tasks=SimTasks(self.scheduler, owner), random=Random(self._random.getrandbits(64)),
        )  # fmt: skip
        service = service_of(app)
        if self.tight and settings.role == "catalog":
            app.extensions["bazar.node"].db.writer.pragma("cache_size", TIGHT_PAGES)
        self.running[name] = Running(service, owner)
        self.network.apps[name] = (owner, app)
        self._keeper.run(name, owner, service)
        self.scheduler.note(f"start {name}")

    def kill(self, name: str) -> None:
        """Kill -9: nothing of the process is left but its files."""
        self.scheduler.outside(lambda: self._kill(name))

    def _kill(self, name: str) -> None:
        running = self.running.pop(name, None)
        if running is None:
            return
        self.scheduler.note(f"kill {name}")
        del self.network.apps[name]
        with self.disks.of(name).dying():
            running.service.close()  # first, so that nothing a dying job does can reach the disk
        self.scheduler.kill(running.owner)
        self.network.break_connections(name)

    def _end(self, owner: object) -> None:
        """End a process if it is still the one."""
        for name, running in list(self.running.items()):
            if running.owner == owner:
                self._kill(name)

    def start_twin(self, name: str) -> str:
        """Start a second process under a node's name and address; return the name under which the
        first one is still reached, by clients only.
        """
        first = self.running.pop(name)
        old = f"{name}-old"
        self.running[old], self.network.apps[old] = first, self.network.apps[name]
        self._start(name)
        return old

    def stop_for(self, name: str, seconds: float) -> None:
        """SIGSTOP for a while."""
        self.scheduler.note(f"stop {name} for {seconds:.2f} s")
        self.scheduler.stopped[self.running[name].owner] = self.scheduler.now + seconds

    def cut(self, one: str, other: str, *, both: bool = True) -> None:
        """Lose every message from one to the other."""
        self.scheduler.note(f"cut {one} -> {other}" + (" and back" if both else ""))
        self.network.cuts |= {(one, other), (other, one)} if both else {(one, other)}

    def heal(self) -> None:
        """Mend all cuts."""
        self.network.cuts.clear()

    # --- running ---

    def client(self, name: str, run: Callable[[], None]) -> Any:
        """Start a client as a job of its own."""
        return self.scheduler.spawn(name, name, run)

    def run(self, until: Callable[[], bool], limit_s: float = 60.0) -> None:
        """Run until a condition holds."""
        self.scheduler.run(until, limit_s)

    def run_for(self, seconds: float) -> None:
        """Let simulated time pass."""
        end = self.scheduler.now + seconds
        self.scheduler.at(end, lambda: None)
        self.scheduler.run(lambda: self.scheduler.now >= end, seconds + 1)

    def run_until_all_are_awake(self) -> None:
        """Let time pass until every SIGSTOP has ended: a sleeper has not heard the last word."""
        end = max(self.scheduler.stopped.values(), default=0.0)
        self.run_for(max(0.0, end - self.scheduler.now))

    def do(self, call: Callable[[], Any], limit_s: float = 60.0) -> Any:
        """Run one call as a client's job and return its result."""
        box: list[Any] = []
        job = self.scheduler.spawn("client", "client", lambda: box.append(call()))
        self.run(lambda: job.done, limit_s)
        return box[0]

    # --- speaking to nodes ---

    def peer(self, name: str, sender: str = "client") -> Peer:
        """Return a way to send signed calls to a node."""
        port = self.network.port(sender)
        return Peer(
            name, f"http://{name}", http=port, signer=Signer(sender, SECRET), cluster=lambda: ""
        )

    def ask(
        self, frontend: str, method: str, target: str, document: Any = None, *,
        key: str | None = None,
        operator: bool = False, timeout_s: float = 10.0,
    ) -> Response:  # fmt: skip
        """Send one public call; only from within a client's job."""
        headers = {"Idempotency-Key": key} if key else {}
        if operator:
            headers["Authorization"] = f"Bearer {TOKEN}"
        body = b"" if document is None else json.dumps(document).encode()
        return self.send(frontend, method, target, headers, body, timeout_s)

    def send(
        self, frontend: str, method: str, target: str, headers: Mapping[str, str],
        body: bytes = b"", timeout_s: float = 10.0,
    ) -> Response:  # fmt: skip
        """Send a call with headers as they are; only from within a client's job."""
        request = Request(frontend, "", method, target, headers, body, timeout_s)
        return self.network.send("client", request)

    def ready(self) -> bool:
        """Tell whether one catalog leads with the other following, both may answer reads, and the
        shop is open; and the backup, if there is one, has its vote.
        """
        if not all(map(self._votes, self.names["backup"])):
            return False
        nodes = [node for name in self._catalogs() if (node := self.node(name)).lease_left_s > 0]
        leading = [n for n in nodes if n.leads and n.peer_following and n.end().seq > 0]
        return len(nodes) == 2 and any(
            node.status == "following" and node.record.record == leader.record.record
            for leader in leading for node in nodes
        )  # fmt: skip

    def _votes(self, name: str) -> bool:
        if name not in self.running:
            return False
        record = self.running[name].service.flask.extensions["bazar.witness"].record.record
        leading = [node for node in map(self.node, self._catalogs()) if node.leads]
        return any(record is not None and node.record.record == record for node in leading)

    def _catalogs(self) -> list[str]:
        return [name for name in self.names["catalog"] if name in self.running]

    def node(self, name: str) -> Any:
        """Return the catalog node object of a running catalog (for looking only)."""
        return self.running[name].service.flask.extensions["bazar.node"]

    def close(self) -> None:
        """End everything."""
        for name in list(self.running):
            self.kill(name)
        self.disks.close()
