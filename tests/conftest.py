"""Make the tests' own helpers importable by name; in CI, let nothing required be skipped."""

import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

# Kernels compile at first use, on machines of any speed: no test is timed.
settings.register_profile("tapewatch", deadline=None)
settings.load_profile("tapewatch")

sys.path.insert(0, str(Path(__file__).parent))

# A skip whose reason holds one of these is fine everywhere; any other fails the run where CI=true.
MAY_BE_SKIPPED = ("TAPEWATCH_SAMPLES", "superuser", "optional:")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    is_skip = report.skipped and not hasattr(report, "wasxfail")
    if is_skip and os.environ.get("CI") == "true":
        reason = str(report.longrepr)
        if not any(word in reason for word in MAY_BE_SKIPPED):
            report.outcome = "failed"
            report.longrepr = f"required in CI, but skipped: {reason}"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow ones, which then run beside all the others."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
