"""Mutated hypothesis files: each is refused with a message, or is tested and leaves everything else as it was.

One that says the same in other words, or that changes global state besides, gives the same figures.
"""

from __future__ import annotations

import decimal
import gc
import locale
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faults.campaign import ACCEPTED, REFUSED, settled
from faults.mutate import damage
from faults.mutate_code import alter_claim, alter_code, alter_nothing
from faults.sound import HYPOTHESIS, SETTINGS, require_finite, require_same, scrubbed, sizes

from ad_hypotheses.distill.checkpoint import load
from ad_hypotheses.language.check import bind
from ad_hypotheses.language.global_state import global_state_kept
from ad_hypotheses.language.load import load as load_hypotheses
from ad_hypotheses.report.screen import results_alone
from ad_hypotheses.studies.scrub.bind import reference_histories

SHIPPED = Path(__file__).parents[2] / "hypotheses" / "known" / "win_stay.py"


def state() -> dict[str, Any]:
    """Everything outside of a hypothesis that figures, other features, or Ctrl-C depend on."""
    return {
        "torch's dtype": torch.get_default_dtype(),
        "torch's device": torch.get_default_device(),
        "torch's gradients": torch.is_grad_enabled(),
        "torch's seed": torch.initial_seed(),
        "torch's generator": torch.get_rng_state().numpy().tobytes(),
        "torch's threads": torch.get_num_threads(),
        "torch's precision": torch.get_float32_matmul_precision(),
        "torch's algorithms": torch.are_deterministic_algorithms_enabled(),
        "numpy's generator": repr(np.random.get_state(legacy=False)),  # noqa: NPY002
        "numpy's errors": np.geterr(),
        "numpy's printing": np.get_printoptions(),
        "decimal numbers": repr(decimal.getcontext()),
        "recursion limit": sys.getrecursionlimit(),
        "path": list(sys.path),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "folder": os.getcwd(),  # noqa: PTH109
        "environment": dict(os.environ),
        "warnings": list(warnings.filters),
        "locale": locale.setlocale(locale.LC_ALL),
        "garbage collector": gc.isenabled(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
    }


@contextmanager
def restored() -> Iterator[dict[str, Any]]:
    """Give the state, and put it back whatever a mutant did to it, so that the next one starts from the same."""
    with global_state_kept(), warnings.catch_warnings(), results_alone():
        warnings.simplefilter("ignore")
        yield state()


def mutant(trial, source: str) -> tuple[Path, bool]:
    """Write a mutated program; returns where, and whether it says what it said before."""
    path, way = trial.place / "mutant.py", trial.rng.random()
    if way < 0.1:
        words, content = damage(source.encode(), trial.rng)
        trial.note(words)
        path.write_bytes(content)
        return path, False
    change = alter_code if way < 0.4 else alter_claim if way < 0.7 else alter_nothing
    for _ in range(int(trial.rng.integers(1, 3))):
        words, source = change(source, trial.rng)
        trial.note(words)
    path.write_text(source, encoding="utf-8", errors="surrogatepass")
    return path, change is alter_nothing


def require_unchanged(before: dict[str, Any]) -> None:
    """Refuse what a hypothesis left behind.

    Raises:
        AssertionError: Something outside is not as it was.
    """
    now = state()
    changed = [name for name in before if now[name] != before[name]]
    assert not changed, f"the hypothesis changed {changed}"


@pytest.mark.parametrize(
    ("source", "n_inputs"),
    [
        ("small", 20),
        ("shipped", 10),
        pytest.param("small", 1500, marks=(pytest.mark.slow, pytest.mark.campaign)),
        pytest.param("shipped", 200, marks=(pytest.mark.slow, pytest.mark.campaign)),
    ],
)
def test_each_fits_or_is_refused(campaign, sound, source, n_inputs, capfd):
    checkpoint = load(sound.checkpoint)
    history = reference_histories(checkpoint, SETTINGS)
    regimes = checkpoint.experiment.task.regimes(history)
    text = HYPOTHESIS if source == "small" else SHIPPED.read_text().replace('"known-win-stay"', '"base"')

    def attempt(trial):
        path, is_same = mutant(trial, text)
        capfd.readouterr()
        with restored() as before:

            def bound() -> None:
                for claim in load_hypotheses(path):
                    bind(claim, checkpoint.model.anatomy, history, regimes)
                    policy = claim.policy(history)
                    assert policy.shape == (*history.actions.shape, history.n_actions)
                    assert np.isfinite(policy).all()
                    assert np.allclose(policy.sum(axis=-1), 1)

            word, message = settled(bound)
            require_unchanged(before)
        assert word == ACCEPTED or not is_same, f"refused, although it says what is sound: {message}"
        assert capfd.readouterr().out == "" or "os.write" in str(trial.words), "printed where figures belong"
        return word

    counts = campaign.run(f"{source} hypotheses", n_inputs, attempt)
    assert min(counts[ACCEPTED], counts[REFUSED]) > counts.total() / 5


@sizes(6, 150)
def test_a_study_of_each_is_the_same_twice_or_refused(campaign, sound, n_inputs):
    def attempt(trial):
        path, is_same = mutant(trial, HYPOTHESIS)
        with restored():

            def studied(name: str) -> dict[str, Any]:
                return scrubbed(load(sound.checkpoint), load_hypotheses(path), trial.place / name)

            word, figures = settled(lambda: studied("first"))
            assert word == ACCEPTED or not is_same, f"refused, although it says what is sound: {figures}"
            if word == ACCEPTED:
                require_finite(figures)
                require_same(figures, sound.figures if is_same else studied("second"))
        return word

    counts = campaign.run("studied hypotheses", n_inputs, attempt)
    assert min(counts[ACCEPTED], counts[REFUSED]) > counts.total() / 5
