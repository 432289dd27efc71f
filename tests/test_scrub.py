"""The fast engine against the oracle, draw by draw, and the laws that both must obey."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ad_hypotheses.causal import oracle
from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.draws import classes, draw, uniforms
from ad_hypotheses.causal.scrub import Options, Scrubber, tree_paths, without_features
from ad_hypotheses.causal.twin import Twin
from ad_hypotheses.language.check import BoundNode
from ad_hypotheses.language.sites import embed, head, logits, mlp
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.expand import components, oracle_nodes, owner, random_hypothesis, tiny_history, tiny_model

OPTIONS = [
    Options(),
    Options(self_donors=True),
    Options(others="independent"),
    Options(align="any"),
    Options(align="episode_step", self_donors=True),
    Options(shared=True),
]


def log_softmax(x):
    return x - np.logaddexp.reduce(x)


def oracle_options(options, history):
    return oracle.Options(options.others, options.self_donors, options.align, options.shared, history.episode_step)


def replay(model, history, nodes, along, scrubber, number):
    """Run the oracle with the fast engine's own draws: [row, step, action]."""
    problem = oracle._Problem(
        components(model, history, along),
        oracle_nodes(nodes, along),
        "root",
        history.n_rows,
        history.n_steps,
        oracle_options(scrubber.options, history),
    )
    scrubber._pass = number
    execution = oracle._Execution(problem, choose=None)
    anatomy, n_steps = model.anatomy, history.n_steps
    for path in tree_paths(nodes, "root"):
        key = path[-1:] if scrubber.options.shared else path
        for parent in nodes[path[-1]].parents:
            donors = scrubber.donors(path, parent)
            for place in np.ndindex(donors.shape):
                row, step = place if len(place) == 2 else (place[0], None)
                found = divmod(int(donors[place]), n_steps) if step is not None else (int(donors[place]), 0)
                execution.donor_table[key, parent, row, step] = found
        for row, other in enumerate(scrubber.other_rows(path).tolist()):
            execution.other_table[key, row] = other
        if scrubber.options.others == "independent":
            for reader in anatomy.readers:
                component = owner(reader, along)
                for writer in anatomy.writers:
                    rows = scrubber.other_rows(path, f"other {reader} {writer}").tolist()
                    for suffix in (" along", " rest") if writer in along else ("",):
                        for row, other in enumerate(rows):
                            name = str(writer) + suffix
                            execution.other_table[key, row, (component, reader.kind), name] = other
    return np.array(
        [
            [log_softmax(execution.value(("root",), row, "logits", None, step)) for step in range(n_steps)]
            for row in range(history.n_rows)
        ]
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), options=st.sampled_from(OPTIONS))
def test_fast_engine_is_the_oracle_draw_by_draw(seed, options):
    rng = np.random.default_rng(seed)
    history = tiny_history(seed, n_rows=4, n_steps=4)
    model = tiny_model(seed % 7, n_steps=4)
    nodes, along = random_hypothesis(rng, model, history)
    scrubber = Scrubber(Clean.run(model, history), nodes, "root", options, seed=seed)
    fast = scrubber.run(3).log_probs
    assert np.allclose(fast, replay(model, history, nodes, along, scrubber, 3), atol=2e-6)
