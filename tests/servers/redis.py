"""A real Redis on loopback."""

import shutil
from pathlib import Path

from redis import ConnectionError as RedisConnectionError
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from servers.process import HOST, MissingError, Server, free_port


class RedisServer(Server):
    """One Redis; it forgets everything when it ends, unless it is told to keep it.

    Parameters
    ----------
    folder
        An existing folder for its log and, where it keeps anything, its data.
    keep
        Write every change to disk before answering.

    Raises
    ------
    MissingError
        If Redis is not on this machine.
    """

    name = "Redis"

    def __init__(self, folder: Path, *, keep: bool = False) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise MissingError(
                "redis-server is not installed (CONTRIBUTING.md says how to have it)"
            )
        super().__init__(folder)
        self._program, self._keep, self._port = program, keep, free_port()

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self._port}/0"

    def command(self) -> list[str]:
        place = ["--bind", HOST, "--port", str(self._port), "--dir", str(self.folder)]
        kept = ["--appendonly", "yes" if self._keep else "no", "--appendfsync", "always"]
        return [self._program, *place, "--save", "", *kept, "--daemonize", "no"]

    def is_ready(self) -> bool:
        with self.client() as client:
            try:
                return bool(client.ping())
            except RedisConnectionError:  # also said while it still loads its data
                return False

    def client(self) -> "Redis":
        """Return a client that neither retries nor waits long; close it after use."""
        return Redis.from_url(self.url, socket_timeout=1.0, retry=Retry(NoBackoff(), 0))
