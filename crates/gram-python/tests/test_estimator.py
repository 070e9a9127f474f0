"""`PromptClassifier` among scikit-learn's tools."""

from __future__ import annotations

import pickle
from typing import Any

import gram
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from conftest import Images


@pytest.fixture(scope="module")
def labelled() -> tuple[Images, np.ndarray]:
    """Red and blue squares, 12 each."""
    random = np.random.default_rng(5)
    images = random.integers(0, 60, (24, 48, 48, 3), dtype=np.uint8)
    labels = np.arange(24) % 2
    images[labels == 0, 12:36, 12:36, 0] = 230
    images[labels == 1, 12:36, 12:36, 2] = 230
    return images, labels


NAMES = {0: "red square", 1: "blue square"}


def test_it_learns_and_scores(labelled: tuple[Images, np.ndarray]) -> None:
    images, labels = labelled
    estimator = gram.PromptClassifier("tiny", epochs=5, class_names=NAMES)
    assert estimator.fit(images[:16], labels[:16]) is estimator
    assert estimator.classes_.tolist() == [0, 1] and len(estimator.losses_) == 5
    probabilities = estimator.predict_proba(images)
    assert probabilities.shape == (24, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-6)
    assert estimator.score(images[16:], labels[16:]) == 1.0
    again = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(again.predict_proba(images), probabilities)


def test_columns_are_in_the_order_of_labels(labelled: tuple[Images, np.ndarray]) -> None:
    images, labels = labelled
    # By name, blue comes first; by label, 9 before 10, which texts would not give.
    estimator = gram.PromptClassifier("tiny", epochs=2, class_names={9: NAMES[0], 10: NAMES[1]})
    estimator.fit(images, labels + 9)
    assert estimator.classes_.tolist() == [9, 10]
    assert (estimator.predict(images) == labels + 9).mean() == 1.0


def test_it_is_cloned_searched_and_validated(labelled: tuple[Images, np.ndarray]) -> None:
    images, labels = labelled
    estimator = gram.PromptClassifier("tiny", epochs=1, class_names=NAMES)
    assert clone(estimator).get_params() == estimator.get_params()
    assert cross_val_score(estimator, images, labels, cv=3).shape == (3,)
    assert cross_val_score(estimator, list(images), labels, cv=2).shape == (2,)
    search = GridSearchCV(estimator, {"method": ["coop", "vpt"], "epochs": [1, 2]}, cv=2).fit(images, labels)
    assert search.best_params_["method"] in ("coop", "vpt")


class OfNumbers(gram.PromptClassifier):  # type: ignore[misc, unused-ignore]
    """Reads the numbers of a row as stripes of grey, so that scikit-learn's checks have images."""

    def __init__(self, model: str = "tiny", epochs: int = 1) -> None:
        super().__init__(model, epochs=epochs)

    @classmethod
    def _get_param_names(cls) -> list[str]:
        return ["model", "epochs"]

    def fit(self, X: Any, y: Any) -> OfNumbers:
        numbers, labels = validate_data(self, X, y)
        check_classification_targets(labels)
        super().fit(self._images(numbers), labels)
        return self

    def predict_proba(self, X: Any) -> Any:
        check_is_fitted(self)
        return super().predict_proba(self._images(validate_data(self, X, reset=False)))

    @staticmethod
    def _images(numbers: np.ndarray) -> np.ndarray:
        grey = (255 / (1 + np.exp(-numbers))).astype(np.uint8)
        return np.repeat(np.repeat(grey[:, None, :, None], 8, axis=1), 3, axis=3)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.string, tags.no_validation = True, False, False
        # One epoch does not tell blobs as stripes of grey apart.
        tags.classifier_tags.poor_score = True
        return tags


@pytest.mark.filterwarnings("ignore")
def test_it_passes_the_checks_of_scikit_learn() -> None:
    check_estimator(gram.PromptClassifier("tiny"), on_skip=None)
    checked = check_estimator(OfNumbers(), on_skip=None)
    assert sum(check["status"] == "passed" for check in checked) > 45


def test_a_fit_that_fails_leaves_what_was_fitted(labelled: tuple[Images, np.ndarray]) -> None:
    images, labels = labelled
    estimator = gram.PromptClassifier("tiny", epochs=1, class_names=NAMES).fit(images, labels)
    expected = estimator.predict_proba(images)
    with pytest.raises(ValueError, match="epochs"):
        estimator.set_params(epochs=0, class_names=None).fit(images, labels + 5)
    assert estimator.classes_.tolist() == [0, 1]
    np.testing.assert_array_equal(estimator.predict_proba(images), expected)
    with pytest.raises(ValueError, match="24 images"):
        estimator.score(images, [0])


def test_what_is_wrong_is_said(labelled: tuple[Images, np.ndarray]) -> None:
    images, labels = labelled
    estimator = gram.PromptClassifier("tiny")
    with pytest.raises(NotFittedError):
        check_is_fitted(estimator)
    with pytest.raises(NotFittedError, match="call fit"):
        estimator.predict(images)
    with pytest.raises(ValueError, match="24 images"):
        estimator.fit(images, labels[:3])
    with pytest.raises(ValueError, match="no name for the label 1"):
        gram.PromptClassifier("tiny", class_names={0: "a"}).fit(images, labels)
    with pytest.raises(ValueError, match="one name"):
        estimator.fit(images, np.where(labels == 0, "a_b", "a b"))
    with pytest.raises(ValueError, match="one name"):
        gram.PromptClassifier("tiny", class_names={0: "a", 1: "a"}).fit(images, labels)
    with pytest.raises(ValueError, match="this is one class: 0.0"):
        estimator.fit(images, np.zeros(24))
