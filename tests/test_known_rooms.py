"""Known networks that live in dark rooms compute their rules, and get the verdicts that they should."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from known_claims import MODELS, ROOT, claims_by_name, thinned, verdicts

from ad_hypotheses.distill.checkpoint import load
from ad_hypotheses.distill.rollout import rollout
from ad_hypotheses.errors import ConfigError
from ad_hypotheses.known.agreement import LARGEST, agreement, random_histories
from ad_hypotheses.known.catalogue import KNOWN
from ad_hypotheses.known.circuit import circuit
from ad_hypotheses.known.network import Known, known_config, wired
from ad_hypotheses.known.rooms import ROOMS
from ad_hypotheses.language.load import listing
from ad_hypotheses.sources.rules import RULES
from ad_hypotheses.studies.scrub.bind import ScrubSettings
from ad_hypotheses.tasks import make_task
from ad_hypotheses.tasks.play import play

SIZE, HORIZON, SHARPNESS = 5, 10, 3.0
MOVES = [(0, 0), (0, -1), (0, 1), (-1, 0), (1, 0)]
NOT_REFUTED = {  # wrong, but the rule's own histories do not refute them: the verdict that they get instead
    "retrieval": {"familiar_places": "inconclusive"},
    "superstition": {
        "plain_retrieval": "supported in navigate",
        "only_the_goal": "supported in navigate",
        "momentum": "supported in explore",
    },
    "gate": {
        "no_drift": "supported in navigate",
        "untried": "supported in navigate",
        "any_reward": "supported in navigate",
    },
    "ngram": {"most_often": "supported"},
    "schedule": {"no_schedule": "supported", "learns_to_insist": "supported"},
}
#: True, but so fine that in a regime hardly any donor agrees.
HARDLY_TESTED = {"unvisited": {"whole_map": "supported in explore"}}
by_name = pytest.mark.parametrize("known", ROOMS, ids=lambda known: known.name)


# every rule once more, a step at a time, as somebody would do it who keeps a diary


@dataclass
class Diary:
    """What one agent has seen.

    Attributes:
        cells: Where it stood, this step included.
        done: What it did before, with what that paid.
        goal: The cell that paid last; None before any.
    """

    cells: list[tuple[int, int]]
    done: list[tuple[int, float]]
    goal: tuple[int, int] | None


def to_goal(diary: Diary) -> list[float] | None:
    if diary.goal is None:
        return None
    here, goal = diary.cells[-1], diary.goal
    away = abs(goal[0] - here[0]) + abs(goal[1] - here[1])
    if away == 0:
        return [1, 0, 0, 0, 0]
    return [float(abs(goal[0] - here[0] - x) + abs(goal[1] - here[1] - y) < away) for x, y in MOVES]


def copy_rewarded(diary: Diary) -> list[float]:
    scores = [0.0] * 5
    for cell, (action, paid) in zip(diary.cells, diary.done, strict=False):
        if cell == diary.cells[-1] and paid > 0:
            scores = [float(one == action) for one in range(5)]
    return scores


def retrieval(diary: Diary) -> list[float]:
    return to_goal(diary) or [0.0] * 5


def superstition(diary: Diary) -> list[float]:
    again = [0.5 * float(bool(diary.done) and action == diary.done[-1][0]) for action in range(5)]
    return to_goal(diary) or again


def gate(diary: Diary) -> list[float]:
    x, y = diary.cells[-1][0] - 2, diary.cells[-1][1] - 2
    drift = {(0, -1): x < 0, (0, 1): x > 0, (-1, 0): y > 0, (1, 0): y < 0}  # down on the right, and so on around
    return to_goal(diary) or [0.5 * drift.get(move, False) for move in MOVES]


def reflex(diary: Diary) -> list[float]:
    if not diary.done:
        return [0.0] * 5
    action, paid = diary.done[-1]
    wanted = 0 if paid > 0 else action
    return [float(one == wanted and (paid > 0 or one > 0)) for one in range(5)]


def ngram(diary: Diary) -> list[float]:
    visits = [action for cell, (action, _) in zip(diary.cells, diary.done, strict=False) if cell == diary.cells[-1]]
    return [visits.count(action) / max(len(visits), 1) for action in range(5)]


def schedule(diary: Diary) -> list[float]:
    x, y = diary.cells[-1]
    forth, end = (4, 4) if y % 2 == 0 else (3, 0)
    move = forth if x != end else 2 if y < 4 else 0
    epsilon = [0.9, 0.75, 0.6, 0.45, 0.3, 0.15][len(diary.done) // HORIZON]
    return [np.log((1 - epsilon) * (action == move) + epsilon / 5) / SHARPNESS for action in range(5)]


def unvisited(diary: Diary) -> list[float]:
    x, y = diary.cells[-1]
    inside = [min(max(x + dx, 0), 4) == x + dx and min(max(y + dy, 0), 4) == y + dy for dx, dy in MOVES]
    new = [(x + dx, y + dy) not in diary.cells for dx, dy in MOVES]
    return [float(there and fresh) for there, fresh in zip(inside, new, strict=True)]


DIARIES: dict[str, Callable[[Diary], list[float]]] = {
    "copy-rewarded": copy_rewarded, "retrieval": retrieval, "superstition": superstition, "gate": gate,
    "reflex": reflex, "ngram": ngram, "schedule": schedule, "unvisited": unvisited,
}  # fmt: skip


@pytest.mark.default_cases(3)
@by_name
def test_rules_do_what_a_diary_says(known: Known) -> None:
    config = known_config(known, MODELS)
    history = random_histories(config, 5, np.random.default_rng(3))
    assert (history.rewards.sum(axis=1) > 0).sum() > 2
    found = RULES[known.rule].policy(history, config.experiment.task)
    for row in range(history.n_rows):
        diary = Diary([], [], None)
        for step in range(history.n_steps):
            diary.cells.append(tuple(history.observations[row, step].tolist()))
            if step % config.experiment.task.horizon and diary.done[-1][1] > 0:
                diary.goal = diary.cells[-1]
            weights = np.exp(SHARPNESS * np.array(DIARIES[known.rule](diary)))
            np.testing.assert_allclose(found[row, step], weights / weights.sum(), atol=1e-12)
            diary.done.append((int(history.actions[row, step]), float(history.rewards[row, step])))


@by_name
def test_rules_look_at_nothing_that_is_not_visible(known: Known) -> None:
    config = known_config(known, MODELS)
    history, rule = random_histories(config, 12, np.random.default_rng(4)), RULES[known.rule]
    cut = 33
    observations, actions, rewards = history.observations.copy(), history.actions.copy(), history.rewards.copy()
    order = np.random.default_rng(5).permutation(history.n_rows)
    observations[:, cut + 1 :] = history.observations[order, cut + 1 :]
    actions[:, cut:], rewards[:, cut:] = history.actions[order, cut:], 1.0
    changed = replace(history, observations=observations, actions=actions, rewards=rewards)
    mine, other = (rule.policy(one, config.experiment.task) for one in (history, changed))
    np.testing.assert_array_equal(mine[:, : cut + 1], other[:, : cut + 1])
    assert not np.allclose(mine[:, cut + 1 :], other[:, cut + 1 :])


@by_name
@pytest.mark.default_cases(2)
def test_networks_compute_their_rules_on_thousands_of_random_decisions(known: Known) -> None:
    config = known_config(known, MODELS)
    history = random_histories(config, 120, np.random.default_rng(8))
    found = agreement(load(known.model, MODELS).model, known.rule, config.experiment.task, history)
    assert (found.histories, found.decisions) == (360, 360 * 60)
    assert found.largest < 1e-6 < LARGEST
    assert found.argmax == 1
    wanted = RULES[known.rule].policy(history, config.experiment.task)
    assert wanted.min() < 0.15, "the rule is not indifferent"
    assert wanted.max() > 0.5


@pytest.mark.default_cases(3)
@by_name
def test_networks_for_other_rooms_compute_the_same_rules(known: Known) -> None:
    config = known_config(known, MODELS)
    wide = {"n_layers": 2, "n_heads": 2, "d_model": 140, "d_mlp": 220}
    other = config.model_copy(
        update={
            "task": {"name": "dark-room", "size": 6, "horizon": 11},
            "histories": config.histories.model_copy(update={"episodes": 7}),
            "model": config.model.model_copy(update=wide),
        }
    )
    history = random_histories(other, 8, np.random.default_rng(9))
    assert agreement(wired(known, other).model, known.rule, other.experiment.task, history).largest < 1e-5


@by_name
def test_kept_weights_are_those_that_the_code_sets(known: Known) -> None:
    net = wired(known, known_config(known, MODELS))
    kept = load(known.model, MODELS)
    for name, weight in net.model.state_dict().items():
        assert torch.equal(weight, kept.model.state_dict()[name]), name
    assert (kept.folder / "weights.safetensors").stat().st_size < 500_000
    card = (kept.folder / "card.md").read_text()
    assert known.words in card
    for wire in circuit(net):
        assert f"| `{wire.part}` | {', '.join(wire.looks_by)} | {', '.join(wire.reads)} |" in card


def test_decoys_are_read_by_nothing() -> None:
    for known in ROOMS:
        wires = circuit(wired(known, known_config(known, MODELS)))
        read = {name for wire in wires for name in (*wire.reads, *wire.looks_by)}
        unread = {wire.part for wire in wires if wire.writes and not set(wire.writes) & read}
        assert unread == {
            "copy-rewarded": {"head(1, 1)"}, "retrieval": {"head(0, 1)"}, "superstition": {"head(0, 1)"},
            "gate": {"head(1, 0)"}, "reflex": {"head(0, 0)", "mlp(1)"}, "ngram": {"head(1, 1)"},
            "schedule": {"head(0, 0)"}, "unvisited": {"head(0, 0)"},
        }[known.name]  # fmt: skip


@pytest.mark.default_cases(3)
@by_name
def test_rolled_out_networks_act_as_their_rules_do(known: Known) -> None:
    kept = load(known.model, MODELS)
    task = kept.config.experiment.task
    facts = task.sample_tasks(np.random.default_rng(5), 25)
    history = rollout(kept.model, task, facts, kept.config.kept_episodes, np.random.default_rng(6), sample=False)
    wanted = RULES[known.rule].policy(history, task)
    done = np.take_along_axis(wanted, history.actions[..., None].astype(int), axis=-1)[..., 0]
    np.testing.assert_allclose(done, wanted.max(axis=-1), atol=1e-9)


@pytest.mark.parametrize("name", ["retrieval", "gate", "copy-rewarded"])
def test_what_remembers_rewards_learns_in_its_context(name: str) -> None:
    task = make_task("dark-room", size=SIZE, horizon=HORIZON)
    facts, rng = task.sample_tasks(np.random.default_rng(0), 150), np.random.default_rng(1)
    lived = play(task, facts, lambda seen: RULES[name].policy(seen, task)[:, -1], 6, rng)
    by_episode = lived.rewards.reshape(150, 6, HORIZON).sum(axis=2).mean(axis=0)
    assert by_episode[-1] > 2 * by_episode[0]


@by_name
def test_files_hold_the_claims_that_are_judged(known: Known) -> None:
    claims = claims_by_name(known)
    assert {claim.verdict for claim in claims.values() if claim.kind in ("true", "finer than true")} == {"supported"}
    assert sum(claim.verdict == "refuted" for claim in claims.values()) >= 3
    assert set(claims) > set(NOT_REFUTED.get(known.name, ()))
    assert known.file in {one.file.name for one in listing(ROOT / "hypotheses") if not one.error}


@by_name
def test_the_truth_is_the_rule(known: Known) -> None:
    config = known_config(known, MODELS)
    history = random_histories(config, 10, np.random.default_rng(2))
    said = claims_by_name(known)["truth"].hypothesis.policy(history)
    np.testing.assert_allclose(said, RULES[known.rule].policy(history, config.experiment.task), atol=1e-12)


@thinned(ROOMS, "gate", "reflex")
@pytest.mark.default_cases(3)
def test_the_truth_is_supported_and_recovers_all(known: Known, tmp_path: Path) -> None:
    settings = ScrubSettings(60, 1, pool=240, data=("source",), rollouts=0)
    (truth,) = verdicts(known, settings, tmp_path, {"truth"})
    everywhere = truth.regimes[0]
    assert truth.verdict == "supported"
    assert truth.root_movement > 0.2
    assert abs(everywhere.scrubbed.value - everywhere.model.value) < 1e-4
    assert everywhere.fidelity.value == pytest.approx(1, abs=1e-5)
    assert everywhere.beyond_structure.value == pytest.approx(1, abs=1e-3)
    assert everywhere.kl < 1e-6


@pytest.mark.slow
def test_claims_about_a_clock_are_found_out_only_by_donors_from_other_steps(tmp_path: Path) -> None:
    known, settings = KNOWN["schedule"], ScrubSettings(36, 1, pool=108, data=("source",), rollouts=0)
    names = {"truth", "no_schedule", "learns_to_insist"}
    claims = list(verdicts(known, settings, tmp_path, names))
    for claim in claims:  # a report on equal steps says so
        assert claim.verdict == "supported"
        assert claim.regimes[0].fidelity.value == pytest.approx(1, abs=1e-3)
        assert (claim.any_step > 0.999) == (claim.name == "truth")
        assert any("Test that with `align='any'`" in one for one in claim.warnings) == (claim.name != "truth")


@pytest.mark.slow
def test_what_helps_as_often_as_it_hurts_is_no_fidelity(tmp_path: Path) -> None:
    known, settings = KNOWN["superstition"], ScrubSettings(64, 1, pool=256, data=("source",), rollouts=0)
    names = {"truth", "plain_retrieval", "only_the_habit", "only_the_goal"}
    claims = {claim.name: claim for claim in verdicts(known, settings, tmp_path, names)}
    plain = claims["plain_retrieval"]
    assert plain.regimes[0].recovered.value > 0.95  # the loss cannot tell
    explore = next(regime for regime in plain.regimes if regime.name == "explore")
    assert (explore.status, explore.fidelity.value < 0) == ("refuted", True)
    assert claims["truth"].verdict == "supported"
    # of two claims that contradict each other neither is supported
    assert claims["only_the_habit"].verdict == "refuted"
    assert claims["only_the_goal"].verdict in ("refuted", "supported in navigate")


@pytest.mark.slow
@by_name
def test_every_claim_gets_its_verdict_but_those_that_scrubbing_cannot_reject(known: Known, tmp_path: Path) -> None:
    claims, through = claims_by_name(known), NOT_REFUTED.get(known.name, {}) | HARDLY_TESTED.get(known.name, {})
    settings = ScrubSettings(64, 1, data=("source", "own"), rollouts=0)
    for claim in verdicts(known, settings, tmp_path):
        expected = {through.get(claim.name, claims[claim.name].verdict)}
        expected |= {"inconclusive"} if claim.name in through else set()
        assert claim.verdict in expected, f"{claim.name}: {claim.reason}"


def test_histories_of_another_rule_are_refused_but_where_they_are_meant(tmp_path: Path) -> None:
    known = KNOWN["superstition"]
    shutil.copytree(MODELS / known.model, tmp_path / known.model)
    assert known_config(known, tmp_path).source["rule"] == "retrieval" != known.rule
    path = tmp_path / known.model / "config.yaml"
    path.write_text(path.read_text().replace("rule: retrieval", "rule: superstition"))
    with pytest.raises(ConfigError, match=r"asked about histories of the rule retrieval, so source must be"):
        known_config(known, tmp_path)
