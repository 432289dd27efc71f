"""Ctrl-C, a scheduler and a closed terminal stop a run at the same place with the same words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ad_hypotheses.studies import interrupt
from ad_hypotheses.studies.interrupt import STOPPED, Stopped, braking, following, stoppable

ROOT = Path(__file__).parents[1]
ASKING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(params=ASKING, ids=lambda number: number.name)
def ask(request):
    """Return what sends this process a signal."""
    return lambda: os.kill(os.getpid(), request.param)


def test_what_may_stop_anywhere_stops_where_it_is(ask):
    reached = []

    def stay():
        with stoppable(lambda: "what was measured is kept"):
            reached.append("began")
            ask()
            reached.append("went on")

    before = [signal.getsignal(number) for number in ASKING]
    with pytest.raises(Stopped, match="what was measured is kept"):
        stay()
    assert reached == ["began"]
    assert [signal.getsignal(number) for number in ASKING] == before


def test_what_brakes_stops_at_a_safe_place_only(ask, capfd):
    reached = []

    def train():
        with braking(lambda: "stopped after update 3") as brake:
            brake.stop_if_pulled()
            ask()
            reached.append("finished the update")
            brake.stop_if_pulled()
            reached.append("went on")

    with pytest.raises(Stopped, match="stopped after update 3"):
        train()
    assert reached == ["finished the update"]
    assert "stopping at the next safe place" in capfd.readouterr().err


def test_processes_that_follow_leave_it_to_the_first(ask):
    with following():
        ask()
    with pytest.raises(Stopped), following():
        raise KeyboardInterrupt


@pytest.mark.parametrize("number", ASKING, ids=lambda number: number.name)
def test_before_anything_was_begun_it_ends_at_once(number):
    script = "import os; from ad_hypotheses.studies.interrupt import leaving_at_once\n"
    script += f"with leaving_at_once(): os.kill(os.getpid(), {int(number)}); print('went on')"
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (STOPPED, "", "stopped.\n")


def test_a_second_ctrl_c_ends_at_once_but_another_signal_of_the_same_moment_does_not(monkeypatch):
    """A scheduler signals all processes of a sweep, and the sweep then signals its workers: that is one wish."""
    now, left = [0.0], []
    monkeypatch.setattr(interrupt.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(interrupt, "_leave", left.append)

    def train(signals, passed_on):
        with braking(lambda: "", passed_on) as brake:
            for number, seconds in signals:
                now[0] = seconds
                os.kill(os.getpid(), number)
            brake.stop_if_pulled()

    def run(*signals, passed_on=False):
        left.clear()
        with pytest.raises(Stopped):
            train(signals, passed_on)
        return len(left)

    assert run((signal.SIGTERM, 0), (signal.SIGINT, 0.1)) == 0
    assert run((signal.SIGINT, 0), (signal.SIGINT, 0.1)) == 1
    assert run((signal.SIGINT, 0), (signal.SIGINT, 0.1), passed_on=True) == 0
    assert run((signal.SIGTERM, 0), (signal.SIGINT, 5)) == 1


def test_a_terminal_that_is_closed_stops_nothing_that_nohup_began():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable(lambda: ""):
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
