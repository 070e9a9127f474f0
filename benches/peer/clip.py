"""CLIP's towers in PyTorch, as transformers computes them, and the work that the benches time: the peer of
benches/workload.rs. Weights are drawn by a hash of their place; gradients are autograd's, meta-gradients those of double
backward."""

import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy
import torch
import torch.nn.functional as F

START, END, CONTEXT_TOKENS, VISUAL_TOKENS, NAME, PATCH, ALPHA = 49406, 49407, 4, 4, 2, 16, 0.1
# The positions of the text tower, and those that a short class name uses.
ALL, USED = 77, 1 + CONTEXT_TOKENS + NAME + 2

Prompt = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Sizes:
    """The sizes of a model; `width` is that of the text tower and of the features."""

    width: int = 512
    layers: int = 12
    heads: int = 8
    vision_width: int = 768
    vision_layers: int = 12
    vision_heads: int = 12
    side: int = 224


FULL = Sizes()
SMALL = Sizes(width=64, layers=2, heads=2, vision_width=64, vision_layers=2, vision_heads=2, side=32)


def hashed(name: str, shape: tuple[int, ...], deviation: float) -> torch.Tensor:
    """Values by a hash of name and place, on the device in force: drawn once, for drawing is not what is timed."""
    return drawn(name, shape, deviation, torch.get_default_device()).clone()


@functools.cache
def drawn(name: str, shape: tuple[int, ...], deviation: float, device: torch.device) -> torch.Tensor:
    seed = 2166136261
    for byte in name.encode():
        seed = ((seed ^ byte) * 16777619) & 0xFFFFFFFF
    place = numpy.arange(int(numpy.prod(shape)), dtype=numpy.uint32)
    with numpy.errstate(over="ignore"):
        value = place * numpy.uint32(2654435761) + numpy.uint32(seed)
        for _ in range(2):
            value = (value ^ (value >> numpy.uint32(16))) * numpy.uint32(0x045D9F3B)
        value = value ^ (value >> numpy.uint32(16))
    uniform = ((value.astype(numpy.float64) / 0xFFFFFFFF - 0.5) * 12**0.5).astype(numpy.float32)
    return torch.from_numpy(uniform * numpy.float32(deviation)).reshape(shape).to(device)


def weight(name: str, *shape: int) -> torch.Tensor:
    """A weight under its Hugging Face name."""
    if "norm" in name and name.endswith("weight"):
        return torch.ones(shape)
    return hashed(name, shape, 0.02)


