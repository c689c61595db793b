"""A cluster in memory for each test, closed at its end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster
from tests.support.shop import write_seed


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose syncs cost nothing, where there is one: power loss is not what is tested
    here.
    """
    place = "/dev/shm" if os.path.isdir("/dev/shm") else None
    path = Path(tempfile.mkdtemp(prefix="bazar-test-", dir=place))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def build(folder: Path) -> Iterator[Callable[..., Cluster]]:
    """Build, start and open a cluster; every book has four copies at 500 cents."""
    built: list[Cluster] = []

    def make(**options: Any) -> Cluster:
        cluster = Cluster(folder, seed_file=write_seed(folder), **options)
        built.append(cluster)
        cluster.start()
        cluster.run(cluster.ready, 10)
        cluster.run_for(1.0)  # the frontends get their sessions
        return cluster

    yield make
    for cluster in built:
        cluster.close()
