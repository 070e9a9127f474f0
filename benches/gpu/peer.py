"""The work of benches/gpu/main.rs in PyTorch, on a device: encoding, a CoOp step over all 77 positions, and exact meta-steps
by double backward. Prints seconds (medians) and what was computed as JSON."""

import argparse
import importlib.util
import json
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

spec = importlib.util.spec_from_file_location("text", Path(__file__).parents[1] / "peer/against_pytorch.py")
text = importlib.util.module_from_spec(spec)
spec.loader.exec_module(text)
hashed, weight = text.hashed, text.weight

VISUAL_TOKENS, PATCH, LENGTH = 4, 16, 77


class Vision:
    """CLIP's vision tower, as transformers computes it."""

    def __init__(self, width: int, layers: int, heads: int, side: int, joint: int) -> None:
        self.width, self.heads, self.side = width, heads, side
        prefix = "vision_model."
        tokens = 1 + (side // PATCH) ** 2
        self.patches = weight(prefix + "embeddings.patch_embedding.weight", width, 3, PATCH, PATCH)
        self.token = weight(prefix + "embeddings.class_embedding", width)
        self.positions = weight(prefix + "embeddings.position_embedding.weight", tokens, width)
        norm = lambda name: (weight(prefix + name + ".weight", width), weight(prefix + name + ".bias", width))
        self.before, self.after = norm("pre_layrnorm"), norm("post_layernorm")
        self.layers = text.layers(prefix, width, layers)
        self.projection = weight("visual_projection.weight", joint, width)

    def features(self, pixels: torch.Tensor, prompt: torch.Tensor | None = None) -> torch.Tensor:
        """Normalised features of images, with vectors beside the patches."""
        count, width = len(pixels), self.width
        patches = F.conv2d(pixels, self.patches, stride=PATCH).flatten(2).transpose(1, 2) + self.positions[1:]
        parts = [(self.token + self.positions[0]).expand(count, 1, width), patches]
        if prompt is not None:
            parts.insert(1, prompt.expand(count, *prompt.shape))
        x = F.layer_norm(torch.cat(parts, 1), (width,), *self.before)
        for layer in self.layers:
            x = text.block(x, layer, self.heads, causal=False)
        return F.normalize(F.linear(F.layer_norm(x[:, 0], (width,), *self.after), self.projection).float(), dim=1)


def to(value, device: str, dtype: torch.dtype | None = None):
    """All tensors of a tower, elsewhere."""
    if isinstance(value, torch.Tensor):
        return value.to(device, dtype)
    if isinstance(value, dict):
        return {key: to(one, device, dtype) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(to(one, device, dtype) for one in value)
    return value


def moved(tower, device: str, dtype: torch.dtype | None = None):
    copy = object.__new__(type(tower))
    copy.__dict__ = {name: to(value, device, dtype) for name, value in tower.__dict__.items()}
    return copy


def visual_meta_step(vision: Vision, device: str) -> torch.Tensor:
    width, joint = vision.width, vision.projection.shape[0]
    theta = hashed("theta", (VISUAL_TOKENS, width), 0.02).to(device).requires_grad_()
    phi = [parameter.to(device) for parameter in text.regulator(width)]
    side = vision.side
    pixels = lambda name, count: hashed(name, (count, 3, side, side), 1.0).to(device)
    labels = lambda count: torch.arange(count, device=device) % 5
    tasks = [
        (
            F.normalize(hashed(f"classes {task}", (5, joint), 1.0).to(device), dim=1),
            pixels(f"support {task}", 5),
            pixels(f"query {task}", 15),
        )
        for task in range(4)
    ]

    def step() -> torch.Tensor:
        theta.grad = None
        for classes, support, query in tasks:
            loss = lambda images, prompt: F.cross_entropy(
                100.0 * vision.features(images, prompt) @ classes.T, labels(len(images))
            )
            (gradient,) = torch.autograd.grad(loss(support, theta), theta, create_graph=True)
            loss(query, theta - text.ALPHA * text.regulated(gradient, phi)).backward()
        return theta.grad

    return step


def timed(times: int, work) -> tuple[float, list[float]]:
    result, seconds = work().flatten().tolist(), []
    for _ in range(times):
        clock = time.perf_counter()
        result = work().flatten().tolist()
        seconds.append(time.perf_counter() - clock)
    return statistics.median(seconds), result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--allow-tf32", action="store_true")
    arguments = parser.parse_args()
    device, times = arguments.device, 5
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = arguments.allow_tf32
    if arguments.small:
        text.WIDTH, text.LAYERS, text.HEADS = 64, 2, 2
    vision_sizes = (64, 2, 2, 32, 64) if arguments.small else (768, 12, 12, 224, 512)
    images = 8 if arguments.small else 256
    tower, vision = moved(text.Tower(), device), moved(Vision(*vision_sizes), device)
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    found = {"torch": torch.__version__, "device": device, "name": name}
    side, speed = vision.side, {}
    with torch.no_grad():
        for label, dtype in [("f32", torch.float32), ("bf16", torch.bfloat16)]:
            rounded = moved(vision, device, dtype)
            pixels = hashed("pixels", (images, 3, side, side), 1.0).to(device, dtype)
            seconds, features = timed(times, lambda: rounded.features(pixels))
            speed[f"encoding {images} images, {label}"] = {"seconds": seconds, "first": features[: text.WIDTH]}
    with torch.device(device):
        seconds, gradient = timed(times, lambda: text.coop_step(tower, LENGTH)[1])
        speed["CoOp step, 100 classes"] = {"seconds": seconds, "gradient": gradient}
        # The fused kernels of attention have no second derivative.
        with sdpa_kernel(SDPBackend.MATH):
            seconds, gradient = timed(times, lambda: text.meta_step(tower, LENGTH)[1])
            speed["exact meta-step, textual"] = {"seconds": seconds, "gradient": gradient}
            seconds, gradient = timed(times, visual_meta_step(vision, device))
            speed["exact meta-step, visual"] = {"seconds": seconds, "gradient": gradient}
    print(json.dumps(found | {"speed": speed}))


main()
