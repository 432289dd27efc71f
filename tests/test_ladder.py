"""Each rung of the ladder on contexts whose answer is worked out by hand, and the source on its own lives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ad_hypotheses.errors import ConfigError, DataError
from ad_hypotheses.ladder.belief import ERROR, SAMPLES, ArmBelief, GraphBelief, best_arm, best_arm_prior, density
from ad_hypotheses.ladder.catalogue import LADDER, fitting, rungs_in_file
from ad_hypotheses.ladder.novice import PRIOR, Novice
from ad_hypotheses.ladder.places import FAR, WayPlaces
from ad_hypotheses.ladder.pull import NUMBERS, _share, fitted_strengths, nearest_training_goal
from ad_hypotheses.ladder.run import living, predict, sight_of
from ad_hypotheses.ladder.rung import Background, Context, Span
from ad_hypotheses.ladder.source import SourceLearner, source_rung
from ad_hypotheses.language.history import History
from ad_hypotheses.sources import UCB1, AnnealedExpert, DynaQ, EpsilonGreedyQ, Scripted, Source, Thompson
from ad_hypotheses.sources.variants import lived
from ad_hypotheses.tasks import BernoulliBandit, DarkRoom, GaussianBandit, GraphWorld, KeyToDoor, Task
from ad_hypotheses.tasks.edits.worlds import ExchangedActions, TwoGoals, Unpaid
from ad_hypotheses.tasks.play import play, play_expert

STAY, UP, DOWN, LEFT, RIGHT = range(5)
ROOM = DarkRoom(size=5, horizon=6)
BY_NAME = {rung.name: rung for rung in LADDER}


def background(
    task: Task = ROOM, source: Source | None = None, keep_every: int = 1, skip: int = 0, episodes: int = 4, n: int = 24
) -> Background:
    source = source or DynaQ(planning=3)
    facts = task.sample_tasks(np.random.default_rng(1), n)
    lives = lived(source, task, facts, episodes, np.random.default_rng(2), keep_every, skip)
    return Background(task, source, facts, lives, episodes, keep_every, skip)


def life(task: Task, steps: list[tuple[tuple[int, ...], int, float]], goal: tuple[int, int] = (4, 4)) -> History:
    """One history of what was seen, done and paid."""
    seen, done, paid = zip(*steps, strict=True)
    return History(
        observations=np.array([seen], dtype=np.int8).reshape(1, len(seen), len(task.channels)),
        actions=np.array([done], dtype=np.int8),
        rewards=np.array([paid], dtype=np.float32),
        episode=(np.arange(len(steps)) // task.horizon)[None].astype(np.int16),
        channels=task.channels,
        n_actions=task.n_actions,
        task={"goal": np.array([goal], dtype=np.int8)},
    )


def run(name: str, history: History, ground: Background) -> np.ndarray:
    return predict(BY_NAME[name].fit(ground), history, ground.task)[0]


def walked(moves: list[int], pays: list[int] = [], task: DarkRoom = ROOM) -> History:  # noqa: B006
    """A life of one who starts each episode in the centre, is paid at some steps, and whose last step is open."""
    steps, cell = [], np.array(task.square.centre)
    for step, move in enumerate(moves):
        cell = np.array(task.square.centre) if step % task.horizon == 0 else cell
        steps.append((tuple(cell.tolist()), move, float(step in pays)))
        cell = task.square.positions(task.square.move(task.square.cells(cell[None]), np.array([move])))[0]
    return life(task, steps)


def test_a_novice_is_what_was_done_before_the_first_pay():
    lives = walked([RIGHT, RIGHT, UP, UP, UP, UP, RIGHT, LEFT, LEFT], pays=[1])
    novice = Novice.fit(lives)
    # before the pay: right in the centre at first, and right after right
    overall = np.array([1, 1, 1, 1, 3]) / 7
    given_cell = (np.eye(5)[RIGHT] + PRIOR * overall) / (1 + PRIOR)
    given_both = (np.eye(5)[RIGHT] + PRIOR * given_cell) / (1 + PRIOR)
    assert novice.policy(np.array([[2, 2]]), np.array([-1]))[0] == pytest.approx(given_both)
    assert novice.policy(np.array([[2, 2]]), np.array([UP]))[0] == pytest.approx(given_cell)
    assert novice.policy(np.array([[0, 4]]), np.array([UP]))[0] == pytest.approx(overall)


def test_frequencies_begin_as_the_source_and_count_on():
    ground = background()
    overall = (np.bincount(ground.lives.actions.ravel(), minlength=5) + 1) / (ground.lives.actions.size + 5)
    policy = run("frequencies", walked([UP, UP, LEFT]), ground)
    assert policy[0] == pytest.approx(overall)
    assert policy[2] == pytest.approx((5 * overall + [0, 2, 0, 0, 0]) / 7)


def test_a_reflex_stays_where_it_was_paid_and_repeats_where_it_cannot_stay():
    policy = run("reflex", walked([UP, RIGHT, UP], pays=[0]), ground := background())
    assert policy[1].tolist() == np.eye(5)[STAY].tolist()
    assert policy[2] == pytest.approx(ground.novice.policy(np.array([[3, 1]]), np.array([RIGHT]))[0])
    bandit = BernoulliBandit(arms=3, horizon=4)
    pulls = life(bandit, [((), 2, 1.0), ((), 1, 0.0), ((), 0, 0.0)])
    assert run("reflex", pulls, background(bandit, Thompson(), episodes=1))[1].tolist() == [0, 0, 1]


def test_a_habit_repeats_what_was_done_in_the_cell():
    ground = background()
    moves = [UP, DOWN, LEFT, RIGHT, LEFT, RIGHT, UP]
    policy = run("habit", walked(moves), ground)
    assert policy[2].tolist() == np.eye(5)[UP].tolist()
    assert policy[4].tolist() == np.eye(5)[LEFT].tolist()
    assert policy[1] == pytest.approx(ground.novice.policy(np.array([[2, 1]]), np.array([UP]))[0])
    often = run("habit-often", walked(moves), ground)
    assert often[6] == pytest.approx([0, 1 / 3, 0, 2 / 3, 0])


def test_a_way_is_remembered_from_episodes_that_paid_only():
    ground = background()
    unpaid, paid = [UP, UP, STAY, STAY, STAY, STAY], [RIGHT, RIGHT, STAY, STAY, STAY, STAY]
    policy = run("way", walked([*unpaid, *paid, *unpaid, LEFT], pays=[7]), ground)
    assert policy[6] == pytest.approx(ground.novice.policy(np.array([[2, 2]]), np.array([STAY]))[0])
    assert policy[12].tolist() == np.eye(5)[RIGHT].tolist()
    assert policy[18].tolist() == np.eye(5)[RIGHT].tolist()
    # within the episode, what was done before the pay counts from the pay on
    back = run("way", walked([RIGHT, RIGHT, LEFT, LEFT, UP], pays=[1]), ground)
    assert back[4].tolist() == np.eye(5)[RIGHT].tolist()
    assert back[3].tolist() == np.eye(5)[RIGHT].tolist()


def test_a_gate_opens_with_the_first_pay_and_failures_do_not_close_it():
    ground = background()
    # at (3, 2) there is pay at first, and none when the agent comes back
    policy = run("gate", walked([RIGHT, LEFT, LEFT, RIGHT, RIGHT, LEFT, UP], pays=[0]), ground)
    assert policy[0] == pytest.approx(ground.novice.policy(np.array([[2, 2]]), np.array([-1]))[0])
    assert policy[1].tolist() == np.eye(5)[STAY].tolist()
    assert policy[3].tolist() == policy[6].tolist() == np.eye(5)[RIGHT].tolist()


def test_the_last_reward_of_an_episode_tells_no_cell():
    ground = background()
    policy = run("gate", walked([RIGHT] * 6 + [UP], pays=[5]), ground)
    assert policy[6] == pytest.approx(ground.novice.policy(np.array([[2, 2]]), np.array([RIGHT]))[0])


def test_where_places_pay_one_after_the_other_each_has_its_own():
    door = KeyToDoor(size=5, horizon=6, start="centre")
    ground = background(door)
    moves = [RIGHT, UP, STAY, STAY, STAY, STAY, RIGHT, RIGHT]
    policy = run("gate", walked(moves, pays=[0, 1, 6], task=door), ground)  # key at (3, 2), door at (3, 1)
    assert policy[6].tolist() == np.eye(5)[RIGHT].tolist()
    assert policy[7].tolist() == np.eye(5)[UP].tolist()
    assert policy[3] == pytest.approx(ground.novice.policy(np.array([[3, 1]]), np.array([STAY]))[0])


def test_a_library_walks_to_the_nearest_goal_that_was_trained_on():
    nearest = nearest_training_goal(ROOM, np.array([[0, 0], [4, 4]]))
    assert nearest[ROOM.square.cells(np.array([[1, 1], [3, 4], [4, 0]]))].tolist() == [0, 24, 0]
    ground = background()
    ground = Background(ROOM, ground.source, {"goal": np.array([[0, 2]], dtype=np.int8)}, ground.lives, 4)
    policy = run("library", walked([RIGHT, LEFT, UP], pays=[0]), ground)
    assert policy[1].tolist() == policy[2].tolist() == np.eye(5)[LEFT].tolist()


def test_a_strength_is_the_likeliest_share():
    # half of what a novice does is the way: seen in 80 of 100 decisions, the way alone makes 60
    assert _share(np.array([2.0] * 80 + [0.0] * 20)) == pytest.approx(0.6)


def test_counting_is_pulled_by_the_number_of_rewards_and_by_the_share_of_each_cell():
    ground = background(n=200, episodes=8)
    strengths = fitted_strengths(ground)
    assert (np.diff(strengths) >= 0).all()
    assert 0 < strengths[0] < strengths[-1] <= 1
    moves = [RIGHT, LEFT, RIGHT, LEFT, LEFT, RIGHT, STAY]
    policy = run("counting", walked(moves, pays=[0, 2, 4]), ground)[6]
    pull = strengths[np.searchsorted(NUMBERS, 3, side="right") - 1]
    way = 2 / 3 * np.eye(5)[RIGHT] + 1 / 3 * np.eye(5)[LEFT]
    novice = ground.novice.policy(np.array([[2, 2]]), np.array([RIGHT]))[0]
    assert policy == pytest.approx(pull * way + (1 - pull) * novice, abs=1e-6)


def test_a_belief_excludes_cells_that_did_not_pay_and_averages_over_the_others():
    room = DarkRoom(size=2, horizon=9)
    ground = background(room)
    # from (1, 1): up to (1, 0), which does not pay, and back to (1, 1), which does not either
    policy = run("belief", walked([UP, DOWN, LEFT], task=room), ground)
    # left are (0, 0), by up or left, and (0, 1), by left
    assert policy[2] == pytest.approx([0, 0.25, 0, 0.75, 0], abs=3 * ERROR)
    paid = run("belief", walked([UP, DOWN, LEFT], pays=[0], task=room), ground)
    assert paid[2] == pytest.approx(np.eye(5)[UP], abs=3 * ERROR)


def test_the_best_of_arms_in_closed_form():
    densities = density(BernoulliBandit(arms=2), np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]]))
    assert best_arm(densities)[0] == pytest.approx([2 / 3, 1 / 3], abs=1e-4)
    # normal posteriors of one pull that paid 2, mean 1 and variance 1/2, and of none, mean 0 and variance 1
    densities = density(GaussianBandit(arms=2), np.array([[1.0, 0.0]]), np.array([[2.0, 0.0]]))
    assert best_arm(densities)[0, 0] == pytest.approx(0.7928919, abs=1e-4)  # Phi(1 / sqrt(3 / 2))


def test_the_belief_of_an_adversarial_bandit_knows_where_the_best_arm_is_in_training():
    bandit = BernoulliBandit(arms=4, horizon=3, adversarial=True, bias=0.8)
    prior = best_arm_prior(bandit)
    assert prior == pytest.approx([0.4, 1.6, 0.4, 1.6])
    learner = ArmBelief(bandit, prior, *np.zeros((2, 1, 4)))
    pulls = life(bandit, [((), 0, 0.0)])
    assert learner.decide(sight_of(pulls, 0))[0] == pytest.approx([0.1, 0.4, 0.1, 0.4], abs=1e-3)


def test_a_belief_that_knows_a_graph_plans_as_whoever_knows_it():
    world = GraphWorld(states=5, actions=2, horizon=8)
    facts = world.sample_tasks(np.random.default_rng(0), 6)
    belief = GraphBelief(world, 6, np.random.default_rng(1))
    for row in range(6):
        drawn = belief.drawn[row]
        assert (drawn != np.arange(5)[:, None]).all()
        assert (drawn[..., 0] != drawn[..., 1]).all()
    assert belief.drawn.shape == (6, SAMPLES, 5, 2)
    assert len(np.unique(belief.drawn[0, :, 0, 0])) > 1
    belief.known[:] = facts["next"]
    belief.score[np.arange(6), facts["goal"]] = 50.0
    belief._draw(np.arange(6))
    expert = play_expert(world, facts, 1, np.random.default_rng(2))
    state = world.reset(facts)
    for step in range(8):
        assert belief.decide(sight_of(expert, step)) == pytest.approx(world.expert(state), abs=1e-6)
        _, _, state = world.step(state, expert.actions[:, step].astype(np.intp))


def test_known_ways_are_put_together_and_unknown_ones_are_not():
    world = GraphWorld(states=4, actions=2, horizon=10)
    places = WayPlaces(world, 1)
    steps = [((0,), 0, 0.0), ((1,), 1, 1.0), ((2,), 0, 0.0), ((0,), 1, 0.0), ((3,), 0, 0.0)]
    for step in range(5):
        places.update(sight_of(life(world, steps), step))
    steps_to = places.steps_to(places.last)[0]
    assert places.last.tolist() == [2]
    assert steps_to.tolist() == [[2, FAR], [FAR, 1], [3, FAR], [FAR, FAR]]
    _, number = places.latest()
    assert number.tolist() == [0]  # nothing is known from state 3 on


EXACT = [
    (ROOM, DynaQ(planning=4, epsilon_first=0.0), 1, 0),
    (ROOM, DynaQ(planning=4, epsilon_first=0.0, alpha=0.5), 3, 0),
    (ROOM, EpsilonGreedyQ(epsilon_first=0.0), 2, 4),
    (DarkRoom(size=5, horizon=6, once=True), DynaQ(planning=4, epsilon_first=0.0), 2, 0),
    (KeyToDoor(size=4, horizon=7), DynaQ(planning=4, epsilon_first=0.0), 2, 2),
    (GraphWorld(states=5, horizon=6), DynaQ(planning=4, epsilon_first=0.0, gamma=0.8), 1, 0),
]


@pytest.mark.parametrize(("task", "source", "keep_every", "skip"), EXACT)
def test_the_source_is_itself_on_its_own_lives(task, source, keep_every, skip):
    """Without random actions every action of a life is certain to the learner that lived it, hidden episodes or not."""
    ground = background(task, source, keep_every, skip, episodes=6)
    learner = SourceLearner(ground, (Span(0, task, ground.lives.task),), 24, 1, np.random.default_rng(2))
    for step in range(ground.lives.n_steps):
        policy = learner.decide(sight_of(ground.lives, step))
        assert (policy[np.arange(24), ground.lives.actions[:, step]] == 1).all()


def test_the_source_follows_a_life_in_a_world_with_other_moves():
    """What it learns of the moves is in its table, so that exchanged ones are one more world."""
    facts = {**ROOM.sample_tasks(np.random.default_rng(1), 24), "exchanged": np.tile([LEFT, RIGHT], (24, 1))}
    source, world = DynaQ(planning=4, epsilon_first=0.0), ExchangedActions(ROOM)
    lives = source.live(world, facts, 4, np.random.default_rng(2))
    learner = SourceLearner(background(source=source), (Span(0, world, facts),), 24, 1, np.random.default_rng(2))
    for step in range(lives.n_steps):
        assert (learner.decide(sight_of(lives, step))[np.arange(24), lives.actions[:, step]] == 1).all()
    expert = play_expert(world, facts, 1, np.random.default_rng(0))
    assert expert.rewards.sum(axis=1) == pytest.approx(ROOM.optimal_return(facts))


def test_states_of_a_room_with_two_goals_are_those_of_the_room():
    facts = {"goal": np.array([[0, 0]]), "second_goal": np.array([[4, 4]])}
    world = TwoGoals(ROOM)
    state = world.reset(facts, np.random.default_rng(0))
    _, _, state = world.step(state, np.array([RIGHT]), np.random.default_rng(0))
    assert world.state_index(state).tolist() == [17]


def test_a_source_that_explores_is_itself_but_for_what_it_did_at_random():
    source = DynaQ(planning=4, epsilon_first=0.4, epsilon_last=0.4)
    ground = background(source=source, keep_every=2, episodes=6)
    learner = SourceLearner(ground, (Span(0, ROOM, ground.lives.task),), 24, 1, np.random.default_rng(2))
    rows, chances = np.arange(24), []
    for step in range(ground.lives.n_steps):
        chances.append(learner.decide(sight_of(ground.lives, step))[rows, ground.lives.actions[:, step]])
    chance = np.round(np.array(chances, dtype=float), 4)
    assert set(np.unique(chance)) == {0.08, 0.68}
    assert (chance == 0.68).mean() == pytest.approx(0.68, abs=0.06)


def test_the_source_is_averaged_over_learners_that_differ():
    ground = background()
    policy = predict(source_rung(24).fit(ground), ground.lives[:2], ROOM, seed=3, rows_at_once=1)
    assert policy.sum(axis=-1) == pytest.approx(1)
    assert ((policy > 0.15) & (policy < 0.85)).any()
    assert (policy == predict(source_rung(24).fit(ground), ground.lives[:2], ROOM, seed=3, rows_at_once=1)).all()


def test_hidden_episodes_take_place_in_the_world_of_the_shown_ones():
    """Where the goal pays, learners find it in hidden episodes and go there; where nothing pays, they do not."""
    source = DynaQ(planning=30, epsilon_first=0.0)
    facts = {"goal": np.tile(np.array([[2, 1]], dtype=np.int8), (8, 1))}
    ground = background(source=source, keep_every=12, episodes=24)
    shown = play(ROOM, facts, lambda seen: np.tile(np.eye(5)[DOWN], (8, 1)), 2, np.random.default_rng(0))
    policies = [
        predict(source_rung(8).fit(ground), Context(shown, (Span(0, world, facts),)), ROOM)[:, ROOM.horizon, UP]
        for world in (ROOM, Unpaid(ROOM))
    ]
    assert policies[0].mean() > 0.9
    assert policies[1].mean() < 0.5


def test_a_source_that_knows_its_task_follows_the_noise_of_the_episode():
    ground = background(source=AnnealedExpert(), episodes=5, keep_every=2)
    policy = predict(source_rung().fit(ground), ground.lives, ROOM)
    assert policy[:, 0] == pytest.approx(np.full((24, 5), 0.2))  # wholly at random in the first episode
    last = np.take_along_axis(policy, ground.lives.actions[..., None].astype(int), axis=2)[:, -ROOM.horizon :, 0]
    assert (last > 0.4).all()  # and never in the last


@pytest.mark.parametrize("rule", ["win-stay", "ucb"])
def test_a_rule_is_asked_about_the_life_so_far(rule):
    from ad_hypotheses.sources.rules import RULES

    bandit = BernoulliBandit(arms=3, horizon=12)
    ground = background(bandit, Scripted(rule), episodes=1)
    assert predict(source_rung().fit(ground), ground.lives, bandit) == pytest.approx(
        RULES[rule].policy(ground.lives, bandit), abs=1e-6
    )


def test_ucb1_is_certain_of_all_but_ties():
    bandit = BernoulliBandit(arms=3, horizon=40)
    ground = background(bandit, UCB1(), episodes=1)
    policy = predict(source_rung().fit(ground), ground.lives, bandit)
    chance = np.take_along_axis(policy, ground.lives.actions[..., None].astype(int), axis=2)
    assert (chance > 0).all()
    assert chance[:, 6:].mean() > 0.95


def test_thompson_is_the_belief_of_a_fair_bandit():
    ground = background(BernoulliBandit(arms=3, horizon=20), Thompson(), episodes=1)
    belief, source = (predict(BY_NAME[name].fit(ground), ground.lives, ground.task) for name in ("belief", "source"))
    assert (belief == source).all()


def test_a_world_that_does_not_answer_so_is_refused():
    ground = background()
    shown = walked([RIGHT, RIGHT, UP])
    observations = shown.observations.copy()
    observations[0, 2] = [0, 0]
    torn = History(observations, shown.actions, shown.rewards, shown.episode, shown.channels, 5, shown.task)
    with pytest.raises(DataError, match="step 2 of a context shows what dark-room does not show there"):
        run("source", torn, ground)


def test_episodes_must_begin_together():
    lives = background().lives
    episode = lives.episode.copy()
    episode[0, 3:] += 1
    torn = History(lives.observations, lives.actions, lives.rewards, episode, lives.channels, 5, lives.task)
    with pytest.raises(DataError, match="episodes begin at different steps"):
        run("gate", torn, background())


def test_rungs_that_do_not_fit_say_why():
    minigrid = Background(_Blind(), DynaQ(), {}, background().lives, 4)  # type: ignore[arg-type]
    fit, reasons = fitting(minigrid)
    without_places = ["chance", "frequencies", "novice", "reflex", "habit", "habit-often", "way", "source"]
    assert [rung.name for rung in fit] == without_places
    assert reasons["gate"] == reasons["counting"] == "what its agent sees is not the state that it is in"
    assert reasons["library"] == "its training tasks are not a list of goals"


class _Blind:
    """A family whose agent does not see in which of its ten states it is."""

    name, channels, channel_sizes, deterministic, n_states = "blind", ("view",), (3,), True, 10


def test_a_rung_lives_as_it_predicts():
    ground = background()
    begin = BY_NAME["gate"].fit(ground)
    past = ground.lives.window(stop=2 * ROOM.horizon)
    learner = begin((), 24, np.random.default_rng(0))
    whole = play(ROOM, ground.lives.task, living(learner), 4, np.random.default_rng(1), past=past)
    chance = np.take_along_axis(predict(begin, whole, ROOM), whole.actions[..., None].astype(int), axis=2)
    assert (chance[:, past.n_steps :] > 0).all()


OWN = """
import numpy as np
from ad_hypotheses.ladder.rung import Rung

