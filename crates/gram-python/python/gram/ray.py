"""What outgrows a machine, as tasks of Ray. Results are the bytes of one machine.

Call `ray.init` first, or `ray.init("auto")` on a cluster. Paths are the same files on all nodes, on a shared file system,
or URLs of object stores, such as `s3://bucket/folder`, that fsspec reads.
"""

from __future__ import annotations

import json
import logging
import math
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from . import _native
from ._progress import Observer, OnMeasured
from ._storage import Folder, Path, images_from, split
from .clustering import Clusters, MetaTrainingArguments, clustering_settings, clusters_of_features, file_named
from .comparison import Results, comparison, dataset_list, starts_of
from .data import Dataset, Features, Images, Pairs, as_pairs, count
from .embedding import EmbeddingSummary
from .embedding import embed as embed_here
from .model import Model, check_model, opened
from .prompt import Start


#: Deaths of what computes one thing after which it is the thing that kills, and not a machine that is lost.
_DEATHS = 16


@dataclass(frozen=True)
class _Resources:
    """What a task or an actor has for itself."""

    cpus: float
    gpus: float

    def __post_init__(self) -> None:
        if not (0 < self.cpus < math.inf and 0 <= self.gpus < math.inf):
            raise ValueError(f"cpus = {self.cpus}, gpus = {self.gpus}: CPUs are above 0, and GPUs 0 or more")
        if not ray.is_initialized():
            raise RuntimeError("ray.init() comes first: it says which cluster this is")
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(node.get("CPU", 0) >= self.cpus and node.get("GPU", 0) >= self.gpus for node in nodes):
            logging.getLogger("gram").warning("no node has %g CPUs and %g GPUs: work waits for one", self.cpus, self.gpus)

    def remote(self, work: Any, **options: int) -> Any:
        """A function as tasks, or a class as actors; the threads are as many as the CPUs."""
        environment = {"env_vars": {"RAYON_NUM_THREADS": str(max(1, round(self.cpus)))}}
        return ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, runtime_env=environment, **options)(work)

    def task(self, work: Any) -> Any:
        """A function as tasks that are done again where their node is lost."""
        return self.remote(work, max_retries=_DEATHS)

    def room(self) -> int:
        """How many the cluster has room for."""
        there = ray.cluster_resources()
        asked = {"CPU": self.cpus, "GPU": self.gpus}
        return max(1, min(int(there.get(name, 0) / each) for name, each in asked.items() if each > 0))

    def at_once(self) -> int:
        """Tasks that wait or run at once: enough that no node waits, few enough that they need little memory here."""
        return 2 * self.room()


def _write_parts(
    arguments: tuple[str, str | None, str | None],
    parts: list[tuple[int, str]],
    store: tuple[str, str, dict[str, int]] | None,
    working: str,
    out: str,
    full_precision: bool,
) -> int:
    """Writes parts. A task that is done again writes the same bytes."""
    if os.path.isdir(working):
        # Images whose paths are relative are where the caller sees them.
        os.chdir(working)
    model = opened(*arguments)
    with Folder(out) as folder:
        for first, pairs in parts:
            portable = pairs if store is None else images_from(*store, pairs)
            _native.write_part(model._native, portable, first, folder.here, full_precision)
            folder.push()
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


def _finished(tasks: Iterator[Any], at_once: int) -> Iterator[Any]:
    """What tasks give as they end; no more than so many wait or run at once."""
    running: list[Any] = []
    try:
        for task in tasks:
            running.append(task)
            if len(running) >= at_once:
                [done], running = ray.wait(running)
                yield _given(done)
        while running:
            [done], running = ray.wait(running)
            yield _given(done)
    finally:
        # Where one fails, or whoever waits goes away, nobody wants the others.
        for task in running:
            ray.cancel(task)


def _given(task: Any) -> Any:
    """What a task gives; its own error is raised as such."""
    try:
        return ray.get(task)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        raise (cause if isinstance(cause, Exception) else error) from None


