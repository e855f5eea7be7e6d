"""Tokens instead of identifiers: the ledger never holds an account's own name."""

import hmac
import os
import secrets
import stat
import unicodedata
from hashlib import sha256
from pathlib import Path
from typing import Final

from ledger.bundles import sync_folder
from ledger.errors import LedgerError

PEPPER_SIZE: Final = 32
TOKEN_SIZE: Final = 16
_SEPARATOR: Final = "\0"
_HASH_KEY_LABEL: Final = b"tapewatch/hash-key/1"  # without a separator: no token's message
_SHOWN_MAX: Final = 4


class PepperError(LedgerError):
    """The pepper is missing, of the wrong size, or readable by others."""


class Pepper:
    """The secret of one deployment: who lacks it cannot guess an account behind its token."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) != PEPPER_SIZE:
            raise PepperError(
                f"The pepper must be {PEPPER_SIZE} bytes, not {len(secret)}:"
                " bring keys/pepper back from a copy, or all tokens change."
            )
        self._secret = secret

    def __repr__(self) -> str:
        return "Pepper(hidden)"

    @classmethod
    def of(cls, data: Path) -> "Pepper":
        """Read DATA/keys/pepper, making it at first use.

        Raises
        ------
        PepperError
            If folder or file can be entered or read by others, or the file is not 32 bytes.
        """
        keys = data / "keys"
        keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_private(keys, keys.stat(), "700")
        path = keys / "pepper"
        if not path.exists():
            _create_once(path)
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(handle, "rb") as file:
            _require_private(path, os.fstat(file.fileno()), "600")
            return cls(file.read(PEPPER_SIZE + 1))

    def hash_key(self) -> tuple[int, int]:
        """Return (low, high), the 128-bit key under which identifiers are hashed in columns."""
        digest = self._mac(_HASH_KEY_LABEL)
        return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little")

    def _mac(self, message: bytes) -> bytes:
        return hmac.digest(self._secret, message, sha256)


def token(pepper: Pepper, of_type: str, identifier: str) -> str:
    """Return 32 hex digits that stand for the identifier: HMAC(pepper, type, 0, NFC id)[:16].

    Raises
    ------
    ValueError
        If the type holds the separator: two types could then share a token.
    """
    if _SEPARATOR in of_type:
        raise ValueError(f"The token type {of_type!r} must not hold a zero character.")
    message = of_type + _SEPARATOR + unicodedata.normalize("NFC", identifier)
    return pepper._mac(message.encode())[:TOKEN_SIZE].hex()  # noqa: SLF001 - one module, one secret


def masked(identifier: str) -> str:
    """Return the identifier for display: its last four characters, never more than half of it.

    Examples
    --------
    >>> masked("6217001234")
    '****1234'
    >>> masked("A17")
    '****7'
    """
    shown = min(_SHOWN_MAX, len(identifier) // 2)
    return "****" + identifier[len(identifier) - shown :]


def _require_private(path: Path, status: os.stat_result, mode: str) -> None:
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise PepperError(f"{path} is open to others: run `chmod {mode} {path}` and start again.")


def _create_once(path: Path) -> None:
    """Write aside, then link: of two processes at once the first wins and both read its bytes."""
    aside = path.with_name(f".pepper-{os.getpid()}-{secrets.token_hex(4)}")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(secrets.token_bytes(PEPPER_SIZE))
        file.flush()
        os.fsync(file.fileno())
    try:
        path.hardlink_to(aside)
    except FileExistsError:
        pass  # the other process's pepper is the one
    finally:
        aside.unlink()
    sync_folder(path.parent)
