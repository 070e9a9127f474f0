"""A classifier with the manners of scikit-learn."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .data import Images, check_names, label_list, native_images
from .model import Classifier, Model, opened
from .prompt import Prompt, Start, tune

if TYPE_CHECKING:

    class _Base:
        def get_params(self, deep: bool = True) -> dict[str, Any]: ...
        def set_params(self, **parameters: Any) -> PromptClassifier: ...

else:
    try:
        from sklearn.base import BaseEstimator, ClassifierMixin

        class _Base(ClassifierMixin, BaseEstimator):
            pass

    except ImportError:

        class _Base:
            pass


class PromptClassifier(_Base):
    """Tunes a prompt on images and labels; an estimator for `cross_val_score` and `GridSearchCV`.

    Parameters
    ----------
    model
        A model, or its name; see `gram.load`. One by its name is opened once.
    method
        As in `gram.tune`.
    shots
        Labelled images of a class that are tuned on; `None` takes all.
    seed, epochs, start, template, settings
        As in `gram.tune`.
    class_names
        Names of the classes by label, for labels that say nothing, such as numbers; a label is its own name
        without one.
    device, precision
        As in `gram.load`, for a model by its name.

    Attributes
    ----------
    classes_
        The labels, sorted.
    prompt_
        The learned prompt.
    losses_
        The mean loss of every epoch.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Model = "ViT-B/16",
        method: str = "coop",
        *,
        shots: int | None = None,
        seed: int = 1,
        epochs: int | None = None,
        start: Start | str | None = None,
        template: str | None = None,
        settings: Mapping[str, Any] | None = None,
        class_names: Mapping[Any, str] | None = None,
        device: str | None = None,
        precision: str | None = None,
    ) -> None:
        self.model = model
        self.method = method
        self.shots = shots
        self.seed = seed
        self.epochs = epochs
        self.start = start
        self.template = template
        self.settings = settings
        self.class_names = class_names
        self.device = device
        self.precision = precision

    def fit(self, X: Images, y: Iterable[Any]) -> PromptClassifier:
        """Tune on images, as `gram.Model.encode_image` takes them, and a label for each."""
        model = self.model
        if isinstance(model, (str, os.PathLike)):
            model = opened(os.fspath(model), self.device, self.precision)
        shown = native_images(X)
        given = np.asarray(label_list(y))
        if len(given) != len(shown):
            raise ValueError(f"{len(shown)} images have a label each, but there are {len(given)} labels")
        classes: npt.NDArray[Any] = np.unique(given)
        if len(classes) < 2:
            raise ValueError(f"PromptClassifier tells two classes or more apart, and this is one class: {classes[0]}")
        names = {label: self._name(label) for label in classes.tolist()}
        check_names(list(names.values()))
        said = [names[label] for label in given.tolist()]
        prompt = tune(
            model,
            (shown, said),
            self.method,
            shots=max(Counter(said).values()) if self.shots is None else self.shots,
            seed=self.seed,
            epochs=self.epochs,
            start=self.start,
            template=self.template,
            settings=self.settings,
            progress=False,
        )
        # The prompt's classes stand in the order of their names, these in the order of their labels.
        sorted_names = sorted(names.values())
        classifier = prompt.classifier(sorted_names)
        # From here on nothing fails: what was fitted before is replaced as a whole.
        self.prompt_: Prompt = prompt
        self.losses_: list[float] = prompt.losses
        self.classes_: npt.NDArray[Any] = classes
        self._names = sorted_names
        self._columns = [sorted_names.index(names[label]) for label in classes.tolist()]
        self._classifier: Classifier | None = classifier
        return self

    def _name(self, label: Any) -> str:
        if self.class_names is None:
            return str(label)
        if self.class_names.get(label) is None:
            raise ValueError(f"class_names has no name for the label {label!r}")
        return str(self.class_names[label])

    def _ready(self) -> Classifier:
        if not hasattr(self, "prompt_"):
            from sklearn.exceptions import NotFittedError

            raise NotFittedError("call fit before you ask this PromptClassifier")
        if self._classifier is None:
            self._classifier = self.prompt_.classifier(self._names)
        return self._classifier

    def predict_proba(self, X: Images) -> npt.NDArray[np.float32]:
        """Probabilities of the classes in the order of `classes_`, `[images, classes]`."""
        columns: npt.NDArray[np.float32] = self._ready().predict_proba(X, progress=False)
        return columns[:, self._columns]

    def predict(self, X: Images) -> npt.NDArray[Any]:
        """The most probable label of each image."""
        columns = self.predict_proba(X).argmax(axis=1)
        best: npt.NDArray[Any] = self.classes_[columns]
        return best

    def score(self, X: Images, y: Iterable[Any], sample_weight: Any = None) -> float:
        """Accuracy, in [0, 1]."""
        expected, found = np.asarray(label_list(y)), self.predict(X)
        if len(expected) != len(found):
            raise ValueError(f"{len(found)} images have a label each, but there are {len(expected)} labels")
        right = found == expected
        return float(np.average(right, weights=sample_weight))

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if "_classifier" in state:
            # It is made again from the prompt.
            state["_classifier"] = None
        return state

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "prompt_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        # Images: paths, arrays of any size, or objects.
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.no_validation = True
        return tags
