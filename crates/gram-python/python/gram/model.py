"""Frozen CLIP models, and classifiers of class names."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from . import _native
from ._progress import Observer
from ._storage import Path, is_url, lasting, reading
from .data import Images, name_list, native_images

_log = logging.getLogger("gram")


def load(
    name: Path, *, device: str | None = None, precision: str | None = None, progress: bool | None = None
) -> Model:
    """Open a CLIP model.

    Parameters
    ----------
    name
        A short name such as `ViT-B/16`; an id on the hub; a folder or file with a checkpoint of Hugging Face,
        open_clip or OpenAI; or `tiny`, which is built in.
    device
        `cpu`, or a GPU that this build knows, such as `cuda:0`. `None` is what the environment variable
        `GRAM_DEVICE` names, else a GPU if there is one, else the CPU.
    precision
        Of the frozen towers on a GPU: `f32`, `bf16` or `f16`.
    progress
        Whether a bar is drawn; `None` draws one in a terminal or a notebook.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        If it cannot be opened.
    DeviceError
        If the device is not there.
    """
    return Model(os.fspath(name), device=device, precision=precision, progress=progress)


class Model:
    """A frozen CLIP model: towers, tokenizer and preprocessing. `load` opens one."""

    def __init__(
        self,
        name: str,
        *,
        device: str | None = None,
        precision: str | None = None,
        progress: bool | None = None,
    ) -> None:
        self._arguments = (lasting(name), device, precision)
        with Observer(progress) as observer, reading(name) as path:
            url = os.fspath(name) if is_url(name) else None
            self._native = _native.Model(path, url, None if device is None else str(device), precision, observer)

    @property
    def name(self) -> str:
        """What it was opened by."""
        return self._native.name

    @property
    def device(self) -> str:
        """What it computes on."""
        return self._native.device

    @property
    def width(self) -> int:
        """Numbers of a feature."""
        return self._native.width

    @property
    def image_size(self) -> int:
        """Pixels along a side of the images that the tower sees."""
        return self._native.image_size

    def encode_image(self, images: Images, *, progress: bool | None = None) -> npt.NDArray[np.float32]:
        """Features of images.

        Parameters
        ----------
        images
            Paths, PIL images, uint8 arrays `[height, width, 3]` or a batch of them, uint8 torch tensors
            `[3, height, width]` or a batch of them; or one of these.
        progress
            Whether a bar is drawn; `None` draws one in a terminal or a notebook.

        Returns
        -------
        numpy.ndarray
            `[images, width]`, each of length 1.

        Raises
        ------
        DataError
            Names the first image that cannot be read.
        """
        with Observer(progress) as observer:
            return self._native.encode_image(native_images(images), observer)

    def encode_text(self, texts: str | Iterable[str]) -> npt.NDArray[np.float32]:
        """Features of texts, `[texts, width]`, each of length 1. Texts that are too long are cut, and logged."""
        all_texts = [texts] if isinstance(texts, str) else list(texts)
        features, cut = self._native.encode_text(all_texts)
        if cut:
            _log.warning("%d of %d texts were cut to what the model reads", cut, len(all_texts))
        return features

    def classifier(
        self, classes: str | Iterable[str], template: str | Sequence[str] = "a photo of a {}"
    ) -> Classifier:
        """Classes in a hand-written sentence, or in several, whose features are averaged.

        Parameters
        ----------
        classes
            Names.
        template
            With `{}` where the name goes.
        """
        templates = [template] if isinstance(template, str) else list(template)
        return Classifier(self._native.classifier(name_list(classes), templates))

    def __reduce__(self) -> tuple[Callable[..., Model], tuple[str, str | None, str | None]]:
        return opened, self._arguments

    def __repr__(self) -> str:
        return f"Model({self.name!r}, device={self.device!r})"


def check_model(model: object) -> _native.Model:
    """What a model is natively.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if not isinstance(model, Model):
        raise TypeError(f"a model is what gram.load gives, not {type(model).__name__}")
    return model._native


@lru_cache(maxsize=2)
def opened(name: str, device: str | None, precision: str | None) -> Model:
    """A model by its name, opened once in a process."""
    return Model(name, device=device, precision=precision)


class Classifier:
    """Classes that are ready to be asked for, under a sentence or a learned prompt."""

    def __init__(self, native: _native.Classifier) -> None:
        self._native = native

    @property
    def names(self) -> list[str]:
        """The classes' names, as the model reads them."""
        return self._native.names

    @property
    def weights(self) -> npt.NDArray[np.float32] | None:
        """Features of the classes, `[classes, width]`; `None` where each image has its own (CoCoOp)."""
        return self._native.weights()

    def predict_proba(self, images: Images, *, progress: bool | None = None) -> npt.NDArray[np.float32]:
        """Probabilities of the classes, `[images, classes]`. Images are as in `Model.encode_image`."""
        with Observer(progress) as observer:
            return self._native.probabilities(native_images(images), observer)

    def logits(self, images: Images, *, progress: bool | None = None) -> npt.NDArray[np.float32]:
        """Logits of the classes, `[images, classes]`. Images are as in `Model.encode_image`."""
        with Observer(progress) as observer:
            return self._native.logits(native_images(images), observer)

    def predict(self, images: Images, *, progress: bool | None = None) -> list[str]:
        """The most probable class of each image, the first of equals. Images are as in `Model.encode_image`."""
        best = self.predict_proba(images, progress=progress).argmax(axis=1)
        return [self.names[class_] for class_ in best]

    def __repr__(self) -> str:
        return f"Classifier({len(self.names)} classes)"
