"""How the documentation is built: `sphinx-build -W docs docs/_build`, which runs its notebooks."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = str(ROOT)

project, author = "ad_hypotheses", "the authors of ad_hypotheses"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb"]
html_theme, html_title = "furo", "ad_hypotheses"
exclude_patterns = ["_build", "record.schema.json"]

# notebooks are text; each is run once a build, and stops the build where it fails
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 900  # seconds a cell, for machines that do other work too
nb_output_stderr = "remove"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
# pages link to files of the repository too, which are not pages
suppress_warnings = ["myst.xref_missing", "myst.xref_ambiguous"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_use_ivar = True  # attributes are described once, not as objects of their own
