"""Global state that a user's code can change and that figures depend on: it is put back when the code has run.

A hypothesis file may import what it likes, and what it imports may set torch's default number type, seed generators or
change folder. Whatever is listed in :func:`_settings` is afterwards as it was before, so that no figure depends on it,
neither ours nor that of another feature, and that Ctrl-C and messages still reach whom they should.
"""

from __future__ import annotations

import ctypes
import decimal
import gc
import locale
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np

TWISTER_BYTES = 4 * 624 + 4  # its numbers and its position
DENORMAL = np.float32(1e-40)  # which is 0 wherever such numbers are flushed to 0
FURTHER = 97  # numbers that generators are moved on by
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # those that stop a run without losing what it did


class Setting(NamedTuple):
    """One piece of global state.

    Attributes:
        name: What it is.
        read: Returns what it is now; equal values are the same state.
        write: Makes it what it was.
    """

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any]


@contextmanager
def global_state_kept() -> Iterator[None]:
    """Put global state back at the end to what it was at the beginning, whatever happens in between."""
    settings = _settings()
    before = [setting.read() for setting in settings]
    try:
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            if setting.read() != value:
                setting.write(value)


@contextmanager
def generators_moved() -> Iterator[None]:
    """Let the generators that everybody shares give other numbers inside, so that what draws from them shows it."""
    import torch

    with global_state_kept():
        # far enough: a few numbers further, what rejects some of them (a permutation) can give the same again
        for _ in range(FURTHER):
            random.random()
        np.random.random(FURTHER)  # noqa: NPY002 - the global one is meant
        torch.rand(FURTHER)
        yield


