"""docker/compose.yaml as tests read it, and its commands as they run without containers."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from servers.kafka import KafkaServer
from servers.process import HOST, free_port

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"


@cache
def composition() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
    return found


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = composition()["services"][name]
    return found


def image_environment() -> dict[str, str]:
    """Return what the last stage of the Dockerfile sets."""
    last = (DOCKER / "Dockerfile").read_text(encoding="utf-8").split("\nFROM ")[-1]
    (block,) = re.findall(r"^ENV ((?:.*\\\n)*.*)$", last, re.MULTILINE)
    return dict(pair.split("=", 1) for pair in block.replace("\\\n", " ").split())


def targets() -> list[str]:
    """Return the HOST:PORT of everything that Prometheus asks."""
    config = yaml.safe_load((DOCKER / "prometheus.yml").read_text(encoding="utf-8"))
    return [
        t for job in config["scrape_configs"] for s in job["static_configs"] for t in s["targets"]
    ]


def elsewhere(words: list[str], places: Mapping[str, str]) -> list[str]:
    """Return words with the names and paths of containers put in terms of this machine."""
    for there, here in places.items():
        words = [word.replace(there, here) for word in words]
    return words


class ComposedKafka(KafkaServer):
    """Kafka with the properties that compose.yaml gives it, on ports of its own."""

    def _write_configuration(self) -> None:
        super()._write_configuration()
        given = service("kafka")["environment"]
        lines = [
            f"{name.removeprefix('KAFKA_').lower().replace('_', '.')}={value}"
            for name, value in given.items()
            if name.startswith("KAFKA_") and name != "KAFKA_HEAP_OPTS"
        ]
        places = {
            "kafka:": f"{HOST}:",
            "//:": f"//{HOST}:",
            ":9092": f":{self._port}",
            ":9093": f":{self._controller_port}",
            ":19092": f":{free_port()}",
            "/var/lib/kafka/data": str(self.folder / "data"),
        }
        text = "\n".join(elsewhere(lines, places)) + "\n"
        self._properties.write_text(text, encoding="utf-8")
