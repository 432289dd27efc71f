"""Advantage actor-critic, thousands of small networks at once.

Mnih et al. 2016, "Asynchronous Methods for Deep Reinforcement Learning" (advantage actor-critic, entropy bonus);
Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation". The parameters of a
chunk of learners are stacked, and torch.func maps one network's forward pass and gradient over the stack: every learner
has weights, gradients and an optimiser of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.language.history import History
from ad_hypotheses.sources.recording import Recording
from ad_hypotheses.tasks import Facts, Task
from ad_hypotheses.tasks.task import check_range, from_episode, n_tasks_of

if TYPE_CHECKING:
    import torch

CHUNK = 1 << 24  # bytes of parameters a chunk of learners may hold; gradients and Adam's two averages come on top
DECAY, SQUARE_DECAY, TINY = 0.9, 0.999, 1e-8  # of Adam, as its authors chose them


@dataclass(frozen=True)
class ActorCritic:
    """A policy and a critic on the one-hot state, improved once an episode by the gradient (Adam).

    Advantages are generalised ones over the whole episode, and the end of an episode is bootstrapped: the world has no
    clock, so its last step is like any other.

    Attributes:
        hidden: Units of the tanh layer that policy and critic share; 0 makes both a table (then learn at about 0.1).
        learning_rate: Of Adam.
        gamma: Discount, in [0, 1).
        trace: Weight of longer returns in an advantage (lambda), from 0 (one step) to 1 (all that was paid).
        entropy: Weight of the policy's entropy: a reward for staying undecided.
        critic: Weight of the critic's squared error.
        initial_value: What the critic believes of every state at first; above 0, what is new looks good.
        device: Where torch computes: cpu, cuda, cuda:1.
    """

    hidden: int = 16
    learning_rate: float = 0.02
    gamma: float = 0.9
    trace: float = 0.9
    entropy: float = 0.01
    critic: float = 0.5
    initial_value: float = 0.0
    device: str = "cpu"

    name: ClassVar[str] = "actor-critic"

    def __post_init__(self) -> None:
        """Refuse hyper-parameters out of range.

        Raises:
            ConfigError: One is.
        """
        check_range(self.name, "hidden", self.hidden, 0, 4096)
        if self.learning_rate <= 0:
            raise ConfigError(f"{self.name}: learning_rate is {self.learning_rate}, but it must be above 0.")
        if not 0 <= self.gamma < 1:
            raise ConfigError(f"{self.name}: gamma is {self.gamma}, but it must be at least 0 and below 1.")
        check_range(self.name, "trace", self.trace, 0, 1)
        check_range(self.name, "entropy", self.entropy, 0)
        check_range(self.name, "critic", self.critic, 0)

    def require_fit(self, task: Task, episodes: int) -> None:
        """Refuse a device that is not there.

        Raises:
            ConfigError: It is not.
        """
        _device(self.device)

    def live(self, task: Task, facts: Facts, episodes: int, rng: np.random.Generator, keep_every: int = 1) -> History:
        """Let one learner live on every task of `facts`.

        Args:
            task: The distribution that the tasks are from.
            facts: One task a learner. [learner, ...]
            episodes: How many episodes each lives.
            rng: All randomness: first weights, actions, the world.
            keep_every: Keep episodes 0, k, 2k, ... of each life, renumbered 0, 1, 2, ...

        Returns:
            One history a learner, of `ceil(episodes / keep_every) * horizon` steps.

        Raises:
            ConfigError: There is nothing to live or to keep, or torch has no such device.
        """
        n_learners = n_tasks_of(facts)
        recording = Recording.of(task, n_learners, episodes, keep_every)
        chunk = max(CHUNK // (4 * task.n_states * (self.hidden or task.n_actions + 1)), 32)
        for first in range(0, n_learners, chunk):
            rows = slice(first, min(first + chunk, n_learners))
            part = {name: fact[rows] for name, fact in facts.items()}
            learners = _Learners(self, task, rows.stop - rows.start, rng)
            for episode in range(episodes):
                _live_episode(learners, task, from_episode(task, part, episode), rng, recording.episode(rows, episode))
        return recording.history(facts)


def _live_episode(learners: _Learners, task: Task, facts: Facts, rng: np.random.Generator, record: Any) -> None:
    """Live one episode with every learner of a chunk, then learn from it."""
    n_learners = n_tasks_of(facts)
    states = np.empty((n_learners, task.horizon + 1), dtype=np.int64)
    actions = np.empty((n_learners, task.horizon), dtype=np.int64)
    rewards = np.empty((n_learners, task.horizon), dtype=np.float32)
    chances = rng.random((task.horizon, n_learners), dtype=np.float32)
    state = task.reset(facts, rng)
    observations = task.observe(state)
    for step in range(task.horizon):
        states[:, step] = task.state_index(state)
        actions[:, step] = learners.act(states[:, step], chances[step])
        after, rewards[:, step], state = task.step(state, actions[:, step], rng)
        record(step, observations, actions[:, step], rewards[:, step])
        observations = after
    states[:, -1] = task.state_index(state)
    learners.learn(states, actions, rewards)


class _Learners:
    """The stacked networks of a chunk of learners, `[learner, ...]` each, and their optimisers."""

    def __init__(self, source: ActorCritic, task: Task, n_learners: int, rng: np.random.Generator) -> None:
        import torch

        self.torch, self.source, self.n_actions = torch, source, task.n_actions
        self.device = _device(source.device)
        self.network = _network(task.n_states, source.hidden, task.n_actions)
        self.weights = {
            name: torch.from_numpy(first).to(self.device)
            for name, first in _first_weights(source, task, n_learners, rng).items()
        }
        self.mean = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        self.square = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        self.updates = 0
        self.forward = torch.func.vmap(self._outputs)
        self.gradient = torch.func.vmap(torch.func.grad(self._loss))
        ahead = torch.arange(task.horizon)[:, None] - torch.arange(task.horizon)
        decayed = (source.gamma * source.trace) ** ahead.clamp(min=0).float()
        self.traces = torch.where(ahead >= 0, decayed, torch.zeros(())).to(self.device)  # [later step, step]

    def act(
        self, states: Int[np.ndarray, " learner"], chances: Float[np.ndarray, " learner"]
    ) -> Int[np.ndarray, " learner"]:
        """Draw every learner's action; `chances` are uniform in [0, 1)."""
        torch = self.torch
        with torch.no_grad():
            logits = self.forward(self.weights, self._there(states))[:, : self.n_actions]
            heaped = torch.softmax(logits, dim=-1).cumsum(dim=-1)
            above = (heaped <= self._there(chances)[:, None] * heaped[:, -1:]).sum(dim=-1)
        # rounding can lift the greatest chance to the sum itself
        return above.clamp(max=self.n_actions - 1).cpu().numpy()

    def learn(
        self,
        states: Int[np.ndarray, "learner states"],
        actions: Int[np.ndarray, "learner step"],
        rewards: Float[np.ndarray, "learner step"],
    ) -> None:
        """Improve every learner by one step of Adam on its episode; `states` holds one more than there are steps."""
        with self.torch.no_grad():
            lived = self._there(states)
            values = self.forward(self.weights, lived)[..., self.n_actions]
            surprise = self._there(rewards) + self.source.gamma * values[:, 1:] - values[:, :-1]
            advantages = surprise @ self.traces
            batch = (lived[:, :-1], self._there(actions), advantages, advantages + values[:, :-1])
            self._descend(self.gradient(self.weights, *batch))

    def _outputs(self, weights: dict[str, torch.Tensor], states: torch.Tensor) -> torch.Tensor:
        """Return one learner's logits and, last, its value. [..., action + 1]"""
        return self.torch.func.functional_call(self.network, weights, (states,))

    def _loss(
        self,
        weights: dict[str, torch.Tensor],
        states: torch.Tensor,
        actions: torch.Tensor,
        advantages: torch.Tensor,
        returns: torch.Tensor,
    ) -> torch.Tensor:
        """Return the loss of one learner's episode, summed over its steps."""
        torch, outputs = self.torch, self._outputs(weights, states)
        log_policy = torch.log_softmax(outputs[:, : self.n_actions], dim=-1)
        chosen = torch.gather(log_policy, 1, actions[:, None])[:, 0]
        entropy = -(log_policy.exp() * log_policy).sum(dim=-1)
        missed = (outputs[:, self.n_actions] - returns) ** 2 / 2
        return (self.source.critic * missed - chosen * advantages - self.source.entropy * entropy).sum()

    def _descend(self, gradients: dict[str, torch.Tensor]) -> None:
        self.updates += 1
        bias, square_bias = 1 - DECAY**self.updates, 1 - SQUARE_DECAY**self.updates
        for name, gradient in gradients.items():
            mean, square = self.mean[name], self.square[name]
            mean.lerp_(gradient, 1 - DECAY)
            square.mul_(SQUARE_DECAY).addcmul_(gradient, gradient, value=1 - SQUARE_DECAY)
            scale = (square / square_bias).sqrt_().add_(TINY)
            self.weights[name].addcdiv_(mean, scale, value=-self.source.learning_rate / bias)

    def _there(self, array: np.ndarray) -> torch.Tensor:
        return self.torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


