"""Learned prompts in torch models of transformers and open_clip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import linear, normalize, scaled_dot_product_attention

from ._native import PromptError
from .data import name_list

if TYPE_CHECKING:
    from .prompt import Prompt


@dataclass
class _Layer:
    """A transformer's layer: norm, attention, norm and feed-forward net, each added to what went in."""

    first_norm: Any
    queries_keys_values: Callable[[Any], tuple[Any, Any, Any]]
    heads: int
    output: Any
    second_norm: Any
    feed_forward: Any

    def __call__(self, x: Any, is_causal: bool) -> Any:
        sequences, positions, width = x.shape

        def by_head(part: Any) -> Any:
            return part.view(sequences, positions, self.heads, -1).transpose(1, 2)

        query, key, value = (by_head(part) for part in self.queries_keys_values(self.first_norm(x)))
        mixed = scaled_dot_product_attention(query, key, value, is_causal=is_causal)
        x = x + self.output(mixed.transpose(1, 2).reshape(sequences, positions, width))
        return x + self.feed_forward(self.second_norm(x))


@dataclass
class _Towers:
    """The parts of a CLIP model, by whichever names a library has for them."""

    token_embedding: Any
    text_positions: Any
    text_layers: Sequence[_Layer]
    text_norm: Any
    text_projection: Callable[[Any], Any]
    patches: Any
    class_embedding: Any
    image_positions: Any
    image_first_norm: Any
    image_layers: Sequence[_Layer]
    image_last_norm: Any
    image_projection: Callable[[Any], Any]
    logit_scale: Any


class PromptedModel(nn.Module):  # type: ignore[misc]
    """A frozen CLIP model with a prompt and classes: pixels `[images, 3, side, side]` to logits.

    Its parameters are the prompt's vectors, so that it can be tuned further. The model it was made from is
    used, and not changed: move that one to another device or number format first, and switch its gradients off
    (`model.requires_grad_(False)`) before you tune. Save the state dictionary, or the prompt, not the module.

    Attributes
    ----------
    names
        The classes.
    context
        Context tokens, those of all contexts below each other, `[vectors, width]`; `None` without.
    visual
        Prompt tokens of the vision tower, `[layers, tokens, width]`; `None` without.
    """

    def __init__(self, towers: _Towers, prompt: Prompt, names: Iterable[str] | None) -> None:
        super().__init__()
        self.names: list[str] = prompt.classes if names is None else name_list(names)
        # Beside the module's own: the frozen model is whoever's it was.
        self.__dict__["towers"] = towers
        device = towers.token_embedding.weight.device
        text, visual = prompt.text_vectors, prompt.visual_vectors
        self.context: Any = None
        self.visual: Any = None
        if text is not None:
            self.context = nn.Parameter(torch.from_numpy(text).to(device).flatten(0, 1))
            _check_width("text", self.context, towers.text_positions)
            sentences = prompt._native.sentences(self.names)
            longest = max(len(sentence) for sentence in sentences)
            padded = [sentence + [0] * (longest - len(sentence)) for sentence in sentences]
            self.register_buffer("tokens", torch.tensor(padded, device=device), persistent=False)
            ends = [len(sentence) - 1 for sentence in sentences]
            self.register_buffer("ends", torch.tensor(ends, device=device), persistent=False)
        else:
            weights = prompt.classifier(self.names).weights
            self.register_buffer("weights", torch.from_numpy(weights).to(device), persistent=False)
        _check_weights(self, prompt)
        if visual is not None:
            self.visual = nn.Parameter(torch.from_numpy(visual).to(device))
            _check_width("vision", self.visual, towers.image_positions)

    def text_features(self) -> Any:
        """Normalised features of the classes, `[classes, joint width]`."""
        if self.context is None:
            return self.weights
        return self._read(self.tokens, self.ends)

    def _read(self, tokens: Any, ends: Any) -> Any:
        """Normalised features of sentences; tokens below 0 are vectors of the context."""
        towers: _Towers = self.__dict__["towers"]
        x = towers.token_embedding(tokens.clamp(min=0))
        if self.context is not None:
            context = self.context[(-1 - tokens).clamp(min=0)].to(x.dtype)
            x = torch.where((tokens < 0).unsqueeze(-1), context, x)
        x = x + towers.text_positions[: x.shape[1]]
        for layer in towers.text_layers:
            # Nothing after the end of a sentence is seen from there.
            x = layer(x, is_causal=True)
        last = x[torch.arange(len(x), device=x.device), ends]
        return normalize(towers.text_projection(towers.text_norm(last)), dim=-1)

    def image_features(self, pixels: Any) -> Any:
        """Normalised features of images, `[images, joint width]`."""
        towers: _Towers = self.__dict__["towers"]
        patches = towers.patches(pixels).flatten(2).transpose(1, 2)
        images, _, width = patches.shape
        class_token = towers.class_embedding.reshape(1, 1, width).expand(images, 1, width)
        x = torch.cat([class_token, patches], dim=1) + towers.image_positions
        if self.visual is not None:
            x = torch.cat([x[:, :1], self._of_layer(0, x), x[:, 1:]], dim=1)
        x = towers.image_first_norm(x)
        for number, layer in enumerate(towers.image_layers):
            if self.visual is not None and 0 < number < len(self.visual):
                fresh = self._of_layer(number, x)
                x = torch.cat([x[:, :1], fresh, x[:, 1 + fresh.shape[1] :]], dim=1)
            x = layer(x, is_causal=False)
        return normalize(towers.image_projection(towers.image_last_norm(x[:, 0])), dim=-1)

    def _of_layer(self, number: int, x: Any) -> Any:
        return self.visual[number].to(x.dtype).expand(len(x), -1, -1)

    def extra_repr(self) -> str:
        return f"{len(self.names)} classes"

    def forward(self, pixels: Any) -> Any:
        """Logits, `[images, classes]`."""
        towers: _Towers = self.__dict__["towers"]
        images = self.image_features(pixels)
        return towers.logit_scale.exp() * images @ self.text_features().to(images.dtype).T


