"""A row of benches/against_pytorch.rs in PyTorch, in a process of its own: seconds (median), what was computed, and the
peak of memory, as JSON. Gradients are by autograd, meta-gradients by double backward.

    against_pytorch.py ROW [--threads N]
"""

import argparse
import json
import resource

import clip
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("row")
    parser.add_argument("--length", type=int, default=clip.USED)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--times", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    what, *rest = arguments.row.split()
    parts = ("text", "visual") if rest[:1] == ["joint"] else tuple(rest[:1])
    needs_vision, needs_text = "text" not in rest, what != "encoding" and "visual" not in rest
    # A tower that nobody asks is a small one.
    text = clip.Text(clip.FULL) if needs_text else clip.Text(clip.Sizes(layers=0))
    vision = clip.Vision(clip.FULL if needs_vision else clip.Sizes(vision_width=64, vision_layers=0, side=32))
    model = clip.Model(text, vision, arguments.length)
    # The fused kernels of attention have no second derivative.
    backends = [SDPBackend.MATH] if what == "meta-step" else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
    with sdpa_kernel(backends):
        if what == "encoding":
            pixels = model.pixels("pixels", 32)
            with torch.no_grad():
                found = clip.timed(arguments.times, lambda: vision.features(pixels).flatten().tolist())
        elif what == "step":
            found = clip.timed(arguments.times, model.step(parts))
        else:
            shots = (4, 15) if parts == ("text",) else (1, 3)
            found = clip.timed(arguments.times, model.meta_step(parts, shots, int(rest[1])))
    print(json.dumps(found | {"peak": peak()}))


def peak() -> float:
    """Of the resident memory, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


main()
