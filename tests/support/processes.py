"""Real processes for system tests: started in a folder of their own, ended with the test."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.support.wait import wait_until

ROOT = Path(__file__).resolve().parents[2]
# Below what systems hand to outgoing calls, one of which might take the port of a node while it is
# dead (or a call to a dead node reach itself).
PORTS = range(20_000, 32_000)
SECRET = "a-secret-only-for-tests-0123456789"


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback that nobody listens on (all different)."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with contextlib.suppress(OSError):
            socket.create_server(("127.0.0.1", port)).close()
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError(f"no {count} free ports in {PORTS}")


def write_cluster(folder: Path, **changes: str) -> tuple[Path, list[int]]:
    """Write a cluster.env on free ports; return it, and the ports of its five nodes in order."""
    ports = free_ports(5)
    url = [f"http://127.0.0.1:{port}" for port in ports]
    values = {
        "FRONTENDS": f"frontend-1={url[0]}",
        "CATALOGS": f"catalog-1={url[1]} catalog-2={url[2]}",
        "ORDERS": f"order-1={url[3]} order-2={url[4]}",
        "BACKUP": "",
        "DATA_DIR": str(folder / "data"),
        "CLUSTER_SECRET": SECRET,
        "ADMIN_TOKEN": SECRET[::-1],
        "CACHE_CAPACITY": "1024",
        "CACHE_LEASE_S": "2",
    }
    config = folder / "cluster.env"
    lines = (f'{key}="{value}"\n' for key, value in (values | changes).items())
    config.write_text("".join(lines), "utf-8")
    return config, ports


class Process:
    """One process with its output in a file; `with` ends it, by force if need be."""

    def __init__(
        self, arguments: Sequence[str], log: Path, environ: Mapping[str, str] | None = None
    ) -> None:
        self._log = log
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=os.environ | dict(environ or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()

    def logs(self) -> str:
        """Return what it has printed."""
        return self._log.read_text("utf-8", "replace")

    def wait_for(self, text: str, timeout_s: float = 10) -> None:
        """Wait until it has printed something."""
        wait_until(lambda: text in self.logs(), timeout_s, f"{text!r} in the log", self.logs)

    def ends(self, timeout_s: float = 10) -> int:
        """Return its exit code once it has ended."""
        wait_until(lambda: self.popen.poll() is not None, timeout_s, "the end", self.logs)
        assert self.popen.returncode is not None
        return self.popen.returncode
