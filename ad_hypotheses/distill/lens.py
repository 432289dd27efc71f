"""What a transformer needs for TransformerLens's own recipes to be right on it: its names, its weights, its cache.

This is the only module that imports transformer_lens, which takes longer to load than torch: the engines compute with
the plain :class:`ADTransformer`, and do not import it. Tokens are what the model reads, but what it predicts are
actions: where TransformerLens's helpers ask for the token whose logit is meant, give the number of an action.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens import ActivationCache, FactoredMatrix, HookedRootModule
from transformer_lens.config import TransformerLensConfig
from transformer_lens.hook_points import HookPoint

from ad_hypotheses.distill.model import ADTransformer, Point
from ad_hypotheses.distill.shape import Shape
from ad_hypotheses.distill.tokens import Vocabulary
from ad_hypotheses.errors import UserError
from ad_hypotheses.language.history import History


class LensPoint(Point, HookPoint):
    """A place that TransformerLens's hooks can be put at."""


class Cache(ActivationCache):
    """TransformerLens's cache of all activations, whose helpers refuse a layer norm that they would apply in part.

    Those that scale parts of the residual stream as a layer norm does (`apply_ln_to_stack`, `logit_attrs`, and
    `apply_ln=True` elsewhere) leave its gain and bias out. That is right where both are in the weights behind it, as
    in `model.folded()`; elsewhere what they return does not sum to the logits.
    """

    def apply_ln_to_stack(
        self,
        residual_stack: Tensor,
        layer: int | None = None,
        mlp_input: bool = False,
        pos_slice: Any = None,
        batch_slice: Any = None,
        has_batch_dim: bool = True,
        recompute_ln: bool = False,
    ) -> Tensor:
        """Scale parts of the residual stream as the layer norm that reads it does. [part, ..., d_model]

        Arguments are TransformerLens's. Without a layer norm nothing is scaled.

        Raises:
            UserError: That layer norm has a gain or a bias.
        """
        # before the logits, recompute_ln applies the layer norm itself to each part, gain and all
        if not (recompute_ln and self._is_final(layer)):
            self._refuse_gain(layer, mlp_input)
        return super().apply_ln_to_stack(
            residual_stack, layer, mlp_input, pos_slice, batch_slice, has_batch_dim, recompute_ln
        )

    def stack_neuron_results(
        self,
        layer: int,
        pos_slice: Any = None,
        neuron_slice: Any = None,
        return_labels: bool = False,
        incl_remainder: bool = False,
        apply_ln: bool = False,
        project_output_onto: Tensor | None = None,
        mlp_input: bool = False,
    ) -> Any:
        """Stack what every neuron writes before `layer`. [neuron, ..., d_model]

        Arguments are TransformerLens's, which scales what it projects in a way of its own. Without a layer norm nothing
        is scaled.

        Raises:
            UserError: `apply_ln` is asked for, and that layer norm has a gain or a bias.
        """
        if apply_ln:
            self._refuse_gain(layer, mlp_input)
        return super().stack_neuron_results(
            layer,
            pos_slice,
            neuron_slice,
            return_labels,
            incl_remainder,
            apply_ln and self.model.cfg.normalization_type is not None,
            project_output_onto,
            mlp_input,
        )

    def _is_final(self, layer: int | None) -> bool:
        return layer in (None, -1, self.model.cfg.n_layers)

    def _refuse_gain(self, layer: int | None, mlp_input: bool) -> None:
        name = "ln_final" if self._is_final(layer) else f"blocks.{layer}.ln{2 if mlp_input else 1}"
        norm = cast("LensModel", self.model).get_submodule(name)
        if norm.has_gain:
            raise UserError(
                f"{name} has a gain or a bias, which apply_ln, apply_ln_to_stack and logit_attrs leave out, so that "
                "attributions would be wrong. Use an exact copy of the model that has them in its weights: "
                "model = model.folded(); logits, cache = model.run_with_cache(history)."
            )


