"""The README holds: its session with curl is run against a real shop, and what it names exists."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from common.config import SECRETS_NAME
from tests.support.processes import ROOT
from tests.support.real import RealShop

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PROGRAMS = ["bash", "curl", "grep", "sed", "tee", "diff", "cut"]  # what a reader has at hand
MADE_LATER = ["config/secrets.env", "data/demo/secrets.env"]
SESSION_S = 60


def session() -> Iterator[tuple[str, str]]:
    """Yield each command of the console blocks with the output shown below it."""
    for language, text in BLOCKS:
        if language == "console":
            for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, _, shown = step.partition("\n")
                yield command, shown.strip()


def commands() -> list[str]:
    """Return the lines of the sh blocks, without their comments."""
    lines = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines()]
    return [line.partition("  #")[0].strip() for line in lines]


def run(shop: RealShop, folder: Path) -> list[tuple[int, str]]:
    """Run the session in one shell; return what each command printed, and its exit code."""
    script = "".join(f"{command}\nprintf '\\0%d\\0' $?\n" for command, _ in session())
    replaced = {
        "make status": f"CONFIG={shop.config} {sys.executable} -m common.status",
        "localhost:8000": shop.url("frontend-1").removeprefix("http://"),
        "config/secrets.env": str(shop.folder / SECRETS_NAME),
        "/tmp/": f"{folder}/",
    }
    assert all(written in script for written in replaced)
    script = re.sub("|".join(replaced), lambda found: replaced[found[0]], script)
    done = subprocess.run(
        ["bash"], input=script, capture_output=True, text=True, timeout=SESSION_S, check=True,
        cwd=ROOT,
    )  # fmt: skip
    assert done.stderr == ""
    parts = done.stdout.split("\0")
    return [
        (int(status), printed) for printed, status in zip(parts[::2], parts[1::2], strict=False)
    ]


def as_shown(printed: str) -> str:
    """Return output as a reader sees it: no carriage returns, no blanks around it."""
    return printed.replace("\r", "").strip()


def matches(shown: str, printed: str) -> bool:
    """Tell whether output is what the README shows, where `...` stands for anything."""
    pattern = ".*".join(re.escape(part) for part in shown.split("..."))
    return re.fullmatch(pattern, as_shown(printed), re.DOTALL) is not None


@pytest.mark.skipif(
    not all(map(shutil.which, PROGRAMS)), reason=f"the session needs {', '.join(PROGRAMS)}"
)
def test_the_session_with_curl_goes_as_the_readme_shows_it(tmp_path: Path) -> None:
    """Every line that begins with `$ `, in order, in a new shop with the seed that Bazar ships."""
    seed = (ROOT / "config" / "catalog.csv").read_text("utf-8")
    steps = list(session())
    with RealShop(tmp_path, seed=seed) as shop:
        results = run(shop, tmp_path)
    assert len(results) == len(steps) > 5
    for (command, shown), (status, printed) in zip(steps, results, strict=True):
        assert status == 0, f"$ {command}\n{printed}"
        assert matches(shown, printed), f"$ {command}\n{as_shown(printed)}\n--- shown:\n{shown}"


def make_targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    return set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))


def test_every_make_target_it_names_exists() -> None:
    """In its text and in its blocks; and the two that matter most are named."""
    named = set(re.findall(r"`make ([a-z-]+)", README))
    named |= {words[1] for words in map(str.split, commands()) if words[:1] == ["make"]}
    assert {"run", "test", "stop", "import"} <= named
    assert named <= make_targets()


def test_every_file_it_names_exists() -> None:
    """Links, and names of files in backquotes."""
    linked = re.findall(r"\]\(([^)#:]+)\)", README)
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:md|toml|txt|env))`", README)
    assert len(linked) > 3
    missing = [name for name in {*linked, *named} - {*MADE_LATER} if not (ROOT / name).exists()]
    assert not missing


@cache
def usage(module: str) -> str:
    """Return what `python -m module --help` prints."""
    asked = [sys.executable, "-m", module, "--help"]
    return subprocess.run(
        asked, capture_output=True, text=True, timeout=30, check=True, cwd=ROOT
    ).stdout


PYTHON = [
    words for words in map(shlex.split, commands()) if words[:2] == [".venv/bin/python", "-m"]
]
PYTHON += [
    shlex.split(command) for command in re.findall(r"`(\.venv/bin/python -m [^`]+)`", README)
]


@pytest.mark.parametrize("words", PYTHON, ids=" ".join)
def test_every_command_it_names_is_understood(words: list[str]) -> None:
    """The module is there and knows the options and sub-commands it is called with."""
    _, _, module, *arguments = words
    told = usage(module)
    assert told.startswith("usage: ")
    for word in arguments[:1]:
        assert word in told


def test_every_node_it_names_is_configured() -> None:
    """In the file that ships."""
    configured = (ROOT / "config" / "cluster.env").read_text("utf-8")
    named = set(re.findall(r"\b(?:catalog|order|frontend)-\d\b", README))
    assert len(named) == 5
    assert all(f"{name}=http" in configured for name in named)


def test_the_lines_of_its_picture_meet() -> None:
    """Every line drawn goes on in the next row, wherever both are drawn."""
    picture = BLOCKS[0][1].splitlines()
    width = max(map(len, picture))
    rows = [row.ljust(width) for row in picture]
    for number, (above, below) in enumerate(pairwise(rows)):
        for column, (char, found) in enumerate(zip(above, below, strict=True)):
            if char in "│┌┐┬├":
                assert found in "│└┘┴├▼►", f"row {number}, column {column}: {char} over {found}"
