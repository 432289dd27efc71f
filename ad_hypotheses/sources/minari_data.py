"""Histories as Minari datasets, and back. Needs the extra `minari`.

A Minari dataset is a list of episodes. Which of them make up a life, in what order, and what the agent could not see
goes into the dataset's metadata. Minari also wants what is seen after the last action of an episode, which histories do
not hold: the export repeats the observation before it, and the import drops it.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from ad_hypotheses.errors import DataError, UserError
from ad_hypotheses.language.history import History
from ad_hypotheses.sources.histories import HistoryFolder
from ad_hypotheses.tasks import Task

KEY, VERSION = "ad_hypotheses", 1  # of our part of the metadata
CHUNK = 256  # lives that are written at a time
INSTALL = "minari is not installed. Install it: pip install 'ad-hypotheses[minari]'."
TIMED = ("observations", "actions", "rewards", "episode")


def export_minari(
    lives: History | HistoryFolder, name: str, task: Task, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write histories as a Minari dataset, one episode for each episode of each learner.

    Args:
        lives: Histories in memory or on disk; episodes begin at the same steps in all.
        name: Of the dataset, `namespace/name-v0`; Minari keeps it where its `MINARI_DATASETS_PATH` says.
        task: Says how many values each channel takes.
        progress: Called with the number of histories done and the number of all.

    Raises:
        UserError: Minari is not installed.
        DataError: The name is none, there is such a dataset, or episodes begin at different steps.
    """
    minari, done = _minari(), 0
    place = _free_place(minari, name)
    n_rows = lives.n_rows if isinstance(lives, History) else lives.n_histories
    spaces_of = {"observation_space": _observation_space(task), "action_space": spaces.Discrete(task.n_actions)}
    dataset: Any = None
    whole: list[History] = []
    try:
        for part in _parts(lives, n_rows):
            buffer = list(_episodes(part, minari))
            if dataset is None:
                dataset = _create(minari, name, buffer, task, spaces_of)
            else:
                dataset.update_dataset_from_buffer(buffer)
            whole.append(part.window(stop=0))
            done += part.n_rows
            if progress is not None:
                progress(done, n_rows)
        dataset.storage.update_metadata({KEY: _about(part, whole)})
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)  # half a dataset would be taken for all of it
        raise


def import_minari(name: str) -> History:
    """Read a Minari dataset as histories.

    Args:
        name: Of a dataset that Minari has on this machine.

    Returns:
        The histories that :func:`export_minari` wrote, to the bit. Of another dataset, one history of all its episodes
        in their order, without facts: whoever knows them adds them with `dataclasses.replace`.

    Raises:
        UserError: Minari is not installed.
        DataError: There is no such dataset, a space is not discrete, or episodes are of different lengths.
    """
    minari = _minari()
    try:
        dataset = minari.load_dataset(name)
    except (FileNotFoundError, ValueError, TypeError) as error:
        raise DataError(f"Minari has no dataset {name!r} on this machine: {str(error).rstrip('.')}.") from error
    about = dataset.storage.metadata.get(KEY)
    if about is not None and about.get("version") != VERSION:
        raise DataError(f"{name} was exported by another version of this package than can read it.")
    episodes = [_arrays(episode, dataset, name) for episode in dataset.iterate_episodes()]
    if not episodes:
        raise DataError(f"the Minari dataset {name} has no episodes.")
    per_life = len(episodes) if about is None else int(about["episodes"])
    lengths = [
        [len(actions) for _, actions, _ in episodes[i : i + per_life]] for i in range(0, len(episodes), per_life)
    ]
    if about is None and len(set(lengths[0])) > 1:
        raise DataError(
            f"the episodes of {name} take {min(lengths[0])} to {max(lengths[0])} steps, but those of a history "
            "must all take the same number: cut them, or record them with FixedHorizon."
        )
    if any(life != lengths[0] for life in lengths):
        raise DataError(f"the episodes of {name} are not those that were exported: some are missing or were added.")
    return _history(episodes, np.asarray(lengths[0]), len(lengths), dataset, about)


def _history(
    episodes: list, lengths: np.ndarray, n_lives: int, dataset: Any, about: Mapping[str, Any] | None
) -> History:
    """Put episodes together to lives."""
    shape = (n_lives, int(lengths.sum()))
    observations, actions, rewards = (np.concatenate([episode[part] for episode in episodes]) for part in range(3))
    channels = _channels(dataset.observation_space) if about is None else tuple(about["channels"])
    number = np.broadcast_to(np.repeat(np.arange(len(lengths)), lengths), shape)
    arrays = {
        "observations": observations.reshape(*shape, -1)[..., : len(channels)],
        "actions": actions.reshape(shape),
        "rewards": rewards.reshape(shape),
        "episode": number,
    }
    types = {name: _smallest(array) for name, array in arrays.items()} if about is None else about["types"]
    return History(
        **{name: array.astype(types[name]) for name, array in arrays.items()},
        channels=channels,
        n_actions=int(dataset.action_space.n),
        task={} if about is None else {name: _read(fact) for name, fact in about["facts"].items()},
        learner=np.arange(1) if about is None else None if about["learner"] is None else _read(about["learner"]),
    )


