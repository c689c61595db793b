"""Settings of the test run itself."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

# No deadline: a busy machine is no defect. The blob repeats a failure anywhere.
settings.register_profile("bazar", deadline=None, print_blob=True)
settings.load_profile("bazar")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where something is missing its tests are left out, and say so; in CI that is a failure."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"left out, which CI must not: {report.longrepr}"
    return report
