"""Logs of a run, to standard error: events with fields, as JSON or text. Never an account's id."""

import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, Self

import orjson

from flows import clock
from flows.config import Config
from schemas.events import SECOND_NS

Fields = MutableMapping[str, Any]
LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def open_log(config: Config, level: str, process: int) -> Any:
    """Return a bound logger that writes events of ``level`` and above; of ``none``, a silent one.

    Nothing is configured for the whole process: libraries' own logs stay as they are.
    """
    if level == "none":
        return Silent()
    # A fifth of a second of imports, which a run with metrics alone need not spend.
    import structlog  # noqa: PLC0415 - see above

    as_json = config.value("log.format") == "json"
    return structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr),
        processors=[structlog.processors.add_log_level, _add_time, _as_json if as_json else _text],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        context_class=dict,
        process=process,
    )


class Silent:
    """A logger that writes nothing."""

    def bind(self, **_fields: object) -> Self:
        """Return a logger that knows more, which changes nothing."""
        return self

    def info(self, _event: str, **_fields: object) -> None:
        """Write nothing."""

    debug = warning = error = info


def _add_time(_logger: object, _method: str, fields: Fields) -> Fields:
    whole, rest = divmod(clock.now_ns(), SECOND_NS)
    moment = datetime.fromtimestamp(whole, UTC)
    return {"time": f"{moment:%Y-%m-%dT%H:%M:%S}.{rest // 1_000:06}Z", **fields}


def _as_json(_logger: object, _method: str, fields: Fields) -> str:
    return orjson.dumps(fields, default=str).decode()


def _text(_logger: object, _method: str, fields: Fields) -> str:
    head = f"{fields.pop('time')} {fields.pop('level'):7} {fields.pop('event')}"
    rest = "".join(f" {name}={orjson.dumps(v, default=str).decode()}" for name, v in fields.items())
    return head + rest


def kinds_of(error: BaseException) -> list[str]:
    """Return the class names of an error and its causes; their texts may hold account ids."""
    kinds: list[str] = []
    link: BaseException | None = error
    while link is not None:
        kinds.append(type(link).__name__)
        link = link.__cause__
    return kinds