def norm(name: str, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    return weight(f"{name}.weight", width), weight(f"{name}.bias", width)


def layer_sizes(width: int) -> dict[str, tuple[int, ...]]:
    """The weights of a layer."""
    return {
        "layer_norm1": (width,), "self_attn.q_proj": (width, width), "self_attn.k_proj": (width, width),
        "self_attn.v_proj": (width, width), "self_attn.out_proj": (width, width), "layer_norm2": (width,),
        "mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width),
    }


def layers(prefix: str, width: int, count: int) -> list[dict]:
    """The layers of a tower, each with its weights and biases by name."""
    return [
        {
            name: (
                weight(f"{prefix}encoder.layers.{layer}.{name}.weight", *size),
                weight(f"{prefix}encoder.layers.{layer}.{name}.bias", size[0]),
            )
            for name, size in layer_sizes(width).items()
        }
        for layer in range(count)
    ]


def block(x: torch.Tensor, layer: dict, heads: int, causal: bool) -> torch.Tensor:
    """A layer of either tower."""
    count, length, width = x.shape
    normed = F.layer_norm(x, (width,), *layer["layer_norm1"])
    query, key, value = (
        F.linear(normed, *layer[f"self_attn.{part}_proj"]).view(count, length, heads, -1).transpose(1, 2)
        for part in "qkv"
    )
    mixed = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
    x = x + F.linear(mixed.transpose(1, 2).reshape(count, length, width), *layer["self_attn.out_proj"])
    hidden = F.linear(F.layer_norm(x, (width,), *layer["layer_norm2"]), *layer["mlp.fc1"])
    return x + F.linear(hidden * torch.sigmoid(1.702 * hidden), *layer["mlp.fc2"])


class Text:
    """The text tower."""

    def __init__(self, sizes: Sizes) -> None:
        prefix, width = "text_model.", sizes.width
        self.width, self.heads = width, sizes.heads
        self.tokens = weight(prefix + "embeddings.token_embedding.weight", 49408, width)
        self.positions = weight(prefix + "embeddings.position_embedding.weight", ALL, width)
        self.layers = layers(prefix, width, sizes.layers)
        self.final = norm(prefix + "final_layer_norm", width)
        self.projection = weight("text_projection.weight", width, width)

    def features(self, context: torch.Tensor, names: list[list[int]], length: int) -> torch.Tensor:
        """Normalised features of classes around a context, over `length` positions."""
        after = torch.tensor([name + [269, END] + [0] * (length - USED) for name in names])
        classes, width = len(names), self.width
        start = self.tokens[START].expand(classes, 1, width)
        x = torch.cat([start, context.expand(classes, CONTEXT_TOKENS, width), self.tokens[after]], 1)
        x = x + self.positions[:length]
        for layer in self.layers:
            x = block(x, layer, self.heads, causal=True)
        pooled = F.layer_norm(x[:, USED - 1], (width,), *self.final)
        return F.normalize(F.linear(pooled, self.projection), dim=1)


class Vision:
    """The vision tower."""

    def __init__(self, sizes: Sizes) -> None:
        prefix, width = "vision_model.", sizes.vision_width
        self.width, self.heads, self.side, self.joint = width, sizes.vision_heads, sizes.side, sizes.width
        tokens = 1 + (sizes.side // PATCH) ** 2
        self.patches = weight(prefix + "embeddings.patch_embedding.weight", width, 3, PATCH, PATCH)
        self.token = weight(prefix + "embeddings.class_embedding", width)
        self.positions = weight(prefix + "embeddings.position_embedding.weight", tokens, width)
        self.before, self.after = norm(prefix + "pre_layrnorm", width), norm(prefix + "post_layernorm", width)
        self.layers = layers(prefix, width, sizes.vision_layers)
        self.projection = weight("visual_projection.weight", sizes.width, width)

    def features(self, pixels: torch.Tensor, prompt: torch.Tensor | None = None) -> torch.Tensor:
        """Normalised features of images, with vectors beside the patches."""
        count, width = len(pixels), self.width
        patches = F.conv2d(pixels, self.patches, stride=PATCH).flatten(2).transpose(1, 2) + self.positions[1:]
        parts = [(self.token + self.positions[0]).expand(count, 1, width), patches]
        if prompt is not None:
            parts.insert(1, prompt.expand(count, *prompt.shape))
        x = F.layer_norm(torch.cat(parts, 1), (width,), *self.before)
        for layer in self.layers:
            x = block(x, layer, self.heads, causal=False)
        return F.normalize(F.linear(F.layer_norm(x[:, 0], (width,), *self.after), self.projection).float(), dim=1)


@dataclass(frozen=True)
class Model:
    """Both towers; classes' names are read over `length` positions."""

    text: Text
    vision: Vision
    length: int = ALL

    def logits(self, prompt: Prompt, classes: torch.Tensor | list, images: torch.Tensor) -> torch.Tensor:
        """Of images or their features among classes or their features: a part of a prompt asks for its tower."""
        texts = self.text.features(prompt["text"], classes, self.length) if "text" in prompt else classes
        images = self.vision.features(images, prompt["visual"]) if "visual" in prompt else images
        return 100.0 * images @ texts.T

    def loss(self, prompt: Prompt, classes: torch.Tensor | list, images: torch.Tensor) -> torch.Tensor:
        """The cross-entropy of images whose classes follow each other."""
        labels = torch.arange(len(images)) % len(classes)
        return F.cross_entropy(self.logits(prompt, classes, images), labels)

    def theta(self, parts: tuple[str, ...]) -> Prompt:
        sizes = {"text": (CONTEXT_TOKENS, self.text.width), "visual": (VISUAL_TOKENS, self.vision.width)}
        return {part: hashed("theta", sizes[part], 0.02).requires_grad_() for part in parts}

    def names(self, first: int, count: int) -> list[list[int]]:
        return [[1000 + 97 * one + 31 * token for token in range(NAME)] for one in range(first, first + count)]

    def features(self, name: str, count: int) -> torch.Tensor:
        return F.normalize(hashed(name, (count, self.text.width), 1.0), dim=1)

    def pixels(self, name: str, count: int) -> torch.Tensor:
        return hashed(name, (count, 3, self.vision.side, self.vision.side), 1.0)

    def classes(self, parts: tuple[str, ...], task: int, count: int) -> torch.Tensor | list:
        """What is given of the classes of a task: names, or features where no prompt is among them."""
        if "text" in parts:
            return self.names(200 + count * task, count)
        return self.features(f"classes {task}", count)

    def images(self, parts: tuple[str, ...], name: str, count: int) -> torch.Tensor:
        return self.pixels(name, count) if "visual" in parts else self.features(name, count)

    def step(self, parts: tuple[str, ...]) -> Callable[[], list[float]]:
        """The gradient of 32 images among 100 classes; its loss behind it."""
        classes = self.names(0, 100) if "text" in parts else self.features("classes", 100)
        images = self.images(parts, "batch", 32 if "visual" in parts else 100)[:32]

        def work() -> list[float]:
            theta = self.theta(parts)
            loss = self.loss(theta, classes, images)
            loss.backward()
            return flat(theta) + [loss.item()]

        return work

    def meta_step(self, parts: tuple[str, ...], shots: tuple[int, int], inner_steps: int = 1) -> Callable[[], list[float]]:
        """The exact meta-gradient for theta, summed over 4 tasks of 5 ways; the sum of their query losses behind it."""
        phi = {part: regulator(tensor.shape[1]) for part, tensor in self.theta(parts).items()}
        tasks = [
            (
                self.classes(parts, task, 5),
                self.images(parts, f"support {task}", 5 * shots[0]),
                self.images(parts, f"query {task}", 5 * shots[1]),
            )
            for task in range(4)
        ]

        def work() -> list[float]:
            theta, total = self.theta(parts), 0.0
            for classes, support, query in tasks:
                adapted = dict(theta)
                for _ in range(inner_steps):
                    loss = self.loss(adapted, classes, support)
                    gradients = torch.autograd.grad(loss, list(adapted.values()), create_graph=True)
                    adapted = {
                        part: tensor - ALPHA * regulated(gradient, phi[part])
                        for (part, tensor), gradient in zip(adapted.items(), gradients)
                    }
                loss = self.loss(adapted, classes, query)
                loss.backward()
                total += loss.item()
            return flat(theta) + [total]

        return work


def flat(theta: Prompt) -> list[float]:
    return [value for tensor in theta.values() for value in tensor.grad.flatten().tolist()]


def regulator(width: int) -> list[torch.Tensor]:
    phi = [hashed("gamma_weight", (width, width), 0.01), torch.full((width,), 2.0)]
    phi += [hashed("beta_weight", (width, width), 0.01), torch.zeros(width)]
    return [parameter.requires_grad_() for parameter in phi]


def regulated(gradient: torch.Tensor, phi: list[torch.Tensor]) -> torch.Tensor:
    gamma = torch.tanh(F.linear(gradient, phi[0], phi[1]))
    beta = torch.tanh(F.linear(gradient, phi[2], phi[3]))
    return gamma * gradient + beta


def timed(times: int, work: Callable[[], list[float]]) -> dict:
    """Median seconds after a first run, and what was computed."""
    values, seconds = work(), []
    for _ in range(times):
        clock = time.perf_counter()
        values = work()
        seconds.append(time.perf_counter() - clock)
    return {"seconds": statistics.median(seconds), "values": values}
