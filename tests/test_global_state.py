"""What a hypothesis file does to global state changes nothing outside of it."""

# ruff: noqa: NPY002 - the generator that everybody shares is what is tested
from __future__ import annotations

import decimal
import gc
import io
import locale
import os
import random
import signal
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from ad_hypotheses.language.feature_call import call_feature
from ad_hypotheses.language.global_state import _settings, global_state_kept
from ad_hypotheses.language.history import History
from ad_hypotheses.language.load import load

CHANGES = {
    "numpy's errors": "np.seterr(all='raise')",
    "numpy's error handler": "np.seterrcall(lambda kind, flag: None)",
    "numpy's buffer": "np.setbufsize(16 * 1024)",
    "numpy's printing": "np.set_printoptions(precision=2)",
    "numpy's generator": "np.random.seed(3)",
    "Python's generator": "random.seed(3)",
    "warnings": "warnings.simplefilter('ignore')",
    "folder": "os.chdir('/')",
    "environment": "os.environ.pop('HOME'), os.environ.update(AD_TEST='changed', PATH='nowhere')",
    "folders of modules": "sys.path.clear()",
    "depth of calls": "sys.setrecursionlimit(sys.getrecursionlimit() - 1)",
    "collection of garbage": "gc.disable()",
    "locale": "locale.setlocale(locale.LC_ALL, 'C')",
    "decimal numbers": "setattr(decimal.getcontext(), 'prec', 3)",
    "streams": "setattr(sys, 'stdout', io.StringIO())",
    "signals": "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "default device": "torch.set_default_device('meta')",
    "default number type": "torch.set_default_dtype(torch.float64)",
    "torch's generator": "torch.manual_seed(3)",
    "gradients": "torch.set_grad_enabled(False)",
    "threads": "torch.set_num_threads(torch.get_num_threads() + 1)",
    "deterministic algorithms": "torch.use_deterministic_algorithms(True)",
    "precision of products": "torch.set_float32_matmul_precision('medium')",
    "denormal numbers": "torch.set_flush_denormal(True)",
    "flash attention": "torch.backends.cuda.enable_flash_sdp(False)",
    "efficient attention": "torch.backends.cuda.enable_mem_efficient_sdp(False)",
    "attention of cudnn": "torch.backends.cuda.enable_cudnn_sdp(False)",
    "plain attention": "torch.backends.cuda.enable_math_sdp(False)",
    "autocast on cpu": "torch.set_autocast_enabled('cpu', True)",
    "autocast on cuda": "torch.set_autocast_enabled('cuda', True)",
    "torch.backends.cudnn.enabled": "setattr(torch.backends.cudnn, 'enabled', False)",
    "torch.backends.cudnn.benchmark": "setattr(torch.backends.cudnn, 'benchmark', True)",
    "torch.backends.cudnn.deterministic": "setattr(torch.backends.cudnn, 'deterministic', True)",
    "torch.backends.cudnn.allow_tf32": "setattr(torch.backends.cudnn, 'allow_tf32', False)",
    "torch.backends.mkldnn.enabled": "setattr(torch.backends.mkldnn, 'enabled', False)",
}
MODULES = {module.__name__: module for module in (decimal, gc, io, locale, os, random, signal, sys, torch, warnings)}
MODULES["np"] = np


@pytest.fixture(autouse=True)
def _put_back():
    """Protect the other tests from a setting that is not put back."""
    with global_state_kept():
        yield


def state() -> dict[str, object]:
    """Everything but Python's generator, from which the run-time type checker of these tests draws."""
    return {setting.name: setting.read() for setting in _settings() if setting.name != "Python's generator"}


def history() -> History:
    return History(
        observations=np.arange(12, dtype=np.int8).reshape(2, 3, 2),
        actions=np.ones((2, 3), dtype=np.int8),
        rewards=np.ones((2, 3), dtype=np.float32),
        episode=np.zeros((2, 3), dtype=np.int16),
        channels=("x", "y"),
        n_actions=3,
        task={"goal": np.arange(2)},
        learner=np.arange(2),
    )


def test_every_setting_has_a_change_here():
    assert set(CHANGES) == {setting.name for setting in _settings()}


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_feature_changes_is_put_back(name):
    before, seen = state(), []

    def feature(history):
        exec(CHANGES[name], {**MODULES})
        seen.append(next(setting for setting in _settings() if setting.name == name).read())
        return history.actions

    call_feature(feature, ["history"], history(), {})
    assert seen != [before.get(name)], "the change above changes nothing"
    assert state() == before


def test_a_normal_number_that_numpy_has_drawn_ahead_is_put_back():
    np.random.seed(0)
    np.random.randn()  # draws two and keeps one
    state = np.random.get_state()
    expected = np.random.randn(3)
    np.random.set_state(state)
    with global_state_kept():
        np.random.randn()  # is given the one that was kept: the twister does not move
    np.testing.assert_array_equal(np.random.randn(3), expected)


@pytest.mark.parametrize("other", [np.random.PCG64, np.random.Philox])
def test_another_generator_in_place_of_numpys_is_put_back(other):
    np.random.seed(0)
    expected = np.random.rand(3)
    np.random.seed(0)
    with global_state_kept():
        np.random.set_bit_generator(other(3))
        np.random.rand()
        with global_state_kept():
            inside = np.random.rand(3)
        np.testing.assert_array_equal(np.random.rand(3), inside)
    np.testing.assert_array_equal(np.random.rand(3), expected)


@pytest.mark.parametrize("place", ["torch.backends", "torch.backends.cuda.matmul", "torch.backends.mkldnn.matmul"])
def test_the_newer_words_for_the_precision_of_products_are_put_back(place):
    """Torch refuses to say what it does once old and newer words disagree."""
    before = state()
    with global_state_kept():
        exec(f"{place}.fp32_precision = 'tf32'", {**MODULES})
        with pytest.raises(RuntimeError, match="mix of the legacy and new"):
            torch.get_float32_matmul_precision()
    assert state() == before
    assert torch.get_float32_matmul_precision() == "highest"


def test_what_was_drawn_from_pythons_generator_is_put_back():
    with global_state_kept():
        before = random.getstate()
        random.random()
    assert random.getstate() == before


def test_what_a_file_changes_while_it_is_loaded_is_put_back_also_if_it_fails(tmp_path: Path):
    before = state()
    lines = [f"import {module.__name__} as {name}" for name, module in MODULES.items()]
    (tmp_path / "claim.py").write_text("\n".join([*lines, *CHANGES.values(), "raise ValueError('at the end')"]))
    with pytest.raises(Exception, match="at the end"):
        load(tmp_path / "claim.py")
    assert state() == before


def test_warnings_heed_the_filters_that_are_put_back():
    """Python remembers what it decided for a place, so that putting the list back is not enough."""

    def warn() -> None:
        warnings.warn("careful", UserWarning, stacklevel=1)

    def feature(history):
        warnings.simplefilter("ignore")
        warn()
        return history.actions

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call_feature(feature, ["history"], history(), {})
        with pytest.raises(UserWarning, match="careful"):
            warn()
