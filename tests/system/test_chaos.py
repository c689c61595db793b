"""A short chaos run, and that nothing is left of one, however it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.chaos_disks import MOUNTS
from tests.support.chaos_network import NAMESPACES, PREFIX, needs_namespaces
from tests.support.processes import ROOT
from tests.support.wait import wait_until

pytestmark = needs_namespaces

SECONDS = int(os.environ.get("BAZAR_CHAOS_S", "10"))
TAKES_S, GONE_S = SECONDS + 230, 30  # with its beginning, its healing and its checks


def begin(*arguments: str) -> subprocess.Popen[str]:
    """Start a chaos run."""
    command = [sys.executable, "-m", "tests.chaos", *arguments]
    output = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, text=True)


def nodes() -> list[str]:
    """Return the command lines of the nodes of chaos runs."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = place.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f"/{PREFIX}" in command and " --node " in command:
            found.append(command)
    return found


def namespaces() -> list[str]:
    names = [path.name for path in NAMESPACES.iterdir()] if NAMESPACES.is_dir() else []
    return [name for name in names if name.startswith(PREFIX)]


def mounts() -> list[str]:
    return [line for line in MOUNTS.read_text("utf-8").splitlines() if line.startswith(PREFIX)]


def left() -> dict[str, list[str]]:
    """Return what is there of a chaos run."""
    folders = [str(path) for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/")]
    found = {
        "nodes": nodes(), "namespaces": namespaces(), "mounts": mounts(), "folders": folders,
    }  # fmt: skip
    return {kind: names for kind, names in found.items() if names}


@pytest.mark.parametrize("options", [[], ["--backup"]])
def test_a_shop_in_chaos_keeps_its_promises(tmp_path: Path, options: list[str]) -> None:
    """Ten seconds of it (BAZAR_CHAOS_S for more), without and with a backup server, checked and
    reported.
    """
    run = begin("--seconds", str(SECONDS), "--seed", "7", "--report", str(tmp_path), *options)
    output, _ = run.communicate(timeout=TAKES_S)
    assert run.returncode == 0, output
    report = json.loads((tmp_path / "chaos.json").read_text("utf-8"))
    assert (report["verdict"], report["seed"], report["violations"]) == ("ok", 7, [])
    assert sum(report["faults"].values()) >= SECONDS / 3
    assert report["operations_checked"] > 5 * SECONDS
    assert report["auditor"]["reads"] > 5 * SECONDS
    assert "seed 7" in (tmp_path / "chaos.md").read_text("utf-8")
    for picture in ("chaos.png", "chaos.svg"):
        assert (tmp_path / picture).stat().st_size > 10_000
    assert not left()


def test_a_run_that_was_ended_early_says_what_it_found(tmp_path: Path) -> None:
    """Ctrl-C ends the breaking; what was done until then is checked and reported."""
    run = begin("--seconds", "600", "--report", str(tmp_path))
    assert run.stdout is not None
    try:
        assert any(line.startswith("ready") for line in run.stdout)
        run.send_signal(signal.SIGINT)
        output, _ = run.communicate(timeout=TAKES_S)
    finally:
        run.kill()
    assert run.returncode == 0, output
    report = json.loads((tmp_path / "chaos.json").read_text("utf-8"))
    assert report["verdict"] == "ok"
    assert report["seconds"] < 600
    assert not left()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_run_that_was_stopped(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM take it down; after a kill -9 its nodes end, and the next run cleans the
    rest.
    """
    run = begin("--seconds", "60", "--report", str(tmp_path))
    try:
        wait_until(lambda: len(nodes()) >= 6, TAKES_S, "six nodes")
        run.send_signal(number)
        run.communicate(timeout=GONE_S)
    finally:
        run.kill()
    wait_until(lambda: not nodes(), GONE_S, "the end of the nodes")
    if number == signal.SIGKILL:
        assert left()
        sweep = begin("--sweep")
        output, _ = sweep.communicate(timeout=GONE_S)
        assert sweep.returncode == 0, output
    assert not left()
