"""What `make run` starts: the Procfile's nodes, with or without the backup server."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from common.config import KEYS, ROOT, load_cluster
from common.run import PROCFILE, commands
from tests.support.processes import write_cluster

FIVE = ["catalog-1", "catalog-2", "order-1", "order-2", "frontend-1"]


def started(folder: Path, backup: str) -> dict[str, str]:
    """Return node -> command, with this BACKUP in the settings."""
    config, _ = write_cluster(folder, BACKUP=backup)
    return commands(PROCFILE.read_text("utf-8"), load_cluster(config, {}))


def test_without_a_backup_in_the_settings_five_nodes_run(tmp_path: Path) -> None:
    """Its line in the Procfile is left out."""
    assert sorted(started(tmp_path, "")) == sorted(FIVE)


def test_with_a_backup_in_the_settings_six_nodes_run(tmp_path: Path) -> None:
    """Under its own module, kept alive like the others."""
    found = started(tmp_path, "backup=http://127.0.0.1:8301")
    assert sorted(found) == sorted([*FIVE, "backup"])
    assert 'KEEP="python -m catalog.backup --node backup"' in found["backup"]


def test_a_backup_by_another_name_is_not_left_out(tmp_path: Path) -> None:
    """Its start then says what is wrong, as with every other name; a shop would wait for it."""
    assert "backup" in started(tmp_path, "witness=http://127.0.0.1:8301")


@pytest.mark.parametrize("name", [*FIVE, "backup"])
def test_each_line_of_the_procfile_runs_the_node_it_is_named_after(name: str) -> None:
    """A keeper whose node stands in KEEP."""
    (line,) = re.findall(rf"^{name}: (.+)$", PROCFILE.read_text("utf-8"), re.MULTILINE)
    keep, *rest = shlex.split(line)
    module = "catalog.backup" if name == "backup" else name.rpartition("-")[0]
    assert keep == f"KEEP=python -m {module} --node {name}"
    assert rest == ["exec", "python", "-m", "common.keep"]


def test_no_option_of_make_has_the_name_of_a_setting() -> None:
    """What is given to make reaches the services as environment."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    options = set(re.findall(r"\$\((?:if |or )?\$?\(?([A-Z_]{3,})\b", makefile))
    assert "WITH_BACKUP" in options
    assert not options & set(KEYS)
