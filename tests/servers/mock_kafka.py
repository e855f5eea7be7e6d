"""librdkafka's mock cluster: Kafka's protocol over TCP from a thread of this process.

It is there wherever confluent-kafka is. Other processes can use it. What it is not: it keeps only
the last 5 MiB or 100,000 messages of a partition, answers no admin request and finds no offsets
by time.
"""

import ctypes
import ctypes.util
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import confluent_kafka

from servers.process import MissingError

_PRODUCER: Final = 0
_CONF_OK: Final = 0
_ALL_BROKERS: Final = -1
_ERROR_SIZE: Final = 512
PRODUCE_API: Final = 0
FETCH_API: Final = 1
DEFAULT_PARTITIONS: Final = 4  # what it gives a topic that a client merely asks about

_POINTER, _TEXT, _INT = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
_INT16, _INT32, _INT64, _SIZE = ctypes.c_int16, ctypes.c_int32, ctypes.c_int64, ctypes.c_size_t
_SIGNATURES: Final[dict[str, tuple[Any, ...]]] = {  # result, then parameters, as in its headers
    "rd_kafka_conf_new": (_POINTER,),
    "rd_kafka_conf_set": (_INT, _POINTER, _TEXT, _TEXT, _TEXT, _SIZE),
    "rd_kafka_new": (_POINTER, _INT, _POINTER, _TEXT, _SIZE),
    "rd_kafka_destroy": (None, _POINTER),
    "rd_kafka_err2str": (_TEXT, _INT),
    "rd_kafka_mock_cluster_new": (_POINTER, _POINTER, _INT),
    "rd_kafka_mock_cluster_destroy": (None, _POINTER),
    "rd_kafka_mock_cluster_bootstraps": (_TEXT, _POINTER),
    "rd_kafka_mock_topic_create": (_INT, _POINTER, _TEXT, _INT, _INT),
    "rd_kafka_mock_partition_delete_records": (_INT, _POINTER, _TEXT, _INT32, _INT64),
    "rd_kafka_mock_broker_set_down": (_INT, _POINTER, _INT32),
    "rd_kafka_mock_broker_set_up": (_INT, _POINTER, _INT32),
    "rd_kafka_mock_broker_set_rtt": (_INT, _POINTER, _INT32, _INT),
    "rd_kafka_mock_push_request_errors_array": (None, _POINTER, _INT16, _SIZE, _POINTER),
}


def _library_path() -> str:
    """Return the librdkafka that confluent-kafka itself uses."""
    package = Path(confluent_kafka.__file__).parent
    for folder in (package.parent / "confluent_kafka.libs", package / ".dylibs"):
        for path in folder.glob("librdkafka[-.]*"):
            return str(path)
    found = ctypes.util.find_library("rdkafka")
    if found is None:
        raise MissingError("librdkafka is not beside confluent-kafka and not on this machine")
    return found


@cache
def _library() -> Any:
    library = ctypes.CDLL(_library_path())
    for name, (result, *parameters) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, parameters
    return library


class MockKafka:
    """A cluster of mock brokers; close it, or use it as a context manager."""

    def __init__(self, brokers: int = 1) -> None:
        self._library = _library()
        said = ctypes.create_string_buffer(_ERROR_SIZE)
        conf = self._library.rd_kafka_conf_new()
        quiet = self._library.rd_kafka_conf_set(conf, b"log_level", b"0", said, _ERROR_SIZE)
        assert quiet == _CONF_OK, said.value
        self._client = self._library.rd_kafka_new(_PRODUCER, conf, said, _ERROR_SIZE)
        assert self._client, said.value
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, brokers)
        assert self._cluster, "librdkafka made no mock cluster"

    @property
    def bootstrap(self) -> str:
        """Return its address, as ``bootstrap.servers`` wants it."""
        text: bytes = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster)
        return text.decode()

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Create a topic; one that a client merely asks about has four partitions."""
        self._do("topic_create", name.encode(), partitions, 1)

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Delete what stands before an offset, as retention would."""
        self._do("partition_delete_records", topic.encode(), partition, before)

    def set_down(self) -> None:
        """Cut all connections and refuse new ones; what was written stays."""
        self._do("broker_set_down", _ALL_BROKERS)

    def set_up(self) -> None:
        """Take connections again."""
        self._do("broker_set_up", _ALL_BROKERS)

    def set_round_trip(self, milliseconds: int) -> None:
        """Answer everything this much later."""
        self._do("broker_set_rtt", _ALL_BROKERS, milliseconds)

    def refuse(self, api: int, *errors: int) -> None:
        """Answer the next requests of a kind (its number in the protocol) with these errors."""
        array = (ctypes.c_int * len(errors))(*errors)
        self._library.rd_kafka_mock_push_request_errors_array(
            self._cluster, api, len(errors), ctypes.cast(array, _POINTER)
        )

    def close(self) -> None:
        """End it; a second call does nothing."""
        if self._cluster:
            self._library.rd_kafka_mock_cluster_destroy(self._cluster)
            self._library.rd_kafka_destroy(self._client)
            self._cluster = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _do(self, what: str, *words: object) -> None:
        code = getattr(self._library, f"rd_kafka_mock_{what}")(self._cluster, *words)
        if code != 0:
            said = self._library.rd_kafka_err2str(code).decode()
            raise ValueError(f"the mock cluster refuses {what}{words}: {said}")
