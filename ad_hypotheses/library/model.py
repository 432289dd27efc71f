"""A trained model as a researcher has it in hand: the hooked transformer with everything that made it."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from ad_hypotheses.distill.checkpoint import CARD, STAGES, Checkpoint, weights_file
from ad_hypotheses.distill.checkpoint import load as load_checkpoint
from ad_hypotheses.distill.checkpoint import stages as stages_of
from ad_hypotheses.distill.config import Config
from ad_hypotheses.distill.lens import HookedADTransformer
from ad_hypotheses.errors import CheckpointError, ConfigError, UserError, did_you_mean
from ad_hypotheses.language.history import History
from ad_hypotheses.language.load import places
from ad_hypotheses.library.arguments import require_whole
from ad_hypotheses.library.listening import listening, reaching
from ad_hypotheses.progress import Progress, reporting_to
from ad_hypotheses.sources import SOURCES, Source, make_source
from ad_hypotheses.storage.places import MODELS
from ad_hypotheses.storage.reading import read_text
from ad_hypotheses.studies.data import histories, single_data
from ad_hypotheses.studies.listing import alike as alike_to
from ad_hypotheses.studies.side_by_side import known_learners
from ad_hypotheses.studies.train.share import save_folder, save_hub
from ad_hypotheses.tasks.task import Task

ELSEWHERE = {
    "generate": "let it live in its tasks: ad_hypotheses.rollout(model, tasks=8)",
    "trace": "TransformerLens's names are: model.run_with_cache(history), model.run_with_hooks(history, fwd_hooks=[])",
    "tokenizer": "its tokens are steps of a history: model.to_str_tokens(history)",
    "predict": "call it: model(history) are logits of the next action, ad_hypotheses.rollout(model) lets it act",
}


class Model(HookedADTransformer):
    """A trained transformer with TransformerLens's hooks, cache and names, and with what it was trained on.

    Returned by :func:`load`. Wherever TransformerLens asks for tokens, give a :class:`History`.

    Attributes:
        checkpoint_as_read: What was read from disk.
        name: Name of the checkpoint.
        task: Task family that it was trained on.

    Example:
        >>> import ad_hypotheses as adh
        >>> model = adh.load("bandit")
        >>> logits, cache = model.run_with_cache(model.histories(2))
        >>> logits.shape, cache["pattern", 0].shape
        (torch.Size([2, 100, 5]), torch.Size([2, 4, 100, 100]))
    """

    name: str

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint.model.vocabulary, checkpoint.model.shape)
        self.load_state_dict(checkpoint.model.state_dict())
        self.to(checkpoint.model.device, checkpoint.model.dtype).eval()
        self.name, self.checkpoint_as_read = checkpoint.name, checkpoint
        self.task: Task = checkpoint.experiment.task

    @property
    def config(self) -> Config:
        """What it was trained with: task, source, histories, model, training."""
        return self.checkpoint_as_read.config

    @property
    def sha256(self) -> str:
        """SHA-256 of the weights as they are now, which is that of their file until they are changed."""
        return hashlib.sha256(weights_file(self)).hexdigest()

    @property
    def card(self) -> str:
        """What is known about it, as Markdown; empty if it has no card."""
        path = self.checkpoint_as_read.folder / CARD
        return read_text(path) if path.is_file() else ""

    @property
    def record(self) -> dict[str, Any]:
        """How its training went, and how it learns in its context, as plain data."""
        return self.checkpoint_as_read.record

    @property
    def stages(self) -> list[str]:
        """Names of what it was like on the way of its training, `"dark-room@300"` after 300 updates, the first first.

        There are some where it was trained with `training.stages`.
        """
        name = self.checkpoint_as_read.name
        whole = self.checkpoint_as_read.folder
        if whole.parent.name == STAGES:  # it is such a stage itself
            name, whole = name.rpartition("@")[0], whole.parent.parent
        return [f"{name}@{update}" for update in stages_of(whole)]

    @property
    def learners(self) -> dict[str, str]:
        """Who can live in its tasks, by name and in words: itself, who knows the task, baselines, rungs of the ladder.

        What :func:`ad_hypotheses.live` lets live side by side.
        """
        return known_learners(self.checkpoint_as_read)

    @property
    def alike(self) -> list[str]:
        """Names of the other models of the same tasks that there are, without stages of training."""
        return alike_to(self.name, self.config.task, MODELS)

    @property
    def checkpoint(self) -> Checkpoint:
        """What studies take: this very model, by the digest of its weights as they are now."""
        return replace(self.checkpoint_as_read, model=self, record={**self.record, "weights_sha256": self.sha256})

    def histories(
        self,
        rows: int = 64,
        data: str = "source",
        tasks: str = "held-out",
        seed: int = 0,
        progress: bool | Progress = False,
        source: str | None = None,
    ) -> History:
        """Generate learning histories that the model was never trained on, one learner a row.

        Args:
            rows: Number of histories, at least 2.
            data: `"source"`: of the learners that it was distilled from; `"own"`: it lives itself; `"edited:<name>"`:
                it lives, with one thing changed.
            tasks: `"train"`, `"held-out"` or `"all"`.
            seed: Decides everything.
            progress: Whether to show how far it is, or what is told.
            source: Name of another source whose learners live in place of those that it was distilled from, e.g.
                `"annealed-expert"`, as its authors set it.

        Raises:
            ConfigError: There is no such source, or it cannot live on these tasks.
            DataError: There is no such data set, there are no such tasks, or too few rows were asked for.
            CapacityError: They would not fit into memory.

        Example:
            >>> import ad_hypotheses as adh
            >>> adh.load("bandit").histories(3).actions.shape
            (3, 100)
        """
        require_whole(rows=rows, seed=seed)
        name = single_data(data, self.task, self.config.kept_episodes)
        with listening(progress) as listener, reporting_to(listener):
            listener.begin("generating histories", rows * self.config.experiment.history_steps, "steps")
            lives = {"progress": reaching(listener) if progress else None, "source": self._other_source(source)}
            dataset = histories(self.checkpoint, rows, name, seed, tasks, **lives)  # type: ignore[arg-type]
        return replace(dataset.history, family=self.task)

    @property
    def sources(self) -> list[str]:
        """Names of the sources whose learners can live in its tasks, for :meth:`histories`."""
        fitting = []
        for name in SOURCES:
            with suppress(UserError):
                self._other_source(name)
                fitting.append(name)
        return fitting

    def _other_source(self, name: str | None) -> Source | None:
        """Return the source of a name, if it can live where this model lives.

        Raises:
            ConfigError: There is no such source, or it cannot.
        """
        if name is None:
            return None
        source = make_source(name)
        if not getattr(source, "can_live", True):
            raise ConfigError(f"{name} is what was recorded elsewhere: its learners cannot live again.")
        require_fit = getattr(source, "require_fit", None)
        if require_fit is not None:
            require_fit(self.task, self.config.histories.episodes)
        return source

    def folded(self) -> Model:
        """Return an exact copy with gains and biases of the layer norms in the weights that read them.

        TransformerLens's helpers (`apply_ln_to_stack`, `logit_attrs`) and circuits of weights assume so.

        Example:
            >>> import ad_hypotheses as adh
            >>> model = adh.load("bandit").folded()
            >>> cache = model.run_with_cache(model.histories(2))[1]
            >>> cache.logit_attrs(cache.decompose_resid(), tokens=0).shape[1:]
            torch.Size([2, 100])
        """
        return Model(replace(self.checkpoint_as_read, model=super().folded()))

    def save(self, folder: str | Path, format: Literal["folder", "hub"] = "folder") -> Path:
        """Write the model as it is now, for :func:`load`.

        Args:
            folder: Where to; made if it is missing.
            format: `"folder"`: as the models that are trained here. `"hub"`: to share it as a repository of a model
                hub, with `model.safetensors`, `config.json` and a README that tells task and figures.

        Returns:
            The folder.

        Raises:
            UserError: It holds another model, or cannot be written.

        Example:
            >>> import ad_hypotheses as adh
            >>> adh.load("bandit").save("mine").name
            'mine'
        """
        place = Path(folder)
        (save_hub if format == "hub" else save_folder)(self.checkpoint, place)
        return place

    def to_single_token(self, action: str) -> int:
        """Return the number of an action of the task by its name.

        Raises:
            UserError: There is no such action.
        """
        names = list(self.task.action_names)
        if action not in names:
            raise UserError(
                f"there is no action {action!r}.{did_you_mean(action, names)} {self.task.name} has: {', '.join(names)}."
            )
        return names.index(action)

    def to_string(self, actions: Any) -> str | list[str]:
        """Return the names of actions: a text for one row of them, a list of texts for several.

        Raises:
            UserError: There is no such action.

        Example:
            >>> import ad_hypotheses as adh
            >>> model = adh.load("dark-room")
            >>> model.to_string([1, 1, 4])
            'up up right'
        """
        numbers = np.asarray(actions.cpu() if isinstance(actions, Tensor) else actions)
        if numbers.ndim > 1:
            return [str(self.to_string(row)) for row in numbers]
        names = self.task.action_names
        if ((numbers < 0) | (numbers >= len(names))).any():
            raise UserError(f"{self.task.name} has the actions 0 to {len(names) - 1}, and not all of these are.")
        return " ".join(names[number] for number in np.atleast_1d(numbers))

    def __getattr__(self, name: str) -> Any:
        if name in ELSEWHERE:
            raise AttributeError(f"a model has no {name!r}: {ELSEWHERE[name]}.")
        config = self.__dict__.get("cfg")
        if config is not None and not name.startswith("_") and name in vars(config):
            raise AttributeError(f"a model has no {name!r} of its own: model.cfg.{name} is {getattr(config, name)!r}.")
        return super().__getattr__(name)

    def __repr__(self) -> str:
        shape, n_parameters = self.shape, sum(weight.numel() for weight in self.parameters())
        return (
            f"Model({self.name!r:.60} of {self.task.name}: {shape.n_layers} layers, {shape.n_heads} heads, width "
            f"{shape.d_model}, context {shape.n_ctx} steps, {n_parameters:,} parameters)"
        )


def load(name: str | Path, device: str = "cpu") -> Model:
    """Load a trained model by its name, or from a folder.

    A name is looked for in `./models`, then in the folder that `$AD_HYPOTHESES_MODELS` names, then among the models
    that are installed with the package.

    Args:
        name: `"dark-room"`, `"dark-room-grid/l1-s0"`, the path to the folder of a checkpoint, or `"hf://USER/NAME"`, or
            `"hf://USER/NAME@REVISION"`: a model of a hub, which is downloaded once, and of which no code is run.
        device: Where to put the weights.

    Raises:
        CheckpointError: There is no such model, or it is incomplete, truncated or altered.
        ConfigError: Its task is in a Python file that was not trusted (`ad_hypotheses.tasks.trust`).

    Example:
        >>> import ad_hypotheses as adh
        >>> adh.load("bandit")
        Model('bandit' of bandit: 2 layers, 4 heads, width 32, context 100 steps, 29,093 parameters)
    """
    try:
        return Model(load_checkpoint(name, device=device))
    except CheckpointError as error:
        if not places(Path(name)):
            raise
        raise CheckpointError(f"{error}\n  {name} is a hypothesis: ad_hypotheses.scrub({str(name)!r}).") from error


def loaded(model: Model | str | Path) -> Model:
    """Return a model, loaded if it was named."""
    return model if isinstance(model, Model) else load(model)
