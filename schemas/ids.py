"""Ids that the same events give everywhere: in any batching, on any number of processes."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

ALERT_DOMAIN: Final = "tapewatch/alert/1"
EID_SIZE: Final = 16


def digest_parts(parts: Iterable[str]) -> bytes:
    """Return the first 16 bytes of SHA-256 over the parts, each with its length before it.

    The length (8 bytes, big-endian) keeps ("ab", "c") and ("a", "bc") apart.

    Examples
    --------
    >>> digest_parts(["ab", "c"]) == digest_parts(["a", "bc"])
    False
    """
    hasher = sha256()
    for part in parts:
        data = part.encode()
        hasher.update(len(data).to_bytes(8, "big"))
        hasher.update(data)
    return hasher.digest()[:EID_SIZE]