def _network(n_states: int, hidden: int, n_actions: int) -> torch.nn.Module:
    """Return a network without weights: what it computes is called with those of the learners.

    The embedding is the product of the one-hot state with a matrix, without the zeros.
    """
    import torch

    with torch.device("meta"):
        if not hidden:
            return torch.nn.Embedding(n_states, n_actions + 1)
        layers = torch.nn.Embedding(n_states, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, n_actions + 1)
        return torch.nn.Sequential(*layers)


def _first_weights(
    source: ActorCritic, task: Task, n_learners: int, rng: np.random.Generator
) -> dict[str, Float[np.ndarray, "learner ..."]]:
    """Return weights with which every action is about as likely as another, and every state is worth the same."""
    n_outputs = task.n_actions + 1
    bias = np.zeros((n_learners, n_outputs), dtype=np.float32)
    bias[:, -1] = source.initial_value
    if not source.hidden:
        return {"weight": np.repeat(bias[:, None], task.n_states, axis=1)}
    read_in = rng.standard_normal((n_learners, task.n_states, source.hidden), dtype=np.float32)
    read_out = rng.standard_normal((n_learners, n_outputs, source.hidden), dtype=np.float32)
    read_out *= np.float32(0.1 / np.sqrt(source.hidden))
    return {"0.weight": read_in, "2.weight": read_out, "2.bias": bias}


def _device(name: str) -> torch.device:
    import torch

    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        raise ConfigError(
            f"actor-critic: device is {name!r}, but torch has none of that name on this machine; cpu is always there."
        ) from error
    return device
