"""Known networks that play bandits compute their rules, hold their circuits, and get the verdicts that they should."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from in_process import Ran, run_main
from known_claims import MODELS, ROOT, claims_by_name, thinned, verdicts
from listener import Listener

from ad_hypotheses.distill.checkpoint import load
from ad_hypotheses.distill.rollout import rollout
from ad_hypotheses.errors import ConfigError, DataError
from ad_hypotheses.known.agreement import LARGEST, agreement, probabilities, random_histories, require_agreement
from ad_hypotheses.known.bandits import BANDITS
from ad_hypotheses.known.build import build
from ad_hypotheses.known.catalogue import KNOWN
from ad_hypotheses.known.circuit import circuit
from ad_hypotheses.known.network import Known, known_config, wired
from ad_hypotheses.language.history import History
from ad_hypotheses.language.load import listing
from ad_hypotheses.sources import make_source
from ad_hypotheses.sources.rules import RULES
from ad_hypotheses.studies.scrub.bind import ScrubSettings
from ad_hypotheses.tasks import make_task

SHARPNESS = 3.0
NOT_REFUTED = {  # wrong, but the rule's own histories do not refute them: the verdict that they get instead
    "leader": {"one_leader": "supported in", "lately": "supported in start"},
    "ucb": {"best_alone": "supported in start"},
    "return-level": {"no_sink": "supported", "rhythm": "inconclusive"},
}
by_name = pytest.mark.parametrize("known", BANDITS, ids=lambda known: known.name)


def at_random(rng: np.random.Generator, rows: int, arms: int, steps: int) -> History:
    """Histories that no learner would live: any pull, any pay, some rows with nearly nothing but wins or losses."""
    pay = rng.random((rows, steps)) < rng.beta(0.5, 0.5, size=(rows, 1))
    actions, nothing = rng.integers(arms, size=(rows, steps)), np.empty((rows, steps, 0), dtype=int)
    return History(nothing, actions, pay.astype(float), np.zeros((rows, steps), dtype=int), (), arms)


# every rule once more, a step at a time, as somebody would do it who keeps a tally


def win_stay(pulls: list[tuple[int, float]], arms: int) -> list[float]:
    scores = [0.0] * arms
    if pulls:
        arm, paid = pulls[-1]
        scores[arm] = 1.0 if paid > 0 else -1.0
    return scores


def leader(pulls: list[tuple[int, float]], arms: int) -> list[float]:
    wins = [sum(paid for arm, paid in pulls if arm == one) for one in range(arms)]
    return [1.0 if mine == max(wins) else 0.0 for mine in wins]


def ucb(pulls: list[tuple[int, float]], arms: int) -> list[float]:
    index = []
    for one in range(arms):
        mine = [paid for arm, paid in pulls if arm == one]
        net = sum(1 if paid > 0 else -1 for paid in mine)
        index.append(2 * net + max(0, len(pulls) + 1 - 8 * len(mine)))
    return [-float(sum(other > mine for other in index)) for mine in index]


def return_level(pulls: list[tuple[int, float]], arms: int) -> list[float]:
    total = sum(paid for _, paid in pulls)
    level = sum(total >= least for least in (3, 8, 15, 24))
    return [level / 4 * (1 - 2 * arm / (arms - 1)) for arm in range(arms)]


TALLIES: dict[str, Callable[[list[tuple[int, float]], int], list[float]]] = {
    "win-stay": win_stay, "leader": leader, "ucb": ucb, "return-level": return_level,
}  # fmt: skip


@pytest.mark.parametrize("name", TALLIES)
def test_rules_do_what_a_tally_by_hand_says(name: str) -> None:
    config = known_config(KNOWN[name], MODELS)
    history = random_histories(config, 4, np.random.default_rng(3))
    task = config.experiment.task
    found = RULES[name].policy(history, task)
    for row in range(history.n_rows):
        pulls = list(zip(history.actions[row].tolist(), history.rewards[row].tolist(), strict=True))
        for step in range(history.n_steps):
            weights = np.exp(SHARPNESS * np.array(TALLIES[name](pulls[:step], task.n_actions)))
            np.testing.assert_allclose(found[row, step], weights / weights.sum(), atol=1e-12)


def test_rules_look_at_nothing_that_is_not_visible() -> None:
    for rule in RULES.values():
        if rule.family != "bandit":
            continue
        task, history = make_task("bandit", arms=4, horizon=30), at_random(np.random.default_rng(0), 64, 4, 30)
        actions, rewards = history.actions.copy(), history.rewards.copy()
        actions[:, 12:], rewards[:, 12:] = 0, 1.0
        changed = replace(history, actions=actions, rewards=rewards)
        mine, other = rule.policy(history, task), rule.policy(changed, task)
        np.testing.assert_array_equal(mine[:, :13], other[:, :13])
        assert not np.allclose(mine[:, 13:], other[:, 13:]), rule.name


@by_name
@pytest.mark.default_cases(2)
def test_networks_compute_their_rules_on_thousands_of_random_histories(known: Known) -> None:
    config = known_config(known, MODELS)
    kept = load(known.model, MODELS).model
    task, rng = config.experiment.task, np.random.default_rng(8)
    lived = random_histories(config, 64, rng)
    for history in (lived, at_random(rng, 2000, task.n_actions, lived.n_steps)):
        found = agreement(kept, known.rule, task, history)
        assert (found.histories, found.decisions) == (history.n_rows, history.n_rows * 60)
        assert found.largest < LARGEST
        assert found.argmax == 1
    wanted = RULES[known.rule].policy(lived, task)
    assert wanted.min() < 0.15, "the rule is not indifferent"
    assert wanted.max() > 0.5


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


def test_the_circuit_names_what_is_read_and_written() -> None:
    wires = {
        wire.part: wire for wire in circuit(wired(KNOWN["return-level"], known_config(KNOWN["return-level"], MODELS)))
    }
    assert list(wires) == ['embed("action")', 'embed("reward")', "head(0, 0)", "head(0, 1)", "mlp(0)", "logits"]
    assert (wires["head(0, 0)"].looks_by, wires["head(0, 0)"].reads) == (("first token",), ("won",))
    assert wires["head(0, 0)"].writes == ("sum of rewards",)
    assert wires["head(0, 1)"].looks_by == ()
    assert (wires["mlp(0)"].reads, wires["mlp(0)"].writes) == (("sum of rewards",), ("level",))
    assert wires["logits"].reads == ("level",)


@pytest.mark.default_cases(2)
@by_name
def test_rolled_out_networks_act_as_their_rules_do(known: Known) -> None:
    kept = load(known.model, MODELS)
    task = kept.config.experiment.task
    facts = task.sample_tasks(np.random.default_rng(5), 64)
    history = rollout(kept.model, task, facts, 1, np.random.default_rng(6), sample=False)
    wanted = RULES[known.rule].policy(history, task)
    done = np.take_along_axis(wanted, history.actions[..., None].astype(int), axis=-1)[..., 0]
    np.testing.assert_allclose(done, wanted.max(axis=-1), atol=1e-9)
    sampled = rollout(kept.model, task, facts, 1, np.random.default_rng(7))
    wanted = RULES[known.rule].policy(sampled, task)
    likely = np.take_along_axis(wanted, sampled.actions[..., None].astype(int), axis=-1)[..., 0]
    # the mean probability of what was done is the sum of squares, if it was drawn from the rule's distribution
    spread = (wanted**3).sum(axis=-1) - (wanted**2).sum(axis=-1) ** 2
    assert abs(likely.mean() - (wanted**2).sum(axis=-1).mean()) < 4 * np.sqrt(spread.mean() / likely.size)


@by_name
def test_files_hold_the_claims_that_are_judged(known: Known) -> None:
    claims = claims_by_name(known)
    assert {claim.verdict for claim in claims.values() if claim.kind in ("true", "finer than true")} == {"supported"}
    assert sum(claim.verdict == "refuted" for claim in claims.values()) >= 3
    assert set(claims) >= set(NOT_REFUTED.get(known.name, ()))


@thinned(BANDITS, "win-stay", "return-level")
@pytest.mark.default_cases(2)
def test_the_truth_is_supported_and_recovers_all(known: Known, tmp_path: Path) -> None:
    wrong = [claim for claim in claims_by_name(known).values() if claim.kind == "wrong site"]
    only = {"truth", min(claim.name for claim in wrong if claim.hypothesis.control_of)}
    settings = ScrubSettings(36, 1, pool=108, data=("source",), rollouts=0)
    found = {claim.name: claim for claim in verdicts(known, settings, tmp_path, only)}
    truth = found.pop("truth")
    everywhere = truth.regimes[0]
    assert truth.verdict == "supported"
    assert truth.root_movement > 0.2
    assert abs(everywhere.scrubbed.value - everywhere.model.value) < 1e-3
    assert everywhere.fidelity.value == pytest.approx(1, abs=1e-5)
    assert everywhere.beyond_structure.value == pytest.approx(1, abs=2e-3)
    assert [claim.verdict for claim in found.values()] == ["refuted"]


@pytest.mark.slow
@by_name
def test_every_claim_gets_its_verdict_but_those_that_scrubbing_cannot_reject(known: Known, tmp_path: Path) -> None:
    claims, through = claims_by_name(known), NOT_REFUTED.get(known.name, {})
    settings = ScrubSettings(64, 1, data=("source", "own"), rollouts=0)
    for claim in verdicts(known, settings, tmp_path):
        expected = through.get(claim.name, claims[claim.name].verdict)
        if claims[claim.name].kind == "finer than true" and claim.verdict != "supported":
            assert "refuted" not in {regime.status for regime in claim.regimes}, claim.name
            assert min(regime.tested for regime in claim.regimes) < 0.5  # so fine that hardly anybody can be swapped
        else:
            assert claim.verdict.startswith(expected), f"{claim.name}: {claim.reason}"
            assert expected != "supported" or claim.verdict == "supported", f"{claim.name}: {claim.reason}"


def test_heads_that_cancel_are_refuted_by_unimportant_inputs_that_are_drawn_apart(tmp_path: Path) -> None:
    known, settings = KNOWN["win-stay-cancelling"], ScrubSettings(36, 1, pool=144, data=("source",), rollouts=0)
    truth, no_heads = verdicts(known, settings, tmp_path, {"truth", "no_heads"})
    assert (truth.verdict, no_heads.verdict) == ("supported", "refuted")
    assert "fidelity with independent others" in no_heads.reason
    assert no_heads.regimes[0].fidelity.value == pytest.approx(1, abs=1e-3)  # of one history they cancel
    assert (truth.independent, truth.together) == pytest.approx((1, 1), abs=1e-3)
    assert no_heads.together == pytest.approx(1, abs=1e-3)
    assert no_heads.independent < 0.5


def test_known_claims_are_listed() -> None:
    found = {one.file.name: one for one in listing(ROOT / "hypotheses") if one.file.parent.name == "known"}
    for known in BANDITS:
        assert found[known.file].hypotheses[0] == "truth"
        assert found[known.file].error is None


def test_a_network_that_does_not_compute_its_rule_is_refused() -> None:
    known = KNOWN["win-stay"]
    config = known_config(known, MODELS)
    net, history = wired(known, config), random_histories(config, 16, np.random.default_rng(0))
    require_agreement(known, agreement(net.model, known.rule, config.experiment.task, history))
    with torch.no_grad():
        net.model.W_U[net.spaces["score"][2]] *= 1.01
    found = agreement(net.model, known.rule, config.experiment.task, history)
    with pytest.raises(DataError, match=r"known-win-stay does not compute win-stay: over 2,880 decisions .* 0\.0001"):
        require_agreement(known, found)


def test_what_random_histories_are_made_of() -> None:
    history = random_histories(known_config(KNOWN["leader"], MODELS), 200, np.random.default_rng(1))
    follows, random, taste = (history[slice(start, start + 200)] for start in (0, 200, 400))
    model = load("known-leader", MODELS).model
    likely = np.take_along_axis(probabilities(model, history), history.actions[..., None].astype(int), -1)[..., 0]
    assert likely[:200].mean() > 0.6 > 0.3 > likely[200:400].mean()
    assert follows.n_rows == random.n_rows == taste.n_rows == 200
    most = [part.action_counts()[:, -1].max(axis=-1) / 59 for part in (random, taste)]
    assert most[0].max() < 0.6
    assert most[1].max() > 0.98, "some do nearly the same all their lives"


def test_configurations_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    known = KNOWN["win-stay"]
    text = (MODELS / known.model / "config.yaml").read_text()
    (tmp_path / known.model).mkdir()
    (tmp_path / known.model / "config.yaml").write_text(text.replace("rule: win-stay", "rule: leader"))
    with pytest.raises(ConfigError, match=r"source must be \{name: scripted, rule: win-stay\}"):
        known_config(known, tmp_path)
    (tmp_path / known.model / "config.yaml").write_text(text.replace("layer_norm: false, ", ""))
    with pytest.raises(ConfigError, match=r"win-stay: model\.layer_norm must be false"):
        wired(known, known_config(known, tmp_path))


def test_scripted_learners_follow_their_rule() -> None:
    task, source = make_task("bandit", arms=4, horizon=25), make_source("scripted", rule="ucb")
    lived = source.live(task, task.sample_tasks(np.random.default_rng(0), 400), 2, np.random.default_rng(1))
    assert lived.actions.shape == (400, 50), "they remember across episodes"
    wanted = RULES["ucb"].policy(lived, task)
    often = np.take_along_axis(wanted, lived.actions[..., None].astype(int), axis=-1).mean()
    assert often == pytest.approx((wanted**2).sum(axis=-1).mean(), abs=0.01)


def test_scripted_keeps_every_episode_since_what_is_left_would_not_follow_the_rule() -> None:
    task, source = make_task("bandit", arms=4, horizon=5), make_source("scripted", rule="win-stay")
    facts = task.sample_tasks(np.random.default_rng(0), 3)
    with pytest.raises(ConfigError, match=r"histories\.keep_every is 2, but a rule decides by the whole life"):
        source.live(task, facts, 4, np.random.default_rng(1), keep_every=2)
    assert source.live(task, facts, 4, np.random.default_rng(1)).n_steps == 20


def test_scripted_refuses_what_no_rule_was_written_for() -> None:
    with pytest.raises(ConfigError, match=r"scripted: there is no rule 'win-sta'\. Did you mean 'win-stay'\?"):
        make_source("scripted", rule="win-sta")
    source = make_source("scripted", rule="leader")
    with pytest.raises(ConfigError, match=r"leader is a rule for bandit, not for dark-room; use .*copy-rewarded"):
        source.require_fit(make_task("dark-room"), 2)
    with pytest.raises(ConfigError, match="no rule is written for graph-world"):
        source.require_fit(make_task("graph-world"), 2)


@pytest.fixture
def known_cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ran]:
    """Return what runs the command line in a folder that holds the configuration of win-stay alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    folder = tmp_path / "models" / "known-win-stay"
    folder.mkdir(parents=True)
    shutil.copy(MODELS / "known-win-stay" / "config.yaml", folder)
    return lambda *arguments: run_main(arguments, capsys)


