"""`patch` on the command line: its report, its files, and every mistake that a person can make with it."""

from __future__ import annotations

import csv
import json
import shlex
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import matplotlib.image
import pytest

from ad_hypotheses.causal import effects
from ad_hypotheses.causal.metrics import METRICS, Metric
from ad_hypotheses.evidence.effects import Effect
from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.studies.patch.answer import answer
from ad_hypotheses.studies.patch.page import draw_pictures, page, write_patch_report
from ad_hypotheses.studies.patch.record import PatchRecord, PatchStudy

CLAIMS = '''"""Stay: it stays where it was paid."""
import numpy as np
from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node

@node(at=embed("reward"))
def paid(history):
    """Whether it was just paid."""
    return history.previous_rewards > 0

@node(at=head(0))
def seen(history):
    """Whether it ever was."""
    return history.rewards_seen > 0

@node(at=mlp(1))
def plan(paid, seen):
    return paid | seen

@node(at=logits)
def choice(plan, paid):
    return np.where(plan, 0, -1)

stay = Hypothesis(choice, model="tiny", accept=0.5)
'''
QUICK = ("--rows", "6", "--threads", "1")


@pytest.fixture
def claims(workplace):
    (workplace / "hypotheses" / "stay.py").write_text(CLAIMS)
    return "hypotheses/stay.py"


def refused(ran, *fragments):
    assert (ran.code, ran.out) == (2, "")
    for fragment in fragments:
        assert fragment in ran.said, ran.err


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


# --- From a hypothesis to its report -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_hypothesis_is_held_against_every_edge(cli, claims, workplace):
    ran = cli("patch", claims, *QUICK)
    assert ran.code == 0, ran.err
    assert "stay on tiny: which edges matter" in ran.out
    text = (workplace / "reports" / "patch-stay-tiny-rows-6.md").read_text()
    first = text.split("\n\n")[1:4]
    assert "declared arrows" in first[0]
    assert "`plan -> choice`" in first[0]
    assert "undeclared edges" in first[1]
    assert "all declared edges" in first[2]
    assert "all edges that the claim leaves open" in first[2]
    for heading in (
        "Declared arrows",
        "Undeclared edges",
        "Edges left open",
        "Maps",
        "The strongest edges",
        "Warnings",
    ):
        assert f"## {heading}\n" in text
    assert "Nothing that reads pos was tested" in text
    assert "6 histories are few" in text
    pictures = sorted(path.name for path in (workplace / "reports" / "patch-stay-tiny-rows-6").iterdir())
    assert pictures == ["edges-by-regime.png", "edges-kl.png", "edges-loss.png", "strongest.png"]
    assert all(f"(patch-stay-tiny-rows-6/{name})" in text for name in pictures)
    rows = table(workplace / "reports" / "patch-stay-tiny-rows-6.csv")
    singles = {row["patch"]: row["arrow"] for row in rows if row["kind"] == "edge"}
    assert len(singles) == 6 * 5 + 1 * 7 + 6 * 8 + 10 + 11, "5 embeddings, 2 layers of 2 heads and an MLP"
    assert singles["mlp(1) -> logits"] == "plan -> choice"
    assert singles['embed("reward") -> mlp(1)'] == "paid -> plan"
    assert singles['embed("x") -> head(0, 0).q'] == "into seen"
    assert singles["head(1, 0) -> logits"] == ""
    record = json.loads((workplace / "reports" / "patch-stay-tiny-rows-6.json").read_text())
    assert record["model_sha256"] in text
    assert record["donors"] == "any"
    assert not list((workplace / "reports").glob(".p*"))


@pytest.mark.slow
def test_the_command_in_the_report_makes_the_same_numbers(cli, claims, workplace):
    cli(
        "patch", claims, *QUICK, "--donors", "agree:seen", "--direction", "denoising", "--metric", "loss", "--seed", "3"
    )
    name = "patch-stay-tiny-donors-agree-seen-direction-denoising-metric-loss-rows-6-seed-3"
    text = (workplace / "reports" / f"{name}.md").read_text()
    typed = shlex.split(text.partition("```sh\n")[2].partition("\n")[0])
    assert typed[:3] == ["python", "cli.py", "patch"]
    ran = cli(*typed[2:], "--memory", "20MB", "--reports", "again", "--json")
    assert ran.code == 0, ran.err
    again, before = (
        table(workplace / "again" / f"{name}.csv"),
        table(workplace / "reports" / f"{name}.csv"),
    )
    for one, other in zip(again, before, strict=True):
        assert one["patch"] == other["patch"]
        assert float(one["value"] or 0) == pytest.approx(float(other["value"] or 0), rel=1e-2, abs=1e-4)
    (found,) = json.loads(ran.out)
    everything = next(one for one in found["patches"] if one["name"] == "all edges of the model")
    assert everything["effects"]["loss"]["all"]["value"]["value"] == pytest.approx(1, abs=1e-4)
    assert "share restored of loss" in text
    assert "sufficient" in text


