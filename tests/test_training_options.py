"""What a training can be asked for: masked tokens, cropped histories, batches in parts, several processes, ..."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from listener import Updates
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ad_hypotheses.distill import train as training
from ad_hypotheses.distill.checkpoint import build
from ad_hypotheses.distill.config import Config, check_config
from ad_hypotheses.distill.optimisers import make_optimiser, orthogonalised
from ad_hypotheses.distill.parallel import Ranks
from ad_hypotheses.distill.train import HISTORIES, STATE, train, training_histories
from ad_hypotheses.distill.updates import Batch, Sampler, accumulate, compiled, update
from ad_hypotheses.errors import ConfigError, UserError
from ad_hypotheses.storage.checked import CHECKSUM

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
ROOT = Path(__file__).resolve().parent.parent
EVERYTHING = {"crop": 2, "token_mask": 0.3, "accumulate": 2}


def content(dropout: float = 0.1, **changes) -> dict:
    """A dark room of 9 goals; histories have 4 episodes of 4 steps."""
    plan = {"updates": 6, "batch": 4, "warmup": 2, "evaluate_every": 4, "save_every": 2, **changes}
    return {
        "task": {"name": "dark-room", "size": 3, "horizon": 4},
        "source": {"name": "epsilon-greedy-q"},
        "histories": {"held_out": 2, "learners": 14, "episodes": 8, "keep_every": 2, "check": False},
        "model": {"n_layers": 1, "n_heads": 2, "d_model": 8, "dropout": dropout},
        "training": plan,
    }


def tiny(dropout: float = 0.1, **changes) -> Config:
    return check_config(content(dropout, **changes), "a test")


def weights(model) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.state_dict().items()}


def farthest(one, other) -> float:
    """Largest difference of weights, but for the biases of keys: they change no pattern, so Adam follows rounding."""
    return max(float((one[name] - other[name]).abs().max()) for name in one if not name.endswith("b_K"))


@pytest.fixture(scope="module")
def histories(tmp_path_factory):
    return training_histories(tiny(), tmp_path_factory.mktemp("made") / HISTORIES, lambda done, total: None)


def sampler(histories, config: Config, ranks: Ranks = Ranks()) -> Sampler:  # noqa: B008
    return Sampler(histories, build(config).vocabulary, config.training, config.experiment.task, ranks)


def command_line(folder: Path, config: dict, *launcher: str, **options) -> subprocess.Popen:
    """Train in other processes, into `folder/out`."""
    (folder / "one.yaml").write_text(yaml.safe_dump(config))
    words = [sys.executable, *launcher, str(ROOT / "cli.py"), "train", "one.yaml", "--out", "out"]
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, cwd=folder, env=environment, **pipes, **options)


# an interruption leaves no trace


@pytest.mark.parametrize(("number", "optimiser"), [(1, "adamw"), (4, "adamw"), (5, "adamw"), (1, "muon"), (4, "muon")])
@pytest.mark.default_cases(2)
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path, number, optimiser):
    config = tiny(**EVERYTHING, optimiser=optimiser)
    whole, record = train(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "parts", progress=Updates(stop_after=number))
    model, again = train(config, tmp_path / "parts")
    assert all(torch.equal(one, other) for one, other in zip(whole.parameters(), model.parameters(), strict=True))
    assert [line["loss"] for line in again["metrics"]] == [line["loss"] for line in record["metrics"]]


def test_a_state_from_before_the_options_existed_is_gone_on_with(tmp_path):
    model, _ = train(tiny(), tmp_path)
    with safe_open(tmp_path / STATE, framework="pt") as file:
        metadata = file.metadata()
    del metadata[CHECKSUM]  # nor had states checksums then
    run = json.loads(metadata["run"])
    for key in ("crop", "token_mask", "accumulate", "precision", "compile"):
        del run["config"]["training"][key]
    save_file(load_file(tmp_path / STATE), tmp_path / STATE, metadata | {"run": json.dumps(run)})
    again, record = train(tiny(), tmp_path)
    assert record["updates"] == 6
    assert farthest(weights(model), weights(again)) == 0


# token_mask


def test_a_masked_part_adds_nothing(histories):
    config = tiny(dropout=0.0)
    model, batch = build(config), sampler(histories, config).draw(0)
    every = torch.ones(batch.tokens.shape, dtype=torch.bool)
    torch.testing.assert_close(model(batch.tokens, unmasked=every), model(batch.tokens))
    kept = every.clone()
    kept[:, 2, 1] = kept[0, 5] = False
    before = model(batch.tokens)
    masked = model(batch.tokens, unmasked=kept)
    torch.testing.assert_close(masked[:, :2], before[:, :2])
    assert not torch.allclose(masked[:, 2:], before[:, 2:])
    with torch.no_grad():
        model.embed["reward"].zero_()
    kept = every.clone()
    kept[..., -1] = False
    torch.testing.assert_close(model(batch.tokens, unmasked=kept), model(batch.tokens))


def test_parts_are_masked_apart_from_each_other_and_anew_in_every_update(histories):
    source = sampler(histories, tiny(token_mask=0.3, batch=64))
    one, again, other = source.draw(3), source.draw(3), source.draw(4)
    assert one.kept.shape == one.tokens.shape == (64, 16, 4)
    assert torch.equal(one.kept, again.kept)
    assert not torch.equal(one.kept, other.kept)
    assert float(one.kept.float().mean()) == pytest.approx(0.7, abs=0.03)
    together = (one.kept[..., 0] & one.kept[..., 3]).float().mean()
    assert float(together) == pytest.approx(0.49, abs=0.06)
    assert sampler(histories, tiny()).draw(3).kept is None


def test_masking_changes_what_is_learned_and_nothing_that_is_drawn_before(tmp_path, histories):
    plain, masked = (sampler(histories, tiny(token_mask=share)).draw(2) for share in (0.0, 0.5))
    assert torch.equal(plain.tokens, masked.tokens)
    models = [train(tiny(token_mask=share), tmp_path / str(share))[0] for share in (0.0, 0.5)]
    assert farthest(*map(weights, models)) > 1e-4


# crop


def test_samples_are_cut_at_episodes(histories):
    config = tiny(crop=3, batch=64)
    batch = sampler(histories, config).draw(0)
    assert batch.tokens.shape == (64, 12, 4)
    assert build(config).shape.n_ctx == 12
    # in a new context nothing was done or paid yet, and every episode begins at the start, whose observation is one
    assert (batch.tokens[:, 0, 2:] == 0).all()
    assert (batch.tokens[:, ::4, :2] == batch.tokens[0, 0, :2]).all()
    rows = np.random.default_rng([0, 0])
    rows.integers(2**62)
    chosen = rows.integers(histories.n_histories, size=64)
    lived = torch.from_numpy(histories.rows(chosen).actions.astype(np.int64))
    matches = np.array(
        [[torch.equal(batch.actions[row], lived[row, first : first + 12]) for first in (0, 4)] for row in range(64)]
    )
    assert matches.any(axis=1).all()
    assert (matches.sum(axis=0) > 16).all()


def test_evaluations_during_training_play_as_many_episodes_as_the_context_holds(tmp_path, monkeypatch):
    played = []
    rollout = training.rollout

    def spy(model, task, facts, episodes, *rest):
        played.append(episodes)
        return rollout(model, task, facts, episodes, *rest)

    monkeypatch.setattr(training, "rollout", spy)
    train(tiny(crop=3), tmp_path)
    assert set(played) == {3}


# accumulate


@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_is_one_update(histories, parts):
    after = []
    for config in (tiny(dropout=0.0, token_mask=0.2), tiny(dropout=0.0, token_mask=0.2, accumulate=parts)):
        model = build(config).double()  # where rounding is too small for Adam to blow it up
        optimiser, source = make_optimiser(model, config.training), sampler(histories, config)
        losses = [update(model, optimiser, model, source.draw(n), config.training, Ranks())[0] for n in range(5)]
        after.append((weights(model), losses))
    assert farthest(after[0][0], after[1][0]) < 1e-9
    assert after[0][1] == pytest.approx(after[1][1], abs=1e-12)


def test_a_training_in_parts_is_the_training(tmp_path):
    models = [train(tiny(dropout=0.0, accumulate=parts), tmp_path / str(parts))[0] for parts in (1, 2)]
    assert farthest(*map(weights, models)) < 1e-6


# muon


@pytest.mark.parametrize("shape", [(16, 64), (64, 16), (4, 64, 16)])
def test_what_muon_moves_along_is_nearly_orthogonal(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    found = orthogonalised(matrices)
    along = u.mT @ found @ v.mT  # diagonal exactly where the singular vectors are those of the matrices
    sizes = along.diagonal(dim1=-2, dim2=-1)
    assert (along - torch.diag_embed(sizes)).abs().max() < 1e-4
    assert 0.6 < sizes.min() <= sizes.max() < 1.3


def test_muon_moves_matrices_of_layers_and_leaves_the_rest_to_adamw(histories):
    moved = {}
    for optimiser in ("adamw", "muon"):
        config = tiny(dropout=0.0, optimiser=optimiser, warmup=0, weight_decay=0.0)
        model = build(config).double()
        before = weights(model)
        before = {name: weight.clone() for name, weight in before.items()}
        made, source = make_optimiser(model, config.training), sampler(histories, config)
        update(model, made, model, source.draw(0), config.training, Ranks())
        moved[optimiser] = {name: weight - before[name] for name, weight in weights(model).items()}
    inside = {name for name in moved["muon"] if name.startswith("blocks.") and ".W_" in name}
    for name, change in moved["muon"].items():
        same = torch.allclose(change, moved["adamw"][name], atol=1e-9)
        assert same == (name not in inside), name
    for name in inside:
        size = moved["muon"][name].square().mean().sqrt() / (3 * config.training.learning_rate)
        assert 0.04 < size < 0.3, (name, size)  # less where the gradient has not the full rank


# precision, compile, batches ahead


def test_half_precision_is_for_activations_alone(tmp_path, histories):
    config = tiny(dropout=0.0, precision="bfloat16")
    model, batch, seen = build(config), sampler(histories, config).draw(0), []
    model.blocks[0].mlp.register_forward_hook(lambda mlp, x, y: seen.append(y.dtype))
    exact = accumulate(model, model, batch, tiny(dropout=0.0).training)
    rounded = accumulate(model, model, batch, config.training)
    assert seen == [torch.float32, torch.bfloat16]
    assert float(rounded) != float(exact)
    assert float(rounded) == pytest.approx(float(exact), abs=0.02)
    trained, _ = train(config, tmp_path)
    state = load_file(tmp_path / STATE)
    assert {tensor.dtype for tensor in (*trained.parameters(), *state.values())} == {torch.float32}


def test_a_compiler_that_fails_is_the_users_to_mend(tmp_path, monkeypatch):
    def broken(model, **options):
        def forward(*args, **kwargs):
            raise RuntimeError("\nfound no C++ compiler\n  in 3 places")

        return forward

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(
        UserError, match=r"cannot compile .*on cpu \(training.compile: true\): found no C\+\+ compiler\n"
    ):
        train(tiny(compile=True), tmp_path)


def test_trying_the_compiler_leaves_no_gradient(histories, monkeypatch):
    config = tiny(compile=True)
    model = build(config)
    monkeypatch.setattr(torch, "compile", lambda model, **options: model)
    assert compiled(model, sampler(histories, config).draw(0), config.training) is model
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.slow
def test_a_compiled_training_is_the_training(tmp_path):
    plain, compiled = (content(dropout=0.0, compile=on, **EVERYTHING) for on in (False, True))
    with command_line(tmp_path, compiled) as process:  # the compiler cannot read what checks types under pytest
        said = "".join(process.communicate())
    assert process.returncode == 0, said
    model, _ = train(check_config(plain, "a test"), tmp_path / "plain")
    assert farthest(weights(model), load_file(tmp_path / "out" / "weights.safetensors")) < 1e-5


@pytest.mark.parametrize(("first", "stop"), [(0, 4), (2, 3), (3, 3)])
def test_batches_made_ahead_are_the_same_batches(histories, monkeypatch, first, stop):
    monkeypatch.setattr(Batch, "pinned", lambda batch: batch)
    source = sampler(histories, tiny(**EVERYTHING))
    ahead = list(source.batches(first, stop, torch.device("cuda")))
    assert len(ahead) == stop - first
    for batch, wanted in zip(ahead, map(source.draw, range(first, stop)), strict=True):
        assert torch.equal(batch.tokens, wanted.tokens)
        assert torch.equal(batch.kept, wanted.kept)
        assert batch.seed == wanted.seed


# several processes


@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "everything"])
def test_shares_of_a_batch_make_the_batch(histories, options):
    config = tiny(dropout=0.0, batch=8, **options)
    whole = sampler(histories, config).draw(1)
    shares = [sampler(histories, config, Ranks(number, 2)).draw(1) for number in (0, 1)]
    gradients = []
    for batches in ([whole], shares):
        model = build(config).double()
        for batch in batches:
            accumulate(model, model, batch, config.training)
        gradients.append({name: weight.grad / len(batches) for name, weight in model.named_parameters()})
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)
    assert torch.equal(torch.cat([batch.tokens for batch in shares]), whole.tokens)


def test_one_process_is_not_asked_to_gather(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    ranks = Ranks.from_environment()
    assert ranks == Ranks()
    assert ranks.first
    assert ranks.device("cuda:3") == "cuda:3"
    assert ranks.in_turn(lambda: 7) == 7


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    for name, value in {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    ranks = Ranks.from_environment()
    assert (ranks.first, ranks.device("cuda"), ranks.device("cpu")) == (False, "cuda:3", "cpu")
    with pytest.raises(UserError, match="4 processes train on `device='cuda'`, a GPU each, or cpu, but not on cuda:1"):
        ranks.device("cuda:1")


def test_processes_that_cannot_train_together_are_told_so(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match=r"'3'.*'RANK'.*torchrun --nproc-per-node N, or unset WORLD_SIZE"):
        train(tiny(), tmp_path)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(
        ConfigError, match=r"(?s)training.batch: 4 cannot be shared out evenly among 3 .* multiple of 3,"
    ):
        train(tiny(), tmp_path)
    with pytest.raises(ConfigError, match=r"3 processes, each in accumulate = 2 parts.\n  Make it a multiple of 6,"):
        train(tiny(accumulate=2), tmp_path)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(UserError, match=r"the 3 processes do not find each other: .*MASTER_ADDR"):
        train(tiny(batch=3), tmp_path)


@pytest.mark.slow
def test_two_processes_train_the_model_that_one_trains(tmp_path):
    config = content(dropout=0.0, **EVERYTHING)
    with command_line(tmp_path, config, *TORCHRUN) as process:
        said = "".join(process.communicate())
    assert process.returncode == 0, said
    assert said.count("training out:") == said.count("kept in out") == 1
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["processes"] == 2
    assert record["command"].startswith("torchrun --nproc-per-node 2 cli.py train one.yaml")
    alone, alone_record = train(check_config(config, "a test"), tmp_path / "alone")
    assert farthest(weights(alone), load_file(tmp_path / "out" / "weights.safetensors")) < 1e-6
    losses = [[line["loss"] for line in one["metrics"]] for one in (record, alone_record)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.slow
def test_two_processes_stop_together_at_ctrl_c(tmp_path):
    config = content(dropout=0.0, **EVERYTHING)
    config["training"] |= {"updates": 3000, "evaluate_every": 20, "save_every": 100_000}
    with command_line(tmp_path, config, *TORCHRUN, start_new_session=True) as process:
        for line in process.stderr:
            if line.startswith("update 20:"):
                os.killpg(process.pid, signal.SIGINT)
                break
        said = process.stderr.read()
    assert said.count("stopped after update") == 1
    stopped = int(said.split("stopped after update ")[1].split()[0].replace(",", ""))
    with safe_open(tmp_path / "out" / "training" / STATE, framework="pt") as file:
        assert json.loads(file.metadata()["run"])["update"] == stopped


# the configuration


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"updates": 1.5}, "training.updates: input should be a valid integer, but it is 1.5"),
        ({"batch": "24"}, "training.batch: input should be a valid integer, but it is '24'"),
        ({"batch": True}, "training.batch: input should be a valid integer, but it is True"),
        ({"batch": None}, "training.batch: input should be a valid integer, but it is None"),
        ({"compile": "maybe"}, "training.compile: input should be a valid boolean, but it is 'maybe'"),
        ({"compile": 1}, "training.compile: input should be a valid boolean, but it is 1"),
        ({"precision": "fp16"}, "training.precision: input should be 'float32' or 'bfloat16', but it is 'fp16'"),
        ({"token_mask": 1}, "training.token_mask: input should be less than 1, but it is 1"),
        ({"token_mask": -0.1}, "training.token_mask: input should be greater than or equal to 0, but it is -0.1"),
        ({"token_mask": True}, "training.token_mask: input should be a valid number, but it is True"),
        ({"learning_rate": "fast"}, "training.learning_rate: input should be a valid number, but it is 'fast'"),
        ({"learning_rate": float("inf")}, "training.learning_rate: input should be a finite number, but it is inf"),
        ({"weight_decay": "nan"}, "training.weight_decay: input should be"),
        ({"crop": 0}, "training.crop: input should be greater than or equal to 1, but it is 0"),
        ({"crop": 5}, "training.crop: 5 is more than the 4 episodes of a history"),
        ({"accumulate": 3}, "training.batch: 4 is not a multiple of accumulate = 3"),
        ({"acumulate": 3}, "training.acumulate: no such key. Did you mean 'accumulate'?"),
    ],
    ids=str,
)
def test_a_mistake_is_said_before_anything_runs(changes, message):
    with pytest.raises(ConfigError) as caught:
        tiny(**changes)
    assert f"\n  {message}" in str(caught.value)


def test_numbers_are_read_as_people_write_them(tmp_path):
    text = "{learning_rate: 2e-3, weight_decay: 1, token_mask: 0.25, compile: yes, crop: 2, clip: .inf}"
    plan = check_config(content() | {"training": yaml.safe_load(text)}, "a test").training
    assert (plan.learning_rate, plan.weight_decay, plan.token_mask, plan.crop) == (0.002, 1.0, 0.25, 2)
    assert plan.compile is True
    assert plan.clip == float("inf")


def test_a_context_is_as_long_as_a_sample():
    assert (tiny().context_episodes, tiny(crop=3).context_episodes, tiny(crop=3).kept_episodes) == (4, 3, 4)
