"""What the claims in `hypotheses/known/` about networks that play bandits deserve."""

from __future__ import annotations

from collections.abc import Mapping

from ad_hypotheses.known.network import Expected

Claims = Mapping[str, Expected]

WIN_STAY: Claims = {
    "truth": Expected("true", "supported", "the last arm and its pay, through the first MLP"),
    "two_pulls": Expected("finer than true", "supported", "the pull before the last is kept too, and changes nothing"),
    "echo": Expected("wrong site", "refuted", "the second MLP holds the same score, but nothing reads it"),
    "average": Expected("wrong site", "refuted", "the head carries arm and pay, but averages that nothing reads"),
    "pay_alone": Expected("coarser", "refuted", "which arm it was matters too"),
    "reward_blind": Expected("missing arrow", "refuted", "the reward reaches the MLP too"),
    "record": Expected("other algorithm", "refuted", "an arm's record is not looked at, only its last pay"),
    "counts": Expected("injective", "refuted", "counts are not looked at, but hardly two histories have the same"),
}

WIN_STAY_CANCELLING: Claims = {
    "truth": Expected("true", "supported", "the MLP decides, the heads write what cancels, both at once"),
    "no_heads": Expected("cancellation", "refuted", "each head moves the score; only both together do not"),
    "one_head": Expected("missing arrow", "refuted", "the other head writes as much, with the opposite sign"),
    "heads_alone": Expected("wrong site", "refuted", "what the heads write cancels, the MLP decides"),
    "second_mlp": Expected("wrong site", "refuted", "the second MLP is silent"),
    "pay_alone": Expected("coarser", "refuted", "which arm it was matters too"),
}

LEADER: Claims = {
    "truth": Expected("true", "supported", "a head averages which arm won, two MLPs find the leaders"),
    "order": Expected("finer than true", "supported", "the head is held to the order of all arms, leaders would do"),
    "copy": Expected("wrong site", "refuted", "the other head averages the same, but nothing reads it"),
    "one_leader": Expected("coarser", "refuted", "where several lead, all of them matter"),
    "lead_halves": Expected("coarser", "refuted", "which of the first or the last two arms leads matters too"),
    "no_mlp": Expected("missing arrow", "refuted", "the head reads the first MLP, not the embeddings"),
    "reward_blind": Expected("missing arrow", "refuted", "the reward reaches the first MLP too"),
    "most_pulled": Expected("other algorithm", "refuted", "wins are counted, not pulls"),
    "lately": Expected("other algorithm", "refuted", "all wins count, not those of the last ten pulls"),
    "pull_counts": Expected("injective", "refuted", "pulls are not counted, but few histories agree in all counts"),
}

UCB: Claims = {
    "truth": Expected("true", "supported", "both heads and the second MLP make the index, the third MLP compares"),
    "by_parts": Expected(
        "finer than true", "supported", "net wins and deficits each exactly, where the order would do"
    ),
    "best_alone": Expected("coarser", "refuted", "the next best are pulled too, in their order"),
    "no_bonus": Expected("missing arrow", "refuted", "the pulls give a bonus"),
    "no_rewards": Expected("missing arrow", "refuted", "the net wins count too"),
    "heads_swapped": Expected("wrong site", "refuted", "each head carries what the claim says of the other"),
    "compared_early": Expected("wrong site", "refuted", "the second MLP makes the bonus only"),
    "mean_pay": Expected("other algorithm", "refuted", "the arm of the highest mean pay is often another"),
    "true_ucb1": Expected("other algorithm", "refuted", "the order by UCB1's own index is often another"),
}

RETURN_LEVEL: Claims = {
    "truth": Expected("true", "supported", "a head adds rewards up, the MLP tells their level"),
    "exact_sum": Expected("finer than true", "supported", "the sum itself, where its level would do"),
    "mean_head": Expected("wrong site", "refuted", "the other head averages rewards, but nothing reads it"),
    "second_mlp": Expected("wrong site", "refuted", "the second MLP is silent"),
    "high_or_low": Expected("coarser", "refuted", "there are five levels, not two"),
    "no_sink": Expected(
        "missing arrow",
        "refuted",
        "the head needs to know the first token; at equal steps all histories have it in the same place",
    ),
    "clock": Expected("other algorithm", "refuted", "what was paid counts, not how long it took"),
    "lately": Expected("other algorithm", "refuted", "all rewards count, not the last twenty"),
    "early_arms": Expected(
        "other algorithm", "refuted", "all arms' rewards count, not only those of the preferred arms"
    ),
    "rhythm": Expected("injective", "refuted", "the last twelve pulls are not looked at, but few have the same"),
}
