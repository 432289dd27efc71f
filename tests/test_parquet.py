"""The table of a report on patches as a parquet file: what is in it, and that nothing is begun without its writer."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest

from ad_hypotheses.storage import files
from ad_hypotheses.studies.tables import PATCH_COLUMNS

QUICK = ("--rows", "6", "--threads", "1")
EDGES = ("--edges", "head(0, 0) -> logits", "--edges", "mlp(1) -> logits")


@pytest.fixture
def without_pyarrow(monkeypatch):
    """As if it had never been installed."""
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)


def test_the_file_holds_the_table(cli, workplace):
    pytest.importorskip("pyarrow")
    ran = cli("patch", "tiny", *EDGES, *QUICK, "--parquet")
    assert ran.code == 0, ran.err
    found = pd.read_parquet(
        workplace / "reports" / "patch-tiny-edges-head-0-0-logits-edges-mlp-1-logits-rows-6.parquet"
    )
    expected = pd.read_csv(
        workplace / "reports" / "patch-tiny-edges-head-0-0-logits-edges-mlp-1-logits-rows-6.csv",
        keep_default_na=False,
        na_values={},
    )
    assert list(found.columns) == PATCH_COLUMNS
    assert len(found) == len(expected) > 4
    for name in ("patch", "kind", "writer", "reader", "arrow", "metric", "regime"):
        assert found[name].tolist() == expected[name].tolist()
    for name in ("value", "low", "high", "p", "holm", "bh", "attribution", "attribution size"):
        assert found[name].dtype == np.float64, name
        numbers = pd.to_numeric(expected[name])
        np.testing.assert_allclose(found[name], numbers, rtol=1e-5)
    assert found["p"].isna().any(), "a KL divergence is not tested"
    assert found["attribution"].isna().all(), "nothing was screened"
    assert found["value"].abs().max() > 0


def test_the_same_study_makes_the_same_bytes(cli, workplace, monkeypatch):
    pytest.importorskip("pyarrow")
    path, written = workplace / "reports" / "patch-tiny-edges-head-0-0-logits-edges-mlp-1-logits-rows-6.parquet", []
    really = files.write_files
    monkeypatch.setattr(files, "write_files", lambda some: written.append(list(some)) or really(some))
    contents = set()
    for _ in range(2):
        assert cli("patch", "tiny", *EDGES, *QUICK, "--parquet").code == 0
        contents.add(path.read_bytes())
    assert len(contents) == 1
    assert all(some[-1].suffix == ".md" for some in written), "the page comes last"
    assert [path.relative_to(workplace) in some for some in written] == [True, True]
    assert not list(path.parent.glob(".*.partial"))
    assert cli("patch", "tiny", *EDGES, *QUICK).code == 0
    assert not path.exists(), "the table of an older report is not left beside the new one"


def test_nothing_is_begun_without_pyarrow(cli, workplace, without_pyarrow, monkeypatch):
    monkeypatch.setattr("ad_hypotheses.studies.patch.study.patch", lambda *given, **named: pytest.fail("it began"))
    ran = cli("patch", "tiny", *EDGES, *QUICK, "--parquet")
    assert (ran.code, ran.out) == (2, "")
    assert "--parquet needs pyarrow, which is not installed" in ran.said
    assert "pip install 'ad-hypotheses[parquet]'" in ran.said


def test_nobody_else_needs_pyarrow(cli, workplace, without_pyarrow):
    assert cli("patch", "tiny", *EDGES, *QUICK).code == 0


def test_a_search_has_no_table(cli, workplace):
    pytest.importorskip("pyarrow")
    ran = cli("patch", "tiny", "--search", "0.5", "--parquet", *QUICK)
    assert (ran.code, ran.out) == (2, "")
    assert "does not go with --parquet" in ran.said
