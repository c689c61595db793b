"""Where a demo lives: its folder, its ports, and what each of its nodes is told of the others.

Laws: all nodes read one cluster.env, which has their true addresses; by its environment each is
told of the others under the addresses of the links to them. A demo begins with a new shop; the
secrets beside it are kept from one to the next. Nothing outside the folder is written.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations, permutations
from pathlib import Path

from common.config import (
    CONFIG,
    KEYS,
    ROOT,
    SECRETS,
    SECRETS_NAME,
    SEED_NAME,
    Settings,
    load_cluster,
)  # fmt: skip
from common.secretsfile import make_secrets

FOLDER = ROOT / "data" / "demo"
PORT = 8500
PORTS = 50  # from the first one on: the nodes, the controller, a link for each ordered pair
CONTROLLER = "demo"  # who signed calls to the controller are for
STOCK = 400
MODULES = {
    "frontend-1": "frontend", "catalog-1": "catalog", "catalog-2": "catalog",
    "order-1": "order", "order-2": "order", "backup": "catalog.backup",
}  # fmt: skip
SERVICES = {"frontend": "FRONTENDS", "catalog": "CATALOGS", "order": "ORDERS", "backup": "BACKUP"}
PAGES = ("frontend-1",)  # who serves the page with the buttons
_QUIET = frozenset(("order-1", "order-2", "backup"))  # these never call one another
_CONTROLLER_AT, _LINKS_FROM = 9, 10


@dataclass(frozen=True)
class Layout:
    """One demo: its folder, the first of its ports, and whether it has a backup server."""

    folder: Path = FOLDER
    port: int = PORT
    backup: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Return the nodes."""
        return tuple(name for name in MODULES if self.backup or name != "backup")

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Return (caller, called) for every two nodes, both ways."""
        return list(permutations(self.names, 2))

    @property
    def talking(self) -> list[tuple[str, str]]:
        """Return each two nodes that have anything to say to one another."""
        return [pair for pair in combinations(self.names, 2) if not _QUIET.issuperset(pair)]

    @property
    def config(self) -> Path:
        """Return the file that describes the cluster, with the nodes' true addresses."""
        return self.folder / "cluster.env"

    @property
    def secrets(self) -> Path:
        """Return the file that has the admin token."""
        return self.folder / SECRETS_NAME

    @property
    def controller_port(self) -> int:
        """Return where the controller listens for signed calls."""
        return self.port + _CONTROLLER_AT

    def node_port(self, name: str) -> int:
        """Return where a node listens."""
        return self.port + list(MODULES).index(name)

    def link_port(self, caller: str, called: str) -> int:
        """Return where the link from one node to another listens."""
        order = list(MODULES)
        return self.port + _LINKS_FROM + len(order) * order.index(caller) + order.index(called)

    @property
    def logs(self) -> Path:
        """Return the folder with what the nodes print."""
        return self.folder / "log"

    def log(self, name: str) -> Path:
        """Return the file with what one of them prints."""
        return self.logs / f"{name}.log"

    def command(self, name: str) -> list[str]:
        """Return what runs a node, after the interpreter."""
        return ["-m", MODULES[name], "--node", name, "--config", str(self.config)]

    def environ(self, name: str, outer: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Return a node's environment: who the others are, each behind the link to it."""

        def port(other: str) -> int:
            return self.node_port(name) if other == name else self.link_port(name, other)

        kept = {key: value for key, value in outer.items() if key not in KEYS}
        return kept | self._services(port_of=port)

    def prepare(self) -> Settings:
        """Write the files of a new shop over those of the last one; return its settings."""
        for old in ("data", "log"):
            with suppress(FileNotFoundError):
                shutil.rmtree(self.folder / old)
        self.logs.mkdir(parents=True)
        settings = self._services(port_of=self.node_port) | {
            "DATA_DIR": str(self.folder / "data"), "CLUSTER_SECRET": "", "ADMIN_TOKEN": "",
            "CACHE_CAPACITY": "1024", "CACHE_LEASE_S": "2",
            "DEMO": _url(self.controller_port),
        }  # fmt: skip
        lines = [f'{key}="{value}"\n' for key, value in settings.items()]
        self.config.write_text("".join(lines), "utf-8")
        make_secrets(self.secrets, SECRETS)
        seed = CONFIG.with_name(SEED_NAME).read_text("utf-8")
        (self.folder / SEED_NAME).write_text(restocked(seed, STOCK), "utf-8")
        return load_cluster(self.config, {})

    def taken_ports(self) -> list[int]:
        """Return those of its ports that somebody else listens on."""
        return [port for port in range(self.port, self.port + PORTS) if _is_taken(port)]

    def _services(self, port_of: Callable[[str], int]) -> dict[str, str]:
        found: dict[str, list[str]] = {key: [] for key in SERVICES.values()}
        for name in self.names:
            found[SERVICES[name.partition("-")[0]]].append(f"{name}={_url(port_of(name))}")
        return {key: " ".join(nodes) for key, nodes in found.items()}


def restocked(seed: str, stock: int) -> str:
    """Return a catalogue with another number of copies of each book."""
    written = io.StringIO()
    rows = csv.DictReader(io.StringIO(seed))
    out = csv.DictWriter(written, rows.fieldnames or (), lineterminator="\n")
    out.writeheader()
    out.writerows(row | {"stock": str(stock)} for row in rows)
    return written.getvalue()


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _is_taken(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return True
    return False
