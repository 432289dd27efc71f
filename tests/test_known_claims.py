"""What claims about known networks deserve stands beside them, and a file that does not say it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from known_claims import CLAIMS

from ad_hypotheses.errors import HypothesisError
from ad_hypotheses.known.catalogue import KNOWN
from ad_hypotheses.known.claims import claims_of
from ad_hypotheses.language.load import load

KNOWN_NETWORK = KNOWN["win-stay"]
BEFORE = (CLAIMS / "win_stay.py").read_text(encoding="utf-8").partition("\ntruth = ")[0]
TRUTH = 'truth = Hypothesis(choice, model="known-win-stay")\n'
DESERVED = 'deserves(truth, "supported", kind="true", why="so it is")\n'


def file_of(folder: Path, *lines: str) -> Path:
    file = folder / "win_stay.py"
    file.write_text("\n".join((BEFORE, *lines)), encoding="utf-8")
    return file


def test_a_claim_bears_its_name_and_what_it_deserves(tmp_path):
    other = 'elsewhere = truth.on("dark-room")\n'  # about another model: of no network that is known
    file = file_of(tmp_path, TRUTH, DESERVED, other)
    (claim,) = claims_of(KNOWN_NETWORK, tmp_path)
    assert (claim.name, claim.kind, claim.verdict, claim.why) == ("truth", "true", "supported", "so it is")
    assert len(load(file)) == 2, "the file can be loaded by whoever does not ask what claims deserve"


def test_the_same_claim_about_another_network_deserves_something_else():
    claims = {claim.name: claim for claim in claims_of(KNOWN["leader-elsewhere"], CLAIMS)}
    assert (claims["elsewhere"].verdict, claims["elsewhere"].kind) == ("refuted", "wrong site")
    assert claims["elsewhere"].hypothesis.model == "known-leader-elsewhere"


def test_last_nodes_of_calibrated_claims_hold_nothing_of_the_model():
    """So that their structure keeps no feature: see `BoundGraph.without_features`."""
    claims = [claim for known in KNOWN.values() for claim in claims_of(known, CLAIMS)]
    assert len(claims) > 100
    assert {str(claim.hypothesis.root.site) for claim in claims} == {"logits"}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((TRUTH,), r"win_stay.py does not say what truth deserves; add deserves\(...\) after it"),
        ((TRUTH, DESERVED.replace("supported", "suported")), "cannot deserve 'suported'; there are: supported, ref"),
        ((TRUTH, DESERVED.replace('"true"', '"tru"')), "cannot deserve 'tru'; there are: true, finer than true"),
        (('other = Hypothesis(choice, model="known-win-stay")', DESERVED.replace("truth", "other")), "must be truth"),
        (('other = Hypothesis(choice, model="dark-room")',), "must be truth(.|\n)*it holds: none"),
    ],
)
def test_a_file_that_does_not_say_what_its_claims_deserve_is_refused(tmp_path, lines, words):
    file_of(tmp_path, *lines)
    with pytest.raises(HypothesisError, match=words):
        claims_of(KNOWN_NETWORK, tmp_path)
