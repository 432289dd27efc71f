"""The kinds of counterfactual that task families declare, and those that fit any task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ad_hypotheses.tasks.edits import families, matched
from ad_hypotheses.tasks.edits.kinds import (
    SOME_ORDER,
    Kind,
    lacks_actions,
    lacks_another_row,
    lacks_goal,
    lacks_order,
    lacks_place,
)

SWAPPED = "the rewards of the place, or arm, that paid are given to another one that was visited"
DEAD = Kind(
    "from the middle of the life on, nothing pays",
    live=families.dead,
    breaks="that what paid goes on paying",
)
ACTIONS_EXCHANGED = Kind(
    "until the start of an episode, the names of two actions are exchanged",
    edit=matched.actions_exchanged,
    lacks=lacks_actions,
    live=families.actions_exchanged,
    lived="the first half is told with two actions exchanged, and in a world where they are the model lives on",
    breaks="an action and what it does, which is the same in all tasks otherwise",
)
# where actions have no meaning across tasks, a life with two of them exchanged is one on another task, and as good
LABELS_EXCHANGED = replace(ACTIONS_EXCHANGED, live=None)
EPISODES_SHUFFLED = Kind(
    "the episodes of the first half are in another order",
    lacks=lacks_order,
    live=families.episodes_shuffled,
    breaks="that later episodes are better than earlier ones, and what was done last and what was done often",
    least_episodes=SOME_ORDER,
)
LIFE_BEFORE = Kind(
    "the first quarter is of one who knows the task or, in half of the rows, of chance",
    live=families.life_before,
    breaks="that an early episode is a poor one, and that one's own life is like what one does",
)
REWARDS_SWAPPED = Kind(SWAPPED, edit=matched.rewards_swapped, lacks=lacks_place)
GOAL_MOVED = Kind("from the start of an episode on, another cell pays", edit=matched.goal_moved, lacks=lacks_goal)

ANY_TASK: Mapping[str, Kind] = {
    "dead": DEAD,
    "life-before": LIFE_BEFORE,
    "actions-exchanged": ACTIONS_EXCHANGED,
    "episodes-shuffled": EPISODES_SHUFFLED,
    "no-rewards": Kind("every reward is 0", matched.no_rewards),
    "rewards-swapped": REWARDS_SWAPPED,
    "episode-replaced": Kind(
        "one episode, not the last, is that of another history", matched.episode_replaced, lacks_another_row
    ),
    "goal-moved": GOAL_MOVED,
}


def goal_moved(move: families.Move) -> Kind:
    """Return the family in which the goal moves, `move` says where to."""
    return replace(
        GOAL_MOVED,
        live=families.moved(move),
        lived="from the middle of the life on, another place pays",
        breaks="where it paid and where it pays",
        move=move,
    )


def fact_moved(words: str, breaks: str, move: families.Move) -> Kind:
    """Return the family in which another fact of the task changes in the middle of the life."""
    return Kind(words, live=families.moved(move), breaks=breaks, move=move)


def place_swapped(*places: str) -> Kind:
    """Return the family in which the past was paid elsewhere; `places` are the facts that say where it is paid."""
    return replace(
        REWARDS_SWAPPED,
        live=families.place_swapped(places),
        lived="the first half is paid at another place that was visited, and there the world pays on",
        breaks="where the agent went and where it was paid: what it did leads to one place, its rewards are at another",
    )


def two_goals(move: families.Move) -> Kind:
    """Return the family in which a second place pays as well."""
    return Kind(
        "a second place pays as the first does, and some episodes of the first half are walks there",
        live=families.two_goals(move),
        breaks="the place that paid last and the one that paid most often, which are the same otherwise",
    )


def detour(move: families.Move) -> Kind:
    """Return the family in which the way gone first is a roundabout one."""
    return Kind(
        "the first two episodes go to what pays by way of another place",
        live=families.detour(move),
        breaks="the way that was gone and the shortest one",
    )


ROOM_FAMILIES: Mapping[str, Kind] = {
    "goal-moved": goal_moved(families.redrawn("goal")),
    "rewards-swapped": place_swapped("goal"),
    "two-goals": two_goals(families.redrawn("goal")),
    "detour": detour(families.redrawn("goal")),
}
MOVING_FAMILIES: Mapping[str, Kind] = {
    "goal-moved": fact_moved(
        "from the middle of the life on, the goal is elsewhere than it would have been",
        "when the goal moves: one more jump comes at the same time in all lives",
        families.goals_elsewhere,
    ),
    "detour": detour(families.goals_elsewhere),
}
# where the goal pays by chance, or is not alone, no visits tell that one place explains all pay
CHANCE_FAMILIES: Mapping[str, Kind] = {name: kind for name, kind in ROOM_FAMILIES.items() if name != "rewards-swapped"}
LESSER_FAMILIES: Mapping[str, Kind] = {
    **CHANCE_FAMILIES,
    "lesser-moved": fact_moved(
        "from the middle of the life on, the lesser goal is elsewhere",
        "where the lesser goal was and where it is, while the goal stays",
        families.redrawn("lesser"),
    ),
}
TRAP_FAMILIES: Mapping[str, Kind] = {
    **CHANCE_FAMILIES,
    "trap-moved": fact_moved(
        "from the middle of the life on, the trap is elsewhere",
        "where the trap was and where it is, while the goal stays",
        families.redrawn("trap"),
    ),
}
DRAWN_FAMILIES: Mapping[str, Kind] = {
    **ROOM_FAMILIES,
    "order-changed": fact_moved(
        "from the middle of the life on, the actions make other moves",
        "what an action did and what it does",
        families.redrawn("order"),
    ),
    "actions-exchanged": LABELS_EXCHANGED,
}
KEY_FAMILIES: Mapping[str, Kind] = {
    "door-moved": fact_moved(
        "from the middle of the life on, the door is elsewhere",
        "where the door was and where it is, while the key stays",
        families.redrawn("door"),
    ),
    "rewards-swapped": place_swapped("key", "door"),
    "detour": detour(families.redrawn("key")),
}
BANDIT_FAMILIES: Mapping[str, Kind] = {
    "rewards-swapped": replace(
        REWARDS_SWAPPED,
        live=families.pay_swapped,
        lived="two arms have paid what the other one pays, in the first half of the life, and so they pay on",
        breaks="how often an arm was pulled and how well it paid",
    ),
    "arms-exchanged": Kind(
        "from the middle of the life on, two arms exchange what they pay",
        edit=matched.arms_exchanged,
        live=families.moved(families.best_and_worst_arm),
        lived="from the middle of the life on, the best and the worst arm exchange what they pay",
        breaks="what an arm paid and what it pays",
        move=families.best_and_worst_arm,
    ),
    "pulls-shuffled": Kind(
        "the pulls of the first half, each with its pay, are in another order",
        live=families.pulls_shuffled,
        breaks="how well arms paid and when, in which order, they were pulled",
    ),
    "actions-exchanged": LABELS_EXCHANGED,
}
