"""Learned prompts: tuning, files, and other programs' models."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from . import _native
from ._progress import Observer, OnMeasured
from ._storage import Path, reading, writing
from .data import Dataset, Images, as_dataset, count, name_list, settings_json
from .model import Classifier, Model, check_model

if TYPE_CHECKING:
    from .torch import PromptedModel

_Read = TypeVar("_Read")


class Start:
    """A meta-trained initialisation: where a prompt starts, and how its gradient is regulated.

    `meta_train` makes one, `open_start` reads one.
    """

    def __init__(self, native: _native.Initialisation, model: Model) -> None:
        self._native = native
        self._model = model

    @property
    def kind(self) -> str:
        """Of which prompt: `coop`, `cocoop`, `vpt` or `joint`."""
        return self._native.kind

    def save(self, path: Path) -> None:
        """Write the file, which `gram adapt --init` reads, too."""
        with writing(path) as file:
            self._native.save(file)

    def __reduce__(self) -> tuple[Callable[[bytes, Model], Start], tuple[bytes, Model]]:
        return _start_of_bytes, (_file_of(self), self._model)

    def __repr__(self) -> str:
        return f"Start({self.kind!r})"


def check_start(start: object) -> _native.Initialisation:
    """What a start is natively.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if not isinstance(start, Start):
        raise TypeError(f"a start is what gram.meta_train gives, not {type(start).__name__}")
    return start._native


def open_start(path: Path, model: Model) -> Start:
    """Read a meta-trained initialisation.

    Raises
    ------
    PromptError
        If it cannot be read, or is for another model.
    """
    with reading(path) as file:
        return Start(_native.Initialisation.open(file, check_model(model)), model)


def tune(
    model: Model,
    data: Dataset | Path | tuple[Images, Iterable[object]],
    method: str = "coop",
    *,
    shots: int = 16,
    seed: int = 1,
    epochs: int | None = None,
    start: Start | Path | None = None,
    classes: str = "all",
    template: str | None = None,
    settings: Mapping[str, Any] | None = None,
    on_epoch: OnMeasured | None = None,
    progress: bool | None = None,
) -> Prompt:
    """Learn a prompt from a few labelled images.

    Parameters
    ----------
    model
        The frozen model.
    data
        A dataset, the path of one in any layout that the command line reads, or images and labels.
    method
        By its name on the command line, such as `coop`, `vpt`, `joint`, `coop-gram` or `unigram`.
    shots
        Labelled images of a class.
    seed
        Of shots, their order and their augmentation.
    epochs
        Passes over the shots.
    start
        A meta-trained initialisation or its file; methods with GRAM need one.
    classes
        What is tuned on: `all`, `base` (the first half) or `new`.
    template
        With `{}` where a class's name goes: a textual prompt starts from its words.
    settings
        Anything else, as a file of settings says it, such as `{"baseline": {"batch_size": 8}}`.
    on_epoch
        Is called with the epoch, from 1, and its mean loss. What it raises ends the tuning.
    progress
        Whether a bar is drawn; `None` draws one in a terminal or a notebook.

    Returns
    -------
    Prompt

    Raises
    ------
    GramError
        If the method or a setting is wrong, or the descent diverges.
    DataError
        If an image cannot be read.
    """
    native_model, dataset = check_model(model), as_dataset(data)
    begin = open_start(start, model) if isinstance(start, (str, os.PathLike)) else start
    native_start = None if begin is None else check_start(begin)
    with Observer(progress, "loss", on_epoch) as observer:
        native = _native.Prompt.tune(
            native_model,
            dataset._native,
            method,
            count("shots", shots),
            count("seed", seed, 0),
            None if epochs is None else count("epochs", epochs),
            classes,
            template,
            native_start,
            settings_json(settings),
            observer,
        )
    return Prompt(native, model)


