"""Threads are taken where cores are idle, unless the user has said how many."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import pytest

from sensorium.cli import environment
from sensorium.cli.environment import WATCHED_S, settle_environment

VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")


def settled(
    monkeypatch: pytest.MonkeyPatch, command: str, idle: list[float], smt: str = "0"
) -> tuple[str | None, ...]:
    """Settle on a machine whose cores are idle for such shares of the time."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that what the call sets is undone after the test
        monkeypatch.delenv(name)
    looks = itertools.count()

    def idle_s() -> dict[str, float]:
        look = next(looks)
        return {f"cpu{i}": 100 + look * share * WATCHED_S for i, share in enumerate(idle)}

    monkeypatch.setattr(sys, "argv", ["sensorium", command])
    monkeypatch.setattr(environment, "_idle_s", idle_s)
    monkeypatch.setattr(environment, "_threads_a_core", lambda: 2 if smt == "1" else 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(len(idle))), raising=False)
    settle_environment()
    return tuple(os.environ.get(name) for name in VARIABLES[:2])


@pytest.mark.parametrize(
    ("command", "idle", "smt", "threads", "policy"),
    [
        ("train", [1.0, 1.0], "0", "2", None),
        ("demo", [1.0, 1.0], "0", "2", None),
        ("train", [1.0, 0.2], "0", "1", "PASSIVE"),
        ("train", [0.0, 0.0], "0", "1", "PASSIVE"),
        ("predict", [1.0, 1.0], "0", "1", "PASSIVE"),
        ("train", [1.0] * 7 + [0.0], "0", "7", "PASSIVE"),
        ("train", [1.0] * 8, "1", "4", "PASSIVE"),
        ("train", [1.0], "0", "1", None),
    ],
)
def test_long_commands_take_the_idle_cores(
    monkeypatch: pytest.MonkeyPatch, command: str, idle: list[float], smt: str, threads: str, policy: str | None
) -> None:
    assert settled(monkeypatch, command, idle, smt) == (threads, policy)


def test_what_the_user_has_set_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "7")
    settle_environment()
    assert [os.environ[name] for name in VARIABLES] == ["7", "7", "7"]


def test_idle_time_is_read_by_core(tmp_path: Path) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    (tmp_path / "stat").write_text(f"cpu  9 9 9 9\ncpu0 1 2 3 {5 * ticks} 7\ncpu1 1 2 3 {6 * ticks} 7\nintr 1\n")
    assert environment._idle_s(tmp_path / "stat") == {"cpu0": 5.0, "cpu1": 6.0}
    assert environment._idle_s(tmp_path / "none") == {}
    assert environment._threads_a_core(tmp_path / "none") == 1