def test_a_model_alone_is_mapped(cli, workplace):
    edges = ("--edges", "head(0, 1) -> head(1, 0)", "--edges", "embed() -> logits")
    path = ("--path", 'embed("reward") -> head(0, 1).v -> mlp(0) -> logits')
    ran = cli("patch", "tiny", *edges, "--nodes", "head(0)", *path, *QUICK, "--json")
    assert ran.code == 0, ran.err
    (found,) = json.loads(ran.out)
    assert [(one["name"], one["kind"]) for one in found["patches"]] == [
        *((f"head(0, 1) -> head(1, 0).{kind}", "edge") for kind in "qkv"),
        ('embed("x") + embed("y") + embed("action") + embed("reward") -> logits', "edge"),
        ("head(0)", "node"),
        ('embed("reward") -> head(0, 1).v -> mlp(0) -> logits', "path"),
    ]
    text = Path(found["report"]).read_text()
    assert "## Nodes\n" in text
    assert "## Paths\n" in text
    assert "## Maps" not in text


def test_roles_narrow_what_is_patched(cli, workplace):
    typed = ("patch", "tiny", "--edges", 'embed("reward") -> head(0, 0).v', "--metric", "kl", *QUICK, "--json")
    whole, some = (json.loads(cli(*typed, *more).out)[0]["patches"][0] for more in ((), ("--written", "rewarded")))
    assert some["name"] == 'embed("reward") -> head(0, 0).v written at rewarded'
    values = [one["effects"]["kl"]["all"]["value"]["value"] for one in (whole, some)]
    assert 0 < values[1] < values[0]