class Always:
    def __init__(self, n_rows, n_actions):
        self.policy = np.tile(np.eye(n_actions)[0], (n_rows, 1))
    def decide(self, sight):
        return self.policy

def fit(background):
    return lambda spans, n_rows, rng: Always(n_rows, background.task.n_actions)

RUNGS = [Rung("always", 9, "does the first action", "everything", fit)]
"""


def test_a_rung_in_a_file_of_the_users_own(tmp_path: Path):
    (tmp_path / "mine.py").write_text(OWN, encoding="utf-8")
    (rung,) = rungs_in_file(tmp_path / "mine.py")
    ground = background()
    assert (predict(rung.fit(ground), ground.lives, ROOM)[..., 0] == 1).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the file of rungs"),
        ("RUNGS = [", "fails in line 1: SyntaxError"),
        ("raise SystemExit", "fails: SystemExit"),
        ("RUNGS = []", "must define RUNGS, a list of rungs, but it is"),
        ("RUNG = 1", "must define RUNGS, a list of rungs, but it is None"),
        (OWN.replace('"always"', '"gate"'), "a rung is called 'gate', and so is another one"),
    ],
)
def test_files_of_rungs_that_cannot_be_used(tmp_path: Path, content, message):
    if content is not None:
        (tmp_path / "mine.py").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        rungs_in_file(tmp_path / "mine.py")
