"""What is published: alerts as they stand, notices for the sender, refused lines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson
from msgspec import Struct
from msgspec import json as msgspec_json

from flows.edges.kafka_sink import KafkaSink, Sink, send_all
from flows.messages import alert_object, dead_letter_object
from flows.store.rows import StoreBatch

SETTINGS: Final = ("outputs.alerts", "outputs.notices", "outputs.dead_letters")


class OutboxNotice(Struct, frozen=True, kw_only=True):
    """A notice as the broker's own sender finds it in the outbox: OUTBOX/notice_id.json.

    It never says which rule, detector or alert stands behind it, nor what a re-check found.
    ``state`` is ``sent`` when the notice is to be delivered; later the file is replaced with
    ``answered``, ``expired`` or ``rechecked``, each with a higher ``ordinal``.
    """

    notice_id: str
    ordinal: int
    state: str
    tenant: str
    account_id: str
    text: str
    sent_ns: int
    expires_ns: int
    answered_ns: int | None


@dataclass(slots=True)
class Topics:
    """Where each kind goes; None: nowhere."""

    alerts: Sink | None = None
    notices: Sink | None = None
    dead_letters: Sink | None = None

    def publish(self, batch: StoreBatch, notices: Sequence[OutboxNotice]) -> None:
        """Send what was just committed; durable on return.

        An alert is sent whenever it changes, under its id: the last message says how it stands.
        """
        send_all(
            self.alerts, ((row.alert_id, orjson.dumps(alert_object(row))) for row in batch.alerts)
        )
        send_all(self.notices, ((n.notice_id, msgspec_json.encode(n)) for n in notices))
        send_all(
            self.dead_letters,
            ((row.id, orjson.dumps(dead_letter_object(row))) for row in batch.dead_letters),
        )

    def close(self) -> None:
        """Let go of them."""
        for sink in (self.alerts, self.notices, self.dead_letters):
            if sink is not None:
                sink.close()


def open_topics(
    urls: Mapping[str, str],
    properties: Mapping[str, str],
    on_waiting: Callable[[], None] = lambda: None,
) -> Topics:
    """Open the topics that settings name; an empty URL is none. See ``KafkaSink``."""
    sinks = [
        KafkaSink(urls[name], properties, on_waiting) if urls[name] else None for name in SETTINGS
    ]
    return Topics(*sinks)
