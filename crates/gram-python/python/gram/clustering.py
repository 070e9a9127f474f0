"""Pairs to topics and domains, and these to a meta-trained initialisation."""

from __future__ import annotations

import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import _native
from ._progress import Observer, OnMeasured
from ._storage import Folder, Path, here, reading
from .data import Features, Images, Pairs, as_pairs_or_features, count, matrix, settings_json
from .model import Model, check_model
from .prompt import Start

if TYPE_CHECKING:
    import pyarrow


class Clusters:
    """Topics and domains of pairs. `cluster` finds them, `open_clusters` reads them."""

    def __init__(self, native: _native.Clusters) -> None:
        self._native = native

    @property
    def pairs(self) -> pyarrow.Table:
        """A row for each pair: `key`, `caption`, `topic`, `domain`, `strength`, `similarity`, `kept`.

        A pair of no topic has null as its topic and domain.
        """
        import pyarrow

        columns = dict(self._native.pair_columns())
        for name in ("topic", "domain"):
            numbers: Any = columns[name]
            columns[name] = pyarrow.array(numbers, mask=numbers < 0)
        return pyarrow.table(columns)

    @property
    def topics(self) -> pyarrow.Table:
        """A row for each topic, the largest first: its name, words, number of images, domains and checks."""
        import pyarrow

        topics = json.loads(self._native.topics())
        for topic in topics:
            topic["words"] = [{"word": word, "score": score} for word, score in topic["words"]]
        return pyarrow.Table.from_pylist(topics)

    def save(self, folder: Path) -> None:
        """Write `topics.json` and `pairs.parquet` into a folder, as `gram cluster --out` does."""
        with Folder(folder) as place:
            self._native.save(place.here)
            place.push()

    def __reduce__(self) -> tuple[Callable[[dict[str, bytes]], Clusters], tuple[dict[str, bytes]]]:
        with tempfile.TemporaryDirectory() as folder:
            self.save(folder)
            return _of_files, ({path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()},)

    def __repr__(self) -> str:
        return f"Clusters({len(json.loads(self._native.topics()))} topics)"


def open_clusters(folder: Path) -> Clusters:
    """Read what `gram cluster` or `Clusters.save` wrote, with what people corrected in `topics.toml`."""
    with reading(folder) as path:
        return Clusters(_native.Clusters.open(path))


def _of_files(files: Mapping[str, bytes]) -> Clusters:
    with tempfile.TemporaryDirectory() as folder:
        for name, contents in files.items():
            pathlib.Path(folder, name).write_bytes(contents)
        return open_clusters(folder)


def cluster(
    model: Model | None = None,
    pairs: Pairs | Features | Path | tuple[Images, Sequence[str]] | None = None,
    *,
    captions: Sequence[str] | None = None,
    image_features: npt.NDArray[Any] | None = None,
    text_features: npt.NDArray[Any] | None = None,
    caption_embeddings: npt.NDArray[Any] | None = None,
    keys: Sequence[str] | None = None,
    fit_sample: int | None = None,
    seed: int = 1,
    settings: Mapping[str, Any] | None = None,
    progress: bool | None = None,
) -> Clusters:
    """Group pairs into topics by their captions, and topics into domains by their images.

    Parameters
    ----------
    model
        Sees `pairs`; of features it checks the names of topics in images, and may be left out.
    pairs
        Pairs, their path, images and captions; or their `Features`, or the folder of them.
    captions
        In the place of `pairs`: what the texts say, with `image_features` and either of the next two.
    image_features
        `[pairs, width]` of a CLIP model.
    text_features
        `[pairs, width]` of the same model: pairs whose image and text do not match are left out.
    caption_embeddings
        `[pairs, any width]`: what captions are compared by, such as those of Sentence-BERT; the text features
        where there are none.
    keys
        Names of the pairs; their numbers without any.
    fit_sample
        Pairs that are laid out; all others join the topics of their neighbours among them.
    seed
        Of layouts and domains.
    settings
        Anything else, as a file of settings says it, such as `{"hdbscan": {"min_cluster_size": 50}}`.
    progress
        Whether a bar is drawn; `None` draws one in a terminal or a notebook.

    Raises
    ------
    GramError
        If numbers do not fit, a setting is wrong, or no topic is found.
    """
    said = clustering_settings(settings, fit_sample)
    with Observer(progress) as observer:
        if pairs is not None:
            if any(given is not None for given in (captions, image_features, text_features, caption_embeddings)):
                raise TypeError("cluster pairs, or captions with image_features, not both")
            given_pairs = as_pairs_or_features(pairs)
            if isinstance(given_pairs, Features):
                return clusters_of_features(given_pairs, model, count("seed", seed, 0), said, None, observer)
            if model is None:
                raise TypeError("a model sees the pairs: cluster(model, pairs)")
            seen = given_pairs._native
            return Clusters(_native.Clusters.of_pairs(check_model(model), seen, count("seed", seed, 0), said, observer))
        if captions is None or image_features is None:
            raise TypeError("cluster pairs, or captions with image_features")
        if text_features is None and caption_embeddings is None:
            raise TypeError("captions are compared by text_features or caption_embeddings")
        images, said_by = matrix("image_features", image_features), list(captions)
        texts = None if text_features is None else matrix("text_features", text_features)
        embeddings = texts if caption_embeddings is None else matrix("caption_embeddings", caption_embeddings)
        assert embeddings is not None
        named = [str(number) for number in range(len(said_by))] if keys is None else [str(key) for key in keys]
        native = _native.Clusters.of_features(
            named,
            said_by,
            images,
            embeddings,
            None if texts is None else _cosines(images, texts),
            None if model is None else check_model(model),
            count("seed", seed, 0),
            said,
            observer,
        )
        return Clusters(native)


