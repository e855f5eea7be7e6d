"""What stands in docker/ holds together: hardened, healthy in order, with words that are known."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
from composition import DOCKER, ROOT, composition, image_environment, service, targets

from console import cli
from flows.config import load
from flows.edges import kafka_sink, kafka_url
from flows.edges.redis_features import check_features
from flows.edges.redis_stream import check_stream
from flows.live_outputs import SETTINGS as LIVE
from flows.observe.server import addresses
from flows.topics import SETTINGS as OUTPUTS
from lab import kafka_feed
from schemas import settings

SERVICES = sorted(composition()["services"])
ONE_SHOT = {name for name in SERVICES if service(name)["healthcheck"].get("disable")}
OURS = {name for name in SERVICES if service(name)["image"] == "tapewatch"}
DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
STAGES = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]


def instructions(stage: str, name: str) -> list[str]:
    joined = stage.replace("\\\n", " ")
    return re.findall(rf"^{name}\s+(.*)$", joined, re.MULTILINE)


def probe(text: str) -> str:
    """Return a health check's program as one line of Python."""
    return " ".join(text.replace('"', "").split()).replace("; ", ";")


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    words = [hadolint, DOCKER / "Dockerfile"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_image_is_built_in_one_stage_and_run_in_another() -> None:
    assert len(STAGES) == 2
    images = {stage.split()[0] for stage in STAGES}
    assert images <= {"python:3.11-slim", "python:3.12-slim"}
    assert len(images) == 1  # else compiled modules and kernels would be for another Python
    assert instructions(STAGES[1], "RUN") == []


def test_the_image_runs_as_nobody_in_particular_and_stops_when_asked() -> None:
    runtime = STAGES[1]
    (user,) = instructions(runtime, "USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    owners = re.findall(r"--chown=(\S+) (\S+)", runtime)
    assert owners == [(user, "/var/cache/tapewatch"), (user, "/data")]
    assert instructions(runtime, "STOPSIGNAL") == ["SIGTERM"]
    assert instructions(runtime, "ENTRYPOINT") == ['["tapewatch"]']
    assert instructions(runtime, "VOLUME") == ['["/data", "/var/cache/tapewatch"]']


def test_packages_of_the_image_are_hashed_and_no_other_versions() -> None:
    lines = (DOCKER / "requirements-build.txt").read_text(encoding="utf-8").splitlines()
    dev = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    pins = {line for line in lines if "==" in line}
    assert pins <= set(dev)
    assert [line for line in lines if line.startswith("-") or "://" in line] == []
    for before, line in pairwise(lines):
        assert "==" not in before or line.startswith("    --hash=sha256:")
    for words in re.findall(r"pip\b[^&]*?\binstall\b([^&]*)", DOCKERFILE.replace("\\\n", " ")):
        assert "--no-deps" in words
        assert "--require-hashes" in words or "/wheels/*.whl" in words


def test_what_the_build_copies_is_let_in_and_there() -> None:
    let_in = (DOCKER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    sources = [
        word
        for words in instructions(STAGES[0], "COPY")
        for word in words.split()[:-1]
        if not word.startswith("--")
    ]
    assert "console" in sources
    for name in sources:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in let_in, name
    assert "*" in let_in


def test_the_health_check_asks_the_port_that_the_image_listens_on() -> None:
    (check,) = instructions(STAGES[1], "HEALTHCHECK")
    port = image_environment()["TAPEWATCH__METRICS__LISTEN"].rpartition(":")[2]
    assert f"http://127.0.0.1:{port}/readyz" in check
    (program,) = re.findall(r'"-c", "(.*)"\]', check)
    test = service("monitor")["healthcheck"]["test"]
    assert test[1:4] == ["python", "-I", "-c"]
    assert probe(test[4]) == probe(program)
    compile(program, "HEALTHCHECK", "exec")


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened_and_bounded(name: str) -> None:
    found = service(name)
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert not found.keys() & {"privileged", "cap_add", "network_mode", "pid", "container_name"}
    assert found.get("user", "1000") not in {"0", "root"}
    limits = found["deploy"]["resources"]["limits"]
    assert limits.keys() == {"cpus", "memory", "pids"}
    assert re.fullmatch(r"\d+s", found["stop_grace_period"])
    for port in found.get("ports", []):
        assert port.startswith("127.0.0.1:"), "no password guards it"


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_health_check_and_waits_for_those_of_others(name: str) -> None:
    found = service(name)
    if name not in ONE_SHOT:
        assert found["healthcheck"]["test"][0] == "CMD"
        assert found["healthcheck"].keys() >= {"interval", "timeout", "retries"}
        assert found["restart"] in {"unless-stopped", "on-failure:5"}
    for other, how in found.get("depends_on", {}).items():
        wanted = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
        assert how == {"condition": wanted}


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_of_one_version(name: str) -> None:
    image = service(name)["image"]
    assert image == "tapewatch" or re.search(r":[v\d]", image), "it would change under people"


def test_volumes_and_networks_are_those_that_are_declared() -> None:
    whole = composition()
    named = {
        volume.partition(":")[0]
        for name in SERVICES
        for volume in service(name).get("volumes", [])
        if not volume.startswith(".")
    }
    assert named == whole["volumes"].keys()
    assert {n for name in SERVICES for n in service(name)["networks"]} == whole["networks"].keys()
    mounted = {volume.rpartition(":")[2] for volume in service("monitor")["volumes"]}
    assert {"/data", "/var/cache/tapewatch"} <= mounted


def environments() -> dict[str, dict[str, str]]:
    found = {name: dict(service(name).get("environment", {})) for name in SERVICES}
    return found | {"image": image_environment()}


@pytest.mark.parametrize("name", environments())
def test_every_setting_in_an_environment_is_one(name: str) -> None:
    known = {setting.environment_name for setting in settings.SETTINGS}
    given = {key for key in environments()[name] if key.startswith("TAPEWATCH")}
    assert given <= known
    assert name not in {"image", "monitor"} or given


def monitor_environment() -> dict[str, str]:
    return image_environment() | service("monitor")["environment"]


def test_the_monitors_settings_are_taken() -> None:
    config = load(environment=monitor_environment())
    assert str(config.value("data")).startswith("/data/")
    for name in OUTPUTS:
        assert kafka_sink.parse_sink(config.value(name))[0] == "kafka:9092"


def test_live_features_and_the_alert_stream_go_to_the_redis_that_is_waited_for() -> None:
    config = load(environment=monitor_environment())
    features, stream = (str(config.value(name)) for name in LIVE)
    check_features(features)
    check_stream(stream)
    for url in (features, stream):
        assert (urlsplit(url).hostname, urlsplit(url).port) == ("redis", 6379)
    assert service("monitor")["depends_on"]["redis"] == {"condition": "service_healthy"}
    assert "--port" not in service("redis")["command"]  # so it listens on 6379


def parsed(words: list[str]) -> dict[str, Any]:
    """Let the command line read words, and do nothing with them."""
    command = typer.main.get_command(cli.app).get_command(None, words[0])  # type: ignore[attr-defined,arg-type]
    with command.make_context(words[0], words[1:]) as context:
        return dict(context.params)


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_command_is_one(name: str) -> None:
    found = service(name)
    if found.get("entrypoint"):
        assert found["entrypoint"] == ["python", "-m", kafka_feed.__name__]
        kafka_feed.parser().parse_args(found["command"])
    else:
        parsed(found["command"])


def test_what_is_read_and_written_are_topics_that_are_made_first() -> None:
    asked = kafka_feed.parser().parse_args(service("topics")["command"])
    made = dict(asked.topics)
    url = kafka_url.parse(parsed(service("monitor")["command"])["url"])
    given = monitor_environment()
    outputs = {kafka_sink.parse_sink(given[settings.environment_name(name)])[1] for name in OUTPUTS}
    assert outputs | set(url.topics) == made.keys()
    # An account's orders and app events then come to one process.
    assert len({made[topic] for topic in url.topics}) == 1
    feed = kafka_feed.parser().parse_args(service("feed")["command"])
    assert (feed.topic, feed.app) == url.topics
    assert {asked.brokers, feed.brokers, url.brokers} == {"kafka:9092"}


def test_prometheus_asks_every_process() -> None:
    processes = parsed(service("monitor")["command"])["processes"]
    config = load(environment=monitor_environment())
    assert targets() == [f"monitor:{a.port}" for a in addresses(config, processes)]
