"""Known networks that are trained: interchange interventions put the circuit where the claim `truth` says it is."""

from __future__ import annotations

from ad_hypotheses.known.network import Known

TRAINED: tuple[Known, ...] = (
    Known(
        "win-stay-trained",
        "win-stay",
        "the first MLP turns the last arm and its pay into a score of each arm",
        None,
    ),
    Known(
        "win-stay-elsewhere",
        "win-stay",
        "a head carries the last arm and its pay to the second MLP, which makes a score of each arm",
        None,
    ),
    Known(
        "leader-trained",
        "leader",
        "a head of the first layer averages the tokens, the MLP after it finds the arms that have won most often",
        None,
    ),
    Known(
        "leader-elsewhere",
        "leader",
        "the first MLP marks winners, a head of the second layer averages them, the MLP after it finds the leaders",
        None,
    ),
    Known(
        "retrieval-trained",
        "retrieval",
        "a head fetches the cell that paid last, the MLP after it finds the way there",
        None,
        steady=("sighting",),  # of several rows, it would show several cells that paid, as no history does
        others=("joint", "independent"),  # or its second MLP cancels what the first layer writes past it
    ),
)
"""Every trained network."""
