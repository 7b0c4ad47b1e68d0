"""Embedded Kafka broker, in memory, for trials and tests: librdkafka's mock cluster from the `confluent-kafka` wheel.

It speaks the Kafka protocol on a TCP port and is controlled through librdkafka's public mock API (`rdkafka_mock.h`).
Its limits: it keeps about 5 MB of each partition, allows one live member in a group, has no admin client and no
compaction, and loses its records when it stops. A new record does not wake a waiting fetch, so consumers fetch often
(`broker.reading_arguments`).
"""

from __future__ import annotations

import ctypes
import socket
from concurrent.futures import ThreadPoolExecutor, wait
from types import TracebackType
from typing import Literal, Self

import structlog
from confluent_kafka import cimpl

from savo_contracts.topics import TOPICS, dead_letter_topics
from savo_runtime.errors import FatalError

__all__ = ["MAX_PARTITIONS", "EmbeddedBroker"]

log = structlog.get_logger()

MAX_PARTITIONS = 4
"""Maximum of partitions of a topic: each takes memory, and a single replica reads them all."""

_PRODUCER = 0


class EmbeddedBroker:
    """One broker in this process. Every topic of the registry and every dead-letter topic exists from the start.

    Raises `FatalError` for `env="production"`, and when librdkafka refuses.
    """

    def __init__(self, *, env: Literal["dev", "production"] = "dev", max_partitions: int = MAX_PARTITIONS) -> None:
        if env == "production":
            raise FatalError(
                "SAVO_ENV=production refuses the embedded broker: it loses its records when it stops."
                " Set SAVO_KAFKA_BOOTSTRAP_SERVERS to host:port of a real Kafka."
            )
        self.bootstrap_servers = ""
        self._max_partitions = max_partitions
        self._client: int | None = None
        self._cluster: int | None = None

    def start(self) -> Self:
        self._client = _LIBRARY.rd_kafka_new(_PRODUCER, _quiet(), None, 0)
        self._cluster = _LIBRARY.rd_kafka_mock_cluster_new(self._client, 1) if self._client else None
        if not self._cluster:
            self.stop()
            raise FatalError("the embedded broker cannot start: librdkafka created no mock cluster")
        _LIBRARY.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self.bootstrap_servers = _LIBRARY.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        self._create_topics()
        log.warning(
            "embedded_broker.started",
            bootstrap_servers=self.bootstrap_servers,
            note="in memory, for trying and testing; its records are lost when this process ends",
        )
        return self

    def stop(self) -> None:
        if self._cluster:
            _LIBRARY.rd_kafka_mock_cluster_destroy(self._cluster)
        if self._client:
            _LIBRARY.rd_kafka_destroy(self._client)
        self._cluster = self._client = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _create_topics(self) -> None:
        """Create all topics. librdkafka's thread serves requests once a second, or when its socket has a connection."""
        partitions = {topic.name: min(topic.partitions, self._max_partitions) for topic in TOPICS} | {
            name: 1 for _, _, name in dead_letter_topics()
        }
        host, port = self.bootstrap_servers.split(":")
        with ThreadPoolExecutor(len(partitions)) as pool:
            requests = [pool.submit(self._create_topic, name, number) for name, number in partitions.items()]
            while wait(requests, timeout=0.01).not_done:
                socket.create_connection((host, int(port))).close()
        for request in requests:
            request.result()

    def _create_topic(self, name: str, partitions: int) -> None:
        if code := _LIBRARY.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1):
            raise FatalError(f"the embedded broker cannot create topic {name}: librdkafka error {code}")


def _quiet() -> int:
    """A configuration that logs errors only. The client never connects, and librdkafka would warn about that."""
    configuration: int = _LIBRARY.rd_kafka_conf_new()
    _LIBRARY.rd_kafka_conf_set(configuration, b"log_level", b"3", None, 0)
    return configuration


def _load() -> ctypes.CDLL:
    """librdkafka, with the C signatures of the functions that are used here."""
    library = ctypes.CDLL(cimpl.__file__)
    signatures: dict[str, tuple[type | None, list[type]]] = {
        "rd_kafka_conf_new": (ctypes.c_void_p, []),
        "rd_kafka_conf_set": (
            ctypes.c_int,
            [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t],
        ),
        "rd_kafka_new": (ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]),
        "rd_kafka_destroy": (None, [ctypes.c_void_p]),
        "rd_kafka_mock_cluster_new": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int]),
        "rd_kafka_mock_cluster_destroy": (None, [ctypes.c_void_p]),
        "rd_kafka_mock_cluster_bootstraps": (ctypes.c_char_p, [ctypes.c_void_p]),
        "rd_kafka_mock_topic_create": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]),
        "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [ctypes.c_void_p, ctypes.c_int32]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_LIBRARY = _load()
