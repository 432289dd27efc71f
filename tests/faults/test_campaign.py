"""The oracle of the campaigns notices what it is there for, and the ways of damaging things do damage them."""

from __future__ import annotations

import io
import os
import time
from dataclasses import replace

import numpy as np
import pytest
import yaml
from faults.campaign import ACCEPTED, REFUSED, HangError, bounded, settled
from faults.mutate import BYTES, PLACES, alter, alter_array, alter_npz, as_json, as_yaml, misplace, scribble
from faults.mutate_code import alter_code
from faults.sound import CONFIG, HYPOTHESIS

from ad_hypotheses.errors import UserError


def refuse(message):
    raise UserError(message)


@pytest.mark.parametrize(
    ("use", "fault"),
    [
        (lambda: {}["key"], "KeyError: 'key'"),
        (lambda: refuse(" "), "AssertionError: refused without a word"),
        (lambda: exec("raise SystemExit(0)"), "SystemExit: 0"),
        (lambda: bytearray(10**12), "MemoryError"),
        (lambda: np.testing.assert_equal(1.0, np.nan), "AssertionError"),
    ],
)
def test_what_is_neither_figures_nor_a_message_is_a_fault(campaign, use, fault):
    def attempt(trial):
        trial.note("something was done to it")
        return settled(use)[0]

    with pytest.raises(AssertionError) as caught:
        campaign.run("faulty", 2, attempt)
    for fragment in ("2 of 2 inputs", "faulty 1 of seed", "something was done to it", fault):
        assert fragment in str(caught.value)


def test_figures_and_messages_are_counted(campaign):
    def attempt(trial):
        return settled(lambda: trial.rng.random() < 0.5 or refuse("it is broken"))[0]

    counts = campaign.run("sound", 40, attempt)
    assert counts == campaign.run("sound", 40, attempt), "another seed"
    assert counts[ACCEPTED] + counts[REFUSED] == 40
    assert min(counts[ACCEPTED], counts[REFUSED]) > 5


def test_a_campaign_ends_when_its_time_is_over(campaign, capsys):
    def attempt(trial):
        while time.process_time() < began + 0.01:
            pass
        return ACCEPTED

    began = time.process_time()
    assert replace(campaign, seconds=0.005).run("long", 1000, attempt) == {ACCEPTED: 1}
    assert "1 inputs, {'accepted': 1}" in capsys.readouterr().out


def test_what_waits_for_ever_is_ended(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(HangError), bounded(seconds=0.5):
        (tmp_path / "pipe").read_bytes()


def test_what_does_not_end_is_ended_whatever_it_catches():
    def endless():
        while True:
            try:
                while True:
                    pass
            except Exception:
                continue

    with pytest.raises(HangError), bounded(seconds=0.02):
        endless()


@pytest.mark.parametrize("change", BYTES)
def test_bytes_are_damaged_and_the_same_seed_does_the_same(change):
    content = bytes(range(256)) * 4
    words, damaged = change(content, np.random.default_rng(3))
    assert damaged != content
    assert change(content, np.random.default_rng(3)) == (words, damaged)


def test_plain_data_text_arrays_and_programs_are_altered():
    text = yaml.safe_dump(CONFIG, default_flow_style=None).encode()
    archive = io.BytesIO()
    np.savez(archive, a=np.arange(6.0), b=np.arange(3))
    changed = dict.fromkeys(("YAML", "JSON", "text", "array", "archive", "program"), 0)
    for number in range(60):
        rng = np.random.default_rng(number)
        _, tree = alter(CONFIG, rng)
        changed["YAML"] += as_yaml(tree) != as_yaml(CONFIG)
        changed["JSON"] += as_json(tree) != as_json(CONFIG)
        changed["text"] += scribble(text, rng)[1] != text
        _, array = alter_array(np.arange(6.0).reshape(2, 3), rng)
        changed["array"] += array.shape != (2, 3) or array.dtype != float or not np.array_equal(array.ravel(), range(6))
        changed["archive"] += alter_npz(archive.getvalue(), rng)[1] != archive.getvalue()
        changed["program"] += alter_code(HYPOTHESIS, rng)[1] != HYPOTHESIS
    assert min(changed.values()) > 40, changed


def test_a_file_is_replaced_by_everything_that_a_path_may_be(tmp_path):
    names = set()
    for number in range(60):
        path = tmp_path / str(number)
        path.write_text("a file")
        names.add(misplace(path, np.random.default_rng(number)))
        assert not path.is_file() or path.is_symlink()
    assert names == set(PLACES)
