from flows import clock
from schemas.events import TIME_MAX_NS, TIME_MIN_NS


def test_the_wall_clock_is_in_nanoseconds_since_1970() -> None:
    assert TIME_MIN_NS < clock.now_ns() < TIME_MAX_NS


def test_the_monotonic_clock_never_steps_back() -> None:
    readings = [clock.monotonic_ns() for _ in range(100)]
    assert readings == sorted(readings)