def _check_width(tower: str, vectors: Any, positions: Any) -> None:
    if vectors.shape[-1] != positions.shape[-1]:
        raise PromptError(
            f"the prompt's vectors are {vectors.shape[-1]} wide, but the {tower} tower of this model is "
            f"{positions.shape[-1]}: it is another model than the prompt was learned for"
        )


def _check_weights(prompted: PromptedModel, prompt: Prompt) -> None:
    """Refuses a model that reads a sentence otherwise than the prompt's."""
    text = "a photo of a cat"
    device = prompted.__dict__["towers"].token_embedding.weight.device
    tokens = torch.tensor([prompt.model._native.tokens(text)], device=device)
    wrong = PromptError("this model has other weights than the one that the prompt was learned for")
    if int(tokens.max()) >= prompted.__dict__["towers"].token_embedding.weight.shape[0]:
        raise wrong
    with torch.no_grad():
        found = prompted._read(tokens, torch.tensor([tokens.shape[1] - 1], device=device))[0].float().cpu()
    expected = torch.from_numpy(prompt.model.encode_text(text)[0])
    if found.shape != expected.shape or float(found @ expected) < 0.99:
        raise wrong


def _check_kind(prompt: Prompt) -> None:
    if prompt.kind == "cocoop":
        raise PromptError("a CoCoOp prompt moves with every image: no other program's model has a place for it")


def of_transformers(prompt: Prompt, model: Any, names: Iterable[str] | None) -> PromptedModel:
    """A prompt in a `transformers.CLIPModel`."""
    _check_kind(prompt)
    if not hasattr(model, "text_model") or not hasattr(model, "visual_projection"):
        raise TypeError(f"expected a transformers.CLIPModel, not {type(model).__name__}")
    text, vision = model.text_model, model.vision_model

    def layers(tower: Any) -> list[_Layer]:
        def layer(layer: Any) -> _Layer:
            attention = layer.self_attn

            def queries_keys_values(x: Any) -> tuple[Any, Any, Any]:
                return attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)

            heads = tower.config.num_attention_heads
            norms = layer.layer_norm1, layer.layer_norm2
            return _Layer(norms[0], queries_keys_values, heads, attention.out_proj, norms[1], layer.mlp)

        return [layer(each) for each in tower.encoder.layers]

    towers = _Towers(
        token_embedding=text.embeddings.token_embedding,
        text_positions=text.embeddings.position_embedding.weight,
        text_layers=layers(text),
        text_norm=text.final_layer_norm,
        text_projection=model.text_projection,
        patches=vision.embeddings.patch_embedding,
        class_embedding=vision.embeddings.class_embedding,
        image_positions=vision.embeddings.position_embedding.weight,
        image_first_norm=vision.pre_layrnorm,
        image_layers=layers(vision),
        image_last_norm=vision.post_layernorm,
        image_projection=model.visual_projection,
        logit_scale=model.logit_scale,
    )
    return PromptedModel(towers, prompt, names)


def of_open_clip(prompt: Prompt, model: Any, names: Iterable[str] | None) -> PromptedModel:
    """A prompt in a model of open_clip."""
    _check_kind(prompt)
    if not hasattr(model, "visual"):
        raise TypeError(f"expected a model of open_clip, not {type(model).__name__}")
    text, vision = getattr(model, "text", model), model.visual
    if not hasattr(vision, "conv1") or not hasattr(text, "token_embedding"):
        raise PromptError("this model of open_clip has other towers than CLIP's transformers")

    def layers(transformer: Any) -> list[_Layer]:
        def layer(block: Any) -> _Layer:
            attention = block.attn

            def queries_keys_values(x: Any) -> tuple[Any, Any, Any]:
                query, key, value = linear(x, attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=-1)
                return query, key, value

            scales = [getattr(block, name, nn.Identity()) for name in ("ls_1", "ls_2")]
            output, feed_forward = nn.Sequential(attention.out_proj, scales[0]), nn.Sequential(block.mlp, scales[1])
            return _Layer(block.ln_1, queries_keys_values, attention.num_heads, output, block.ln_2, feed_forward)

        return [layer(block) for block in transformer.resblocks]

    def projection(weight: Any) -> Callable[[Any], Any]:
        if weight is None or isinstance(weight, nn.Linear):
            return lambda x: x if weight is None else weight(x)
        return lambda x: x @ weight

    towers = _Towers(
        token_embedding=text.token_embedding,
        text_positions=text.positional_embedding,
        text_layers=layers(text.transformer),
        text_norm=text.ln_final,
        text_projection=projection(text.text_projection),
        patches=vision.conv1,
        class_embedding=vision.class_embedding,
        image_positions=vision.positional_embedding,
        image_first_norm=vision.ln_pre,
        image_layers=layers(vision.transformer),
        image_last_norm=vision.ln_post,
        image_projection=projection(vision.proj),
        logit_scale=model.logit_scale,
    )
    return PromptedModel(towers, prompt, names)
