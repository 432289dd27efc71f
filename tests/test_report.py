"""The report: what is in it, that it is the same twice, and what it does with odd names, odd numbers and odd disks."""

from __future__ import annotations

import errno
import io
import json
import math
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from make_study import NOT_ESTIMABLE, bandit_study, claim, dark_room_study, node, number, older, regime
from matplotlib.figure import Figure
from rich.console import Console

from ad_hypotheses.errors import UserError
from ad_hypotheses.evidence.plain_data import Curve, build, plain
from ad_hypotheses.report.draw import _apart, learning_curves
from ad_hypotheses.report.words import code, figure, interval, options_of, percent, prose
from ad_hypotheses.storage.files import write_files
from ad_hypotheses.studies.scrub import pictures
from ad_hypotheses.studies.scrub.graph import MAX_EDGES, mermaid
from ad_hypotheses.studies.scrub.page import draw_pictures, page, write_report
from ad_hypotheses.studies.scrub.pictures import fidelity, losses
from ad_hypotheses.studies.scrub.position_pictures import positions
from ad_hypotheses.studies.scrub.record import Claim, Study, did_as_well, read_study, report_name
from ad_hypotheses.studies.scrub.summary import show
from ad_hypotheses.studies.tables import tidy

PNG = b"\x89PNG\r\n\x1a\n"
PICTURES = ["fidelity.png", "losses.png", "worst.png", "curves.png"]
HEADINGS = [
    "What to do next", "The claim", "The graph", "What was recovered", "How to read this", "Loss along the context",
    "Position by position", "What was tested", "Where it breaks", "Controls", "The explanation as a policy", "Warnings",
    "Rerun",
]  # fmt: skip


@pytest.fixture(scope="module")
def study() -> Study:
    return dark_room_study()


@pytest.fixture(scope="module")
def text(study: Study) -> str:
    return page(study, PICTURES)


