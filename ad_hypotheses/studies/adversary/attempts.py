"""One half of the histories, on which a claim is scrubbed with donors that an adversary chose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.draws import Classes, restricted
from ad_hypotheses.causal.metrics import cross_entropy
from ad_hypotheses.causal.scrub import Scrubber
from ad_hypotheses.storage.store import Store
from ad_hypotheses.studies.adversary.outcomes import AttackGround, AttemptOutcome

Restriction = Mapping[str, tuple[Int[np.ndarray, "row step"], bool]]  # node: feature, and whether donors agree on it


@dataclass
class Half:
    """Some of the histories, and a claim on them.

    Attributes:
        name: What it is called in what is kept.
        clean: The model's own run over them.
        scrubbers: Of the claim, and of variants of it, by what those are called; made when they are needed.
        regimes: Which steps belong to which regime, `"all"` first. {name: [row, step]}
        ground: What these histories give without a claim.
        store: What was measured already.
        done: Called after each pass.
    """

    name: str
    clean: Clean
    scrubbers: Mapping[str, Callable[[], Scrubber]]
    regimes: Mapping[str, Bool[np.ndarray, "row step"]]
    ground: AttackGround
    store: Store
    done: Callable[[], None]

    def __post_init__(self) -> None:
        self._made: dict[str, tuple[Scrubber, dict[str, Classes]]] = {}
        self._outcomes: dict[str, AttemptOutcome] = {}

    def reach(self, variant: str, restriction: Restriction) -> dict[str, float]:
        """Return at what share of its positions each node has fewer donors than without the restriction."""
        scrubber, _ = self._scrubber(variant)
        return {name: reached for name, (_, reached) in _donors(scrubber, restriction).items()}

    def run(self, variant: str, description: str, restriction: Restriction, passes: int) -> AttemptOutcome:
        """Scrub with restricted donors, unless it was done already.

        Args:
            variant: Which of the scrubbers.
            description: The restriction, by a name that no other one has.
            restriction: Node by node; the others' donors stay as the claim has them.
            passes: How often.
        """
        key = f"{self.name}, {variant}, {description}, {passes} passes"
        if key not in self._outcomes:
            arrays = self.store.get(key, lambda: self._measure(variant, restriction, passes))
            self._outcomes[key] = AttemptOutcome(**arrays)
            for _ in range(passes):
                self.done()
        return self._outcomes[key]

    def _measure(self, variant: str, restriction: Restriction, passes: int) -> dict[str, np.ndarray]:
        scrubber, plain = self._scrubber(variant)
        drawn = {name: donors for name, (donors, _) in _donors(scrubber, restriction).items()}
        scrubber.classes = plain | drawn
        return vars(self._scrub(scrubber, passes))

    def _scrubber(self, variant: str) -> tuple[Scrubber, dict[str, Classes]]:
        if variant not in self._made:
            scrubber = self.scrubbers[variant]()
            self._made[variant] = scrubber, scrubber.classes
        return self._made[variant]

    def _scrub(self, scrubber: Scrubber, passes: int) -> AttemptOutcome:
        clean, losses, kls = self.clean, [], []
        chances = np.exp(clean.log_probs)
        for number in range(passes):
            log_probs = scrubber.run(number).log_probs
            losses.append(cross_entropy(log_probs, clean.history.actions))
            kls.append((chances * (clean.log_probs - log_probs)).sum(axis=-1, dtype=np.float64))
        loss, kl = np.stack(losses).astype(np.float64), np.stack(kls)
        masks = self.regimes.values()
        by_regime = (np.stack([(change * mask).sum(axis=2) for mask in masks]) for change in (loss, kl))
        return AttemptOutcome(loss.sum(axis=2), kl.sum(axis=2), *by_regime)


def _donors(scrubber: Scrubber, restriction: Restriction) -> dict[str, tuple[Classes, float]]:
    donors_of = {}
    for name, (feature, agree) in restriction.items():
        node = scrubber.nodes[name]
        assert node.labels is not None
        donors, reached = restricted(node.labels, feature, agree, node.selected)
        donors_of[name] = donors, float((reached if node.selected is None else reached[node.selected]).mean())
    return donors_of


def ground_of(clean: Clean, baseline: Float[np.ndarray, "row step"]) -> AttackGround:
    """Return what some histories give without a claim.

    Args:
        clean: The model's own run over them.
        baseline: Loss when nothing is important, in nats. [row, step]
    """
    model = cross_entropy(clean.log_probs, clean.history.actions)
    return AttackGround(
        model=model.sum(axis=1, dtype=np.float64),
        baseline=baseline.sum(axis=1, dtype=np.float64),
        kl_baseline=_divergence_from_others(clean.log_probs.astype(np.float64)),
        counts=np.full(clean.n_rows, float(clean.n_steps)),
    )


def _divergence_from_others(log_probs: Float[np.ndarray, "row step action"]) -> Float[np.ndarray, " row"]:
    """Return the expected KL divergence of another row's distribution from a row's own, over its steps. [row]"""
    others = (log_probs.sum(axis=0) - log_probs) / (len(log_probs) - 1)
    return np.asarray((np.exp(log_probs) * (log_probs - others)).sum(axis=(1, 2)))
