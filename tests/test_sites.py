"""Sites are what people type: they survive the way through text, and say what is wrong with them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_hypotheses.errors import HypothesisError
from ad_hypotheses.language.anatomy import Anatomy, Part
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import node
from ad_hypotheses.language.roles import STEP_ROLES
from ad_hypotheses.language.sites import embed, head, logits, mlp, pos

ANATOMY = Anatomy(("x", "y", "action", "reward"), n_layers=2, n_heads=4)
DIRECTIONS = np.array([[3.0, 0.0, 0.0], [1.0, 2.0, 0.0]])
NAMES = {"embed": embed, "pos": pos, "head": head, "mlp": mlp, "logits": logits, "directions": DIRECTIONS}


# text, not sites: a run-time type checker draws random numbers, which strategies may not
HEADS = [f"head({layer})" for layer in (0, 1)] + [f"head({layer}, {number})" for layer in (0, 1) for number in range(4)]
READERS = [*HEADS, *(f"{one}.{part}" for one in HEADS for part in "qkv"), "mlp(0)", "mlp(1)", "logits"]
WRITERS = ["embed()", *(f'embed("{name}")' for name in ANATOMY.channels), "pos", *HEADS, "mlp(0)", "mlp(1)"]


def typed() -> st.SearchStrategy[str]:
    narrowed = st.builds("{}.to({})".format, st.sampled_from(WRITERS), st.sampled_from(READERS))
    plain = st.sampled_from(WRITERS) | narrowed
    summand = plain | st.sampled_from(READERS) | st.builds("{}.along(directions)".format, plain)
    summed = st.lists(summand, min_size=1, max_size=3).map(" + ".join)
    counted = summed | st.builds("({}).expect({})".format, summed, st.integers(1, 9))
    both = counted | st.builds("{} + {}".format, counted, counted)
    return both | st.builds('({}).steps("{}")'.format, both, st.sampled_from(sorted(STEP_ROLES)))


@given(typed())
def test_a_site_reads_as_what_a_person_types(text: str) -> None:
    site = eval(text, dict(NAMES))
    assert eval(str(site), dict(NAMES)) == site
    assert str(eval(str(site), dict(NAMES))) == str(site)


@given(typed())
def test_a_site_has_places_or_problems(text: str) -> None:
    parts, problems = eval(text, dict(NAMES)).examine(ANATOMY)
    assert parts or problems
    for part in parts:
        assert part.writer is None or part.writer in ANATOMY.writers
        assert set(part.readers) <= set(ANATOMY.readers)
        assert problems or part.to is None or any(part.feeds(reader) for reader in part.to)


def test_stages_order_the_residual_stream() -> None:
    order = [embed("x"), head(0, 1), mlp(0), head(1, 1), mlp(1), logits]
    places = [site.resolve(ANATOMY)[0] for site in order]
    for (i, early), (j, late) in itertools.product(enumerate(places), repeat=2):
        assert any(early.feeds(reader) for reader in late.readers) == (i < j and i != 5)
    assert not head(0, 1).resolve(ANATOMY)[0].feeds(head(0, 2).resolve(ANATOMY)[0].readers[0])


def test_a_model_lists_every_place_once() -> None:
    everything = embed() + pos + head(0) + mlp(0) + head(1) + mlp(1) + logits
    parts = everything.resolve(ANATOMY)
    assert tuple(part.writer for part in parts if part.writer) == ANATOMY.writers
    assert tuple(reader for part in parts for reader in part.readers) == ANATOMY.readers
    assert list(map(str, ANATOMY.writers[:6])) == [
        'embed("x")', 'embed("y")', 'embed("action")', 'embed("reward")', "pos", "head(0, 0)",
    ]  # fmt: skip
    assert [str(reader) for reader in ANATOMY.readers[-2:]] == ["mlp(1)", "logits"]
    assert [writer.stage for writer in sorted(ANATOMY.writers)] == [writer.stage for writer in ANATOMY.writers]


def test_narrowing() -> None:
    (query,) = head(1, 2).q.resolve(ANATOMY)
    assert (query.writer, [str(reader) for reader in query.readers]) == (None, ["head(1, 2).q"])
    (narrow,) = head(0, 2).to(mlp(0) + head(1, 0).k).resolve(ANATOMY)
    assert sorted(map(str, narrow.to)) == ["head(1, 0).k", "mlp(0)"]
    (along,) = mlp(0).along(DIRECTIONS).resolve(ANATOMY)
    assert np.allclose(along.directions @ along.directions.T, np.eye(2))
    assert np.allclose(DIRECTIONS @ along.directions.T @ along.directions, DIRECTIONS)
    assert mlp(0).along([0, 5.0]).resolve(ANATOMY)[0].directions.shape == (1, 2)
    assert head(0).expect(4).resolve(ANATOMY) == head(0).resolve(ANATOMY)
    assert along == mlp(0).along(DIRECTIONS).resolve(ANATOMY)[0] != mlp(0).resolve(ANATOMY)[0]
    assert len({along, mlp(0).along(DIRECTIONS).resolve(ANATOMY)[0]}) == 1
    assert along != Part(along.writer, along.readers)


WRONG = [
    (lambda: embed("rewards"), 'embed("rewards"): the model has no channel "rewards".\n'
     '  channels: "x", "y", "action", "reward"\n  Did you mean \'reward\'?'),
    (lambda: embed(3), 'embed(3): a channel is a name.\n  for example embed("x")'),
    (lambda: head(2, 0), "head(2, 0): the model has no layer 2.\n  layers: 0 to 1"),
    (lambda: head(-1), "head(-1): the model has no layer -1.\n  layers: 0 to 1"),
    (lambda: head(1, 4), "head(1, 4): the model has no head 4.\n  heads: 0 to 3"),
    (lambda: head("1"), "head('1'): layer and head are whole numbers.\n  for example head(1, 2)"),
    (lambda: mlp(7), "mlp(7): the model has no layer 7."),
    (lambda: mlp(True), "mlp(True): the layer is a whole number."),
    (lambda: mlp(0).q, "mlp(0).q: only a plain head has .q, .k and .v.\n  write head(1, 2).q"),
    (lambda: head(0, 1).q.k, "head(0, 1).q.k: only a plain head"),
    (lambda: head(0).expect(3), "head(0).expect(3): the site selects 4 places, not 3.\n"
     "  selected: head(0, 0), head(0, 1), head(0, 2), head(0, 3)"),
    (lambda: head(0).expect(4).expect(4), "give one whole number, once"),
    (lambda: head(0).expect("4"), "head(0).expect('4'): give one whole number"),
    (lambda: mlp(1).to(head(1, 0)), "mlp(1).to(head(1, 0)): mlp(1) writes too late for head(1, 0) to read it.\n"
     "  name a reader that comes after the writer"),
    (lambda: mlp(0).to(embed("x")), 'embed("x") is not a reader'),
    (lambda: mlp(0).to(3), "mlp(0).to(3): that is not a site"),
    (lambda: mlp(0).to(mlp(1)).to(logits), "mlp(0).to(mlp(1)).to(logits): .to stands twice.\n"
     "  write .to(mlp(1) + logits)"),
    (lambda: head(0, 0).q.to(logits), "head(0, 0).q.to(logits): head(0, 0).q reads and does not write"),
    (lambda: logits.along([1.0]), "logits.along(directions): logits reads and does not write"),
    (lambda: mlp(0).along([[1.0, 2.0], [2.0, 4.0]]), "the 2 directions span only 1 dimension.\n"
     "  drop those that are zero or depend on the others"),
    (lambda: mlp(0).along([0.0, 0.0]), "the 1 directions span only 0 dimensions"),
    (lambda: mlp(0).along([np.nan, 0.0]), "finite numbers of shape [k, d_model]"),
    (lambda: mlp(0).along("abc"), "mlp(0).along(directions): directions must be an array of numbers."),
    (lambda: mlp(0).along([1.0, 0]).along([0, 1.0]), ".along stands twice"),
    (lambda: mlp(0).steps(3), "mlp(0).steps(3): a role is a name.\n  choose from: rewarded, unrewarded"),
    (lambda: mlp(0).steps("rewarded") + mlp(1),
     'mlp(0).steps("rewarded") + mlp(1): the two have different step roles.\n'
     '  give the whole node one role, as in (... + ...).steps("rewarded"), or make two nodes'),
    (lambda: mlp(0).steps("a").steps("b"), "the site has a role already"),
    (lambda: mlp(0) + 3, "mlp(0) + 3: the second is not a site"),
    (lambda: mlp(0) + embed, 'mlp(0) + embed: the second is not a site.\n  call it, as in embed("x")'),
]  # fmt: skip


@pytest.mark.parametrize(("build", "fragment"), WRONG, ids=[fragment.splitlines()[0][:50] for _, fragment in WRONG])
def test_what_is_wrong_is_kept_until_the_check(build, fragment: str) -> None:
    with pytest.raises(HypothesisError) as error:
        build().resolve(ANATOMY)
    assert fragment in str(error.value)


def test_every_problem_of_a_site_comes_at_once() -> None:
    with pytest.raises(HypothesisError) as error:
        (embed("z") + head(5) + mlp(0).to(mlp(9)) + head(0).expect(2)).resolve(ANATOMY)
    message = str(error.value)
    assert message.startswith("4 problems in ")
    assert all(text in message for text in ('no channel "z"', "no layer 5", "no layer 9", "selects 4 places, not 2"))


def test_one_layer_and_one_head_read_well() -> None:
    with pytest.raises(HypothesisError, match=r"layers: 0$"):
        mlp(1).resolve(Anatomy(("x",), 1, 1))


def test_roles_see_what_the_token_shows() -> None:
    rewards = np.array([[0.0, 1.0, 0.0, 0.0, 1.0, 0.0]])
    history = History(
        observations=np.zeros((1, 6, 1), dtype=np.int64), actions=np.zeros((1, 6), dtype=np.int64), rewards=rewards,
        episode=np.array([[0, 0, 0, 1, 1, 1]]), channels=("x",), n_actions=2,
    )  # fmt: skip
    shown = {name: role(history)[0].astype(int).tolist() for name, role in STEP_ROLES.items()}
    assert shown == {
        "rewarded": [0, 0, 1, 0, 0, 1],
        "unrewarded": [1, 1, 0, 1, 1, 0],
        "before_reward": [1, 1, 0, 0, 0, 0],
        "after_reward": [0, 0, 1, 1, 1, 1],
        "episode_start": [1, 0, 0, 1, 0, 0],
        "last_episode": [0, 0, 0, 1, 1, 1],
    }


@pytest.mark.parametrize(
    ("hook", "advice"),
    [
        ("blocks.0.attn.hook_z", "write head(0), or head(0, 1) for one head"),
        ("blocks.1.hook_attn_out", "write head(1)"),
        ("blocks.1.attn.hook_q", "write head(1).q"),
        ("blocks.1.attn.hook_rot_k", "write head(1).k"),
        ("blocks.2.attn.hook_pattern", "write head(2).q + head(2).k"),
        ("blocks.2.mlp.hook_post", "write mlp(2)"),
        ("blocks.0.hook_mlp_out", "write mlp(0)"),
        ("blocks.2.hook_resid_pre", 'embed("x") + head(1)'),
        ("hook_embed", 'write embed("x")'),
        ("hook_embeds.reward", 'write embed("reward")'),
        ("hook_pos_embed", "write pos"),
        ("ln_final.hook_normalized", "write logits"),
    ],
)
def test_the_name_of_a_hook_is_translated(hook, advice):
    @node(at=hook)
    def wrong(history):
        return history.previous_actions

    (problem,) = wrong.problems
    assert problem.message == f"wrong() sits at {hook!r}, which is not a site."
    assert problem.advice.startswith("that is the name of a hook: ")
    assert advice in problem.advice


def test_what_is_no_hook_is_not_translated():
    @node(at="head(0)")
    def wrong(history):
        return history.previous_actions

    assert "hook" not in wrong.problems[0].advice
