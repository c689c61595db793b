"""A network of the run's own: one namespace for each node, joined by a namespace that routes.

Law: everything lives inside namespaces whose names begin with `PREFIX`, so deleting those deletes
all of it and the host's own links are never touched. A cut swallows packets where they are routed,
without a word: for new connections, for open ones, and one way only if asked.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest

from tests.support.chaos_clocks import forget_clock_of

PREFIX = "bazar-chaos-"
HUB = f"{PREFIX}hub"
NAMESPACES = Path("/run/netns")
PORT = 8000
CLONE_NEWNET = 0x4000_0000
CUT_PRIORITY = 100

POSSIBLE = sys.platform == "linux" and os.geteuid() == 0 and shutil.which("ip") is not None
# Who asks for chaos by its variable, as CI does, is not told that all is well when nothing was run.
needs_namespaces = pytest.mark.skipif(
    not POSSIBLE and "BAZAR_CHAOS_S" not in os.environ,
    reason="network namespaces need Linux, root and iproute2",
)


class NetworkFailed(Exception):
    """The system refused a namespace, a link or a rule; the message is its own."""


def ip(*words: str) -> str:
    """Run iproute2 and return what it printed; raise `NetworkFailed`."""
    try:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise NetworkFailed("there is no `ip` here: install iproute2") from None
    if done.returncode:
        raise NetworkFailed(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def join_namespace(path: str | Path) -> None:
    """Move the calling thread, and the threads it starts from now on, into a network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if libc.setns(descriptor, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {path}")
    finally:
        os.close(descriptor)


class Network:
    """Namespaces for `names`, each with its own address; `with` makes and removes them."""

    def __init__(self, names: Sequence[str]) -> None:
        self._numbers = {name: number for number, name in enumerate(names, 1)}
        self._cuts: set[tuple[str, str]] = set()
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY)
        self._mounted = os.path.ismount(NAMESPACES)

    def __enter__(self) -> Self:
        try:
            self._make_hub()
            for name in self._numbers:
                self._make(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
        os.close(self._home)
        with suppress(NetworkFailed):
            for number in self._numbers.values():
                ip("-n", HUB, "link", "del", f"v{number}")
        sweep_namespaces()
        if not self._mounted and os.path.ismount(NAMESPACES) and not any(NAMESPACES.iterdir()):
            subprocess.run(["umount", str(NAMESPACES)], check=False)

    def _make_hub(self) -> None:
        ip("netns", "add", HUB)
        ip("-n", HUB, "link", "set", "lo", "up")
        ip("netns", "exec", HUB, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")

    def _make(self, name: str) -> None:
        number, inside = self._numbers[name], namespace_of(name)
        ip("netns", "add", inside)
        ip("-n", inside, "link", "set", "lo", "up")
        ip("-n", HUB, "link", "add", f"v{number}", "type", "veth", "peer", "eth0", "netns", inside)
        ip("-n", HUB, "addr", "add", f"10.77.{number}.1/30", "dev", f"v{number}")
        ip("-n", HUB, "link", "set", f"v{number}", "up")
        ip("-n", inside, "addr", "add", f"{self.address(name)}/30", "dev", "eth0")
        ip("-n", inside, "link", "set", "eth0", "up")
        ip("-n", inside, "route", "add", "default", "via", f"10.77.{number}.1")

    def address(self, name: str) -> str:
        """Return a node's address."""
        return f"10.77.{self._numbers[name]}.2"

    def url(self, name: str) -> str:
        """Return where a node listens."""
        return f"http://{self.address(name)}:{PORT}"

    def join(self, name: str) -> None:
        """Move this thread, and those it starts from now on, to where a node is."""
        join_namespace(NAMESPACES / namespace_of(name))

    def leave(self) -> None:
        """Move this thread back to where the run began."""
        join_namespace(f"/proc/self/fd/{self._home}")

    def cut(self, sender: str, receiver: str) -> None:
        """Swallow whatever one node sends to another."""
        if (sender, receiver) not in self._cuts:
            self._rule("add", sender, receiver)
            self._cuts.add((sender, receiver))

    def heal(self, sender: str, receiver: str) -> None:
        """Let it through again."""
        if (sender, receiver) in self._cuts:
            self._rule("del", sender, receiver)
            self._cuts.discard((sender, receiver))

    def heal_all(self) -> None:
        """Let everything through."""
        for pair in list(self._cuts):
            self.heal(*pair)

    def _rule(self, what: str, sender: str, receiver: str) -> None:
        way = ("from", self.address(sender), "to", self.address(receiver))
        ip("-n", HUB, "rule", what, *way, "blackhole", "pref", str(CUT_PRIORITY))


def namespace_of(name: str) -> str:
    """Return the name of a node's namespace."""
    return PREFIX + name


def sweep_namespaces() -> list[str]:
    """End what still runs in namespaces of ours, and delete them; return their names."""
    if not NAMESPACES.is_dir():
        return []
    found = sorted(path.name for path in NAMESPACES.iterdir() if path.name.startswith(PREFIX))
    for name in found:
        with suppress(NetworkFailed):
            for pid in ip("netns", "pids", name).split():
                _end(int(pid))
        with suppress(NetworkFailed):
            ip("netns", "del", name)
    return found


def _end(pid: int) -> None:
    if pid != os.getpid():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        forget_clock_of(pid)
