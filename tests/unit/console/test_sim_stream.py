"""``sim://``: the same bytes at any pace, with damage where it is asked for."""

import pytest

from console import sim_stream
from schemas import referee

URL = "sim://?seed=3&events=600&accounts=50&minutes=5"


def test_pace_changes_no_byte() -> None:
    as_fast_as_possible = b"".join(sim_stream.blocks(URL, 0))
    paced = b"".join(sim_stream.blocks(f"{URL}&speed=1", 10**9))  # all before the first wanted
    assert paced == as_fast_as_possible


def test_damage_is_so_many_lines_that_are_all_refused() -> None:
    plain = b"".join(sim_stream.blocks(f"{URL}&speed=1", 10**9)).splitlines()
    damaged = b"".join(sim_stream.blocks(f"{URL}&speed=1&damage=6", 10**9)).splitlines()
    extra = [line for line in damaged if line not in plain]
    assert len(damaged) == len(plain) + 6
    assert set(extra) == set(sim_stream.DAMAGE)
    assert all(isinstance(referee.judge(line), referee.Verdict) for line in extra)


@pytest.mark.parametrize("query", ["sped=1", "seed=x", "speed=fast"])
def test_a_url_that_asks_for_what_there_is_not_is_refused(query: str) -> None:
    with pytest.raises(ValueError, match="may have seed, events"):
        sim_stream.parse_url(f"sim://?{query}")
