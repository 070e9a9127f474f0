"""What outgrows a machine, as tasks of Ray. Results are the bytes of one machine.

Call `ray.init` first, or `ray.init("auto")` on a cluster. Paths must be the same files on all nodes: a shared file system.
"""

from __future__ import annotations

import json
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import ray

from . import _native
from ._progress import Observer
from .comparison import Results, comparison, dataset_list, starts_of
from .data import Dataset, Images, Pairs, Path, as_pairs
from .embedding import EmbeddingSummary
from .embedding import embed as embed_here
from .model import Model, check_model, opened
from .prompt import Start


def _task(work: Any, cpus: float) -> Any:
    """A function as tasks that use so many CPUs each, and are done again where their node is lost."""
    threads = str(max(1, round(cpus)))
    return ray.remote(num_cpus=cpus, max_retries=-1, runtime_env={"env_vars": {"RAYON_NUM_THREADS": threads}})(work)


def _write_parts(
    arguments: tuple[str, str | None, str | None], parts: list[tuple[int, str]], out: str, full_precision: bool
) -> int:
    """Writes parts. A task that is done again writes the same bytes."""
    model = opened(*arguments)
    for first, pairs in parts:
        _native.write_part(model._native, pairs, first, out, full_precision)
    return len(parts)


def _make_run(
    arguments: tuple[str, str | None, str | None],
    dataset: Dataset,
    method: tuple[str, Start | None],
    seed: int,
    rest: tuple[int, bool, dict[str, Any] | None],
) -> dict[str, bytes]:
    """Makes a run in a folder of its own, and gives its files by their place there."""
    with tempfile.TemporaryDirectory() as folder:
        comparison(opened(*arguments), [dataset], dict([method]), folder, [seed], *rest).run(None)
        runs = pathlib.Path(folder, "runs")
        return {str(path.relative_to(folder)): path.read_bytes() for path in runs.rglob("*") if path.is_file()}


def _keep(out: str, files: dict[str, bytes]) -> None:
    """Puts files into the folder, each as a whole."""
    for name, contents in files.items():
        path = pathlib.Path(out, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(contents)
        partial.replace(path)


def _at_once(cpus: float) -> int:
    """Tasks that wait or run at once: enough that no node waits, few enough that they need little memory here."""
    return 2 * max(1, int(ray.cluster_resources().get("CPU", 1) / cpus))


def _finished(tasks: Iterator[Any], at_once: int) -> Iterator[Any]:
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
    left = listed._native.parts_left(check_model(model), folder, full_precision)
    task = _task(_write_parts, cpus)
    chunks = [left[start : start + parts_per_task] for start in range(0, len(left), parts_per_task)]

    def tasks() -> Iterator[Any]:
        for chunk in chunks:
            parts = [(first, listed._native.portable(first, end)) for first, end in chunk]
            yield task.remote(model._arguments, parts, folder, full_precision)

    with Observer(progress) as observer:
        observer("begin", "parts", len(left))
        done = 0
        for parts_done in _finished(tasks(), _at_once(cpus)):
            done += parts_done
            observer("reach", done, "")
    return embed_here(model, listed, folder, full_precision=full_precision, progress=progress)


def bench(
    model: Model,
    datasets: Dataset | Path | Sequence[Dataset | Path],
    methods: str | Sequence[str] | Mapping[str, Start | None],
    *,
    out: Path,
    seeds: Iterable[int] = (1, 2, 3),
    shots: int = 16,
    every_epoch: bool = False,
    settings: Mapping[str, Any] | None = None,
    cpus: float = 1,
    progress: bool | None = None,
) -> Results:
    """Tune and measure methods beside zero-shot CLIP on all nodes, a task for each run.

    The folder is that of `gram.bench` on one machine, byte for byte. A run that is done is never made again, and a node
    that is lost costs the runs it was at.

    Parameters
    ----------
    model, datasets, methods, out, seeds, shots, every_epoch, settings
        As in `gram.bench`. Datasets are named by paths, which all nodes share; this process alone writes to the folder.
    cpus
        CPUs of a task, and its threads.
    progress
        Whether a bar is drawn; `None` draws one in a terminal or a notebook.
    """
    folder, opened_here, starts = os.path.abspath(out), dataset_list(datasets), starts_of(methods)
    whole = comparison(model, opened_here, starts, folder, seeds, shots, every_epoch, settings)
    left = whole.runs_left()
    task = _task(_make_run, cpus)
    rest = (shots, every_epoch, None if settings is None else dict(settings))

    def tasks() -> Iterator[Any]:
        for dataset, seed, method in left:
            yield task.remote(model._arguments, opened_here[dataset], (method, starts[method]), seed, rest)

    with Observer(progress) as observer:
        observer("begin", "runs", len(left))
        for files in _finished(tasks(), _at_once(cpus)):
            _keep(folder, files)
            observer("advance", "")
        return Results(json.loads(whole.run(observer)))
