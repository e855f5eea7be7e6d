"""A real Apache Kafka: one node, broker and controller in one process (KRaft), on loopback."""

import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from flows import clock
from schemas.caches import cache_folder
from servers.process import HOST, MissingError, Server, ServerFailedError, free_port

POM: Final = Path(__file__).with_name("kafka.pom.xml")
JAVA_VERSION_MIN: Final = 17
_FETCH_SECONDS: Final = 600
_FORMAT_SECONDS: Final = 60
_ADMIN_SECONDS: Final = 10.0
_CLUSTER_ID: Final = "dGFwZXdhdGNoLXRlc3RzIQ"  # sixteen bytes in base64, as Kafka wants them
_MAIN: Final = "kafka.Kafka"
_STORAGE_TOOL: Final = "kafka.tools.StorageTool"

# C1 alone and the serial collector: a broker of the tests lives for minutes and shares two cores.
_JAVA_FLAGS: Final = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

# The session timeout is how long a broker that was killed must wait to be let in again: the usual
# nine seconds would make every restart that long.
_PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=250
log.segment.delete.delay.ms=1000
"""

_LOGGING: Final = """\
status=error
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %c{1}: %m%n
"""


def version() -> str:
    """Return the version of Kafka that the pom names."""
    found = re.search(r"kafka_[\d.]+</artifactId>\s*<version>([\d.]+)<", POM.read_text())
    assert found is not None, f"{POM} names no version of Kafka"
    return found[1]


def jars_folder() -> Path:
    """Return where Kafka's jars are, or would be: another pom, another folder."""
    caches = cache_folder() or Path(tempfile.gettempdir()) / f"tapewatch-{os.getuid()}"
    digest = sha256(POM.read_bytes()).hexdigest()[:8]
    return caches / f"kafka-{version()}-{digest}"


def find_jars() -> Path:
    """Return the folder of Kafka's jars; fetch them only in CI, where nobody minds.

    Raises
    ------
    MissingError
        If they are not there and may not or cannot be fetched.
    """
    folder = jars_folder()
    if folder.is_dir():
        return folder
    if os.environ.get("CI") != "true":
        raise MissingError(f"Apache Kafka {version()} is not here: `make servers` fetches it once")
    return fetch_jars()