def clustering_settings(settings: Mapping[str, Any] | None, fit_sample: int | None) -> str | None:
    """Settings as the native module takes them, with the size of the sample."""
    if fit_sample is None:
        return settings_json(settings)
    if settings and "fit_sample" in settings:
        raise TypeError("fit_sample is given twice: by itself and in settings")
    return settings_json({**(settings or {}), "fit_sample": count("fit_sample", fit_sample)})


def clusters_of_features(
    features: Features,
    model: Model | None,
    seed: int,
    settings: str | None,
    shared_stages: str | None,
    observer: Observer,
) -> Clusters:
    """Clusters pairs of a features folder; the observer is asked for pieces, where processes share stages."""
    known = None if model is None else check_model(model)
    return Clusters(_native.Clusters.of_folder(features._native, known, seed, settings, shared_stages, observer))


def _cosines(images: npt.NDArray[np.float32], texts: npt.NDArray[np.float32]) -> list[float]:
    if images.shape != texts.shape:
        raise ValueError(
            f"image and text features of one model have one shape, not {images.shape} and {texts.shape}"
        )
    lengths = np.linalg.norm(images, axis=1) * np.linalg.norm(texts, axis=1)
    cosines: list[float] = (np.einsum("ij,ij->i", images, texts) / np.maximum(lengths, 1e-12)).tolist()
    return cosines


def meta_train(
    model: Model,
    pairs: Pairs | Features | Path | tuple[Images, Sequence[str]],
    clusters: Clusters | Path,
    method: str = "joint",
    *,
    steps: int | None = None,
    seed: int = 1,
    template: str | None = None,
    out: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    on_step: OnMeasured | None = None,
    progress: bool | None = None,
) -> Start:
    """Learn where a prompt should start, and how its gradient should be regulated (GRAM).

    Parameters
    ----------
    model
        The frozen model.
    pairs
        The pairs that were clustered; for a prompt that is not visual, their `Features` do.
    clusters
        Their topics and domains, or the folder of them.
    method
        Of which prompt: `coop`, `cocoop`, `vpt` or `joint`.
    steps
        Outer steps.
    seed
        Of episodes and of vectors that start at random.
    template
        With `{}` where a topic's name goes: a textual prompt starts from its words.
    out
        A file for the result. A checkpoint is then kept every 10 steps in a folder beside it, and the same call goes on
        where it was stopped, to the same bytes.
    settings
        Anything else, as a file of settings says it, such as `{"inner": {"steps": 2}}`.
    on_step
        Is called with the step, from 1, and its query loss; first with those that an earlier call did. What it raises ends
        the training.
    progress
        Whether a bar is drawn; `None` draws one in a terminal or a notebook.

    Raises
    ------
    GramError
        If there are too few topics, a setting is wrong, or a step diverges.
    """
    file = file_named(out)
    if file is not None:
        here(file)
    asked = MetaTrainingArguments(pairs, clusters, method, steps, seed, template, settings)
    with Observer(progress, "query loss", on_step) as observer:
        return Start(asked.prepared(model, observer).fit(file, False, observer), model)


def file_named(out: Path | None) -> str | None:
    """The name of a file, if there is one; refuses an empty one."""
    if out is not None and not os.fspath(out):
        raise ValueError("out is a file, not empty")
    return None if out is None else os.fspath(out)


class MetaTrainingArguments:
    """What is asked of a meta-training; pairs that have a path can go to another process."""

    def __init__(
        self,
        pairs: Pairs | Features | Path | tuple[Images, Sequence[str]],
        clusters: Clusters | Path,
        method: str,
        steps: int | None,
        seed: int,
        template: str | None,
        settings: Mapping[str, Any] | None,
    ) -> None:
        found = open_clusters(clusters) if isinstance(clusters, (str, os.PathLike)) else clusters
        if not isinstance(found, Clusters):
            raise TypeError(f"clusters are what gram.cluster gives, or its folder, not {type(found).__name__}")
        self._clusters = found
        self._pairs = as_pairs_or_features(pairs)
        self._method = method
        self._steps = None if steps is None else count("steps", steps)
        self._seed = count("seed", seed, 0)
        self._template = template
        self._settings = settings_json(settings)

    def prepared(self, model: Model, observer: Observer | None = None) -> _native.MetaTraining:
        """Reads what the meta-training needs."""
        return _native.MetaTraining(
            check_model(model),
            self._pairs._native,
            self._clusters._native,
            self._method,
            self._steps,
            self._seed,
            self._template,
            self._settings,
            observer,
        )