@pytest.mark.slow
def test_the_verb_makes_a_network_and_says_how_exact_it_is(known_cli, monkeypatch) -> None:
    monkeypatch.setattr("ad_hypotheses.known.build.ROLLOUTS", 8)
    ran = known_cli("known", "known-win-stay", "win-stay")
    assert ran.code == 0
    assert len(re.findall(r"win-stay +92,160 +\d\.\de-0[78] +\d+%", ran.out)) == 1
    made, kept = load("known-win-stay", Path("models")), load("known-win-stay", MODELS)
    assert made.sha256 == kept.sha256
    assert made.record["known"] == kept.record["known"]
    card = (made.folder / "card.md").read_text()
    assert "Set by hand, not trained: an MLP turns the last arm" in card
    assert "| `mlp(0)` |  | last arm, won | score |" in card
    assert "| last arm | 0 to 4 |" in card
    assert (made.folder / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_from_python_a_network_is_made_without_a_word(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("ad_hypotheses.known.build.ROLLOUTS", 8)
    shutil.copytree(MODELS / "known-win-stay", tmp_path / "known-win-stay", ignore=lambda *_: {"weights.safetensors"})
    listener = Listener()
    (network,) = build(["known-win-stay"], tmp_path, progress=listener)
    assert (network.name, network.folder) == ("win-stay", tmp_path / "known-win-stay")
    assert network.agreement["largest"] < LARGEST
    assert 0 < network.share_of_optimum < 1
    assert network.record["command"] == ""
    assert load(network.folder).sha256 == load("known-win-stay", MODELS).sha256
    assert [title for title, _ in listener.phases][:2] == ["wiring win-stay", "comparing win-stay with its rule"]
    assert capsys.readouterr() == ("", "")


def test_the_verb_refuses_names_that_it_does_not_know(known_cli) -> None:
    ran = known_cli("known", "win-sty")
    assert ran.code == 2
    assert "there is no known network 'win-sty'. Did you mean 'win-stay'?" in ran.said
    ran = known_cli("known", "leader")
    assert ran.code == 2
    assert "cannot read the configuration models/known-leader/config.yaml" in ran.said