def open_prompt(path: Path, model: Model) -> Prompt:
    """Read a prompt file of gram's, CoOp's or CoCoOp's.

    Raises
    ------
    PromptError
        If it cannot be read, or is for another model.
    """
    with reading(path) as file:
        return Prompt(_native.Prompt.open(file, check_model(model)), model)


class Prompt:
    """A learned prompt and the model that it is for. `tune` makes one, `open_prompt` reads one."""

    def __init__(self, native: _native.Prompt, model: Model, losses: list[float] | None = None) -> None:
        self._native = native
        self._losses = native.losses if losses is None else losses
        self.model = model
        self._header: dict[str, Any] | None = None

    @property
    def header(self) -> dict[str, Any]:
        """What its file says of it: the model, the template, the classes, all settings."""
        if self._header is None:
            self._header = json.loads(self._native.header())
        return self._header

    @property
    def kind(self) -> str:
        """What is learned: `coop`, `cocoop`, `vpt` or `joint`."""
        return self._native.kind

    @property
    def classes(self) -> list[str]:
        """The classes that it was tuned on."""
        return list(self.header["classes"])

    @property
    def template(self) -> str:
        """The sentence around a name, whose first words the context tokens replace."""
        return str(self.header["template"])

    @property
    def losses(self) -> list[float]:
        """The mean loss of every epoch; none of a prompt that was read from a file."""
        return list(self._losses)

    @property
    def text_vectors(self) -> npt.NDArray[np.float32] | None:
        """Context tokens, `[contexts, tokens, width of the text tower]`."""
        return self._native.text_vectors()

    @property
    def visual_vectors(self) -> npt.NDArray[np.float32] | None:
        """Prompt tokens, `[layers, tokens, width of the vision tower]`."""
        return self._native.visual_vectors()

    def classifier(self, names: Iterable[str] | None = None) -> Classifier:
        """Any classes under the prompt; those that it was tuned on without names."""
        return Classifier(self._native.classifier(None if names is None else name_list(names)))

    def save(self, path: Path) -> None:
        """Write the prompt file, which the command line reads."""
        with writing(path) as file:
            self._native.save(file)

    def into_transformers(self, model: Any, names: Iterable[str] | None = None) -> PromptedModel:
        """Put the prompt into a `transformers.CLIPModel` of the same weights.

        Parameters
        ----------
        model
            A `transformers.CLIPModel`. It is not changed.
        names
            Classes; those that the prompt was tuned on without any.

        Returns
        -------
        gram.torch.PromptedModel
            A torch module whose output for pixels `[images, 3, side, side]` is logits `[images, classes]`.
        """
        from .torch import of_transformers

        return of_transformers(self, model, names)

    def into_open_clip(self, model: Any, names: Iterable[str] | None = None) -> PromptedModel:
        """Put the prompt into a model of open_clip with the same weights; otherwise as `into_transformers`."""
        from .torch import of_open_clip

        return of_open_clip(self, model, names)

    def __reduce__(
        self,
    ) -> tuple[Callable[[bytes, Model, list[float]], Prompt], tuple[bytes, Model, list[float]]]:
        return _prompt_of_bytes, (_file_of(self), self.model, self._losses)

    def __repr__(self) -> str:
        return f"Prompt({self.kind!r}, {len(self.classes)} classes)"


def _file_of(saved: Start | Prompt) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "prompt.safetensors")
        saved.save(path)
        with open(path, "rb") as file:
            return file.read()


def _of_bytes(contents: bytes, model: Model, read: Callable[[Path, Model], _Read]) -> _Read:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "prompt.safetensors")
        with open(path, "wb") as file:
            file.write(contents)
        return read(path, model)


def _prompt_of_bytes(contents: bytes, model: Model, losses: list[float]) -> Prompt:
    return Prompt(_of_bytes(contents, model, open_prompt)._native, model, losses)


def _start_of_bytes(contents: bytes, model: Model) -> Start:
    return _of_bytes(contents, model, open_start)
