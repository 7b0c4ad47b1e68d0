"""Kafka for tests: a real broker, in a container or on Java from Maven (KRaft, one node), and the embedded broker."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.parts.addresses import free_port
from tests.parts.containers import container, why_no_container
from tests.parts.parts_table import record
from tests.parts.server_folders import server_folder

if TYPE_CHECKING:
    from savo_runtime.messaging.kafka.embedded import EmbeddedBroker

VERSION = "4.0.0"
IMAGE = f"apache/kafka:{VERSION}"
START_WITHIN = 200.0
_JVM = ["-Xmx512m", "-Xms256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
"""Options of a small Java VM that starts quickly."""

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>savo</groupId><artifactId>kafka-for-tests</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version>
    </dependency>
  </dependencies>
</project>"""

_BROKER = {
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "log.cleaner.backoff.ms": "500",
    "log.index.size.max.bytes": "65536",
}


class RealKafka(Protocol):
    """One broker. `kill` sends SIGKILL; `start` restarts it on the same address with the same data."""

    bootstrap_servers: str

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def suspend(self) -> None: ...
    def resume(self) -> None: ...
    def remove(self) -> None: ...


class JavaKafka:
    """Kafka as a process on this machine's Java."""

    def __init__(self, jars: Path) -> None:
        self._folder = server_folder("savo-kafka-")
        self._jars = jars
        self._process: subprocess.Popen[bytes] | None = None
        port, controller = free_port(), free_port()
        self.bootstrap_servers = f"127.0.0.1:{port}"
        settings = {
            **_BROKER,
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "log.dirs": str(self._folder / "data"),
        }
        self._settings = self._folder / "server.properties"
        self._settings.write_text("\n".join(f"{name}={value}" for name, value in settings.items()))

    def format(self) -> None:
        cluster = uuid.UUID(bytes=secrets.token_bytes(16))
        command = self._java("kafka.tools.StorageTool", "format", "-t", str(cluster), "-c", str(self._settings))
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    def start(self) -> None:
        log = (self._folder / "kafka.log").open("ab")
        self._process = subprocess.Popen(
            self._java("kafka.Kafka", str(self._settings)), stdout=log, stderr=log, cwd=self._folder
        )
        log.close()
        try:
            _wait_for_round_trip(self.bootstrap_servers, self._assert_alive)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def suspend(self) -> None:
        os.kill(self._pid(), 19)

    def resume(self) -> None:
        os.kill(self._pid(), 18)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _pid(self) -> int:
        assert self._process, "Kafka does not run"
        return self._process.pid

    def _java(self, *arguments: str) -> list[str]:
        flags = [*_JVM, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        return ["java", *flags, "-cp", f"{self._jars}/*", *arguments]

    def _assert_alive(self) -> None:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"Kafka ended:\n{(self._folder / 'kafka.log').read_text()[-3000:]}")