class LensModel(HookedRootModule):
    """What TransformerLens's cache, patching and tools ask of a model, besides its hooks.

    Weights are as they stand; in those of `folded()` the gains of the layer norms before them are included.
    """

    vocabulary: Vocabulary
    shape: Shape
    blocks: nn.ModuleList
    W_U: nn.Parameter

    @property
    def W_Q(self) -> Float[Tensor, "layer head d_model d_head"]:
        """Weights of the queries of all layers."""
        return self._stacked("attn.W_Q")

    @property
    def W_K(self) -> Float[Tensor, "layer head d_model d_head"]:
        """Weights of the keys of all layers."""
        return self._stacked("attn.W_K")

    @property
    def W_V(self) -> Float[Tensor, "layer head d_model d_head"]:
        """Weights of the values of all layers."""
        return self._stacked("attn.W_V")

    @property
    def W_O(self) -> Float[Tensor, "layer head d_head d_model"]:
        """Weights with which the heads of all layers write."""
        return self._stacked("attn.W_O")

    @property
    def W_in(self) -> Float[Tensor, "layer d_model d_mlp"]:
        """Weights with which the MLPs of all layers read.

        Raises:
            UserError: There are no MLPs.
        """
        return self._stacked("mlp.W_in")

    @property
    def W_out(self) -> Float[Tensor, "layer d_mlp d_model"]:
        """Weights with which the MLPs of all layers write.

        Raises:
            UserError: There are no MLPs.
        """
        return self._stacked("mlp.W_out")

    @property
    def QK(self) -> FactoredMatrix:
        """What attends to what, `W_Q W_K^T` [layer, head, d_model, d_model]; of rotary heads, at the same step."""
        return FactoredMatrix(self.W_Q, self.W_K.transpose(-2, -1))

    @property
    def OV(self) -> FactoredMatrix:
        """What is written where something is attended to, `W_V W_O` [layer, head, d_model, d_model]."""
        return FactoredMatrix(self.W_V, self.W_O)

    @property
    def W_E(self) -> Float[Tensor, "token d_model"]:
        """Embeddings of all parts of the tokens, channel below channel in the order of `vocabulary.channels`."""
        return torch.cat([self.get_parameter(f"embed.{name}") for name in self.vocabulary.channels])

    @property
    def b_Q(self) -> Float[Tensor, "layer head d_head"]:
        """Biases of the queries of all layers."""
        return self._stacked("attn.b_Q")

    @property
    def b_K(self) -> Float[Tensor, "layer head d_head"]:
        """Biases of the keys of all layers."""
        return self._stacked("attn.b_K")

    @property
    def b_V(self) -> Float[Tensor, "layer head d_head"]:
        """Biases of the values of all layers."""
        return self._stacked("attn.b_V")

    @property
    def b_O(self) -> Float[Tensor, "layer d_model"]:
        """Biases that the attention of all layers writes."""
        return self._stacked("attn.b_O")

    @property
    def b_in(self) -> Float[Tensor, "layer d_mlp"]:
        """Biases with which the MLPs of all layers read.

        Raises:
            UserError: There are no MLPs.
        """
        return self._stacked("mlp.b_in")

    @property
    def b_out(self) -> Float[Tensor, "layer d_model"]:
        """Biases that the MLPs of all layers write.

        Raises:
            UserError: There are no MLPs.
        """
        return self._stacked("mlp.b_out")

    def set_use_attn_result(self, use_attn_result: bool) -> None:
        """Do nothing: what each head writes can always be hooked, and is only computed where somebody looks."""

    def _stacked(self, name: str) -> Tensor:
        if name.startswith("mlp") and self.shape.attention_only:
            raise UserError(f"the model has no MLPs (attention_only), and so no {name.partition('.')[2]}.")
        return torch.stack([block.get_parameter(name) for block in self.blocks])

    def accumulated_bias(
        self, layer: int, mlp_input: bool = False, include_mlp_biases: bool = True
    ) -> Float[Tensor, " d_model"]:
        """Sum the biases that are written into the residual stream before `layer` reads it, or before its MLP does.

        Args:
            layer: 0 to n_layers, the last of which is what the logits read.
            mlp_input: Whether the bias of this layer's attention is included.
            include_mlp_biases: Whether those of the MLPs are.
        """
        biases = [block.get_parameter("attn.b_O") for block in self.blocks[: layer + mlp_input]]
        if include_mlp_biases and not self.shape.attention_only:
            biases += [block.get_parameter("mlp.b_out") for block in self.blocks[:layer]]
        return torch.stack([torch.zeros_like(self.W_U[:, 0]), *biases]).sum(0)

    def to_single_token(self, action: str) -> int:
        """Refuse a word, of which TransformerLens's helpers ask for the token: actions are numbers here.

        Raises:
            UserError: Always.
        """
        raise UserError(
            f"{action!r} is not an action: give its number, 0 to {self.vocabulary.n_actions - 1} "
            "(task.action_names are the names in that order)."
        )

    def tokens_to_residual_directions(self, tokens: int | str | Tensor | np.ndarray) -> Float[Tensor, "... d_model"]:
        """Return the directions that are read as the logits of actions: a number, or an array of them of any shape.

        Raises:
            UserError: There is no such action.
        """
        if isinstance(tokens, str | np.ndarray):  # arrays of a history are read-only, which torch does not know
            tokens = self.to_single_token(tokens) if isinstance(tokens, str) else torch.tensor(tokens)
        actions = torch.as_tensor(tokens).long()
        if ((actions < 0) | (actions >= self.vocabulary.n_actions)).any():
            raise UserError(
                f"there are the actions 0 to {self.vocabulary.n_actions - 1}, but a logit of action "
                f"{int(actions.min() if actions.min() < 0 else actions.max())} is asked for."
            )
        return self.W_U.T[actions.to(self.W_U.device)]

    def to_str_tokens(self, history: History | Int[Tensor, "*batch step channel"]) -> list[str] | list[list[str]]:
        """Return what each token shows, e.g. `x=4 y=4 action=2 reward=1`.

        Returns:
            A list for each row, of a text for each step; of a single row, that list alone, as TransformerLens has it.
        """
        tokens = self.vocabulary.encode(history) if isinstance(history, History) else history
        rows = [[self._text(token) for token in row] for row in tokens.reshape(-1, *tokens.shape[-2:]).tolist()]
        return rows if len(rows) != 1 else rows[0]

    def _text(self, token: list[int]) -> str:
        *seen, action, reward = token
        parts = [f"{name}={value}" for name, value in zip(self.vocabulary.channels, seen, strict=False)]
        did = "none" if action == 0 else action - 1
        return " ".join([*parts, f"action={did}", f"reward={self.vocabulary.rewards[reward]:g}"])

    def run_with_cache(
        self, *model_args: Any, return_cache_object: bool = True, **kwargs: Any
    ) -> tuple[Any, Cache | dict[str, Tensor]]:
        """Run the model and return what it returns (its logits) and every activation.

        Args:
            *model_args: Histories or tokens.
            return_cache_object: Whether to return a :class:`Cache`, or the plain dictionary.
            **kwargs: As TransformerLens's `HookedRootModule.run_with_cache` takes them.

        Raises:
            UserError: The batch dimension of several histories is to be removed.
        """
        remove_batch_dim = kwargs.pop("remove_batch_dim", False)
        if remove_batch_dim and isinstance(model_args[0], History) and model_args[0].n_rows != 1:
            raise UserError(f"remove_batch_dim is for a single history, but there are {model_args[0].n_rows}.")
        result, cache = super().run_with_cache(*model_args, remove_batch_dim=remove_batch_dim, **kwargs)
        return result, Cache(cache, self, has_batch_dim=not remove_batch_dim) if return_cache_object else cache


