import hmac
import threading
from hashlib import sha256
from pathlib import Path

import pytest

from ledger.tokens import Pepper, PepperError, masked, token

PEPPER = Pepper(bytes(range(32)))


def test_a_token_is_the_documented_hmac() -> None:
    mac = hmac.digest(bytes(range(32)), b"account\x00A17", sha256)
    assert token(PEPPER, "account", "A17") == mac[:16].hex()


def test_type_and_identifier_do_not_run_into_each_other() -> None:
    assert token(PEPPER, "account", "A17") != token(PEPPER, "order", "A17")
    with pytest.raises(ValueError, match="zero character"):
        token(PEPPER, "account\0A", "17")


def test_spellings_of_one_name_give_one_token() -> None:
    assert token(PEPPER, "account", "Zo\u0065\u0301") == token(PEPPER, "account", "Zo\u00e9")


def test_the_hash_key_is_stable_and_128_bits() -> None:
    low, high = PEPPER.hash_key()
    assert PEPPER.hash_key() == (low, high)
    assert 0 <= low < 2**64
    assert 0 <= high < 2**64
    assert Pepper(bytes(32)).hash_key() != (low, high)


@pytest.mark.parametrize(
    ("identifier", "shown"),
    [
        ("6217001234", "****1234"),
        ("12345678", "****5678"),
        ("1234", "****34"),
        ("7", "****"),
        ("", "****"),
    ],
)
def test_masking_never_shows_more_than_half(identifier: str, shown: str) -> None:
    assert masked(identifier) == shown


def test_the_pepper_is_made_once_private_and_read_again(tmp_path: Path) -> None:
    first = Pepper.of(tmp_path / "data")
    path = tmp_path / "data/keys/pepper"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert len(path.read_bytes()) == 32
    assert token(Pepper.of(tmp_path / "data"), "a", "b") == token(first, "a", "b")
    assert [entry.name for entry in path.parent.iterdir()] == ["pepper"]
    assert path.read_bytes().hex() not in repr(first)


def test_processes_starting_at_once_agree_on_the_pepper(tmp_path: Path) -> None:
    tokens: list[str] = []
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        tokens.append(token(Pepper.of(tmp_path), "a", "b"))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 8
    assert len(set(tokens)) == 1


def test_of_two_creators_the_first_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Pepper.of(tmp_path)
    held = tmp_path.joinpath("keys/pepper").read_bytes()
    real_exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path.name != "pepper" and real_exists(path))
    Pepper.of(tmp_path)
    assert tmp_path.joinpath("keys/pepper").read_bytes() == held


@pytest.mark.parametrize(("name", "mode"), [("keys/pepper", 0o640), ("keys", 0o750)])
def test_looser_permissions_are_refused_with_the_cure(tmp_path: Path, name: str, mode: int) -> None:
    Pepper.of(tmp_path)
    tmp_path.joinpath(name).chmod(mode)
    with pytest.raises(PepperError, match=r"open to others: run `chmod"):
        Pepper.of(tmp_path)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_pepper_of_another_size_is_refused(tmp_path: Path, size: int) -> None:
    Pepper.of(tmp_path)
    tmp_path.joinpath("keys/pepper").write_bytes(bytes(size))
    with pytest.raises(PepperError, match="must be 32 bytes"):
        Pepper.of(tmp_path)
