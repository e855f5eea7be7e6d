"""Make the tests' own helpers importable by name; in CI, let nothing required be skipped."""

import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Kernels compile at first use, on machines of any speed: no test is timed.
IS_CI = os.environ.get("CI") == "true"
settings.register_profile("tapewatch", deadline=None, max_examples=100 if IS_CI else 50)
settings.load_profile("tapewatch")

sys.path.insert(0, str(Path(__file__).parent))

from servers.kafka import KafkaServer  # noqa: E402  found beside this file
from servers.mock_kafka import MockKafka  # noqa: E402
from servers.process import MissingError  # noqa: E402
from servers.redis import RedisServer  # noqa: E402

# A skip whose reason holds one of these is fine everywhere; any other fails the run where CI=true.
MAY_BE_SKIPPED = ("TAPEWATCH_SAMPLES", "superuser", "optional:")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    is_skip = report.skipped and not hasattr(report, "wasxfail")
    if is_skip and IS_CI:
        reason = str(report.longrepr)
        if not any(word in reason for word in MAY_BE_SKIPPED):
            report.outcome = "failed"
            report.longrepr = f"required in CI, but skipped: {reason}"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with Kafka, then the slow ones, which then run beside all the others.

    Each worker that meets a test on Kafka starts a broker of its own. What one worker is given
    first is not taken from it by another while there is anything else to take, so there is one.
    """
    items.sort(key=lambda item: (not uses_kafka(item), item.get_closest_marker("slow") is None))


def uses_kafka(item: pytest.Item) -> bool:
    return "kafka_server" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """Yield a real Kafka. Tests share it: name topics after the test, and leave it running."""
    try:
        server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    except MissingError as error:
        pytest.skip(str(error))
    with server:
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Yield a real Redis. Tests share it: use keys of the test's own, and leave it running."""
    try:
        server = RedisServer(tmp_path_factory.mktemp("redis"))
    except MissingError as error:
        pytest.skip(str(error))
    with server:
        yield server


@pytest.fixture
def mock_kafka() -> Iterator[MockKafka]:
    """Yield a mock cluster of one broker, for this test alone; it takes a millisecond."""
    with MockKafka() as cluster:
        yield cluster