def embed(
    model: Model,
    pairs: Pairs | Path | tuple[Images, Sequence[str]],
    out: Path,
    *,
    full_precision: bool = False,
    parts_per_task: int = 4,
    cpus: float = 1,
    gpus: float = 0,
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
        The folder, on a file system that all nodes share or in an object store.
    full_precision
        Whether features are written in 32 bits instead of 16.
    parts_per_task
        Parts of a task.
    cpus
        CPUs of a task, and its threads.
    gpus
        GPUs of a task: Ray shows it no others, so the first of them is `cuda:0`.
    progress
        Whether a bar is drawn; `None` draws one in a terminal or a notebook.
    """
    listed, each = as_pairs(pairs), _Resources(cpus, gpus)
    task = each.task(_write_parts)
    with Folder(out) as folder:
        folder.pull()
        left = listed._native.parts_left(check_model(model), folder.here, full_precision)
        folder.push()
        size = count("parts_per_task", parts_per_task)
        chunks = [left[start : start + size] for start in range(0, len(left), size)]
        store = listed._store()

        def tasks() -> Iterator[Any]:
            for chunk in chunks:
                parts = [(first, listed._native.portable(first, end)) for first, end in chunk]
                yield task.remote(model._arguments, parts, store, os.getcwd(), folder.path, full_precision)

        with Observer(progress) as observer:
            observer("begin", "parts", len(left))
            done = 0
            for parts_done in _finished(tasks(), each.at_once()):
                done += parts_done
                observer("reach", done, "")
        folder.pull()
        summary = embed_here(model, listed, folder.here, full_precision=full_precision, progress=progress)
        folder.push()
        return summary


def bench(
    model: Model,
    datasets: Dataset | Path | Sequence[Dataset | Path],
    methods: str | Sequence[str] | Mapping[str, Start | Path | None],
    *,
    out: Path,
    seeds: Iterable[int] = (1, 2, 3),
    shots: int = 16,
    every_epoch: bool = False,
    settings: Mapping[str, Any] | None = None,
    cpus: float = 1,
    gpus: float = 0,
    progress: bool | None = None,
) -> Results:
    """Tune and measure methods beside zero-shot CLIP on all nodes, a task for each run.

    The folder is that of `gram.bench` on one machine, byte for byte. A run that is done is never made again, and a node
    that is lost costs the runs it was at.

    Parameters
    ----------
    model, datasets, methods, out, seeds, shots, every_epoch, settings
        As in `gram.bench`. Datasets are named by paths that all nodes share, or by URLs; this process alone writes to the
        folder, which may be a URL, too.
    cpus
        CPUs of a task, and its threads.
    gpus
        GPUs of a task: Ray shows it no others, so the first of them is `cuda:0`.
    progress
        Whether a bar is drawn; `None` draws one in a terminal or a notebook.
    """
    opened_here, starts = dataset_list(datasets), starts_of(methods, model)
    each = _Resources(cpus, gpus)
    task = each.task(_make_run)
    rest = (shots, every_epoch, None if settings is None else dict(settings))
    for dataset in opened_here:
        # Says what cannot go to another process before anything is begun.
        dataset.__reduce__()
    with Folder(out) as folder, Observer(progress) as observer:
        folder.pull()
        whole = comparison(model, opened_here, starts, folder.here, seeds, shots, every_epoch, settings)
        left = whole.runs_left()

        def tasks() -> Iterator[Any]:
            for dataset, seed, method in left:
                yield task.remote(model._arguments, opened_here[dataset], (method, starts[method]), seed, rest)

        observer("begin", "runs", len(left))
        for files in _finished(tasks(), each.at_once()):
            _keep(folder.here, files)
            folder.push()
            observer("advance", "")
        results = Results(json.loads(whole.run(observer)))
        folder.push()
        return results


def _make_pieces(
    features: Features, seed: int, settings: str | None, stages: str, pieces: list[str | dict[str, int]]
) -> None:
    """Makes pieces of a clustering. A task that is done again makes those that are not there."""
    with Folder(stages) as folder:
        folder.pull()
        try:
            _native.make_pieces(features._native, seed, settings, folder.here, json.dumps(pieces))
        finally:
            folder.push()


class _Sharing(Observer):
    """Makes pieces of a clustering in tasks where it wants some."""

    def __init__(
        self,
        progress: bool | None,
        each: _Resources,
        features: Features,
        seed: int,
        settings: str | None,
        stages: Folder,
    ) -> None:
        super().__init__(progress)
        self._task = each.task(_make_pieces)
        self._each = each
        self._stages = stages
        self._arguments = (features, seed, settings, stages.path)

    def __call__(self, event: str, /, *details: Any) -> object:
        if event != "pieces":
            return super().__call__(event, *details)
        pieces = json.loads(details[0])
        # Each layout is a whole task's work; a task of small pieces prepares its search once for all of them.
        whole = [piece for piece in pieces if isinstance(piece, str)]
        small = [piece for piece in pieces if not isinstance(piece, str)]
        size = max(1, len(small) // (2 * self._each.at_once()))
        shares = [[piece] for piece in whole] + [small[start : start + size] for start in range(0, len(small), size)]
        self._stages.push()
        for _ in _finished((self._task.remote(*self._arguments, share) for share in shares), self._each.at_once()):
            pass
        self._stages.pull()
        return []


def cluster(
    features: Features | Path,
    *,
    stages: Path,
    model: Model | None = None,
    fit_sample: int | None = None,
    seed: int = 1,
    settings: Mapping[str, Any] | None = None,
    cpus: float = 1,
    progress: bool | None = None,
) -> Clusters:
    """Group pairs into topics and domains on all nodes.

    The clusters are those of `gram.cluster` on one machine. One task computes the layout (UMAP) of the sample of
    `fit_sample` pairs, others look for the neighbours of all other pairs; then topics are divided into domains in tasks.
    This process finds the topics in the layout, scores words and names topics.

    Parameters
    ----------
    features
        `Features` of the pairs, or their folder, which all nodes share, or its URL.
    stages
        A folder for what is done, which all nodes share, or its URL: what is stopped goes on from there, and a node
        that is lost costs the pieces it was at. It is not needed any more once there are clusters.
    model
        Checks names of topics in images, where it is the model of the features.
    fit_sample
        Pairs that are laid out; all others join the topics of their neighbours among them. All pairs are laid out, by one
        task, where nothing is said.
    seed
        Of layouts and domains.
    settings
        Anything else, as in `gram.cluster`.
    cpus
        CPUs of a task, and its threads.
    progress
        Whether a bar is drawn; `None` draws one in a terminal or a notebook.
    """
    if not isinstance(features, (Features, str, os.PathLike)):
        raise TypeError(f"what is clustered is `Features` or their folder, as `embed` makes, not {type(features).__name__}")
    opened_here = features if isinstance(features, Features) else Features(features)
    text, checked, each = clustering_settings(settings, fit_sample), count("seed", seed, 0), _Resources(cpus, 0)
    with Folder(stages) as folder, _Sharing(progress, each, opened_here, checked, text, folder) as observer:
        folder.pull()
        found = clusters_of_features(opened_here, model, checked, text, folder.here, observer)
        folder.push()
        return found


class _Worker:
    """Holds the model and the data of a meta-training, and computes meta-gradients."""

    def prepare(self, arguments: tuple[str, str | None, str | None], asked: MetaTrainingArguments) -> None:
        self._native = asked.prepared(opened(*arguments)).worker()

    def gradients(self, state: bytes, which: int) -> bytes:
        return self._native.gradients(state, which)


class _Workers:
    """Actors that share the passes of a meta-step. One that is lost is replaced, and its pass asked for again."""

    def __init__(self, actors: int, each: _Resources, arguments: Sequence[object]) -> None:
        self._make = each.remote(_Worker, max_restarts=0)
        self._arguments = [ray.put(argument) for argument in arguments]
        self._actors: list[Any] = []
        self._idle: list[Any] = []
        #: Actors that were lost since one has given something.
        self._deaths = 0
        #: Actors that read the data, and those that compute a pass, by what Ray will give.
        self._starting: dict[Any, Any] = {}
        self._running: dict[Any, tuple[Any, int]] = {}
        for _ in range(actors):
            self._start()

    def _start(self) -> None:
        actor = self._make.remote()
        self._actors.append(actor)
        self._starting[actor.prepare.remote(*self._arguments)] = actor

    def gradients(self, state: bytes, passes: int) -> list[bytes]:
        """The meta-gradients of every pass of the step that follows a state, in the order of the passes."""
        shared, waiting, found = ray.put(state), list(range(passes)), dict[int, bytes]()
        while len(found) < passes:
            while waiting and self._idle:
                actor, which = self._idle.pop(0), waiting.pop(0)
                self._running[actor.gradients.remote(shared, which)] = (actor, which)
            [done], _ = ray.wait([*self._running, *self._starting])
            lost = False
            try:
                given = _given(done)
                self._deaths = 0
            except ray.exceptions.RayActorError as error:
                lost = True
                self._deaths += 1
                if self._deaths > _DEATHS:
                    raise RuntimeError(f"actors die again and again: {error}") from error
            if done in self._starting:
                actor = self._starting.pop(done)
            else:
                actor, which = self._running.pop(done)
                if lost:
                    waiting.insert(0, which)
                else:
                    found[which] = given
            if lost:
                self._actors.remove(actor)
                self._start()
            else:
                self._idle.append(actor)
        return [found[which] for which in range(passes)]

    def close(self) -> None:
        """Ends the actors."""
        for actor in self._actors:
            ray.kill(actor)


class _Asking(Observer):
    """Asks workers for meta-gradients where meta-training wants some."""

    def __init__(
        self, workers: _Workers, passes: int, out: Folder | None, progress: bool | None, on_measured: OnMeasured | None
    ) -> None:
        super().__init__(progress, "query loss", on_measured)
        self._workers = workers
        self._passes = passes
        self._out = out

    def __call__(self, event: str, /, *details: Any) -> object:
        if event == "gradients":
            if self._out is not None:
                self._out.push()
            return self._workers.gradients(details[0], self._passes)
        return super().__call__(event, *details)


def meta_train(
    model: Model,
    pairs: Pairs | Features | Path,
    clusters: Clusters | Path,
    method: str = "joint",
    *,
    steps: int | None = None,
    seed: int = 1,
    template: str | None = None,
    out: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    on_step: OnMeasured | None = None,
    actors: int | None = None,
    cpus: float = 1,
    gpus: float = 0,
    progress: bool | None = None,
) -> Start:
    """Meta-train an initialisation and a gradient regulator on all nodes.

    Actors hold the model and what the prompt sees of the pairs. In each meta-step they are sent what is learned so far, and
    compute the meta-gradients of the episodes, which this process sums in the order of the episodes. The result is that of
    `gram.meta_train` on one machine, byte for byte, for any number of actors. An actor that is lost is replaced, and its
    episodes are asked for again. This process validates, and writes checkpoints if there is a file `out`.

    Parameters
    ----------
    model, clusters, method, steps, seed, template, out, settings, on_step
        As in `gram.meta_train`; `out` may be a URL.
    pairs
        Pairs or `Features` by their path, which all nodes share, or by a URL. Each actor reads them: for a prompt that is
        not visual, embed pairs once with `embed`, and name their `Features`.
    actors
        How many; as many as there is work and room for where it is not said. A step has `meta_batch` episodes, which go
        through the towers `tasks_at_once` at a time: more actors than such passes have nothing to do.
    cpus
        CPUs of an actor, and its threads.
    gpus
        GPUs of an actor, as in `embed`.
    progress
        Whether a bar is drawn; `None` draws one in a terminal or a notebook.
    """
    file = file_named(out)
    asked = MetaTrainingArguments(pairs, clusters, method, steps, seed, template, settings)
    with Observer(progress) as observer:
        here = asked.prepared(model, observer)
    passes, each = here.passes(), _Resources(cpus, gpus)
    number = min(passes, each.room()) if actors is None else count("actors", actors)
    workers = _Workers(number, each, [model._arguments, asked])
    try:
        if file is None:
            with _Asking(workers, passes, None, progress, on_step) as asking:
                return Start(here.fit(None, True, asking), model)
        parent, name = split(file)
        # Checkpoints are beside the file.
        with Folder(parent, (name, os.path.splitext(name)[0] + ".run/")) as folder:
            folder.pull()
            with _Asking(workers, passes, folder, progress, on_step) as asking:
                start = Start(here.fit(os.path.join(folder.here, name), True, asking), model)
            folder.push()
            return start
    finally:
        workers.close()
