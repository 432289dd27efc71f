"""Long runs that are stopped at any moment, by Ctrl-C, a scheduler or a kill, and go on to the files of whole ones."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from faults.kills import Kind, Moment, described, final, left_behind, moments, run
from faults.small_studies import VERBS, make_small

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


def stop_and_go_on(
    verb: str, kinds: Sequence[Kind], n_moments: int, n_stops: int, seed: int, new_place: Callable[[str], Path]
) -> None:
    """Stop a verb at some moments, each in a place of its own, and compare what the last run leaves with a whole one.

    Args:
        verb: Which.
        kinds: Of moments.
        n_moments: How many places.
        n_stops: How often the run of a place is stopped at most, before it is left alone.
        seed: Of the moments.
        new_place: Makes a place.
    """
    arguments, wholes = VERBS[verb], {kind: new_place(verb) for kind in kinds}
    ended = {kind: run(place, arguments, Moment(kind), make_small) for kind, place in wholes.items()}
    assert all(end.code == 0 for end in ended.values()), [end.err for end in ended.values()]
    lengths = {kind: end.counted for kind, end in ended.items()}
    expected, *others = (final(place) for place in wholes.values())
    assert all(other == expected for other in others), "the verb does not repeat itself"
    assert not left_behind(wholes[kinds[0]])
    rng = np.random.default_rng([seed, sorted(VERBS).index(verb)])
    drawn = moments(rng, lengths, SIGNALS)
    for _ in range(n_moments):
        place, stops = new_place(verb), list(islice(drawn, n_stops))
        with described(f"{verb}, seed {seed}, {', then '.join(map(str, stops))}"):
            for moment in stops:
                stopped = run(place, arguments, moment, make_small)
                assert "Traceback" not in stopped.err, stopped.err
                assert "bug of ours" not in stopped.err, stopped.err
                allowed = (-signal.SIGKILL, 0) if moment.signal == signal.SIGKILL else (2, 0)
                assert stopped.code in allowed, (stopped.code, stopped.err)
            last = run(place, arguments, Moment("change"), make_small)
            assert last.code == 0, last.err
            files = final(place)
            assert files.keys() == expected.keys()
            assert [name for name in files if files[name] != expected[name]] == []
            assert left_behind(place) == []


def test_a_few_kills_lose_nothing(seed, new_place):
    stop_and_go_on("train", ["change"], 2, 1, seed, new_place)


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize("verb", VERBS)
def test_many_kills_lose_nothing(verb, seed, new_place):
    n_moments = 6 if verb == "sweep" else 30  # its workers are processes that import everything
    stop_and_go_on(verb, ["change", "call"], n_moments, 1, seed + 1, new_place)


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize("verb", ["train", "histories", "scrub", "patch", "evaluate", "calibrate"])
def test_kills_one_after_another_lose_nothing(verb, seed, new_place):
    stop_and_go_on(verb, ["change", "call"], 8, 4, seed + 2, new_place)
