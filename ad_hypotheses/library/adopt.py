"""A transformer that others trained, as a model of this house: the same numbers under our names, and proven so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args

import torch
from torch import Tensor, nn

from ad_hypotheses.distill.checkpoint import Checkpoint, build, versions
from ad_hypotheses.distill.config import Config, check_config, read_config
from ad_hypotheses.distill.finite import require_finite_weights
from ad_hypotheses.distill.foreign.proof import Call, require_equal_logits, require_recorded_logits
from ad_hypotheses.distill.foreign.weights import ForeignWeights, Rotary, has_mlps, house_weights, learned_positions
from ad_hypotheses.distill.sections import Size
from ad_hypotheses.distill.shape import Activation
from ad_hypotheses.errors import CheckpointError, UserError
from ad_hypotheses.language.history import History
from ad_hypotheses.library.model import Model

HEADS = ("n_head", "n_heads", "num_heads", "num_attention_heads")
ACTIVATIONS = ("activation_function", "hidden_act")
SAME = {"gelu_pytorch_tanh": "gelu_new", "gelu_tanh": "gelu_new"}
ROWS = 8  # histories of the source that both models read, and as many of random tokens


def adopt(
    weights: nn.Module | Mapping[str, Tensor],
    config: Config | Mapping[str, Any] | str | Path,
    embeddings: Mapping[str, str | Tensor],
    *,
    n_heads: int | None = None,
    activation: Activation | None = None,
    eps: float | None = None,
    rotary: Rotary | None = None,
    unembed: str | None = None,
    call: Call = lambda module, tokens: module(tokens),
    recorded: tuple[History | Tensor, Tensor] | None = None,
    name: str = "adopted",
) -> Model:
    """Make a model of a transformer that others trained, and prove that it computes the same logits.

    It reads one token a step, the sum of an embedding for each thing that is seen, of the previous action and of the
    previous reward, and layers like those of GPT-2, with their layer norms first. Its weights are found by their usual
    names (Hugging Face's GPT-2, nanoGPT, minGPT, `torch.nn.TransformerEncoder`).

    Args:
        weights: The module, or its state dict.
        config: The task that it was trained on, its source and the length of its histories, as for :func:`train`; the
            size of the model is read off the weights.
        embeddings: For each part of a token (`"x"`, `"y"`, `"action"`, `"reward"` in Dark Room) the name of its
            embeddings among the weights, or these, [value, d_model]. Values ascend; actions begin with "none yet".
        n_heads: Heads of every layer; None to ask the module.
        activation: Of the MLPs; None to ask the module, else `"gelu"`.
        eps: Of the layer norms; None to ask the module, else 1e-5.
        rotary: Which coordinates rotary positions turn together: `"neighbours"` (0 with 1) or `"halves"` (0 with half
            of the width, as Llama). None where positions are learned, or where there are none.
        unembed: Name of the module that returns the logits, where it is none of the usual.
        call: Runs the module on tokens [row, step, channel] in the order of `embeddings` of the task, and returns
            logits [row, step, action].
        recorded: Histories or tokens, and the logits that the transformer returned for them, where there is only a
            state dict.
        name: What to call the model.

    Returns:
        A model like any other. What was compared is in `record["adopted"]`; `model.save(folder)` keeps it.

    Raises:
        CheckpointError: Weights are missing or of another layout, or the logits differ by more than 1e-5 of the
            largest; says which layer is the first to differ.
        ConfigError: The configuration is wrong.

    Example:
        >>> import ad_hypotheses as adh
        >>> theirs = torch.load("my-model.pt")  # doctest: +SKIP
        >>> tables = {"state": "embed_state.weight", "action": "embed_a.weight", "reward": "embed_r.weight"}
        >>> model = adh.adopt(theirs, "graph-world.yaml", tables, n_heads=4)  # doctest: +SKIP
    """
    module = weights if isinstance(weights, nn.Module) else None
    tensors = dict(module.state_dict() if module is not None else cast("Mapping[str, Tensor]", weights))
    if module is None and recorded is None:
        raise UserError(
            "a state dict does not say what it computes: give the module itself, or `recorded`, tokens and the "
            "logits that it returned for them."
        )
    source = ForeignWeights.of(_with_unembedding(tensors, unembed))
    kind = activation or _activation(module)
    heads = n_heads or _setting(module, HEADS)
    if not isinstance(heads, int):
        raise UserError("weights do not say how many heads there are: give `n_heads`.")
    learner = _resized(_read(config), source, heads, kind, eps or _eps(module), rotary)
    model = build(learner)
    _require_all(embeddings, model.vocabulary.channels)
    tables = {
        channel: source.table(channel, embeddings[channel], size)
        for channel, size in zip(model.vocabulary.channels, model.vocabulary.sizes, strict=True)
    }
    _fill(model, house_weights(source, tables, heads, model.shape.n_ctx, rotary))
    folder, n_parameters = Path(name), sum(weight.numel() for weight in model.parameters())
    record = {"parameters": n_parameters, "context": model.shape.n_ctx, "versions": versions()}
    adopted = Model(Checkpoint(name, folder, learner, model.eval(), record))
    if recorded is not None:
        tokens = recorded[0] if isinstance(recorded[0], Tensor) else model.to_tokens(recorded[0])
        apart = require_recorded_logits(model, tokens, recorded[1])
        n_tokens = tokens.shape[0] * tokens.shape[1]
    else:
        assert module is not None
        batches = _tokens(adopted)
        apart = require_equal_logits(model, module, call, source.stack, batches)
        n_tokens = sum(batch.shape[0] * batch.shape[1] for batch in batches)
    record["adopted"] = {"from": type(weights).__name__, "largest_difference": apart, "tokens": n_tokens}
    return adopted


def _read(config: Config | Mapping[str, Any] | str | Path) -> Config:
    if isinstance(config, Config):
        return config
    return read_config(Path(config)) if isinstance(config, str | Path) else check_config(dict(config), "`config`")


def _resized(
    config: Config, source: ForeignWeights, n_heads: int, activation: Activation, eps: float, rotary: Rotary | None
) -> Config:
    """Return the configuration with the size that the weights have."""
    place = f"{source.stack}.0"
    (d_model,) = source.need(place, "ln1")[0].shape
    if d_model % n_heads:
        raise CheckpointError(f"{n_heads} heads (`n_heads`) do not go into layers of width {d_model}.")
    size = Size(
        n_layers=source.n_layers,
        n_heads=n_heads,
        d_model=d_model,
        d_mlp=source.matrix(place, "mlp in")[0].shape[1] if has_mlps(source) else None,
        attention_only=not has_mlps(source),
        positions="rotary" if rotary else "none" if learned_positions(source) is None else "learned",
        activation=activation,
        eps=eps,
    )
    return check_config({**config.model_dump(), "model": size.model_dump()}, "`config`")


def _with_unembedding(tensors: dict[str, Tensor], unembed: str | None) -> dict[str, Tensor]:
    """Return the weights with those that make the logits under the first of the known names."""
    if unembed is None:
        return tensors
    if f"{unembed}.weight" not in tensors:
        raise CheckpointError(f"the checkpoint has no weights {unembed}.weight (`unembed`).")
    named = {f"lm_head.{part}": tensors.pop(f"{unembed}.{part}", None) for part in ("weight", "bias")}
    others = {key: tensor for key, tensor in tensors.items() if key not in named}
    return others | {key: tensor for key, tensor in named.items() if tensor is not None}


def _require_all(embeddings: Mapping[str, str | Tensor], channels: tuple[str, ...]) -> None:
    if set(embeddings) != set(channels):
        raise UserError(
            f"`embeddings` must name the tables of {', '.join(channels)}, but they name {', '.join(embeddings)}."
        )


def _fill(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put weights into a model.

    Raises:
        CheckpointError: Some are of another shape.
    """
    shapes = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    wrong = [
        f"\n  {key}: {list(weights[key].shape) if key in weights else 'none'} there, {shape} here"
        for key, shape in shapes.items()
        if key not in weights or list(weights[key].shape) != shape
    ]
    if wrong:
        raise CheckpointError(f"the weights do not fit the task and the size that was read off them:{''.join(wrong)}")
    require_finite_weights(weights, "the checkpoint, by the names of this house,")
    model.load_state_dict(dict(weights))


def _setting(module: nn.Module | None, names: tuple[str, ...]) -> Any:
    """Return what a module, one in it, or the configuration of one says under the first of some names."""
    inner = [] if module is None else list(module.modules())
    places = [place for each in inner for place in (each, getattr(each, "config", None)) if place is not None]
    values = (getattr(place, name, None) for place in places for name in names)
    return next((value for value in values if isinstance(value, int | str)), None)


def _activation(module: nn.Module | None) -> Activation:
    stated = _setting(module, ACTIVATIONS) or "gelu"
    stated = SAME.get(stated, stated)
    if stated not in get_args(Activation):
        raise CheckpointError(f"MLPs with the activation {stated!r} are not known: {', '.join(get_args(Activation))}.")
    return cast("Activation", stated)


def _eps(module: nn.Module | None) -> float:
    norms = [] if module is None else [each for each in module.modules() if isinstance(each, nn.LayerNorm)]
    return norms[0].eps if norms else 1e-5


def _tokens(model: Model) -> list[Tensor]:
    """Return what both models read: histories of the source, and tokens in which every value occurs at any step."""
    sizes = torch.tensor(model.vocabulary.sizes)
    drawn = torch.rand(ROWS, model.shape.n_ctx, len(sizes), generator=torch.Generator().manual_seed(0))
    batches = [(drawn * sizes).long()]
    if getattr(model.config.experiment.source, "can_live", True):
        batches.append(model.to_tokens(model.histories(ROWS, tasks="all"))[:, : model.shape.n_ctx])
    return batches
