"""Work that is not training is shown once it takes longer than two seconds, with the time left."""

import io

import pytest

from sensorium.training.console import PlainLines
from sensorium.training.progress import Stage


class Recorder:
    def __init__(self):
        self.seen, self.closed = [], 0

    def update(self, status):
        self.seen.append(status)

    def note(self, text):
        raise AssertionError(text)

    def close(self):
        self.closed += 1


def run(seconds_each, num_items):
    now, shown = [100.0], Recorder()
    with Stage(shown, "judging", now=lambda: now[0]) as advance:
        for _ in advance.over(range(num_items), num_items):
            now[0] += seconds_each
    return shown


def test_long_work_is_shown_with_the_time_left():
    shown = run(1.0, 10)
    assert [work.done for work in shown.seen] == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert [work.left_s for work in shown.seen] == pytest.approx([8, 7, 6, 5, 4, 3, 2, 1, 0])
    assert shown.seen[1].fraction == pytest.approx(0.3)
    assert str(shown.seen[1]) == "judging: 3 of 10 rows  0:03  0:07 left"
    assert shown.closed == 1


def test_it_is_shown_twice_a_second_at_most():
    assert len(run(0.01, 400).seen) == pytest.approx(5, abs=1)


def test_short_work_shows_nothing_and_closes_nothing():
    shown = run(0.1, 10)
    assert shown.seen == []
    assert shown.closed == 0


def test_a_line_a_stage_off_a_terminal():
    stream = io.StringIO()
    lines = PlainLines(stream, every_s=1e9)
    now = [0.0]
    for title in ("judging", "explaining"):
        with Stage(lines, title, now=lambda: now[0]) as advance:
            for done in range(1, 4):
                now[0] += 2
                advance(done, 3)
    assert [line.split(":")[0].split()[-1] for line in stream.getvalue().splitlines()] == [
        "judging",
        "judging",
        "explaining",
        "explaining",
    ]
