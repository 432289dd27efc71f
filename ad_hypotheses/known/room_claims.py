"""What the claims in `hypotheses/known/` about networks that live in dark rooms deserve."""

from __future__ import annotations

from collections.abc import Mapping

from ad_hypotheses.known.network import Expected

Claims = Mapping[str, Expected]

COPY_REWARDED: Claims = {
    "truth": Expected(
        "true", "supported", "cells of the steps before, lessons, and what the latest about this cell says"
    ),
    "visits_counted": Expected("finer than true", "supported", "how often the cell was seen changes nothing"),
    "echo": Expected("wrong site", "refuted", "the head beside it fetches the same action, but nothing reads it"),
    "paid_here": Expected("coarser", "refuted", "which action paid matters, not only that one did"),
    "without_lessons": Expected("missing arrow", "refuted", "the head compares cells with lessons"),
    "replay": Expected("other algorithm", "refuted", "what did not pay is not done again"),
    "goal_next_door": Expected(
        "other algorithm", "refuted", "a goal next door is missed from a cell of which it was never entered"
    ),
}

RETRIEVAL: Claims = {
    "truth": Expected("true", "supported", "a head fetches the cell, one MLP finds the ways, the next stays or goes"),
    "worked_out_late": Expected(
        "finer than true", "supported", "both cells decide, but of them only the direction matters"
    ),
    "echo": Expected("wrong site", "refuted", "the head beside it fetches the same cell, but nothing reads it"),
    "how_far": Expected("coarser", "refuted", "the direction matters, not only the distance"),
    "cell_blind": Expected("missing arrow", "refuted", "where the agent stands matters to the ways"),
    "replay": Expected("other algorithm", "refuted", "what was done in a cell does not matter"),
    "familiar_places": Expected(
        "injective", "refuted", "visits are not counted, but hardly two histories have the same"
    ),
}

SUPERSTITION: Claims = {
    "truth": Expected("true", "supported", "retrieval, and the last action while no goal is known"),
    "last_kept": Expected("finer than true", "supported", "once a goal is known the last action changes nothing"),
    "plain_retrieval": Expected(
        "cancellation", "refuted", "the last action counts before a reward, but helps as often as it hurts"
    ),
    "echo": Expected("wrong site", "refuted", "the head beside it fetches the same cell, but nothing reads it"),
    "reward_blind": Expected("missing arrow", "refuted", "the head finds the cell by the reward"),
    "momentum": Expected("other algorithm", "refuted", "once a goal is known the agent walks there"),
}

GATE: Claims = {
    "truth": Expected(
        "true", "supported", "one head fetches a cell, another opens the gate, the second MLP chooses by it"
    ),
    "rewards_counted": Expected("finer than true", "supported", "how often something paid changes nothing"),
    "heads_exchanged": Expected("wrong site", "refuted", "each head does what the claim says of the other"),
    "mean_pay": Expected("wrong site", "refuted", "the head of the second layer tells the same, but nothing reads it"),
    "no_drift": Expected("coarser", "refuted", "before a reward the cell decides"),
    "gateless": Expected("missing arrow", "refuted", "the ways count only once the gate is open"),
    "any_reward": Expected(
        "other algorithm", "refuted", "a reward whose cell was not seen does not open the gate; that is rare"
    ),
    "untried": Expected("other algorithm", "refuted", "before a reward the cell decides, not what was tried in it"),
}

REFLEX: Claims = {
    "truth": Expected("true", "supported", "the last action and its pay, through the first MLP"),
    "whole_token": Expected("finer than true", "supported", "the first MLP keeps less: a paid action is forgotten"),
    "echo": Expected("wrong site", "refuted", "the second MLP holds the same, but nothing reads it"),
    "stay_or_go": Expected("coarser", "refuted", "which way to go on matters too"),
    "reward_blind": Expected("missing arrow", "refuted", "the reward reaches the MLP too"),
    "remembers_the_place": Expected(
        "other algorithm", "refuted", "a head fetches the cell that paid, but nothing reads it"
    ),
    "familiar_places": Expected(
        "injective", "refuted", "visits are not counted, but hardly two histories have the same"
    ),
}

NGRAM: Claims = {
    "truth": Expected("true", "supported", "cells of the steps before, and the shares of what was done in this one"),
    "counted": Expected("finer than true", "supported", "counts, of which only the shares matter"),
    "anywhere": Expected("wrong site", "refuted", "the head beside it averages all cells, and nothing reads it"),
    "most_often": Expected("coarser", "refuted", "the rarer actions matter too"),
    "latest_only": Expected("coarser", "refuted", "all visits matter, not only the last one"),
    "cell_blind": Expected("missing arrow", "refuted", "the head compares cells with where the agent stands"),
    "what_paid": Expected("other algorithm", "refuted", "rewards do not matter"),
}

SCHEDULE: Claims = {
    "truth": Expected("true", "supported", "one MLP looks up the move, the next how firmly, by the position"),
    "worked_out_late": Expected("finer than true", "supported", "the cell decides, but of it only the move matters"),
    "column_only": Expected("wrong site", "refuted", "the row matters too"),
    "either_way": Expected("coarser", "refuted", "left and right are different moves"),
    "routeless": Expected("missing arrow", "refuted", "the move matters, not only the episode"),
    "no_schedule": Expected("missing arrow", "refuted", "the episode matters, but donors from the same step share it"),
    "learns_to_insist": Expected(
        "other algorithm", "refuted", "the clock decides and no reward, but donors share the clock"
    ),
    "habits": Expected("other algorithm", "refuted", "what was done in a cell does not matter"),
}

UNVISITED: Claims = {
    "truth": Expected(
        "true", "supported", "one MLP names the cell, a head lists those seen, the next MLP wants others"
    ),
    "visits_counted": Expected("finer than true", "supported", "how often a neighbour was seen changes nothing"),
    "whole_map": Expected(
        "finer than true", "supported", "the other cells change nothing, and few histories share a map"
    ),
    "silent_head": Expected("wrong site", "refuted", "the head beside it is silent"),
    "columns_and_rows": Expected("wrong site", "refuted", "columns and rows are averaged, but nothing reads them"),
    "number_only": Expected("coarser", "refuted", "which neighbours are new matters"),
    "cell_blind": Expected("missing arrow", "refuted", "where the agent stands matters to the second MLP"),
    "untried_actions": Expected("other algorithm", "refuted", "cells are sought that are new, not actions"),
}
