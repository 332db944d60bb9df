"""The line of phases as text, by a clock that is moved by hand."""

from __future__ import annotations

from gpuplug.frontends.magics.phases import Phases


def walk(*steps: tuple[str, float]) -> tuple[Phases, float]:
    phases, now = Phases(), 100.0
    for name, seconds in steps:
        phases.begin(name, "", now)
        now += seconds
    return phases, now


def test_each_phase_shows_what_it_took_and_the_one_at_hand_what_it_is_doing() -> None:
    phases, now = walk(("offer", 0.4), ("rent", 1.1))
    phases.begin("boot", "loading", now)
    assert phases.text(now) == "offer 0.4s - rent 1.1s - boot ... loading"
    assert phases.text(now + 12.3) == "offer 0.4s - rent 1.1s - boot 12s ... loading"


def test_what_nobody_can_have_noticed_is_left_out() -> None:
    phases, now = walk(("offer", 0.01), ("boot", 2.0), ("ssh", 0.02))
    phases.end(now)
    assert phases.text(now) == "boot 2.0s"


def test_when_nothing_took_long_the_line_is_not_empty() -> None:
    phases, now = walk(("offer", 0.01), ("rent", 0.02))
    phases.end(now)
    assert phases.text(now) == "offer 0.0s - rent 0.0s"


def test_the_same_phase_named_again_goes_on() -> None:
    phases, now = walk(("boot", 1.0), ("boot", 1.0), ("boot", 1.0))
    phases.end(now)
    phases.end(now + 5)
    assert phases.text(now) == "boot 3.0s"


def test_the_time_of_the_cell_itself_is_not_part_of_the_wait() -> None:
    phases, now = walk(("ship", 1.0), ("run", 60.0))
    assert phases.text(now) == "ship 1.0s - run ..."
    phases.end(now)
    assert phases.text(now) == "ship 1.0s"


def test_bytes_are_a_bar_with_size_and_speed() -> None:
    phases, now = walk(("ship", 0.5))
    phases.progress(25_000_000, 100_000_000, 5e6)
    assert phases.text(now) == "ship ... [#####...............] 25.0 of 100.0 MB, 5.0 MB/s"
    phases.progress(0, 0, 0.0)
    assert "0.0 of 0.0 MB" in phases.text(now)