@cache
def _settings() -> tuple[Setting, ...]:
    """Return everything that is put back; numpy's error state first, since reading what follows computes."""
    return (
        Setting("numpy's errors", np.geterr, lambda kinds: np.seterr(**kinds)),
        Setting("numpy's error handler", np.geterrcall, np.seterrcall),
        Setting("numpy's buffer", np.getbufsize, np.setbufsize),
        Setting("numpy's printing", np.get_printoptions, lambda options: np.set_printoptions(**options)),
        Setting("numpy's generator", _NumpyGenerator().read, _set_numpy_generator),
        Setting("Python's generator", random.getstate, random.setstate),
        Setting("warnings", lambda: list(warnings.filters), _set_warnings),
        Setting("folder", _folder, _set_folder),
        Setting("environment", _environment, _set_environment),
        Setting("folders of modules", lambda: list(sys.path), _set_module_folders),
        Setting("depth of calls", sys.getrecursionlimit, sys.setrecursionlimit),
        Setting("collection of garbage", gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
        Setting("locale", lambda: locale.setlocale(locale.LC_ALL), lambda name: locale.setlocale(locale.LC_ALL, name)),
        Setting("decimal numbers", _decimal_context, _set_decimal_context),
        Setting("streams", lambda: (sys.stdin, sys.stdout, sys.stderr), _set_streams),
        Setting("signals", lambda: [signal.getsignal(number) for number in SIGNALS], _set_signals),
        *_torch_settings(),
    )


def _torch_settings() -> tuple[Setting, ...]:
    # imported before the user's code may do so, since afterwards nobody knows what that code changed
    import torch

    cuda, cudnn, mkldnn = torch.backends.cuda, torch.backends.cudnn, torch.backends.mkldnn

    def set_device(device: torch.device) -> None:
        torch.set_default_device(None if device.type == "cpu" else device)  # None slows nothing down, "cpu" does

    def set_generator(state: bytes) -> None:
        torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))

    return (
        Setting("default device", torch.get_default_device, set_device),
        Setting("default number type", torch.get_default_dtype, torch.set_default_dtype),
        Setting("torch's generator", lambda: torch.get_rng_state().numpy().tobytes(), set_generator),
        Setting("gradients", torch.is_grad_enabled, torch.set_grad_enabled),
        Setting("threads", torch.get_num_threads, torch.set_num_threads),
        Setting("deterministic algorithms", torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
        _products(torch),
        Setting("denormal numbers", lambda: bool(DENORMAL * 1 == 0), torch.set_flush_denormal),
        Setting("flash attention", cuda.flash_sdp_enabled, cuda.enable_flash_sdp),
        Setting("efficient attention", cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp),
        Setting("attention of cudnn", cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp),
        Setting("plain attention", cuda.math_sdp_enabled, cuda.enable_math_sdp),
        *(_autocast(torch, kind) for kind in ("cpu", "cuda")),
        *(_attribute(cudnn, name) for name in ("enabled", "benchmark", "deterministic", "allow_tf32")),
        _attribute(mkldnn, "enabled"),
    )


def _attribute(module: Any, name: str) -> Setting:
    return Setting(f"{module.__name__}.{name}", lambda: getattr(module, name), lambda on: setattr(module, name, on))


def _products(torch: Any) -> Setting:
    """Return with how many digits torch multiplies matrices.

    Torch has an old word for it and newer ones for each device, and refuses to read the old word where they disagree.
    """
    places = torch.backends, torch.backends.cuda.matmul, torch.backends.mkldnn.matmul

    def read() -> tuple[str | None, ...]:
        try:
            word = torch.get_float32_matmul_precision()
        except RuntimeError:
            word = None
        return (word, *(place.fp32_precision for place in places))

    def write(words: tuple[str | None, ...]) -> None:
        if words[0] is not None:
            torch.set_float32_matmul_precision(words[0])  # which sets the newer ones too
        for place, word in zip(places, words[1:], strict=True):
            place.fp32_precision = word

    return Setting("precision of products", read, write)


def _autocast(torch: Any, kind: str) -> Setting:
    """Return whether torch computes with fewer digits on a kind of device."""
    return Setting(
        f"autocast on {kind}",
        lambda: torch.is_autocast_enabled(kind),
        lambda on: torch.set_autocast_enabled(kind, on),
    )


class _NumpyGenerator:
    """Reads the state of numpy's global generator.

    All of it takes 40 times as long to read as the memory of the Mersenne twister, so that it is read only if that
    memory is another one than last time. A normal number that is still to be given out is no part of that memory.
    """

    def __init__(self) -> None:
        self._memory, self._state, self._normal_left = b"", (), True  # type: bytes, Any, bool

    def read(self) -> tuple[Any, Any]:
        """Return the bit generator, which can be another one, and its state, as :func:`_set_numpy_generator` does."""
        twister = np.random.get_bit_generator()  # type: ignore[attr-defined]  # public, although not listed
        known = isinstance(twister, np.random.MT19937)
        memory = ctypes.string_at(twister.ctypes.state_address, TWISTER_BYTES) if known else b""
        if not known or self._normal_left or memory != self._memory:
            state: Any = np.random.get_state(legacy=False)  # noqa: NPY002 - as above
            self._memory, self._normal_left = memory, bool(state["has_gauss"])
            self._state = _frozen(state)
        return twister, self._state


def _frozen(value: Any) -> Any:
    """Return a state, dictionaries of arrays and numbers, as values that can be compared and do not change."""
    if isinstance(value, dict):
        return dict, tuple((name, _frozen(item)) for name, item in value.items())
    return (np.ndarray, value.dtype.str, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value


def _thawed(value: Any) -> Any:
    """Return the state that was frozen."""
    if isinstance(value, tuple) and value[0] is dict:
        return {name: _thawed(item) for name, item in value[1]}
    if isinstance(value, tuple) and value[0] is np.ndarray:
        return np.frombuffer(value[3], dtype=value[1]).reshape(value[2]).copy()
    return value


def _set_numpy_generator(generator: tuple[Any, Any]) -> None:
    twister, state = generator
    np.random.set_bit_generator(twister)  # type: ignore[attr-defined]  # public, although not listed
    np.random.set_state(_thawed(state))  # noqa: NPY002 - as above


def _set_warnings(filters: list[Any]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]
    with warnings.catch_warnings():  # leaving it makes Python forget what it worked out from other filters
        pass


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - twice as fast, and asked before and after every feature
    except OSError:  # it was removed
        return None


def _set_folder(folder: str | None) -> None:
    if folder is not None:
        os.chdir(folder)


def _environment() -> dict[bytes, bytes]:
    return dict(vars(os.environ)["_data"])  # `dict(os.environ)` decodes all of it, and takes 100 times as long


def _set_environment(variables: dict[bytes, bytes]) -> None:
    for name in set(os.environb) - set(variables):
        del os.environb[name]
    os.environb.update(variables)


def _set_module_folders(folders: list[str]) -> None:
    sys.path[:] = folders


def _decimal_context() -> tuple[Any, ...]:
    return decimal.getcontext().__reduce__()[1]  # type: ignore[return-value]  # what a context is made of


def _set_decimal_context(parts: tuple[Any, ...]) -> None:
    decimal.setcontext(decimal.Context(*parts))


def _set_streams(streams: tuple[Any, ...]) -> None:
    sys.stdin, sys.stdout, sys.stderr = streams


def _set_signals(handlers: list[Any]) -> None:
    for number, handler in zip(SIGNALS, handlers, strict=True):
        signal.signal(number, handler)
