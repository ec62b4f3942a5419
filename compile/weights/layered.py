"""transformers' own modules of a checkpoint in float32, of which only those in use are in memory.

Many texts go through one decoder layer after another: a layer is loaded, used for all of them, and dropped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from duomem.compile.models.config import DecoderConfig, Weight
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.core.errors import CompileError

if TYPE_CHECKING:
    import torch

EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"

Read = Callable[[str], np.ndarray]
"""The float32 values of a tensor, by its name in the model folder."""


class LayeredModel:
    """The causal language model's skeleton, without weights; masks and rotations are as its own forward makes them."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Raises CompileError if transformers does not know the model."""
        import torch
        import transformers

        config = checkpoint.config
        # transformers' fused attention knows no soft caps.
        attention = "eager" if config.attention_softcap else "sdpa"
        try:
            whole = transformers.AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True)
            with torch.device("meta"):
                self._model = transformers.AutoModelForCausalLM.from_config(
                    whole.get_text_config(), dtype=torch.float32, attn_implementation=attention
                ).eval()
        except (OSError, ValueError, RuntimeError) as e:
            reason = (str(e).splitlines() or [type(e).__name__])[0]
            raise CompileError(f"{checkpoint.folder}: transformers cannot load it as a reference: {reason}") from None
        core = self._model.model
        core.rotary_emb = type(core.rotary_emb)(core.config)
        core.embed_tokens.padding_idx = None
        if hasattr(core.embed_tokens, "scalar_embed_scale"):
            core.embed_tokens.embed_scale = torch.tensor(core.embed_tokens.scalar_embed_scale)
        self.head_source = EMBEDDING if config.tie_word_embeddings else HEAD
        self._layers = core.layers
        self._kinds: list[str] = getattr(core.config, "layer_types", None) or ["all"] * len(core.layers)
        self._positions: dict[int, dict[str, dict[str, Any]]] = {}

    def __len__(self) -> int:
        return len(self._layers)

    def embed(self, texts: Sequence[Sequence[int]], rows: Callable[[np.ndarray], np.ndarray]) -> list[torch.Tensor]:
        """[1, n, hidden] of each text, n token ids: what the first layer is given.

        rows: gives the embedding's rows, float32 [m, hidden], for sorted ids, int64 [m].
        """
        import torch

        used, places = np.unique(np.concatenate([np.asarray(tokens) for tokens in texts]), return_inverse=True)
        module = self._model.model.embed_tokens
        whole, module.weight = module.weight, torch.nn.Parameter(torch.from_numpy(rows(used)), requires_grad=False)
        try:
            return list(module(torch.from_numpy(places)[None]).split([len(tokens) for tokens in texts], 1))
        finally:
            module.weight = whole

    @contextlib.contextmanager
    def layer(self, i: int, read: Read) -> Iterator[Any]:
        """Decoder layer i with its weights, for as long as the `with` lasts."""
        module = self._layers[i]
        with _holding(module, {name: read(f"model.layers.{i}.{name}") for name in module.state_dict()}):
            yield module

    def positions(self, i: int, n: int) -> dict[str, Any]:
        """What layer i takes beside n tokens' hidden states: their rotation and mask, position ids."""
        if n not in self._positions:
            self._positions[n] = self._recorded(n)
        return self._positions[n][self._kinds[i]]

    def forward(self, i: int, layer: Any, hidden: torch.Tensor) -> torch.Tensor:
        """The outputs of layer i, loaded, for `hidden` [1, n, hidden]."""
        return layer(hidden, **self.positions(i, hidden.shape[1]))

    @contextlib.contextmanager
    def norm(self, read: Read) -> Iterator[Any]:
        """The norm before the head."""
        with _holding(self._model.model.norm, {"weight": read("model.norm.weight")}) as module:
            yield module

    def logits(self, hidden: torch.Tensor, norm: np.ndarray, head: np.ndarray) -> torch.Tensor:
        """[n, vocab] of what the last layer gives, `hidden` [1, n, hidden].

        norm, head: the weights of the last norm, [hidden], and of the head, [vocab, hidden].
        """
        with (
            _holding(self._model.model.norm, {"weight": norm}),
            _holding(self._model.lm_head, {"weight": head}),
            self._stub(),
        ):
            return self._model(inputs_embeds=hidden, use_cache=False).logits[0]

    def _recorded(self, n: int) -> dict[str, dict[str, Any]]:
        """The arguments that transformers' forward gives a layer of each kind, for n tokens."""
        import torch

        recorders = [_recorder() for _ in self._kinds]
        hidden = torch.zeros(1, n, self._model.config.hidden_size)
        with self._stub(*recorders), _holding(self._model.model.norm, {"weight": np.ones(hidden.shape[2], np.float32)}):
            self._model.model(inputs_embeds=hidden, use_cache=False)
        return {kind: recorder.seen for kind, recorder in zip(self._kinds, recorders, strict=True)}

    @contextlib.contextmanager
    def _stub(self, *layers: Any) -> Iterator[None]:
        """Run the model's forward with `layers` in the place of its own."""
        import torch

        core = self._model.model
        core.layers = torch.nn.ModuleList(layers)
        try:
            yield
        finally:
            core.layers = self._layers


@contextlib.contextmanager
def _holding(module: Any, values: dict[str, np.ndarray]) -> Iterator[Any]:
    """The module with these weights, not copied; without any afterwards."""
    import torch

    module.load_state_dict({name: torch.from_numpy(value) for name, value in values.items()}, assign=True)
    try:
        yield module
    finally:
        for name in values:
            parent, _, leaf = name.rpartition(".")
            owner = module.get_submodule(parent)
            setattr(owner, leaf, torch.nn.Parameter(getattr(owner, leaf).to("meta"), requires_grad=False))


def _recorder() -> Any:
    """A layer that keeps what it is called with, and changes nothing."""
    import torch

    class Recorder(torch.nn.Module):
        seen: dict[str, Any]

        def forward(self, hidden: torch.Tensor, **arguments: Any) -> torch.Tensor:
            self.seen = {
                name: arguments.get(name) for name in ("attention_mask", "position_embeddings", "position_ids")
            }
            return hidden

    return Recorder()


def set_weight(model: Any, prefix: str, config: DecoderConfig, weight: Weight, array: np.ndarray) -> None:
    """Make `array`, float32 of `weight.shape`, the value of `weight` in `model`, source by source.

    prefix: what the sources' names begin with that the model's own do not ("" for a whole model).
    """
    import torch

    with torch.no_grad():
        for source, part in split(config, weight, array):
            model.get_parameter(source.removeprefix(prefix)).copy_(torch.from_numpy(part))


def split(config: DecoderConfig, weight: Weight, array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The sources of `weight` and their values, float32, of `array`, its own."""
    row = 0
    for source in weight.sources:
        rows = config.source_rows(source)
        part = array[row : row + rows]
        yield source, part - np.float32(weight.offset) if weight.offset else part
        row += rows
