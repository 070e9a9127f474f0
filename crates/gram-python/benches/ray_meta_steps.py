"""What a meta-step costs on one machine, and through Ray with 1, 2 and 4 actors, as a table.

usage: python ray_meta_steps.py [steps]

ViT-B/32 with random weights, a textual prompt, features of the demo's pairs, 4 episodes of a step, each a pass of its own. The
middle of the steps after the first, all in one run; each program and actor has the threads that RAYON_NUM_THREADS says, or one.
Needs the package with ray, torch and open_clip_torch.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("GRAM_DEVICE", "cpu")
os.environ.setdefault("RAYON_NUM_THREADS", "1")

import gram  # noqa: E402
import ray  # noqa: E402
from overheads import saved_model  # noqa: E402


def step_seconds(train: Callable[..., gram.Start], **arguments: Any) -> float:
    """The middle of the seconds between one step and the next."""
    times: list[float] = []
    train(on_step=lambda step, loss: times.append(time.perf_counter()), **arguments)
    return statistics.median(later - earlier for earlier, later in zip(times, times[1:]))


def main(steps: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        gram.cluster(gram.load("tiny"), "demo", progress=False).save(folder / "clusters")
        (folder / "model").mkdir()
        saved_model(folder / "model")
        model = gram.load(str(folder / "model"))
        gram.embed(model, "demo", folder / "features", progress=False)
        shared: dict[str, Any] = {
            "model": model,
            "pairs": gram.Features(folder / "features"),
            "clusters": folder / "clusters",
            "method": "coop",
            "steps": steps,
            "settings": {"tasks_at_once": 1, "validation_steps": steps},
            "progress": False,
        }
        print(f"{os.cpu_count()} cores, {os.environ['RAYON_NUM_THREADS']} threads in a program, {steps} steps\n")
        print("| a meta-step | seconds |\n|---|---|")
        print(f"| one process | {step_seconds(gram.meta_train, **shared):.3f} |", flush=True)
        ray.init(num_cpus=4, log_to_driver=False)
        threads = int(os.environ["RAYON_NUM_THREADS"])
        for actors in (1, 2, 4):
            seconds = step_seconds(gram.ray.meta_train, actors=actors, cpus=threads, **shared)
            print(f"| Ray, actors: {actors} | {seconds:.3f} |", flush=True)
        ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