def fetch_jars() -> Path:
    """Bring Kafka's jars into the cache unless they are there, once for all processes.

    Raises
    ------
    MissingError
        If Maven is missing or fails.
    """
    folder = jars_folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(f"{folder.name}.lock")):
        if not folder.is_dir():
            part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
            try:
                _run_maven(part)
                part.rename(folder)  # whole or not at all, so that a folder there is a sound one
            finally:
                shutil.rmtree(part, ignore_errors=True)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run_maven(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingError("Maven (mvn), which fetches Apache Kafka, is not installed")
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
    try:
        done = subprocess.run(
            [maven, "--quiet", "--batch-mode", "--file", str(POM), *goal],
            capture_output=True,
            text=True,
            timeout=_FETCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MissingError(f"Maven brought no Kafka within {_FETCH_SECONDS} s") from error
    if done.returncode != 0 or not any(folder.glob("kafka_*.jar")):
        raise MissingError(f"Maven could not fetch Apache Kafka:\n{done.stdout[-2000:]}")


def find_java() -> str:
    """Return the path of a Java that is new enough.

    Raises
    ------
    MissingError
        If there is none.
    """
    java = shutil.which("java")
    said = "none"
    if java is not None:
        result = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
        said = (result.stderr or result.stdout).partition("\n")[0]
        found = re.search(r'version "(\d+)', said)
        if found is not None and int(found[1]) >= JAVA_VERSION_MIN:
            return java
    raise MissingError(f"Apache Kafka needs Java {JAVA_VERSION_MIN} or newer; found: {said}")


class KafkaServer(Server):
    """One broker; topics are made explicitly, replication is 1.

    Parameters
    ----------
    folder
        An existing folder for its data, configuration and log.

    Raises
    ------
    MissingError
        If Java or Kafka is not on this machine.
    """

    name = "Kafka"

    def __init__(self, folder: Path) -> None:
        self._java, self._jars = find_java(), find_jars()
        super().__init__(folder)
        self._port, self._controller_port = free_port(), free_port()
        self._write_configuration()

    @property
    def bootstrap(self) -> str:
        """Return its address, as ``bootstrap.servers`` wants it."""
        return f"{HOST}:{self._port}"

    def command(self) -> list[str]:
        return self._tool(_MAIN, str(self._properties))

    def start(self) -> None:
        if not (self.folder / "data").exists():
            self._format()
        super().start()

    def is_ready(self) -> bool:
        """Tell whether it is in its own list of brokers and leads every partition."""
        with closing(socket.socket()) as probe:
            if probe.connect_ex((HOST, self._port)) != 0:
                return False  # librdkafka would go on trying, and say so
        try:
            known = self._admin().list_topics(timeout=1.0)
        except KafkaException:
            return False
        partitions = [part for topic in known.topics.values() for part in topic.partitions.values()]
        return bool(known.brokers) and all(part.leader in known.brokers for part in partitions)

    def create_topic(self, name: str, partitions: int = 1, **config: object) -> None:
        """Create a topic and wait until it can be used; ``retention_ms=1`` sets retention.ms."""
        words = {key.replace("_", "."): str(value) for key, value in config.items()}
        topic = NewTopic(name, partitions, 1, config=words)
        admin = self._admin()
        admin.create_topics([topic])[name].result(_ADMIN_SECONDS)
        self._wait_for_partitions(admin, name, partitions)

    def add_partitions(self, topic: str, total: int) -> None:
        """Give a topic more partitions, ``total`` in all, and wait until they can be used."""
        admin = self._admin()
        admin.create_partitions([NewPartitions(topic, total)])[topic].result(_ADMIN_SECONDS)
        self._wait_for_partitions(admin, topic, total)

    def delete_records(self, topic: str, partition: int, before: int) -> int:
        """Delete what stands before an offset, as retention would; return the first one left."""
        place = TopicPartition(topic, partition, before)
        admin = self._admin()
        (future,) = admin.delete_records([place]).values()
        return int(future.result(_ADMIN_SECONDS).low_watermark)

    def _wait_for_partitions(self, admin: AdminClient, topic: str, count: int) -> None:
        until_ns = clock.monotonic_ns() + int(_ADMIN_SECONDS * 1e9)
        while clock.monotonic_ns() < until_ns:
            found = admin.list_topics(topic, timeout=_ADMIN_SECONDS).topics[topic].partitions
            if len(found) == count and all(part.leader == 1 for part in found.values()):
                return
            if self._ends_within(0.01):
                break
        raise ServerFailedError(f"Kafka has not {count} partitions of {topic} ready")

    def _admin(self) -> AdminClient:
        # Whoever asks keeps it until the answer is there: one that is let go gives up its requests.
        # Kills are meant: below its log level 2 librdkafka keeps quiet about lost connections.
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 2})

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    def _write_configuration(self) -> None:
        text = _PROPERTIES.format(
            host=HOST, port=self._port, controller_port=self._controller_port, folder=self.folder
        )
        self._properties.write_text(text, encoding="utf-8")
        (self.folder / "log4j2.properties").write_text(_LOGGING, encoding="utf-8")

    def _format(self) -> None:
        words = ("format", "-t", _CLUSTER_ID, "-c", str(self._properties))
        done = subprocess.run(
            self._tool(_STORAGE_TOOL, *words),
            capture_output=True,
            text=True,
            timeout=_FORMAT_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise ServerFailedError(
                f"Kafka could not format its folder:\n{done.stdout}{done.stderr}"
            )

    def _tool(self, main: str, *words: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={(self.folder / 'log4j2.properties').as_uri()}"
        return [self._java, *_JAVA_FLAGS, logging, "-cp", f"{self._jars}/*", main, *words]


if __name__ == "__main__":
    try:
        find_java()
        sys.stdout.write(f"Apache Kafka {version()} is in {fetch_jars()}\n")
    except MissingError as error:
        sys.exit(f"{error}")
