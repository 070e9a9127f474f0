"""What outgrows a machine, as tasks of Ray. Results are the bytes of one machine.

Call `ray.init` first, or `ray.init("auto")` on a cluster. Paths must be the same files on all nodes: a shared file system.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import ray

from . import _native
from ._progress import Observer
from .data import Images, Pairs, Path, as_pairs
from .embedding import EmbeddingSummary
from .embedding import embed as embed_here
from .model import Model, opened


def _task(work: Any, cpus: float) -> Any:
    """A function as tasks that use so many CPUs each, and are done again where their node is lost."""
    threads = str(max(1, round(cpus)))
    return ray.remote(num_cpus=cpus, max_retries=-1, runtime_env={"env_vars": {"RAYON_NUM_THREADS": threads}})(work)


def _write_parts(
    arguments: tuple[str, str | None, str | None], parts: list[tuple[int, str]], out: str, full_precision: bool
) -> int:
    """Writes the parts that are not there: a task that is done again finds what it did."""
    model = opened(*arguments)
    for first, pairs in parts:
        _native.write_part(model._native, pairs, first, out, full_precision)
    return len(parts)


def _finished(tasks: Iterator[Any], at_once: int) -> Iterator[int]:
    """What tasks give as they end; no more than so many wait or run at once."""
    running: list[Any] = []
    for task in tasks:
        running.append(task)
        if len(running) >= at_once:
            [done], running = ray.wait(running)
            yield ray.get(done)
    while running:
        [done], running = ray.wait(running)
        yield ray.get(done)


def embed(
    model: Model,
    pairs: Pairs | Path | tuple[Images, Sequence[str]],
    out: Path,
    *,
    full_precision: bool = False,
    parts_per_task: int = 4,
    cpus: float = 1,
    progress: bool | None = None,
) -> EmbeddingSummary:
    """Compute features of images and captions into a features folder, on all nodes.

    The folder is that of `gram embed` on one machine, byte for byte. A part of 512 pairs is computed by one task, and is
    whole or not there: what is stopped goes on, and a node that is lost costs the parts it was at.

    Parameters
    ----------
    model
        The frozen model. Workers open it by its name, on their own device.
    pairs
        Pairs, their path, or images and captions. Only this process lists them.
    out
        The folder, on a file system that all nodes share.
    full_precision
        Whether features are written in 32 bits instead of 16.
    parts_per_task
        Parts of a task.
    cpus
        CPUs of a task, and its threads.
    progress
        Whether a bar is drawn; `None` draws one in a terminal or a notebook.
    """
    folder, listed = os.path.abspath(out), as_pairs(pairs)
    left = listed._native.parts_left(model._native, folder, full_precision)
    task = _task(_write_parts, cpus)
    chunks = [left[start : start + parts_per_task] for start in range(0, len(left), parts_per_task)]

    def tasks() -> Iterator[Any]:
        for chunk in chunks:
            parts = [(first, listed._native.portable(first, end)) for first, end in chunk]
            yield task.remote(model._arguments, parts, folder, full_precision)

    # Enough that no node waits, and few enough that pairs need little memory here.
    at_once = 2 * max(1, int(ray.cluster_resources().get("CPU", 1) / cpus))
    with Observer(progress) as observer:
        observer("begin", "parts", len(left))
        done = 0
        for parts_done in _finished(tasks(), at_once):
            done += parts_done
            observer("reach", done, "")
    return embed_here(model, listed, folder, full_precision=full_precision, progress=progress)
