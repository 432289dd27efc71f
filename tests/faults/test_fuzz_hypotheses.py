"""Mutated hypothesis files: each is refused with a message, or is tested and leaves everything else as it was."""

from __future__ import annotations

import gc
import locale
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faults.campaign import ACCEPTED, REFUSED, settled
from faults.mutate import alter_code, damage
from faults.sound import HYPOTHESIS, SETTINGS, require_finite, require_same, scrubbed, sizes

from ad_hypotheses.distill.checkpoint import load
from ad_hypotheses.language.check import bind
from ad_hypotheses.language.load import load as load_hypotheses
from ad_hypotheses.studies.scrub.bind import reference_histories

SHIPPED = Path(__file__).parents[2] / "hypotheses" / "known" / "win_stay.py"


def state() -> dict[str, Any]:
    """Everything outside of a hypothesis that figures, or other code, depend on."""
    return {
        "torch's dtype": torch.get_default_dtype(),
        "torch's gradients": torch.is_grad_enabled(),
        "torch's seed": torch.initial_seed(),
        "torch's generator": torch.get_rng_state().numpy().tobytes(),
        "torch's threads": torch.get_num_threads(),
        "numpy's generator": repr(np.random.get_state()),  # noqa: NPY002
        "numpy's errors": np.geterr(),
        "recursion limit": sys.getrecursionlimit(),
        "path": list(sys.path),
        "folder": os.getcwd(),  # noqa: PTH109
        "environment": dict(os.environ),
        "warnings": list(warnings.filters),
        "locale": locale.setlocale(locale.LC_ALL),
        "garbage collector": gc.isenabled(),
    }


class _Restored:
    """Puts the state back, whatever a mutant did to it, so that the next one starts from the same."""

    def __enter__(self) -> dict[str, Any]:
        self.before, self.catcher = state(), warnings.catch_warnings()
        self.random = np.random.get_state()  # noqa: NPY002
        self.catcher.__enter__()
        warnings.simplefilter("ignore")
        return state()

    def __exit__(self, *error: object) -> None:
        self.catcher.__exit__(*error)
        sys.setrecursionlimit(self.before["recursion limit"])
        sys.path[:] = self.before["path"]
        os.chdir(self.before["folder"])
        for name in set(os.environ) - set(self.before["environment"]):
            del os.environ[name]
        os.environ.update(self.before["environment"])
        torch.set_default_dtype(self.before["torch's dtype"])
        torch.set_grad_enabled(self.before["torch's gradients"])
        torch.set_num_threads(self.before["torch's threads"])
        torch.manual_seed(self.before["torch's seed"])
        np.random.set_state(self.random)  # noqa: NPY002
        np.seterr(**self.before["numpy's errors"])
        gc.enable()


def mutant(trial, source: str) -> Path:
    """Write a mutated program."""
    path = trial.place / "mutant.py"
    if trial.rng.random() < 0.1:
        words, content = damage(source.encode(), trial.rng)
        trial.note(words)
        path.write_bytes(content)
        return path
    for _ in range(int(trial.rng.integers(1, 3))):
        words, source = alter_code(source, trial.rng)
        trial.note(words)
    path.write_text(source, encoding="utf-8", errors="surrogatepass")
    return path


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
        ("small", 40),
        ("shipped", 10),
        pytest.param("small", 4000, marks=pytest.mark.slow),
        pytest.param("shipped", 1000, marks=pytest.mark.slow),
    ],
)
def test_each_fits_or_is_refused(campaign, sound, source, n_inputs, capfd):
    checkpoint = load(sound.checkpoint)
    history = reference_histories(checkpoint, SETTINGS)
    regimes = checkpoint.config.make_task().regimes(history)
    text = HYPOTHESIS if source == "small" else SHIPPED.read_text().replace('"known-win-stay"', '"base"')

    def attempt(trial):
        path = mutant(trial, text)
        capfd.readouterr()
        with _Restored() as before:

            def bound() -> None:
                for one in load_hypotheses(path):
                    bind(one, checkpoint.model.anatomy, history, regimes)
                    policy = one.policy(history)
                    assert policy.shape == (*history.actions.shape, history.n_actions)
                    assert np.isfinite(policy).all()
                    assert np.allclose(policy.sum(axis=-1), 1)

            word, _ = settled(bound)
            require_unchanged(before)
        assert capfd.readouterr().out == "" or "os.write" in str(trial.words), "printed where figures belong"
        return word

    counts = campaign.run(f"{source} hypotheses", n_inputs, attempt)
    assert min(counts[ACCEPTED], counts[REFUSED]) > n_inputs / 30


@sizes(2, 200)
def test_a_study_of_each_is_the_same_twice_or_refused(campaign, sound, n_inputs):
    def attempt(trial):
        path = mutant(trial, HYPOTHESIS)
        with _Restored():

            def studied(name: str) -> dict[str, Any]:
                return scrubbed(load(sound.checkpoint), load_hypotheses(path), trial.place / name)

            word, figures = settled(lambda: studied("first"))
            if word == ACCEPTED:
                require_finite(figures)
                require_same(figures, studied("second"))
                require_same(scrubbed(load(sound.checkpoint), sound.claims, trial.place / "sound"), sound.figures)
        return word

    campaign.run("studied hypotheses", n_inputs, attempt)