class DockerKafka:
    """Kafka in a container, on a fixed port of this machine, so that it keeps its address after a restart."""

    def __init__(self) -> None:
        port = free_port()
        self.bootstrap_servers = f"127.0.0.1:{port}"
        settings = {
            **_BROKER,
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": "1@localhost:9093",
            "controller.listener.names": "CONTROLLER",
            "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        }
        self._container: Any = container(IMAGE).with_bind_ports(9092, port)
        for name, value in settings.items():
            self._container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
        self._container.with_env("KAFKA_HEAP_OPTS", " ".join(_JVM))
        self._created = False

    def start(self) -> None:
        if self._created:
            self._container.get_wrapped_container().start()
        else:
            self._container.start()
            self._created = True
        _wait_for_round_trip(self.bootstrap_servers, lambda: None)

    def kill(self) -> None:
        self._container.get_wrapped_container().kill()

    def suspend(self) -> None:
        self._container.get_wrapped_container().pause()

    def resume(self) -> None:
        self._container.get_wrapped_container().unpause()

    def remove(self) -> None:
        self._container.stop()


@pytest.fixture(scope="session")
def real_kafka() -> Iterator[RealKafka]:
    """One broker for the whole test run. Tests that kill or suspend a broker use `own_kafka`."""
    yield from _running()


@pytest.fixture
def own_kafka() -> Iterator[RealKafka]:
    """A broker for one test, to kill, suspend and restart."""
    yield from _running()


@pytest.fixture(scope="session")
def kafka(real_kafka: RealKafka) -> str:
    """Bootstrap servers of a real Apache Kafka."""
    return real_kafka.bootstrap_servers


@pytest.fixture
def embedded_broker() -> Iterator[EmbeddedBroker]:
    """A new embedded broker for each test."""
    from savo_runtime.messaging.kafka.embedded import EmbeddedBroker

    with EmbeddedBroker() as broker:
        record("embedded broker", "stood in", "librdkafka's mock cluster, the product's own for trying")
        yield broker


def _running() -> Iterator[RealKafka]:
    kafka, source = _kafka()
    try:
        kafka.start()
        record("Kafka", "real", f"{VERSION}, {source}")
        yield kafka
    finally:
        kafka.remove()


temporary_kafka = contextmanager(_running)
"""A broker for a benchmark, removed after the block. Raises pytest's `Skipped` where none can run."""


def _kafka() -> tuple[RealKafka, str]:
    """A broker and its source. Skips only on a machine with neither its image nor Java and Maven."""
    no_container = why_no_container(IMAGE)
    if no_container is None:
        return DockerKafka(), "Docker"
    if missing := [program for program in ("java", "mvn") if shutil.which(program) is None]:
        reason = f"{no_container}, and {' and '.join(missing)} is not installed"
        record("Kafka", "skipped", reason)
        pytest.skip(reason)
    kafka = JavaKafka(_jars())
    kafka.format()
    return kafka, f"Maven jars on Java ({no_container})"


def _jars() -> Path:
    """Folder of Kafka's jars and their dependencies from Maven, downloaded once on a machine."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "savo" / f"kafka-{VERSION}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            (Path(work) / "pom.xml").write_text(_POM)
            goal = ["dependency:copy-dependencies", f"-DoutputDirectory={work}/jars"]
            command = ["mvn", "-q", "-B", "-f", f"{work}/pom.xml", *goal]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, f"Maven could not fetch Kafka:\n{done.stdout[-2000:]}"
            _keep(Path(work) / "jars", folder)
    return folder


def _keep(jars: Path, folder: Path) -> None:
    try:
        jars.rename(folder)
    except OSError:
        assert folder.exists()  # another test run has downloaded them meanwhile


def _wait_for_round_trip(bootstrap_servers: str, assert_alive: Any) -> None:
    """Wait until a group has read a record: the port answers seconds before the group coordinator does."""
    from confluent_kafka import Consumer, Producer
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    deadline = time.monotonic() + START_WITHIN
    topic = "savo.round-trip"
    quiet: dict[str, str | int | float | bool] = {
        "bootstrap.servers": bootstrap_servers,
        "log_level": 0,
        "broker.address.family": "v4",
    }
    admin = AdminClient(quiet)
    while topic not in _topics(admin):
        assert_alive()
        assert time.monotonic() < deadline, f"Kafka did not answer within {START_WITHIN:g} s"
        admin.create_topics([NewTopic(topic, 1, 1)])
        time.sleep(0.1)
    producer = Producer(quiet)
    consumer = Consumer({**quiet, "group.id": f"round-trip-{secrets.token_hex(4)}", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    producer.produce(topic, b"there")
    producer.flush(10)
    try:
        while (message := consumer.poll(0.2)) is None or message.error():
            assert_alive()
            assert time.monotonic() < deadline, f"no record came through Kafka within {START_WITHIN:g} s"
    finally:
        consumer.close()


def _topics(admin: Any) -> dict[str, Any]:
    from confluent_kafka import KafkaException

    try:
        topics: dict[str, Any] = admin.list_topics(timeout=1).topics
    except KafkaException:
        return {}
    return topics
