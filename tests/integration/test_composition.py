"""What compose.yaml starts, started without containers: the same words, the same environment."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from composition import ComposedKafka, elsewhere, image_environment, service, targets
from confluent_kafka import Consumer, TopicPartition
from scraping import free_ports, labelled, scrape
from servers.process import HOST, MissingError
from servers.redis import RedisServer

from flows import clock
from lab.bench import processes

WAIT_SECONDS = 120.0
EVENTS, SEED, ACCOUNTS = "6000", "3", "400"


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposedKafka]:
    """Yield the broker of compose.yaml."""
    try:
        server = ComposedKafka(tmp_path_factory.mktemp("composed"))
    except MissingError as error:
        pytest.skip(str(error))
    with server:
        yield server


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator["ComposedRedis"]:
    """Yield the Redis of compose.yaml."""
    try:
        server = ComposedRedis(tmp_path_factory.mktemp("composed-redis"))
    except MissingError as error:
        pytest.skip(str(error))
    with server:
        yield server


def run_feed(name: str, places: dict[str, str], *more: str) -> str:
    found = service(name)
    assert found["entrypoint"][0] == "python"
    words = [sys.executable, *found["entrypoint"][1:], *elsewhere(found["command"], places), *more]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=WAIT_SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout


def alerts_of(found: list[Any]) -> float:
    return sum(sum(labelled(one, "tapewatch_alerts_total").values()) for one in found)


def scrape_until_alerts(ports: range) -> list[Any]:
    """Return each process's metrics; an alert is published a moment before it is counted."""
    give_up_ns = clock.monotonic_ns() + round(WAIT_SECONDS * 1e9)
    while True:
        found = [scrape(port) for port in ports]
        if alerts_of(found) > 0 or clock.monotonic_ns() > give_up_ns:
            return found
        time.sleep(0.05)


def wait_for_health(ports: range, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait for the health check of compose.yaml to pass, of every process."""
    test = service("monitor")["healthcheck"]["test"]
    until_ns = clock.monotonic_ns() + int(WAIT_SECONDS * 1e9)
    waiting = list(ports)
    while waiting:
        assert process.poll() is None, log.read_text()
        assert clock.monotonic_ns() < until_ns, log.read_text()
        program = test[4].replace(":9464/", f":{waiting[0]}/")
        words = [sys.executable, *test[2:4], program]
        if subprocess.run(words, capture_output=True, check=False).returncode == 0:
            del waiting[0]


def first_message(brokers: str, topic: str) -> dict[str, Any]:
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "test", "log_level": 2})
    consumer.assign([TopicPartition(topic, 0, 0)])
    message = consumer.poll(WAIT_SECONDS)
    consumer.close()
    assert message is not None
    assert message.error() is None
    found: dict[str, Any] = json.loads(message.value() or b"")
    return found


@pytest.mark.slow
def test_the_monitor_of_the_composition_reads_alerts_and_stops(
    kafka: ComposedKafka, redis: "ComposedRedis", tmp_path: Path
) -> None:
    places = {"kafka:9092": kafka.bootstrap, "redis://redis:6379/0": redis.url}
    made = run_feed("topics", places)
    assert made.count("tapewatch.") == 5
    assert "nothing" in run_feed("topics", places)

    count = len(targets())
    port = free_ports(count)
    places |= {"/data": str(tmp_path / "data"), "0.0.0.0:9464": f"{HOST}:{port}"}
    given = image_environment() | service("monitor")["environment"]
    names = [name for name in given if name.startswith("TAPEWATCH__")]
    own = dict(zip(names, elsewhere([given[name] for name in names], places), strict=True))
    words = [*processes.TAPEWATCH, *elsewhere(service("monitor")["command"], places)]
    log = tmp_path / "log.txt"
    with log.open("wb") as out:
        process = subprocess.Popen(
            words, env=processes.environment(own), stdout=out, stderr=out, cwd=tmp_path
        )
    try:
        wait_for_health(range(port, port + count), process, log)
        numbers = ("--events", EVENTS, "--seed", SEED, "--accounts", ACCOUNTS)
        run_feed("feed", places, *numbers)
        alert = first_message(kafka.bootstrap, "tapewatch.alerts")
        found = scrape_until_alerts(range(port, port + count))
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    assert alert["alert_id"]
    with redis.client() as client:
        assert client.xlen("tapewatch.alerts") > 0
        assert client.dbsize() > 100  # the stream, and the features of many accounts
    assert alerts_of(found) > 0
    assert all(any(name == "tapewatch_process_info" for name, _ in one) for one in found)
    events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert [e["event"] for e in events if e["event"].startswith("run_")][-1] == "run_stopped"
    assert sorted((tmp_path / "data").iterdir()) == [tmp_path / "data" / "run"]


class ComposedRedis(RedisServer):
    """Redis with the words that compose.yaml gives it."""

    def command(self) -> list[str]:
        place = ["--bind", HOST, "--port", str(self._port), "--dir", str(self.folder)]
        return [self._program, *service("redis")["command"][1:], *place]


def test_the_redis_of_the_composition_passes_its_health_check(redis: ComposedRedis) -> None:
    test = service("redis")["healthcheck"]["test"]
    program = shutil.which(test[1])
    assert program is not None
    words = [program, "-p", str(redis._port), *test[2:]]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert done.stdout == "PONG\n"
