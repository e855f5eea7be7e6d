"""Identifier hashes equal the published ones and an independent twin."""

import naive_scan
import numpy as np
import pytest

from schemas import hashing
from schemas.columns import HashKey

KAFKA = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}
REFERENCE_KEY = (0x0706050403020100, 0x0F0E0D0C0B0A0908)


@pytest.mark.parametrize("text", KAFKA)
def test_murmur2_is_kafkas(text: str) -> None:
    assert hashing.murmur2_bytes(text.encode()) == KAFKA[text] % 2**32


def test_the_twin_equals_the_reference_vectors() -> None:
    short = naive_scan.Sip(REFERENCE_KEY, (2, 4), is_long=False)
    assert short.digest(bytes(range(15))) == (0xA129CA6149BE45E5,)  # the paper's appendix A
    low, high = naive_scan.Sip(REFERENCE_KEY, (2, 4), is_long=True).digest(b"")
    written = low.to_bytes(8, "little") + high.to_bytes(8, "little")
    assert written.hex() == "a3817f04ba25a8e66df67214c7550293"  # the authors' vectors.h, first


@pytest.mark.parametrize("length", [*range(18), 31, 32, 33, 127, 128, 255, 256, 300])
def test_hashes_of_every_length_equal_the_twin(length: int) -> None:
    data = bytes((7 * n + length) % 251 for n in range(length))
    key = HashKey(*REFERENCE_KEY)
    twin = naive_scan.Sip((key.low ^ 5, key.high), (1, 3), is_long=True)
    assert hashing.hash_bytes(data, 5, key) == twin.digest(data)
    assert hashing.siphash13(data) == naive_scan.Sip((0, 0), (1, 3), is_long=False).digest(data)[0]
    assert hashing.murmur2_bytes(data) == naive_scan.murmur2(data)


def test_words_load_from_any_offset() -> None:
    array = np.arange(32, dtype=np.uint8)
    assert [int(hashing.load_u64(array, n)) & 255 for n in range(8)] == list(range(8))


@pytest.mark.parametrize(("mask", "index"), [(0, 8), (0x80, 0), (0x8000, 1), (1 << 63, 7)])
def test_low_byte_index_finds_the_first_match(mask: int, index: int) -> None:
    assert hashing.low_byte_index(np.uint64(mask)) == index