def _parts(lives: History | HistoryFolder, n_rows: int) -> Iterator[History]:
    for first in range(0, n_rows, CHUNK):
        rows = np.arange(first, min(first + CHUNK, n_rows))
        yield lives[rows] if isinstance(lives, History) else lives.rows(rows)


def _episodes(part: History, minari: Any) -> Iterator[Any]:
    """Return the episodes of each learner, one learner after the other, as Minari keeps them."""
    if (part.episode != part.episode[:1]).any():
        raise DataError("episodes begin at different steps in different histories, which a Minari dataset cannot tell.")
    begins = np.flatnonzero(part.episode_start[0])
    for row in range(part.n_rows):
        for first, last in zip(begins, [*begins[1:], part.n_steps], strict=True):
            seen = part.observations[row, first:last] if part.channels else np.zeros(last - first, dtype=np.int8)
            never = np.zeros(last - first, dtype=bool)
            yield minari.data_collector.EpisodeBuffer(
                observations=np.concatenate([seen, seen[-1:]]),
                actions=part.actions[row, first:last],
                rewards=part.rewards[row, first:last],
                terminations=never,
                truncations=np.arange(first, last) == last - 1,
            )


def _create(minari: Any, name: str, buffer: list, task: Task, spaces_of: Mapping[str, Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Minari asks for an author, an e-mail, a link
        return minari.create_dataset_from_buffers(
            name,
            buffer,
            **spaces_of,
            algorithm_name="learning histories",
            description=f"Lives of learners of {task.name}; an episode's last observation is repeated.",
            data_format="hdf5",
        )


def _about(part: History, whole: list[History]) -> dict[str, Any]:
    """Return what the episodes alone do not say, for JSON."""
    facts = {name: np.concatenate([episode.task[name] for episode in whole]) for name in part.task}
    learners = [episode.learner for episode in whole if episode.learner is not None]
    return {
        "version": VERSION,
        "channels": list(part.channels),
        "episodes": int(part.episode_start[0].sum()),
        "types": {name: getattr(part, name).dtype.str for name in TIMED},
        "facts": {name: _plain(fact) for name, fact in facts.items()},
        "learner": _plain(np.concatenate(learners)) if learners else None,
    }


def _plain(array: np.ndarray) -> dict[str, Any]:
    return {"type": array.dtype.str, "shape": list(array.shape), "values": array.reshape(-1).tolist()}


def _read(plain: Mapping[str, Any]) -> np.ndarray:
    return np.asarray(plain["values"], dtype=plain["type"]).reshape(plain["shape"])


def _smallest(array: np.ndarray) -> np.dtype:
    """Return the smallest type that holds all numbers."""
    if array.dtype.kind == "f":
        return np.dtype(np.float32)
    return np.result_type(np.int8, np.min_scalar_type(array.min(initial=0)), np.min_scalar_type(array.max(initial=0)))


def _observation_space(task: Task) -> spaces.Space:
    return spaces.MultiDiscrete(list(task.channel_sizes)) if task.channels else spaces.Discrete(1)


def _channels(space: Any) -> tuple[str, ...]:
    """Return names for what a discrete space shows."""
    if isinstance(space, spaces.Dict):
        return tuple(space.spaces)
    if isinstance(space, spaces.Discrete):
        return ("state",)
    n_channels = len(space.spaces) if isinstance(space, spaces.Tuple) else int(np.prod(space.shape))
    return tuple(f"channel_{number}" for number in range(n_channels))


def _arrays(episode: Any, dataset: Any, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an episode's observations [step, channel], actions and rewards [step]."""
    if not isinstance(dataset.action_space, spaces.Discrete):
        raise DataError(f"the actions of {name} are {dataset.action_space}, but histories hold one discrete action.")
    seen = _flat(dataset.observation_space, episode.observations, name)
    actions = np.asarray(episode.actions) - dataset.action_space.start
    return seen[: len(actions)], actions, np.asarray(episode.rewards)


def _flat(space: Any, seen: Any, name: str) -> np.ndarray:
    """Return observations of a discrete space as numbers from 0. [step, channel]"""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        inner = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        parts = [_flat(each, seen[key], name) for key, each in inner]
        if all(part.shape[1] == 1 for part in parts):
            return np.concatenate(parts, axis=1)
    elif isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return (np.asarray(seen) - space.start).reshape(len(seen), -1)
    elif isinstance(space, spaces.MultiBinary):
        return np.asarray(seen).reshape(len(seen), -1)
    raise DataError(f"the observations of {name} are {space}, but histories hold a list of discrete channels.")


def _free_place(minari: Any, name: str) -> Any:
    """Return where Minari will keep a new dataset.

    Raises:
        DataError: The name is none, or is taken.
    """
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.storage import get_dataset_path

    try:
        parse_dataset_id(name)
    except (ValueError, TypeError) as error:
        raise DataError(f"{name!r} is no name of a Minari dataset; write it like dark-room/dyna-q-v0.") from error
    place = get_dataset_path(name)
    if place.exists():
        raise DataError(f"there is a Minari dataset {name} already ({place}); choose another name or version.")
    return place


def _minari() -> Any:
    try:
        import h5py  # noqa: F401, Minari keeps datasets with it
        import minari
    except ImportError as error:
        raise UserError(INSTALL) from error
    return minari
