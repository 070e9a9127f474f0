"""The work of benches/against_pytorch.rs in PyTorch: the text tower over all 77 positions and over the 9 that are used,
gradients by autograd, meta-gradients by double backward. Prints seconds (medians), losses and gradients as JSON."""

import functools
import json
import statistics
import time

import numpy
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

WIDTH, LAYERS, HEADS, START, END, CONTEXT_TOKENS, NAME, ALPHA = 512, 12, 8, 49406, 49407, 4, 2, 0.1


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
    """A weight of the text tower under its Hugging Face name."""
    if "norm" in name and name.endswith("weight"):
        return torch.ones(shape)
    return hashed(name, shape, 0.02)


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


class Tower:
    """CLIP's text tower, as transformers computes it."""

    def __init__(self) -> None:
        prefix = "text_model."
        self.tokens = weight(prefix + "embeddings.token_embedding.weight", 49408, WIDTH)
        self.positions = weight(prefix + "embeddings.position_embedding.weight", 77, WIDTH)
        self.layers = layers(prefix, WIDTH, LAYERS)
        self.final = (weight(prefix + "final_layer_norm.weight", WIDTH), weight(prefix + "final_layer_norm.bias", WIDTH))
        self.projection = weight("text_projection.weight", WIDTH, WIDTH)

    def features(self, context: torch.Tensor, names: list[list[int]], length: int) -> torch.Tensor:
        """Normalised features of classes around a context, over `length` positions."""
        after = torch.tensor([name + [269, END] + [0] * (length - 1 - CONTEXT_TOKENS - NAME - 2) for name in names])
        classes = len(names)
        start = self.tokens[START].expand(classes, 1, WIDTH)
        x = torch.cat([start, context.expand(classes, CONTEXT_TOKENS, WIDTH), self.tokens[after]], 1)
        x = x + self.positions[:length]
        for layer in self.layers:
            x = block(x, layer, HEADS, causal=True)
        pooled = F.layer_norm(x[:, CONTEXT_TOKENS + NAME + 2], (WIDTH,), *self.final)
        return F.normalize(F.linear(pooled, self.projection), dim=1)


def names(first: int, count: int) -> list[list[int]]:
    return [[1000 + 97 * one + 31 * token for token in range(NAME)] for one in range(first, first + count)]


def images(name: str, classes: int, of_each: int) -> tuple[torch.Tensor, torch.Tensor]:
    count = classes * of_each
    return F.normalize(hashed(name, (count, WIDTH), 1.0), dim=1), torch.arange(count) % classes


def loss(tower: Tower, context: torch.Tensor, classes: list, batch: tuple, length: int) -> torch.Tensor:
    features, labels = batch
    return F.cross_entropy(100.0 * features @ tower.features(context, classes, length).T, labels)


def regulator(width: int) -> list[torch.Tensor]:
    phi = [hashed("gamma_weight", (width, width), 0.01), torch.full((width,), 2.0)]
    phi += [hashed("beta_weight", (width, width), 0.01), torch.zeros(width)]
    return [parameter.requires_grad_() for parameter in phi]


def regulated(gradient: torch.Tensor, phi: list[torch.Tensor]) -> torch.Tensor:
    gamma = torch.tanh(F.linear(gradient, phi[0], phi[1]))
    beta = torch.tanh(F.linear(gradient, phi[2], phi[3]))
    return gamma * gradient + beta


def coop_step(tower: Tower, length: int) -> tuple[float, torch.Tensor]:
    context = hashed("theta", (CONTEXT_TOKENS, WIDTH), 0.02).requires_grad_()
    features, labels = images("batch", 100, 1)
    value = loss(tower, context, names(0, 100), (features[:32], labels[:32]), length)
    value.backward()
    return value.item(), context.grad


def meta_step(tower: Tower, length: int) -> tuple[float, torch.Tensor]:
    theta = hashed("theta", (CONTEXT_TOKENS, WIDTH), 0.02).requires_grad_()
    phi = regulator(WIDTH)
    total = 0.0
    for task in range(4):
        classes = names(200 + 5 * task, 5)
        support = loss(tower, theta, classes, images(f"support {task}", 5, 4), length)
        (gradient,) = torch.autograd.grad(support, theta, create_graph=True)
        adapted = theta - ALPHA * regulated(gradient, phi)
        query = loss(tower, adapted, classes, images(f"query {task}", 5, 15), length)
        query.backward()
        total += query.item()
    return total, theta.grad


def timed(times: int, work, *arguments) -> tuple[float, tuple]:
    result = work(*arguments)
    seconds = []
    for _ in range(times):
        clock = time.perf_counter()
        result = work(*arguments)
        seconds.append(time.perf_counter() - clock)
    return statistics.median(seconds), result


def main() -> None:
    tower = Tower()
    found = {"torch": torch.__version__}
    # The fused kernels of attention have no second derivative.
    with sdpa_kernel(SDPBackend.MATH):
        for what, work, times in [("CoOp step", coop_step, {"77": 2, "9": 5}), ("meta-step", meta_step, {"77": 2, "9": 5})]:
            seconds = {}
            for length in ("77", "9"):
                seconds[length], (value, gradient) = timed(times[length], work, tower, int(length))
            found[what] = {"seconds": seconds, "loss": value, "gradient": gradient.flatten().tolist()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
