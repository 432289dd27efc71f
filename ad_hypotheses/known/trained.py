"""Known networks that are trained: interchange interventions put the circuit where the claim `truth` says it is."""

from __future__ import annotations

from ad_hypotheses.known.network import Expected, Known

DIRECTLY = Expected("true", "supported", "the last arm and its pay, through the first MLP")
CARRIED = Expected("true", "supported", "a head carries the last arm and its pay to the second MLP")
COUNTED_AT_ONCE = Expected("true", "supported", "a head of the first layer counts wins, the MLP after it compares them")
COUNTED_LATER = Expected("true", "supported", "the first MLP marks winners, the second layer counts and compares them")
FETCHED = Expected("true", "supported", "a head fetches the cell that paid, the MLP after it finds the way")
IDLE_HEAD = Expected("wrong site", "refuted", "the head beside it was trained to play no role")
IDLE_MLP = Expected("wrong site", "refuted", "the second MLP was trained to play no role")
REWARD_BLIND = Expected("missing arrow", "refuted", "the reward is read too")

TRAINED: tuple[Known, ...] = (
    Known(
        "win-stay-trained",
        "win-stay",
        "the first MLP turns the last arm and its pay into a score of each arm",
        None,
        {
            "truth": DIRECTLY,
            "later": IDLE_MLP,
            "elsewhere": Expected("wrong site", "refuted", "so it is in known-win-stay-elsewhere, which behaves alike"),
            "reward_blind": REWARD_BLIND,
            "pay_alone": Expected("coarser", "refuted", "which arm it was matters too"),
            "record": Expected("other algorithm", "refuted", "an arm's record is not looked at, only its last pay"),
        },
    ),
    Known(
        "win-stay-elsewhere",
        "win-stay",
        "a head carries the last arm and its pay to the second MLP, which makes a score of each arm",
        None,
        {
            "truth": CARRIED,
            "elsewhere": Expected("wrong site", "refuted", "so it is in known-win-stay-trained, which behaves alike"),
            "other_head": IDLE_HEAD,
            "reward_blind": REWARD_BLIND,
            "no_head": Expected("wrong site", "refuted", "the second MLP sees the token through the head alone"),
            "arm_alone": Expected("coarser", "refuted", "whether the arm paid matters too"),
        },
    ),
    Known(
        "leader-trained",
        "leader",
        "a head of the first layer averages the tokens, the MLP after it finds the arms that have won most often",
        None,
        {
            "truth": COUNTED_AT_ONCE,
            "other_head": IDLE_HEAD,
            "elsewhere": Expected("wrong site", "refuted", "so it is in known-leader-elsewhere, which behaves alike"),
            "reward_blind": REWARD_BLIND,
            "halves": Expected("coarser", "refuted", "which arm of the half leads matters too"),
            "pulls": Expected("other algorithm", "refuted", "wins are counted, not pulls"),
        },
    ),
    Known(
        "leader-elsewhere",
        "leader",
        "the first MLP marks winners, a head of the second layer averages them, the MLP after it finds the leaders",
        None,
        {
            "truth": COUNTED_LATER,
            "elsewhere": Expected("wrong site", "refuted", "so it is in known-leader-trained, which behaves alike"),
            "other_head": IDLE_HEAD,
            "reward_blind": REWARD_BLIND,
            "halves": Expected("coarser", "refuted", "which arm of the half leads matters too"),
            "lately": Expected("other algorithm", "refuted", "all wins count, not those of late"),
        },
    ),
    Known(
        "retrieval-trained",
        "retrieval",
        "a head fetches the cell that paid last, the MLP after it finds the way there",
        None,
        {
            "truth": FETCHED,
            "other_head": IDLE_HEAD,
            "later": IDLE_MLP,
            "reward_blind": REWARD_BLIND,
            "how_far": Expected("coarser", "refuted", "which way the goal lies matters, not how far it is"),
            "cell_blind": Expected("missing arrow", "refuted", "the way depends on where the agent stands"),
            "replay": Expected("other algorithm", "refuted", "what was done in this cell before does not count"),
        },
        steady=("sighting",),  # of several rows, it would show several cells that paid, as no history does
        others=("joint", "independent"),  # or its second MLP cancels what the first layer writes past it
    ),
)
"""Every trained network."""