@pytest.fixture(scope="module")
def written(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    write_report(study, folder)
    return folder


@pytest.fixture
def sketched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures that take no time to draw, for tests that are about files."""
    for name in ("fidelity", "losses", "positions", "learning_curves"):
        monkeypatch.setattr(pictures, name, lambda *_, **__: PNG)


def with_main(study: Study, **fields: object) -> Study:
    """The study with its first claim changed."""
    return replace(study, claims=[replace(study.claims[0], **fields), *study.claims[1:]])  # type: ignore[arg-type]


def section(text: str, heading: str) -> str:
    """What stands under a heading."""
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def without_code(text: str) -> str:
    return re.sub(r"`[^`]*`", "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


# --- the page ---


def test_the_first_screen_says_verdict_reason_controls_and_what_to_do_next_each_number_once(text: str) -> None:
    top = text.split("\n## ")[0]
    first, second, terms, why, controls, after = [line for line in top.splitlines() if line][:6]
    assert first == "# mimic on dark-room: refuted"
    assert second == (
        "**On source mimic does not explain navigate (0.14), may explain stay (0.94); on own mimic does not explain "
        "navigate (0.10), may explain stay (0.92).**"
    )
    for term in ("*fidelity*: how much", "*regime* is a kind of position, here explore", "*source*: Histories of"):
        assert term in terms
    assert why == (
        "- **Why refuted**: Beyond structure 0.31 [0.26, 0.36] in navigate (source) lies below the accepted 0.90. That "
        "bar stands in every regime that counts, on every data set."
    )
    assert controls == "- **Controls**: 1 of 3 did as well as the claim, or better: wrong site 2."
    assert after.startswith("- **Next**: By an estimate, the strongest of the arrows that the claim lacks: `goal` → ")
    numbers = re.findall(r"\d\.\d\d", top.split("> [!WARNING]")[0])
    assert len(numbers) == len(set(numbers)), numbers


def test_controls_that_fall_behind_are_said_to_with_the_closest(study: Study) -> None:
    top = page(replace(study, claims=study.claims[:3]), PICTURES).split("\n## ")[0]
    assert (
        "- **Controls**: None of 2 did as well as the claim; the closest, wrong site 1, keeps -0.38 against 0.32 "
        "(fidelity over all steps of source)."
    ) in top
    alone = page(replace(study, claims=study.claims[:1]), PICTURES).split("\n## ")[0]
    assert "- **Controls**: None were run, so nobody knows whether another claim would do as well." in alone


def test_the_arrows_that_a_claim_lacks_come_with_what_to_paste(study: Study, text: str) -> None:
    section_text = section(text, "What to do next")
    assert "9 arrows" in section_text
    assert "| `goal` → `choice` | 0.500 | 40% | yes |" in section_text
    assert '| `embed("reward")` → `goal` | 0.300 | 24% | yes, as a node of its own |' in section_text
    assert "`heading` is computed from `goal`; split one of them by layer |" in section_text
    assert "| 0.062 | 5.0% | if the others are not enough |" in section_text
    assert "```python\n" + "\n".join(study.claims[0].undeclared.code) + "\n```" in section_text  # type: ignore[union-attr]
    assert "With `goal → choice` added" in section_text
    assert "is 0.72 instead of 0.31" in section_text
    assert "not an exact effect" in section_text
    complete = with_main(study, undeclared=None)
    assert "What to do next" not in page(complete, PICTURES)
    assert "- **Next**" not in page(complete, PICTURES)


def test_the_graph_shows_strong_arrows_that_the_claim_lacks_dashed(study: Study) -> None:
    graph = mermaid(study.claims[0])
    assert '    n2 -.->|"lacking, 40%"| n4' in graph
    assert '    u0["<i>embed(#quot;reward#quot;)</i><br/>not in the claim"]:::untested' in graph
    assert '    u0 -.->|"lacking, 24%"| n2' in graph
    assert "mlp(2)" not in graph  # not strong
    assert "-.->" not in mermaid(replace(study.claims[0], undeclared=None))


@pytest.mark.parametrize("make", [dark_room_study, bandit_study])
def test_every_section_is_there_in_order(make) -> None:
    made = make()
    headings = [name for name in HEADINGS if name != "What to do next" or made.claims[0].undeclared]
    assert re.findall(r"^## (.*)$", page(made, PICTURES), flags=re.MULTILINE) == headings


def test_every_table_has_as_many_cells_in_each_row_as_in_its_head(text: str) -> None:
    tables = re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE)
    assert len(tables) >= 8
    for table in tables:
        (bars,) = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert bars <= 7, table  # more than six columns do not fit a page


@pytest.mark.slow
def test_every_picture_that_the_page_shows_is_written_and_no_other(written: Path, text: str) -> None:
    shown = {path.split("/")[1] for path in re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)}
    assert shown == {path.name for path in (written / "mimic-dark-room").iterdir()} == set(PICTURES)
    assert all(path.read_bytes().startswith(PNG) for path in (written / "mimic-dark-room").iterdir())


def test_there_is_no_raw_html(text: str) -> None:
    assert "<" not in without_code(text)


def test_what_cannot_be_estimated_says_so_and_is_never_nan(text: str) -> None:
    assert "| source | explore | not estimable | not estimable | not estimable | does not count |" in text
    assert "| own | explore | not estimable | not estimable | - | does not count |" in text
    assert not re.search(r"\b(nan|inf|None)\b", text)


def test_a_wrong_site_that_does_as_well_is_a_warning_at_the_top(study: Study, text: str) -> None:
    top = text.split("\n## ")[0]
    assert "> [!WARNING]" in top
    assert "wrong site 2 0.28 [0.25, 0.31], against 0.32 [0.29, 0.35]" in top
    assert "**Did as well as the hypothesis, or better: wrong site 2.**" in section(text, "Controls")
    honest = page(replace(study, claims=study.claims[:3]), PICTURES)
    assert "WARNING" not in honest
    assert "No control did as well" in section(honest, "Controls")
    silent = page(with_main(study, warnings=[]), PICTURES)
    assert "> [!WARNING]" in silent
    assert section(silent, "Warnings").strip() == (
        "- A control at a wrong site does as well as the claim, as said at the top."
    )


def test_controls_say_what_was_moved_and_how_far_they_fall_behind(text: str) -> None:
    row = next(line for line in section(text, "Controls").splitlines() if line.startswith("| wrong site 1 "))
    assert "`goal`: `head(1, 2)` → `head(1, 3)`" in row
    assert row.endswith("| refuted | -0.38 [-0.41, -0.35] | -0.70 |")


def test_sections_without_content_say_so(study: Study) -> None:
    bare = with_main(replace(study, claims=study.claims[:1], curves=[]), warnings=[], worst=[], nodes=[])
    pictures = draw_pictures(bare)
    assert set(pictures) == {"fidelity.png", "losses.png"}
    text = page(bare, pictures)
    assert "## Where it breaks" not in text
    assert "None were run." in section(text, "Controls")
    assert section(text, "Warnings").strip() == "None."
    assert "everything was swapped" in section(text, "What was tested")


def test_rerun_names_command_checkpoint_options_and_record(study: Study, text: str) -> None:
    rerun = section(text, "Rerun")
    for part in (study.command, study.model_sha256, "`seed=0`", "torch 2.13.0", "(mimic-dark-room.json)"):
        assert part in rerun
    assert "memory" not in section(page(bandit_study(), PICTURES), "Rerun")  # an option that was not set


def test_what_researchers_write_stays_text(study: Study) -> None:
    odd = replace(
        with_main(study, name="a|b <x>", warnings=["a < b | head(*, 1) and head(*, 2)"]), text="if x <script> $y$"
    )
    text = page(odd, PICTURES)
    assert text.splitlines()[0] == r"# a\|b \<x\> on dark-room: refuted"
    assert r"- A \< b \| head(\*, 1) and head(\*, 2)." in text
    assert r"> if x \<script> \$y\$" in text
    assert report_name(odd) == "a-b-x-dark-room"
    assert report_name(replace(odd, command="python cli.py scrub x.py --seed 1")) == "a-b-x-dark-room-seed-1"
    assert report_name(replace(odd, model="../../etc")) == "a-b-x-etc"


def test_each_data_set_says_what_it_holds_and_how_many_donors_of_how_many_tasks(text: str) -> None:
    recovered = section(text, "What was recovered")
    assert "- On source there are 256 references and, apart from them, 1,024 donors of 81 tasks." in recovered
    assert "1,024 donors of 1 task." in recovered
    assert "| own | navigate | 0.10 [0.07, 0.13] | 0.20 [0.15, 0.25] | - | refuted: beyond structure |" in recovered
    assert "With half as many donors the fidelity of a quarter of the references is 0.012 lower." in recovered


def test_the_page_says_how_much_was_measured_of_each_claim_and_why_no_more(text: str) -> None:
    recovered = section(text, "What was recovered")
    assert "| mimic | source | 2 of 2 | still open in stay after all passes | measured |" in recovered
    assert "| mimic | own | 1 of 2 | clearly refuted in navigate and stay | not needed |" in recovered


def test_what_does_not_count_says_why(text: str) -> None:
    for data in ("source", "own"):
        assert (
            f"- On {data}, explore does not count: the model hardly differs from one constant distribution "
            "(0.004 [0.001, 0.007] nats; 0.02 needed)."
        ) in text


def test_a_record_of_the_version_before_is_read_and_drawn(study: Study, tmp_path: Path, sketched: None) -> None:
    before = older(study)
    content = json.loads(before.to_json())
    newer = ("data", "learners", "fidelity", "explained", "tested", "swapped", "status", "why_not", "divergence",
             "at_stake", "fidelity_with_self", "fidelity_independent", "weakest")  # fmt: skip
    for item in content["claims"]:
        for name in ("sentence", "half_pool", "rivals", "undeclared", "spending"):
            del item[name]
        for part in item["regimes"]:
            for name in newer:
                del part[name]
    del content["data"]
    (tmp_path / "old.json").write_text(json.dumps(content))
    again = read_study(tmp_path / "old.json")
    assert again.to_json() == before.to_json()
    text = page(again, PICTURES)
    assert text.startswith("# mimic on dark-room: refuted")
    assert "| source | navigate | - | 0.22 [0.17, 0.27] | - | - |" in text
    assert "| wrong site 1 | wrong site | `goal`: `head(1, 2)` → `head(1, 3)` | refuted | 0.31 [0.28, 0.34] |" in text
    assert not re.search(r"\b(nan|inf|None)\b", text)
    assert "recovered 0.66 [0.63, 0.69], needed 0.90" in printed(again, force_terminal=False)
    assert fidelity(again.claims[0]).startswith(PNG)
    assert [path.name for path in write_report(again, tmp_path)][-1] == "mimic-dark-room.md"


# --- files ---


@pytest.mark.slow
def test_the_same_study_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    write_report(dark_room_study(), tmp_path)
    first = snapshot(tmp_path)
    assert first == snapshot(written)
    assert len(first) == 7
    assert draw_pictures(bandit_study()) == draw_pictures(bandit_study())
    assert not any(
        word in png for png in first.values() if png.startswith(PNG) for word in (b"Software", b"matplotlib")
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.update(rows="48"), "rows is '48', and should be a valid integer"),
        (lambda record: record.update(rows=True), "rows is True, and should be a valid integer"),
        (lambda record: record.update(claims={}), "claims is {}, and should be a valid (array|list)"),
        (
            lambda record: record["curves"][0].update(returns="\0"),
            r"curves\[0\].returns is .*, and should be a valid (array|list)",
        ),
        (
            lambda record: record["claims"][0]["steps"].update(model=["x", None, "y"]),
            r"steps.model\[0\] is 'x', and should be a valid number \(and 1 more\)",
        ),
        (lambda record: record["claims"][0].pop("accept"), r"claims\[0\].accept is missing"),
        (lambda record: record["claims"][0].update(odd=1), r"claims\[0\].odd is unknown"),
    ],
)
def test_a_record_of_other_types_is_refused(study: Study, change, message) -> None:
    record = plain(asdict(study))
    assert build(Study, record).rows == study.rows
    change(record)
    with pytest.raises(ValueError, match=message):
        build(Study, record)


@pytest.mark.slow
def test_the_record_comes_back_and_draws_the_same_page(study: Study, written: Path, text: str) -> None:
    content = (written / "mimic-dark-room.json").read_text()
    assert not re.search(r"NaN|Infinity", content)
    again = read_study(written / "mimic-dark-room.json")
    assert again.to_json() + "\n" == content
    assert json.loads(content)["claims"][0]["regimes"][1]["recovered"]["low"] is None
    assert page(again, PICTURES) == text
    assert fidelity(again.claims[0]) == (written / "mimic-dark-room" / "fidelity.png").read_bytes()


def test_the_page_comes_last_so_that_it_never_shows_what_is_not_there(
    study: Study, tmp_path: Path, sketched: None
) -> None:
    paths = write_report(study, tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        *(f"mimic-dark-room/{picture}" for picture in PICTURES),
        "mimic-dark-room.json",
        "mimic-dark-room.csv",
        "mimic-dark-room.md",
    ]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_failure_while_drawing_leaves_the_old_report(
    written: Path, study: Study, sketched: None, monkeypatch
) -> None:
    before = snapshot(written)

    def fail(*_: object, **__: object) -> bytes:
        raise RuntimeError("no font")

    monkeypatch.setattr(pictures, "learning_curves", fail)
    with pytest.raises(RuntimeError, match="no font"):
        write_report(with_main(study, verdict="supported"), written)
    assert snapshot(written) == before


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("", []),
        ("python cli.py scrub hypotheses/stay.py", []),
        ("python cli.py scrub stay.py --model tiny --threads 2 --seed 1", ["seed-1"]),
        ("python cli.py scrub stay.py --models old/zoo --align any --shared", ["models-zoo", "align-any", "shared"]),
        ("python cli.py patch tiny --edges all --rows 6", ["rows-6"]),
        ("python cli.py patch tiny --edges 'head(0, 1) -> logits'", ["edges-head-0-1-logits"]),
        ("python cli.py evaluate tiny --rollouts 500 --seed 3 --quick", ["seed-3", "quick"]),
    ],
)
def test_a_report_is_named_by_the_options_that_are_not_the_usual_ones(command: str, expected: list[str]) -> None:
    assert options_of(command, {"rollouts": "500"}) == expected


def test_many_options_have_a_short_name_of_their_own() -> None:
    commands = [f"python cli.py patch tiny {'--nodes head(0) ' * 20} --seed {seed}" for seed in (1, 2)]
    names = ["-".join(options_of(command)) for command in commands]
    assert names[0] != names[1]
    assert max(map(len, names)) < 20


def test_a_full_disk_leaves_the_old_report_and_says_what_to_do(
    written: Path, study: Study, sketched: None, monkeypatch
) -> None:
    before, write = snapshot(written), Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name.startswith(".mimic-dark-room.md"):
            write(path, content[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"disk is full: .*mimic-dark-room\.md could not be written\. Make room"):
        write_report(with_main(study, verdict="supported"), written)
    assert snapshot(written) == before


def test_a_folder_that_cannot_be_one_is_explained(tmp_path: Path, study: Study, sketched: None) -> None:
    (tmp_path / "reports").write_text("a file")
    with pytest.raises(
        UserError, match=r"cannot write fidelity\.png into .*reports.*(File exists|Not a directory).*choose"
    ):
        write_report(study, tmp_path / "reports")


def test_a_folder_without_permission_is_explained(tmp_path: Path, monkeypatch) -> None:
    def refuse(path: Path, content: bytes) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(UserError, match=r"cannot write c\.png into .*: Permission denied\. Make it a folder"):
        write_files({tmp_path / "c.png": b"a picture"})


# --- the diagram ---


def graph_of(nodes: list, **fields: object) -> str:
    return mermaid(claim("c", "hypothesis", 0.95, 0.92, "supported", nodes=nodes, **fields))


def test_mermaid_escapes_all_that_means_something_to_it() -> None:
    odd = node('a"]; click n0', 'embed("x")[0] | {y} `z` #1 <b>', [], "")
    line = graph_of([odd]).splitlines()[1]
    label = re.fullmatch(r'    n0\["(.*)"\]:::weak', line)
    assert label is not None
    shown = re.sub(r"</?[bi]>|<br/>", "", label[1])
    assert "#quot;x#quot;" in shown
    assert not re.search(r'["\[\]{}|`<>]', shown)
    assert re.fullmatch(r"(?:[^#;]|#\w+;)*", shown)  # each # and ; belongs to an entity


def test_mermaid_draws_each_arrow_once_and_colours_by_what_was_found() -> None:
    source = graph_of(
        [
            node("cell", "pos", [], "", exact=True),
            node("good", "mlp(0)", ["cell"], "", recovered=0.9),
            node("bad", "mlp(1)", ["cell", "good"], "", recovered=0.89),
            node("same", "head(0, 0)", ["bad"], "", recovered=1.0, swapped=0.0),
            node("none", "head(0, 1)", ["bad"], "", recovered=math.nan, hidden=True),
            node("out", "logits", ["same", "none"], "", level="root", recovered=None),
        ]
    )
    classes = dict(re.findall(r"<b>(\w+)</b>.*:::(\w+)", source))
    assert classes == {
        "cell": "exact",
        "good": "ok",
        "bad": "weak",
        "same": "untested",
        "none": "untested",
        "out": "ok",
    }
    arrows = re.findall(r"(n\d) --> (n\d)", source)
    assert arrows == [("n0", "n1"), ("n0", "n2"), ("n1", "n2"), ("n2", "n3"), ("n2", "n4"), ("n3", "n5"), ("n4", "n5")]
    assert source.count("reads hidden facts") == 1
    assert "whole claim: 0.90" in source  # its fidelity


def test_mermaid_stays_within_what_github_draws() -> None:
    names = [f"v{index}" for index in range(40)]
    nodes = [node(name, "pos", names[:index], "") for index, name in enumerate(names)]
    source = graph_of(nodes)
    assert source.count("-->") == MAX_EDGES
    assert f"and {40 * 39 // 2 - MAX_EDGES} more arrows" in source


# --- numbers and words ---


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (figure(-0.001), "0.00"),
        (figure(None), "not estimable"),
        (figure(math.inf), "not estimable"),
        (percent(0.0), "0%"),
        (percent(0.034), "3.4%"),
        (percent(0.0996), "10%"),
        (percent(math.nan), "not estimable"),
        (interval(number(-0.001, 0.5)), "0.00 [-0.50, 0.50]"),
        (interval(NOT_ESTIMABLE), "not estimable"),
        (interval(replace(number(0.5), low=-math.inf)), "not estimable"),
        (code("a | b"), r"`a \| b`"),
        (code("a `b`"), "`` a `b` ``"),
        (prose("`a < b` < c"), r"`a < b` \< c"),
    ],
)
def test_numbers_and_names_read_well(shown: str, expected: str) -> None:
    assert shown == expected


@pytest.mark.parametrize(("other", "expected"), [(0.65, True), (0.631, True), (0.628, False), (0.9, True)])
def test_a_control_does_as_well_if_its_interval_reaches_the_claims(other: float, expected: bool) -> None:
    main = claim("m", "hypothesis", 0.66, 0.3, "refuted")
    assert did_as_well(claim("c", "wrong site", other + 0.001, 0.3, "refuted"), main) is expected


def test_nothing_is_said_to_do_as_well_as_what_cannot_be_estimated() -> None:
    main = claim("m", "hypothesis", 0.66, 0.3, "refuted")
    blank = replace(main, regimes=[replace(main.regimes[0], fidelity=NOT_ESTIMABLE)])
    assert not did_as_well(blank, main)
    assert not did_as_well(main, blank)


# --- pictures ---


def odd_claim() -> Claim:
    """Numbers of every awkward kind."""
    main = dark_room_study().claims[0]
    gaps = {name: [math.nan, *loss[1:50], math.nan] for name, loss in main.steps.items()}
    wide = replace(
        regime("$wide$", 5, 0.5, 1.4, 0.5, 0.5), fidelity=number(-40.0, 3.0), beyond_structure=number(9.0, 2.0)
    )
    return replace(
        main,
        steps=gaps | {"structure": [math.nan] * 51},
        episodes={"model": [math.nan, 1.0]},
        regimes=[wide, *main.regimes],
    )


def test_pictures_bear_gaps_and_numbers_off_the_axis() -> None:
    assert losses(odd_claim(), 20, 5).startswith(PNG)
    assert fidelity(odd_claim()).startswith(PNG)
    assert losses(replace(odd_claim(), steps={}, episodes={}), 20, 1).startswith(PNG)


def test_the_legend_names_what_was_measured_and_nothing_else(study: Study, monkeypatch) -> None:
    def labels(regimes: list) -> list[str]:
        composed = Figure(layout="constrained")
        monkeypatch.setattr(pictures, "picture", lambda draw, height: draw(composed))
        pictures.fidelity(replace(study.claims[0], regimes=regimes))
        return [entry.get_text() for entry in composed.legends[0].get_texts()]

    measured = replace(study.claims[0].regimes[0], fidelity_independent=number(0.9, 0.1))
    everything = ["fidelity", "fidelity, independent others", "beyond structure", "explained"]
    assert labels([measured, replace(measured, fidelity_independent=None)]) == everything
    assert labels([replace(measured, fidelity_independent=None, explained=None)]) == ["fidelity", "beyond structure"]


def test_positions_bear_missing_probabilities_many_actions_and_unknown_tasks(study: Study) -> None:
    main, first = study.claims[0], study.claims[0].worst[0]
    names = [f"a{index}" for index in range(40)]
    wide = replace(
        first, model=[math.nan] * 40, scrubbed=[1 / 40] * 40, taken=39, seen=[], facts={}, last_rewarded=None
    )
    assert positions([wide], names, None).startswith(PNG)
    assert positions([wide], names, 9) != positions([wide], names, None)
    odd = replace(study, action_names=names, claims=[replace(main, worst=[wide])])
    assert "| a39: not estimable → 2.5% |" in page(odd, PICTURES)


@pytest.mark.parametrize("returns", [[3.0], [1.0, math.nan, 2.0], [math.nan, math.nan]])
@pytest.mark.default_cases(1)
def test_learning_curves_of_any_length_are_drawn(returns: list[float], tmp_path: Path) -> None:
    curves = [Curve(name, returns, 8) for name in ("model", "source", *(f"$other {index}" for index in range(9)))]
    write_files({tmp_path / "deep" / "curves.png": learning_curves(curves, "title", 3.5)})
    assert (tmp_path / "deep" / "curves.png").read_bytes() == learning_curves(curves, "title", 3.5)
    assert learning_curves(curves, "title", 3.5) != learning_curves(curves, "title")


def test_the_optimum_is_not_drawn_twice() -> None:
    curves = [Curve("model", [1.0, 2.0], 8), Curve("optimal", [3.0, 3.0], 8)]
    assert learning_curves(curves, "title", 3.0) == learning_curves(curves, "title")


def test_labels_are_moved_apart_in_order_and_no_further_than_needed() -> None:
    assert _apart([5.0, 0.0, 9.0], 1.0) == [5.0, 0.0, 9.0]
    assert _apart([1.0, 1.0, 1.0], 1.0) == [0.0, 1.0, 2.0]
    assert _apart([2.0, 1.8], 1.0) == pytest.approx([2.4, 1.4])
    assert _apart([], 1.0) == []


def test_drawing_leaves_the_readers_matplotlib_alone(study: Study) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    fidelity(study.claims[0])
    assert dict(matplotlib.rcParams) == before


# --- the console ---


def printed(study: Study, **settings: object) -> str:
    stream = io.StringIO()
    show(study, Console(file=stream, **settings), Path("reports/mimic-dark-room.md"))  # type: ignore[arg-type]
    return stream.getvalue()


def test_a_log_gets_plain_whole_lines(study: Study) -> None:
    lines = printed(study, force_terminal=False, width=40).splitlines()
    assert "\x1b" not in "".join(lines)
    assert "".join(lines).isascii()
    assert lines[0] == "mimic on dark-room: refuted"
    assert "fidelity over all steps of source 0.32 [0.29, 0.35]; needed 0.90 in every regime that counts" in lines
    unknown = "source explore 30211 not estimable not estimable does not count"
    assert unknown in [" ".join(line.split()) for line in lines]
    assert "wrong site 1 (goal: head(1, 2) -> head(1, 3)): refuted, fidelity -0.38 [-0.41, -0.35]" in lines
    named = [" ".join(line.split()) for line in lines if line.endswith("refuted: beyond structure")]
    assert named[0] == "source navigate 41020 0.14 [0.11, 0.17] 0.22 [0.17, 0.27] refuted: beyond structure"
    assert (
        'next: 9 arrows undeclared; estimated strongest on own: goal -> choice, embed("reward") -> goal, '
        "heading -> goal; try def choice(heading, gate, goal), def goal(gate, reward)"
    ) in lines
    assert next(line for line in lines if line.startswith("wrong site 2")).endswith(
        "as well as the hypothesis, or better"
    )
    assert lines[-2:] == ["2 warnings, see the report", "report: reports/mimic-dark-room.md"]


def test_a_terminal_gets_a_panel_with_colours(study: Study) -> None:
    text = printed(study, force_terminal=True, width=100, color_system="standard", no_color=False)
    assert "\x1b[31m" in text
    assert "╭" in text
    colourless = printed(study, force_terminal=True, width=100, no_color=True)
    assert "\x1b[31m" not in colourless
    assert "refuted" in colourless


def test_names_with_brackets_are_not_markup(study: Study) -> None:
    assert printed(with_main(study, name="[red]x[/]"), force_terminal=False).startswith(
        "[red]x[/] on dark-room: refuted"
    )


def test_the_tidy_table_has_every_figure_of_every_claim():
    study = dark_room_study()
    table = tidy(study)
    assert set(table.claim) == {claim.name for claim in study.claims}
    overall = study.claims[0].regimes[0].fidelity
    row = table.query("claim == @study.claims[0].name and scope == 'regime' and of == 'all' and figure == 'fidelity'")
    row = row[row.data == "source"]
    assert row[["value", "low", "high"]].to_numpy().tolist() == [[overall.value, overall.low, overall.high]]
    assert (
        len(table.query("scope == 'step' and figure == 'model'"))
        == sum(len(claim.steps.get("model", [])) for claim in study.claims)
        > 0
    )