@pytest.mark.parametrize("role", ["same_state", "same-state"])
def test_a_role_is_typed_with_an_underscore_or_a_dash(cli, workplace, role):
    ran = cli("patch", "tiny", "--edges", 'embed("reward") -> head(0, 0).v', "--read", role, *QUICK, "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)[0]["patches"][0]["name"].endswith(" read at same_state")


def test_a_metric_is_one_value_that_every_table_and_picture_reads(cli, workplace, monkeypatch):
    def half_loss(log_probs, context):
        return METRICS["loss"].measure(log_probs, context) / 2

    made = Metric("half-loss", "change of half the loss", "half the loss", half_loss, falls_when_needed=True)
    monkeypatch.setitem(METRICS, made.name, made)
    ran = cli("patch", "tiny", "--edges", "all", "--metric", "half-loss", "--metric", "loss", *QUICK, "--json")
    assert ran.code == 0, ran.err
    (study,) = json.loads(ran.out)
    for patch in study["patches"]:
        half, whole = (patch["effects"][name]["all"]["value"]["value"] for name in ("half-loss", "loss"))
        assert half == pytest.approx(whole / 2, abs=1e-7)
    (page,) = (workplace / "reports").glob("patch-*.md")
    text = page.read_text()
    assert "change of half the loss" in text
    assert "| Half-loss |" in text


def test_matched_counterfactuals_are_donors_and_those_without_one_are_counted(cli, workplace):
    ran = cli("patch", "tiny", "--edges", "mlp(1) -> logits", "--donors", "goal-moved", "--rows", "24",
              "--metric", "towards-new", "--metric", "towards-old", "--json")  # fmt: skip
    assert ran.code == 0, ran.err
    (found,) = json.loads(ran.out)
    assert found["rows"] + found["left_out"] == 24
    assert "another cell pays" in found["donors_text"]
    assert set(found["runs"]["reference"]) == {"towards-new", "towards-old"}


@pytest.mark.slow
def test_an_interrupted_run_goes_on(cli, claims, workplace, monkeypatch):
    really, begun = effects._measure_rows, []

    def stopped(task, rows, progress):
        begun.append(rows)
        if len(begun) == 3:
            raise KeyboardInterrupt
        return really(task, rows, progress)

    monkeypatch.setattr(effects, "TOKENS_AT_ONCE", 96)  # two histories
    monkeypatch.setattr(effects, "_measure_rows", stopped)
    ran = cli("patch", claims, *QUICK)
    assert ran.code == 2
    assert "what was measured is kept in reports/.partial/patch-stay; the same command goes on" in ran.said
    assert len(list((workplace / "reports" / ".partial" / "patch-stay").glob("*.npz"))) == 2
    assert cli("patch", claims, *QUICK).code == 0
    assert [rows.start for rows in begun] == [0, 2, 4, 4]


# --- What is typed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "fragments"),
    [
        (("tiny",), ("nothing to patch: tiny is a model", "--edges all")),
        (("tinny",), ("tinny", "Did you mean 'tiny'?", "no hypothesis file either", "stay")),
        (("hypotheses/none.py",), ("none.py",)),
        (("hypotheses/stay.py", "--model", "none"), ("none", "tiny")),
        (("tiny", "--model", "tiny", "--edges", "all"), ("--model goes with a hypothesis file",)),
        (("tiny", "--edges", "head(0, 9) -> logits"), ("head(0, 9)", "none of the model's")),
        (("tiny", "--edges", "mlp(1) -> mlp(0)", "--edges", "pos"), ("mlp(1) writes after mlp(0)", "'pos' is no edge")),
        (("tiny", "--nodes", "head(7)"), ("--nodes 'head(7)'", "none of the model's")),
        (("tiny", "--nodes", "head(0) + mlp(0)"), ("one after the other",)),
        (("tiny", "--path", "pos -> logits"), ("is not a path", "--edges")),
        (("tiny", "--path", "pos -> head(0, 0) -> logits"), ("say with what", "head(0, 0).q")),
        (("tiny", "--edges", "all", "--written", "rewardd"), ("no step role 'rewardd'", "Did you mean 'rewarded'?")),
        (("tiny", "--nodes", "mlp(0)", "--read", "rewarded"), ("edges and paths that are named", "(--edges, --path)")),
        (("tiny", "--edges", "all", "--donors", "nobody"), ("no donors 'nobody'", "rewards-swapped")),
        (("tiny", "--edges", "all", "--donors", "agree:seen"), ("a model alone has none",)),
        (("hypotheses/stay.py", "--donors", "agree:sen"), ("Did you mean 'seen'?",)),
        (("tiny", "--edges", "all", "--metric", "los"), ("no metric 'los'", "Did you mean 'loss'?")),
        (("tiny", "--edges", "all", "--metric", "towards-new"), ("goals differ", "goal-moved")),
        (("tiny", "--edges", "all", "--memory", "1kB"), ("the run needs", "--memory")),
        (("tiny", "--edges", "all", "--memory", "much"), ("no amount of memory",)),
        (("tiny", "--edges", "all", "--rows", "1"), ("1 is too few",)),
        (("tiny", "--edges", "all", "--direction", "up"), ("noising",)),
        (("tiny", "--edges", "all", "--device", "abacus"), ("no device 'abacus'",)),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else None,
)
@pytest.mark.default_cases(9)
def test_what_cannot_be_patched_is_refused(cli, claims, workplace, typed, fragments):
    refused(cli("patch", *typed), *fragments)
    assert not list((workplace / "reports").glob("*.md"))


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(cli, claims, workplace, monkeypatch):
    (workplace / "reports").write_text("a file")
    monkeypatch.setattr("ad_hypotheses.studies.patch.study.patch", lambda *given, **named: pytest.fail("it ran"))
    refused(cli("patch", claims, *QUICK), "reports", "--reports")


def test_help_names_what_can_be_typed(cli):
    ran = cli("patch", "--help")
    assert ran.code == 0
    for word in ("--edges", "--nodes", "--path", "--donors", "--direction", "--written", "--read", "--memory"):
        assert word in ran.out


# --- The page, from records ----------------------------------------------------------------------------------------


def effect(value, p=0.001):
    return Effect(Number(value, value - 0.01, value + 0.01), p, p, p)


def record(name, kind, value, arrow="", p=0.001, reader="", writers=()):
    effects = {"loss": {"all": effect(value, p), "stay": effect(value / 2, p)}}
    return PatchRecord(name, kind, list(writers), reader, arrow, 1, effects)


def edge(writer, reader, value, arrow="", p=0.001):
    return record(f"{writer} -> {reader}", "edge", value, arrow, p, reader, [writer])


@pytest.fixture
def study():
    return made_up()


def made_up():
    """A study of a claim with three arrows and four edges that none declares."""
    patches = [
        record("all declared edges", "set", 0.9),
        record("goal -> plan", "arrow", 0.5, "goal -> plan"),
        record("plan -> choice", "arrow", 0.1, "plan -> choice"),
        record("goal -> choice", "arrow", 0.01, "goal -> choice", p=0.4),
        edge("head(0, 0)", "mlp(0)", 0.5, "goal -> plan"),
        edge("mlp(0)", "logits", 0.1, "plan -> choice"),
        edge("head(0, 1)", "mlp(0)", 0.3),
        edge("head(0, 1)", "logits", -0.2),
        edge('embed("x|<b>")', "logits", 0.05),
        edge("mlp(1)", "logits", 0.04, p=0.5),
    ]
    runs = {name: {"loss": {"all": 1.0, "stay": 0.5}} for name in ("reference", "donor")}
    return PatchStudy(
        "mimic", "Mimic", "hypotheses/mimic.py", "dark-room", "a" * 64, "2 layers", "64 histories", "dark-room", "any",
        "others", 0, "noising", ["loss"], {"all": 100, "stay": 40}, 64, 10, runs,
        {"goal": ["head(0, 0)"], "plan": ["mlp(0)"], "choice": ["logits"]},
        ["goal -> plan", "plan -> choice", "goal -> choice"],
        ['embed("x|<b>")', "head(0, 0)", "head(0, 1)", "mlp(0)", "mlp(1)"], ["mlp(0)", "logits"],
        patches, {"seed": 0}, "python cli.py patch hypotheses/mimic.py", {"torch": "2"}, ["Careful."],
    )  # fmt: skip


def test_the_first_lines_answer_the_question(study):
    needed, against, sums = answer(study).split("\n\n")
    assert needed == (
        "**2 of 3 declared arrows are needed: `goal -> plan` (+0.500), `plan -> choice` (+0.100).** "
        "Not shown to be needed: `goal -> choice` (+0.010)."
    )
    assert against == (
        "**2 of 4 undeclared edges matter beyond doubt, each patched alone; the strongest: `head(0, 1) -> mlp(0)` "
        r'(+0.300), `embed("x\|<b>") -> logits` (+0.050).** Alone, some do more than all edges of a needed arrow at '
        "once: 1 than `plan -> choice` (+0.100)."
    )
    assert sums.startswith("Patched at once: all declared edges +0.900.")


def test_an_arrow_needed_in_one_regime_only_is_named(study):
    one = study.patches[3]
    one.effects["loss"]["stay"] = effect(0.2)
    assert "`goal -> choice` has an effect in stay +0.200." in answer(study)


def test_a_claim_that_nothing_speaks_against(study):
    rest = [one for one in study.patches if one.arrow or one.kind == "set"]
    quiet = replace(study, patches=[*rest, edge("mlp(1)", "logits", 0.04, p=0.5)])
    assert "**None of the 1 undeclared edges matters beyond doubt" in answer(quiet)
    weaker = replace(study, patches=[*rest, edge("mlp(1)", "logits", 0.04)])
    assert "None does more than the weakest needed arrow, `plan -> choice` (+0.100)." in answer(weaker)


def test_the_page_is_sound_markdown_and_the_same_every_time(study, tmp_path):
    files = write_patch_report(study, tmp_path)
    before = {path: path.read_bytes() for path in files}
    assert files[-1] == tmp_path / "patch-mimic-dark-room.md"
    assert {path: path.read_bytes() for path in write_patch_report(study, tmp_path)} == before
    text = files[-1].read_text()
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.replace(r"\|", "").endswith("|") for line in tables)
    assert text.count("```") % 2 == 0
    assert "#quot;x#124;#lt;b#gt;#quot;" in text, "a name with signs of Mermaid's"
    drawn = text.partition("```mermaid\n")[2].partition("```")[0]
    assert 'n0 -->|"+0.500"| n1' in drawn
    assert 'm0 -.->|"+0.300"| n1' in drawn
    assert '|"-0.200"|' in drawn
    assert drawn.count("linkStyle") == drawn.count("|") // 2


def test_pictures_have_the_width_of_a_page_and_show_something(study):
    pictures = draw_pictures(study)
    assert set(pictures) == {"edges-loss.png", "strongest.png"}
    for content in pictures.values():
        image = matplotlib.image.imread(BytesIO(content))
        assert image.shape[1] == 902
        assert image[..., :3].std() > 0.05
    few = replace(study, patches=study.patches[:5])
    assert set(draw_pictures(few)) == {"strongest.png"}
    assert "## Maps" not in page(few, draw_pictures(few))
