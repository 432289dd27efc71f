"""What a known network is: a rule, and the circuit that computes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ad_hypotheses.causal.scrub import Others
from ad_hypotheses.distill.checkpoint import CONFIG, build
from ad_hypotheses.distill.config import Config, read_config
from ad_hypotheses.errors import ConfigError
from ad_hypotheses.known.wiring import Wiring
from ad_hypotheses.tasks import Task


@dataclass(frozen=True)
class Known:
    """A network whose circuit is known.

    Attributes:
        name: Of its checkpoint, after `known-`, and of its hypothesis file.
        rule: Name of the rule that it computes.
        words: How it does that, in a sentence.
        wire: What sets its weights; None where they are trained until `truth` holds.
        lives: Name of the rule whose histories it is asked about, if that is another.
        steady: Nodes of `truth` that training never gives another value.
        others: Where training takes all that `truth` does not name from, as in `Options`; updates take turns.
    """

    name: str
    rule: str
    words: str
    wire: Callable[[Wiring, Task], None] | None
    lives: str | None = None
    steady: tuple[str, ...] = ()
    others: tuple[Others, ...] = ("joint",)

    @property
    def model(self) -> str:
        """Name of the checkpoint."""
        return f"known-{self.name}"

    @property
    def file(self) -> str:
        """Name of the hypothesis file in `hypotheses/known/`."""
        return f"{self.name.replace('-', '_')}.py"


def known_config(known: Known, models: Path) -> Config:
    """Read the configuration of a known network.

    Raises:
        ConfigError: It is missing or wrong, or its source follows another rule.
    """
    path = models / known.model / CONFIG
    config = read_config(path)
    lives = known.lives or known.rule
    if config.source != {"name": "scripted", "rule": lives}:
        raise ConfigError(f"{path}: {known.name} is asked about histories of the rule {lives}, so source must be "
                          f"{{name: scripted, rule: {lives}}}, not {config.source}.")  # fmt: skip
    return config


def wired(known: Known, config: Config) -> Wiring:
    """Return a network that is set by hand.

    Raises:
        ConfigError: The configuration has LayerNorms, through which nothing can be set by hand.
    """
    if config.model.layer_norm:
        raise ConfigError(f"{known.name}: model.layer_norm must be false, for a LayerNorm mixes the subspaces.")
    assert known.wire is not None, f"{known.name} is trained, not wired"
    untrained = build(config)
    net = Wiring.silent(untrained.vocabulary, untrained.shape)
    known.wire(net, config.experiment.task)
    return net
