"""A training of a known network keeps what Ctrl-C finds done, and starts anew where it is taught something else."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file

from ad_hypotheses.distill.checkpoint import load
from ad_hypotheses.errors import DataError
from ad_hypotheses.known import interchange, teaching
from ad_hypotheses.known.card import hundredths, known_card
from ad_hypotheses.known.catalogue import KNOWN
from ad_hypotheses.known.claims import claims_of
from ad_hypotheses.known.proof import Proof, Share, require_proof
from ad_hypotheses.known.trained import TRAINED
from ad_hypotheses.known.training_digest import digest
from ad_hypotheses.language.load import load as load_claims
from ad_hypotheses.report.progress import Meter

ROOT = Path(__file__).resolve().parent.parent
NAME = "win-stay-trained"
FILE = Path("hypotheses/known/win_stay_trained.py")
FOLDER = Path("models") / f"known-{NAME}"
STATE = FOLDER / "training" / "state.safetensors"


@pytest.fixture
def place(workplace):
    """Claims of the shipped networks, and one of them still to be trained, in few updates."""
    shutil.copytree(ROOT / "hypotheses" / "known", "hypotheses/known")
    written = yaml.safe_load((ROOT / FOLDER / "config.yaml").read_text())
    written["histories"] |= {"held_out": 8, "train_tasks": 32, "learners": 64}
    written["training"] |= {"updates": 12, "batch": 16, "save_every": 100}
    FOLDER.mkdir()
    (FOLDER / "config.yaml").write_text(yaml.safe_dump(written))
    return workplace


def stopped_in_update(number, cli, monkeypatch):
    """Run `known` and press Ctrl-C while an update is being worked out."""
    really, worked = interchange.loss, []

    def loss(*given):
        worked.append(given)
        if len(worked) == number:
            os.kill(os.getpid(), signal.SIGINT)
        return really(*given)

    with monkeypatch.context() as patch:
        patch.setattr(interchange, "loss", loss)
        ran = cli("known", NAME)
    assert ran.code == 2
    return ran


def stop_before_the_proof(monkeypatch):
    """Press Ctrl-C when a network is trained and its proof begins, which would take longest."""
    begun = Meter.begin

    def begin(meter, what, total, *rest, **more):
        begun(meter, what, total, *rest, **more)
        if what.startswith("proving"):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Meter, "begin", begin)


@pytest.mark.slow
def test_ctrl_c_within_an_update_loses_nothing(cli, place, monkeypatch):
    assert "was trained, but not for long enough" in cli("known", NAME).err
    whole = load_file(STATE)
    shutil.rmtree(STATE.parent)
    ran = stopped_in_update(7, cli, monkeypatch)
    kept = f"stopped after update 7 of 12, which is kept in {STATE.parent}; the same command goes on."
    assert kept in ran.said
    stop_before_the_proof(monkeypatch)
    again = cli("known", NAME)
    assert "going on after update 7" in again.err
    for name, weight in load_file(STATE).items():
        np.testing.assert_array_equal(weight, whole[name])


def test_ctrl_c_in_the_proof_says_that_the_training_is_kept(cli, place, monkeypatch):
    stop_before_the_proof(monkeypatch)
    ran = cli("known", NAME)
    assert ran.code == 2
    assert f"known-{NAME} is trained, its state is kept in {STATE.parent}; the same command goes on" in ran.said


@pytest.mark.slow
def test_ctrl_c_while_a_network_is_wired_says_what_is_kept(cli, place, monkeypatch):
    for name in ("leader", "ucb"):
        shutil.copytree(ROOT / "models" / f"known-{name}", f"models/known-{name}")
    begun, at = Meter.begin, []

    def begin(meter, what, total, *rest, **more):
        begun(meter, what, total, *rest, **more)
        if what == at[-1]:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Meter, "begin", begin)
    at.append("wiring leader")
    assert "stopped; no network was finished; the same command goes on." in cli("known", "leader", "ucb").said
    at.append("wiring ucb")
    ran = cli("known", "leader", "ucb")
    assert "stopped; 1 of 2 networks is made and kept in models/; the same command goes on." in ran.said


@pytest.mark.parametrize(
    ("before", "after", "anew"),
    [
        ("SHARPNESS = 3.0", "SHARPNESS = 2.0", True),
        pytest.param("previous_rewards > 0], axis", "previous_rewards > 0.5], axis", True, marks=pytest.mark.slow),
        ("import numpy as np", "import numpy as np  # as ever", False),
    ],
)
@pytest.mark.slow
def test_a_training_goes_on_only_if_it_is_taught_the_same(before, after, anew, cli, place, monkeypatch):
    stopped_in_update(5, cli, monkeypatch)
    text = FILE.read_text()
    assert text.count(before) >= 1
    FILE.write_text(text.replace(before, after, 1))
    stop_before_the_proof(monkeypatch)
    ran = cli("known", NAME)
    assert ("was taught another truth; the training starts anew." in ran.said) == anew
    assert ("going on after update 5" in ran.err) != anew


def test_a_finished_network_whose_truth_changed_is_trained_again(cli, place, monkeypatch):
    shutil.rmtree(FOLDER)
    shutil.copytree(ROOT / FOLDER, FOLDER, ignore=shutil.ignore_patterns("training"))
    said = cli("known", NAME).said
    assert "is trained already" in said
    assert f"known-{NAME}: truth recovers 1.000, with independent others 1.000; what it does not name is good" in said
    proof = json.loads((ROOT / FOLDER / "record.json").read_text())["known"]["proof"]
    figures = [hundredths(proof[one]) for one in ("outside", "outside_independent")]
    assert f"for {figures[0]} of the gain, with independent others for {figures[1]}" in said

    def refuse(*given):
        raise DataError("it would be trained")

    monkeypatch.setattr(teaching, "teach", refuse)
    record = json.loads((FOLDER / "record.json").read_text())
    of_old = {name: figure for name, figure in proof.items() if name != "outside_independent"}
    (FOLDER / "record.json").write_text(json.dumps(record | {"known": record["known"] | {"proof": of_old}}))
    ran = cli("known", NAME)
    assert "was proved before independent others counted; it is trained again." in ran.said
    assert "it would be trained" in ran.err
    FILE.write_text(FILE.read_text().replace("SHARPNESS = 3.0", "SHARPNESS = 2.0"))
    ran = cli("known", NAME)
    assert "was taught another truth than win_stay_trained.py holds now; it is trained again." in ran.said
    assert "it would be trained" in ran.err


@pytest.mark.parametrize("known", TRAINED, ids=lambda known: known.name)
def test_what_ships_was_taught_the_truth_that_ships(known):
    truth = claims_of(known, ROOT / "hypotheses" / "known")[0].hypothesis
    record = load(known.model, ROOT / "models").record
    assert record["known"]["taught"] == digest(truth, known.rule, known.steady, known.others)


@pytest.mark.parametrize("known", TRAINED, ids=lambda known: known.name)
def test_what_ships_was_proved_with_joint_and_with_independent_others(known):
    here = load(known.model, ROOT / "models")
    proof = here.record["known"]["proof"]
    claims = {name: Share(**found) for name, found in proof["claims"].items()}
    deserved = {claim.name: claim.to_plain() for claim in claims_of(known, ROOT / "hypotheses" / "known")}
    assert here.record["known"]["claims"] == deserved
    assert set(claims) == set(deserved)
    require_proof(known.model, Proof(**proof | {"claims": claims}))
    card = (ROOT / "models" / known.model / "card.md").read_text()
    assert card == known_card(known.model, here.config, here.record, here.record["weights_sha256"])
    shares = f"it loses {hundredths(proof['outside'])} of its gain over the baseline, and "
    assert f"{shares}{hundredths(proof['outside_independent'])} with independent others" in card


def test_the_digest_tells_sites_rules_nodes_that_are_left_alone_and_others(tmp_path):
    known = KNOWN["leader-elsewhere"]
    claims = {claim.name: claim.hypothesis for claim in claims_of(known, ROOT / "hypotheses" / "known")}
    digests = [
        digest(claims["truth"], "leader"),
        digest(claims["other_head"], "leader"),
        digest(claims["halves"], "leader"),
        digest(claims["truth"], "ucb"),
        digest(claims["truth"], "leader", ("last",)),
        digest(claims["truth"], "leader", (), ("joint", "independent")),
        digest(claims["truth"], "leader", (), ("independent",)),
    ]
    assert len(set(digests)) == 7
    for name in ("leader_trained.py", "leader_elsewhere.py"):
        shutil.copy(ROOT / "hypotheses" / "known" / name, tmp_path)
    other = tmp_path / "leader_elsewhere.py"
    other.write_text(other.read_text().replace('"""How often', '"""\n    How often').replace("# the reward", "\n# Pay"))
    assert digest(load_claims(other, "truth")[0], "leader") == digests[0], "words change nothing"
    helper = tmp_path / "leader_trained.py"  # whose functions it imports
    helper.write_text(helper.read_text().replace("record == record.max", "record >= record.max"))
    assert digest(load_claims(other, "truth")[0], "leader") != digests[0]


def test_a_state_of_which_nobody_knows_what_it_was_taught_is_not_gone_on_with(cli, place, monkeypatch):
    stopped_in_update(5, cli, monkeypatch)
    note = STATE.parent / "taught.json"
    assert len(json.loads(note.read_text())["taught"]) == 64
    note.write_text("{")
    stop_before_the_proof(monkeypatch)
    assert "the training starts anew" in cli("known", NAME).said
