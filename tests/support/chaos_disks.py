"""A small tmpfs for each node that keeps data: it can be filled up, freed and lost.

Law: every mount carries `PREFIX` as its source, so that those a killed run left are found and
unmounted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.support.chaos_network import PREFIX

FILLER = "filler"
MOUNTS = Path("/proc/self/mounts")


class Disks:
    """A tmpfs for each name, mounted at `root/name`; `with` mounts and unmounts them."""

    def __init__(self, root: Path, names: Sequence[str], size_mib: int) -> None:
        self._root = root
        self.names = list(names)
        self._size_mib = size_mib

    def __enter__(self) -> Self:
        try:
            for name in self.names:
                place = self._root / name
                place.mkdir(parents=True)
                options = f"size={self._size_mib}m,mode=0700"
                command = ["mount", "-t", "tmpfs", "-o", options, PREFIX + name, str(place)]
                subprocess.run(command, check=True)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.names:
            if os.path.ismount(self._root / name):
                unmount(self._root / name)

    def fill(self, name: str) -> None:
        """Leave no room on a node's disk."""
        place = self._root / name
        with (place / FILLER).open("ab") as file:
            for _ in range(3):  # the node may free some while this goes on
                room = os.statvfs(place)
                with suppress(OSError):
                    size = file.seek(0, os.SEEK_END)
                    os.posix_fallocate(file.fileno(), size, room.f_bavail * room.f_frsize)

    def free(self, name: str) -> None:
        """Give the room back."""
        (self._root / name / FILLER).unlink(missing_ok=True)

    def free_all(self) -> None:
        """Give all room back."""
        for name in self.names:
            self.free(name)

    def empty(self, name: str) -> None:
        """Lose everything a dead node has kept."""
        for path in (self._root / name).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def unmount(place: Path) -> None:
    """Unmount a disk, even while somebody looks into it."""
    subprocess.run(["umount", "--lazy", str(place)], check=False)


def sweep_disks() -> list[str]:
    """Unmount what a killed run has left; return where it was."""
    lines = [line.split(" ") for line in MOUNTS.read_text("utf-8").splitlines()]
    found = [place for source, place, *_ in lines if source.startswith(PREFIX)]
    for place in found:
        unmount(Path(place))
    return found