def lens_config(vocabulary: Vocabulary, shape: Shape) -> TransformerLensConfig:
    """Describe a model as TransformerLens does."""
    config = TransformerLensConfig(
        d_model=shape.d_model,
        d_head=shape.d_head,
        n_heads=shape.n_heads,
        n_layers=shape.n_layers,
        n_ctx=shape.n_ctx,
        d_mlp=shape.d_mlp or 4 * shape.d_model,
        d_vocab=vocabulary.n_actions,
        act_fn=shape.activation,
        normalization_type="LN" if shape.layer_norm else None,
        eps=shape.eps,
        positional_embedding_type="standard" if shape.positions == "learned" else shape.positions,
        attn_only=shape.attention_only,
        device="cpu",
    )
    config.d_vocab_out = vocabulary.n_actions  # type: ignore[attr-defined]  # as HookedTransformerConfig has it
    return config


class HookedADTransformer(ADTransformer, LensModel):
    """An :class:`ADTransformer` that is a `HookedRootModule` too.

    Satisfies TransformerLens's model protocol, so `run_with_cache`, `ActivationCache` and `transformer_lens.patching`
    work on it. Give histories rather than tokens to the patching functions that sweep positions: tokens have a third
    axis, which they take for the steps.
    """

    def __init__(self, vocabulary: Vocabulary, shape: Shape, seed: int = 0) -> None:
        super().__init__(vocabulary, shape, seed)
        self.cfg = lens_config(vocabulary, shape)
        self.cfg.n_params = sum(weight.numel() for weight in self.parameters())  # type: ignore[attr-defined]
        for name, module in list(self.named_modules()):
            if isinstance(module, Point):
                self.set_submodule(name, LensPoint())
        self._embed_hooks = tuple(self.hook_embeds.values())
        self.setup()
        self.name = ""  # which `setup` leaves to the modules inside

    def forward(self, *args: Any, stop_at_layer: int | None = None, **kwargs: Any) -> Any:
        """Return the logits as :meth:`ADTransformer.forward` does, or the residual stream that a layer reads.

        Args:
            *args: As there.
            stop_at_layer: None for the logits, else the layer, from 0 or, negative, from the end.
            **kwargs: As there.

        Raises:
            UserError: There is no such layer, or something else than a history or tokens is given.
        """
        if args and not isinstance(args[0], History | Tensor):
            raise UserError(
                f"the model reads a History, such as model.histories(8), or tokens, model.to_tokens(history); not a "
                f"{type(args[0]).__name__}."
            )
        if stop_at_layer is None:
            return super().forward(*args, **kwargs)
        n_layers = self.shape.n_layers
        if not -n_layers <= stop_at_layer <= n_layers:
            raise UserError(f"stop_at_layer is {stop_at_layer}, but there are {n_layers} layers, from 0.")
        layer = stop_at_layer + n_layers * (stop_at_layer < 0)
        last = layer == n_layers
        name = f"blocks.{layer - last}.hook_resid_{'post' if last else 'pre'}"
        seen: list[Tensor] = []
        with self.hooks(fwd_hooks=[(name, lambda x, hook: seen.append(x))]):  # type: ignore[func-returns-value]
            super().forward(*args, **kwargs)
        return seen[0]

    def to(self, *args: Any, **kwargs: Any) -> HookedADTransformer:
        """Move or cast the weights, and tell TransformerLens where they are."""
        super().to(*args, **kwargs)
        self.cfg.device, self.cfg.dtype = str(self.device), self.dtype
        return self

    def folded(self) -> HookedADTransformer:
        """Return a copy that computes the same, with gains and biases of the layer norms in the weights."""
        return hooked(super().folded())


def hooked(model: ADTransformer) -> HookedADTransformer:
    """Return the same model as TransformerLens knows models: it shares its weights with `model`, and is in its mode."""
    if isinstance(model, HookedADTransformer):
        return model
    lens_model = HookedADTransformer(model.vocabulary, model.shape).to(model.device, model.dtype)
    lens_model.load_state_dict(model.state_dict(keep_vars=True), assign=True)
    lens_model.name = model.name
    return lens_model.train(model.training)
