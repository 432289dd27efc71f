"""Studies made up for tests of the report: believable numbers, no model."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np

from ad_hypotheses.evidence.plain_data import Curve, Number
from ad_hypotheses.studies.scrub.claim_parts import (
    NodeRecord,
    Regime,
    Spending,
    UndeclaredArrow,
    UndeclaredArrows,
    WorstPosition,
)
from ad_hypotheses.studies.scrub.record import Claim, DataRecord, Study
from ad_hypotheses.tasks.dark_room import MOVES, DarkRoom

MOVE_NAMES = ["stay", "up", "down", "left", "right"]
EPISODES, HORIZON = 20, 20


def number(value: float, half: float = 0.03) -> Number:
    """An estimate with a symmetric interval, of as few digits as a record keeps."""
    return Number(round(value, 4), round(value - half, 4), round(value + half, 4))


NOT_ESTIMABLE = Number(math.nan, -math.inf, math.inf, estimable=False)


def regime(
    name: str,
    positions: int,
    model: float,
    baseline: float,
    recovered: float,
    beyond: float,
    status: str = "refuted",
    data: str = "source",
) -> Regime:
    """A regime whose losses agree with its ratios, and whose zero of fidelity is halfway to the baseline."""
    scrubbed = baseline + recovered * (model - baseline)
    fidelity = 2 * recovered - 1
    structure = (scrubbed - beyond * model) / (1 - beyond)
    return Regime(
        name=name,
        positions=positions,
        model=number(model, 0.011),
        scrubbed=number(scrubbed, 0.014),
        baseline=number(baseline, 0.009),
        structure=number(structure, 0.012),
        recovered=number(recovered),
        beyond_structure=number(beyond, 0.05),
        recovered_with_self=None,
        beyond_structure_with_self=None,
        loss_change=abs(scrubbed - model) + 0.08,
        kl=abs(scrubbed - model) * 1.1 + 0.02,
        same_argmax=1 - 0.5 * abs(scrubbed - model),
        agreement=0.55 + 0.4 * recovered,
        opinion=0.9,
        data=data,
        learners=256,
        fidelity=number(fidelity),
        fidelity_with_self=number(fidelity + 0.01),
        fidelity_independent=number(fidelity - 0.02, 0.06),
        explained=number(fidelity + 0.004, 0.05) if data == "source" else None,
        divergence=number(abs(scrubbed - model) * 1.1, 0.01),
        at_stake=number((baseline - model) / 2, 0.01),
        tested=0.93,
        swapped=0.81,
        status="average" if name == "all" else status,
        weakest="" if name == "all" else "beyond structure",
    )


def untestable(name: str, positions: int, model: float, data: str = "source") -> Regime:
    """A regime in which the model does no better than the baseline."""
    loss = number(model, 0.004)
    none = NOT_ESTIMABLE
    return Regime(
        name, positions, loss, loss, loss, loss, none, none, None, None, 0.004, 0.003, 0.97, None, 0.0,
        data=data, learners=256, fidelity=none, fidelity_with_self=none, fidelity_independent=none,
        explained=none if data == "source" else None,
        divergence=number(0.003, 0.002), at_stake=number(0.004, 0.003), tested=0.88, swapped=0.7,
        status="does not count",
        why_not="the model hardly differs from one constant distribution (0.004 [0.001, 0.007] nats; 0.02 needed)",
    )  # fmt: skip


def older(study: Study) -> Study:
    """The study as it would have been recorded in version 3: without data sets and without fidelity."""
    names = {"data", "learners", "fidelity", "fidelity_with_self", "fidelity_independent", "explained", "divergence",
             "at_stake", "tested", "swapped", "status", "why_not", "weakest"}  # fmt: skip
    defaults = {field.name: field.default for field in fields(Regime) if field.name in names}

    def regimes(claim: Claim) -> list[Regime]:
        return [
            replace(
                item,
                **defaults,
                recovered_with_self=item.recovered,
                beyond_structure_with_self=item.beyond_structure,
            )
            for item in claim.of_data("source")
        ]

    claims = [
        replace(item, regimes=regimes(item), sentence="", half_pool=None, undeclared=None, spending=[])
        for item in study.claims
    ]
    return replace(study, claims=claims, data=[], schema=3)


def node(name: str, site: str, parents: list[str], doc: str, **fields: object) -> NodeRecord:
    """A node with a middling record."""
    sizes = {"1": 2, "3": 6, "7": 15, "15": 40, "31": 80, "63": 104, "127": 9, "256": 0}
    record = {"level": "step", "role": None, "hidden": False, "class_sizes": sizes, "alone": 0.008, "swapped": 0.97,
              "moved": 0.61, "spread": 0.34, "exact": False, "recovered": 0.81, "resampled": 0.22}  # fmt: skip
    return NodeRecord(name=name, site=site, parents=parents, doc=doc, **(record | fields))  # type: ignore[arg-type]


def room_position(rng: np.random.Generator, row: int, kind: str) -> WorstPosition:
    """A position of a walk through a Dark Room, with the claim leaving out where the goal is."""
    room = DarkRoom()
    goal, cell = np.array([6, 2]) + rng.integers(-1, 2, size=2), np.array(room.start)
    path, actions, rewards = [cell.tolist()], [], []
    for _ in range(int(rng.integers(2, 9))):
        action = int(rng.choice(5, p=room.walk(cell[None], goal[None])[0] * 0.4 + 0.12))
        cell = np.clip(cell + MOVES[action], 0, 8)
        path.append(cell.tolist())
        actions.append(action)
        rewards.append(float((cell == goal).all()))
    model = room.walk(cell[None], goal[None])[0] * 0.9 + 0.02
    scrubbed = rng.dirichlet(np.ones(5)) * 0.8 + 0.04
    taken = int(model.argmax())
    scrubbed[taken] = 0.03
    scrubbed /= scrubbed.sum()
    step = int(rng.integers(6, 20)) * HORIZON + len(actions)
    seen = rng.normal([5, 3], 1.7, size=(40, 2)).round().astype(int).clip(0, 8).tolist()
    return WorstPosition(
        row, step, step // HORIZON, len(actions), kind, path, actions, rewards, seen,
        goal.tolist() if kind != "explore" else None, {"goal": [float(x) for x in goal]}, taken,
        model.tolist(), scrubbed.tolist(), float(-np.log(model[taken])), float(-np.log(scrubbed[taken])),
    )  # fmt: skip


def losses(rng: np.random.Generator, n_steps: int, levels: dict[str, tuple[float, float]]) -> dict[str, list[float]]:
    """Losses that fall from one level to another along the context, with a bump where an episode starts."""
    t = np.arange(n_steps)
    fall, bump = np.exp(-t / (n_steps / 4)), 0.25 * np.exp(-(t % HORIZON) / 4) * (n_steps > 100)
    return {
        name: (late + (early - late) * fall + bump * (early - late) + 0.03 * rng.normal(size=n_steps)).tolist()
        for name, (early, late) in levels.items()
    }


def by_episode(steps: dict[str, list[float]]) -> dict[str, list[float]]:
    """Means over episodes of the losses by step."""
    return {name: np.array(loss).reshape(-1, HORIZON).mean(axis=1).tolist() for name, loss in steps.items()}


def claim(name: str, kind: str, recovered: float, beyond: float, verdict: str, **fields: object) -> Claim:
    """A claim without details, which `fields` may add."""
    record = {
        "doc": "", "moved_sites": {}, "accept": 0.9,
        "reason": f"beyond structure {beyond:.2f} [{beyond - 0.05:.2f}, {beyond + 0.05:.2f}] in navigate (source) lies "
                  "below the accepted 0.90",
        "p_supported": 1.0, "p_refuted": 0.0004, "root_movement": 0.43, "nodes": [],
        "regimes": [regime("all", 102_400, 0.62, 1.41, recovered, beyond)], "steps": {}, "episodes": {},
        "worst_share": 0.19, "worst": [], "tree_nodes": 5, "warnings": [],
    }  # fmt: skip
    return Claim(name=name, kind=kind, verdict=verdict, **(record | fields))  # type: ignore[arg-type]


def undeclared() -> UndeclaredArrows:
    """Arrows that the made-up claim lacks: between nodes, from a component, and one that closes a circle."""
    reward = 'embed("reward")'
    return UndeclaredArrows(
        data="own",
        rows=17,
        total=1.25,
        count=9,
        arrows=[
            UndeclaredArrow("goal", "choice", True, False, ["head(1, 2) -> logits"], 0.5, 0.4, True),
            UndeclaredArrow(reward, "goal", False, False, [f"{reward} -> head(1, 2).k"], 0.3, 0.24, True),
            UndeclaredArrow("heading", "goal", True, True, ["mlp(0) -> head(1, 2).q"], 0.25, 0.2, True),
            UndeclaredArrow("mlp(2)", "choice", False, False, ["mlp(2) -> logits"], 0.0625, 0.05, False),
        ],
        code=[
            '@node(at=embed("reward"))',
            "def reward(history): ...  # the coarsest value that matters",
            "",
            "def choice(heading, gate, goal):",
            "def goal(gate, reward):",
        ],
        added=["goal -> choice"],
        fidelity_before=0.31,
        fidelity_after=0.72,
    )


def dark_room_study() -> Study:
    """A refuted claim about a Dark Room, with three controls, one of which does as well."""
    rng = np.random.default_rng(0)
    levels = {"model": (1.55, 0.35), "scrubbed": (1.58, 0.62), "structure": (1.6, 1.0), "baseline": (1.6, 1.35)}
    steps = losses(rng, EPISODES * HORIZON, levels)
    nodes = [
        node("cell", 'embed("x") + embed("y")', [], "Where the agent stands.", exact=True, recovered=1.0, spread=0.0),
        node(
            "gate", "mlp(0)", ["cell"], "Whether any reward was seen.", recovered=0.95, class_sizes={"1": 0, "128": 256}
        ),
        node("goal", "head(1, 2)", ["gate"], "The cell that paid last, (-1, -1) before any reward.", recovered=0.58),
        node(
            "heading", "mlp(1)", ["cell", "goal"], "Which way the goal lies from here.", recovered=None, role="navigate"
        ),
        node(
            "choice",
            "logits",
            ["heading", "gate"],
            "Walk there and stay.",
            level="root",
            recovered=None,
            resampled=None,
        ),
    ]
    regimes = [
        regime("all", 102_400, 0.62, 1.41, 0.66, 0.31),
        untestable("explore", 30_211, 1.55),
        regime("navigate", 41_020, 0.48, 1.44, 0.57, 0.22),
        regime("stay", 31_169, 0.09, 1.2, 0.97, 0.94, "open"),
        regime("all", 98_400, 0.66, 1.39, 0.62, 0.28, data="own"),
        untestable("explore", 29_000, 1.56, data="own"),
        regime("navigate", 40_020, 0.5, 1.42, 0.55, 0.2, data="own"),
        regime("stay", 29_380, 0.1, 1.21, 0.96, 0.93, "open", data="own"),
    ]
    kinds = ["navigate", "navigate", "explore", "navigate", "stay", "navigate", "navigate"]
    main = claim(
        "mimic", "hypothesis", 0.66, 0.31, "refuted", half_pool=-0.012, undeclared=undeclared(),
        spending=[Spending("source", 2, 2, "still open in stay after all passes", True),
                  Spending("own", 1, 2, "clearly refuted in navigate and stay", False)],
        sentence="on source mimic does not explain navigate (0.14), may explain stay (0.94); on own mimic does not "
                 "explain navigate (0.10), may explain stay (0.92)",
        nodes=nodes, regimes=regimes, steps=steps,
        episodes=by_episode(steps), worst=[room_position(rng, 17 * row, kind) for row, kind in enumerate(kinds, 1)],
        warnings=[
            "`heading` never had a donor other than itself at 3% of its positions",
            "pos is constant across rows at a step, so align='step' leaves it untested",
        ],
    )  # fmt: skip
    controls = [
        claim("mimic_elsewhere", "control", 0.12, 0.02, "refuted", moved_sites={"goal": "head(1, 2) -> head(0, 1)"}),
        claim("wrong site 1", "wrong site", 0.31, 0.05, "refuted", moved_sites={"goal": "head(1, 2) -> head(1, 3)"}),
        claim("wrong site 2", "wrong site", 0.64, 0.28, "refuted", moved_sites={"gate": "mlp(0) -> mlp(1)",
                                                                                "goal": "head(1, 2) -> head(0, 0)"}),
    ]  # fmt: skip
    e = np.arange(1, EPISODES + 1)
    curves = [
        Curve("model", (13.8 * (1 - np.exp(-e / 4)) + 0.2 * rng.normal(size=EPISODES)).tolist(), 256),
        Curve("explanation", (12.9 * (1 - np.exp(-e / 3)) + 0.2 * rng.normal(size=EPISODES)).tolist(), 256),
        Curve("source", (16.0 / (1 + np.exp(-(e - 9) / 2))).tolist(), 512),
        Curve("optimum", [16.54] * EPISODES, 0),
        Curve("random", (0.25 + 0.03 * rng.normal(size=EPISODES)).tolist(), 256),
    ]
    return Study(
        title="Mimic: before the first reward act like a novice, after it walk to where it was.",
        text="One seen reward opens a gate.\n\nBefore it, the history can be swapped freely; one head reads `goal`.",
        file="hypotheses/mimic.py", model="dark-room", model_sha256="9f2c" * 16, task="dark-room",
        task_facts={"size": 9, "horizon": 20}, action_names=MOVE_NAMES,
        model_text="2 layers of 4 heads, width 64, 113,000 parameters, a context of 400 steps",
        data_text="256 windows of 256 learners on 16 held-out goals",
        rows=256, n_steps=EPISODES * HORIZON, horizon=HORIZON,
        options={"passes": 5, "resamples": 2000, "others": "joint", "align": "step", "seed": 0},
        command="ad-hypotheses scrub hypotheses/mimic.py",
        versions={"ad_hypotheses": "0.1.0", "torch": "2.13.0", "numpy": "2.4.0"},
        claims=[main, *controls], curves=curves,
        data=[DataRecord("source", "histories of fresh source learners", 256, 1024, 81),
              DataRecord("own", "the model's own lives, actions drawn from its distribution", 256, 1024, 1)],
    )  # fmt: skip


def bandit_position(rng: np.random.Generator, row: int) -> WorstPosition:
    """A position of a bandit player, with the claim looking at the last pull only."""
    means, n = rng.random(5), int(rng.integers(9, 60))
    actions = rng.choice(5, size=n, p=means / means.sum()).tolist()
    rewards = (rng.random(n) < means[actions]).astype(float).tolist()
    model, scrubbed = rng.dirichlet(np.ones(5) * 0.6), rng.dirichlet(np.ones(5))
    pulls = [
        [actions.count(arm), sum(r > 0 for a, r in zip(actions, rewards, strict=True) if a == arm)] for arm in range(5)
    ]
    taken = int(model.argmax())
    return WorstPosition(
        row, n, 0, n, "after win" if rewards[-1] else "after loss", [[] for _ in range(n + 1)], actions, rewards, pulls,
        None, {"means": means.tolist()}, taken, model.tolist(), scrubbed.tolist(),
        float(-np.log(model[taken])), float(-np.log(scrubbed[taken])),
    )  # fmt: skip


def bandit_study() -> Study:
    """A supported claim about a bandit: nothing to see, one episode, no controls."""
    rng = np.random.default_rng(1)
    levels = {"model": (1.6, 0.9), "scrubbed": (1.6, 0.92), "structure": (1.61, 1.3), "baseline": (1.61, 1.5)}
    nodes = [
        node("wins", "head(0, 1)", [], "Pulls and wins of each arm.", recovered=0.97),
        node(
            "choice", "logits", ["wins"], "The arm that is best so far.", level="root", recovered=None, resampled=None
        ),
    ]
    main = claim(
        "beta", "hypothesis", 0.96, 0.95, "supported", nodes=nodes, steps=losses(rng, 100, levels),
        sentence="on source beta explains after win (0.94) and after loss (0.90)",
        episodes={name: [late] for name, (_, late) in levels.items()}, tree_nodes=2,
        regimes=[regime("all", 25_600, 0.95, 1.5, 0.96, 0.955), untestable("start", 1_280, 1.6),
                 regime("after win", 14_020, 0.7, 1.45, 0.97, 0.96, "supported"),
                 regime("after loss", 10_300, 1.2, 1.55, 0.95, 0.94, "supported")],
        worst=[bandit_position(rng, 9 * row) for row in range(1, 5)],
        reason="all ratios lie above the accepted 0.90; the lowest is fidelity 0.90 [0.87, 0.93] in after loss",
        p_supported=0.002, p_refuted=1.0,
    )  # fmt: skip
    late = {
        "model": 6.9,
        "explanation": 7.1,
        "source": 6.8,
        "random": 5.0,
        "optimal": 8.3,
        "ucb1": 6.4,
        "thompson": 7.0,
    }
    curves = [
        Curve(name, (value - (value - 5) * np.exp(-np.arange(10) / 2)).tolist(), 256) for name, value in late.items()
    ]
    return Study(
        title="Beta: counts of pulls and wins decide.", text="", file="hypotheses/beta.py",
        model="bandit",
        model_sha256="00ff" * 16, task="bandit", task_facts={"arms": 5, "horizon": 100},
        action_names=[f"arm {arm}" for arm in range(5)], model_text="2 layers",
        data_text="256 histories of Thompson sampling", rows=256, n_steps=100, horizon=100,
        options={"passes": 5, "memory": None}, command="ad-hypotheses scrub hypotheses/beta.py",
        versions={}, claims=[main], curves=curves, curve_unit="10 steps",
    )  # fmt: skip
