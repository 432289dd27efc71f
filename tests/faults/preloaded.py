"""What every process needs that is forked to be killed; imported once, by the server that forks them."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # a fork copies no other threads

import torch

import ad_hypotheses.cli.app
import ad_hypotheses.cli.search
import ad_hypotheses.known.build
import ad_hypotheses.known.calibration.study
import ad_hypotheses.studies.evaluate.study
import ad_hypotheses.studies.histories.study
import ad_hypotheses.studies.patch.study
import ad_hypotheses.studies.scrub.page
import ad_hypotheses.studies.scrub.study
import ad_hypotheses.studies.sweep.study
import ad_hypotheses.studies.train.study  # noqa: F401

torch.set_num_threads(1)
