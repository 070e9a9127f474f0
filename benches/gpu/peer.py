"""The work of benches/gpu/main.rs in PyTorch, on a device: encoding, a CoOp step over all 77 positions, and exact meta-steps
by double backward. Prints seconds (medians) and what was computed as JSON."""

import argparse
import json
import sys
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

sys.path.insert(0, str(Path(__file__).parents[1] / "peer"))
import clip

TIMES = 5


def to(value, dtype: torch.dtype):
    """All tensors of a tower, in a number format."""
    if isinstance(value, torch.Tensor):
        return value.to(dtype)
    if isinstance(value, dict):
        return {key: to(one, dtype) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(to(one, dtype) for one in value)
    return value


def rounded(tower, dtype: torch.dtype):
    copy = object.__new__(type(tower))
    copy.__dict__ = {name: to(value, dtype) for name, value in tower.__dict__.items()}
    return copy


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--allow-tf32", action="store_true")
    arguments = parser.parse_args()
    device = arguments.device
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = arguments.allow_tf32
    sizes, images = (clip.SMALL, 8) if arguments.small else (clip.FULL, 256)
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    speed = {}
    with torch.device(device):
        model = clip.Model(clip.Text(sizes), clip.Vision(sizes))
        with torch.no_grad():
            for label, dtype in [("f32", torch.float32), ("bf16", torch.bfloat16)]:
                vision, pixels = rounded(model.vision, dtype), model.pixels("pixels", images).to(dtype)
                encode = lambda: vision.features(pixels).flatten().tolist()
                found = clip.timed(TIMES, encode)
                speed[f"encoding {images} images, {label}"] = found | {"values": found["values"][: sizes.width]}
        # The fused kernels of attention have no second derivative.
        with sdpa_kernel(SDPBackend.MATH):
            speed["CoOp step, 100 classes"] = clip.timed(TIMES, model.step(("text",)))
            speed["exact meta-step, textual"] = clip.timed(TIMES, model.meta_step(("text",), (4, 15)))
            speed["exact meta-step, visual"] = clip.timed(TIMES, model.meta_step(("visual",), (1, 3)))
    print(json.dumps({"torch": torch.__version__, "device": device, "name": name, "speed": speed}))


main()
