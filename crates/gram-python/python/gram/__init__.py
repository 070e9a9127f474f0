"""Prompts for frozen CLIP models, from a few labelled images.

>>> import gram
>>> model = gram.load("tiny")
>>> prompt = gram.tune(model, "demo:food", method="coop", shots=1, epochs=1)
>>> prompt.classifier(["banana", "bread"]).names
['banana', 'bread']
"""

from importlib import import_module
from types import ModuleType

from ._native import DataError, DeviceError, GramError, ModelError, PromptError, __version__
from .clustering import Clusters, cluster, meta_train, open_clusters
from .comparison import Results, bench
from .data import Dataset, Features, Pairs
from .embedding import EmbeddingSummary, embed
from .estimator import PromptClassifier
from .model import Classifier, Model, load
from .prompt import Prompt, Start, open_prompt, open_start, tune

__all__ = [
    "Classifier",
    "Clusters",
    "DataError",
    "Dataset",
    "DeviceError",
    "EmbeddingSummary",
    "Features",
    "GramError",
    "Model",
    "ModelError",
    "Pairs",
    "Prompt",
    "PromptClassifier",
    "PromptError",
    "Results",
    "Start",
    "__version__",
    "bench",
    "cluster",
    "embed",
    "load",
    "meta_train",
    "open_clusters",
    "open_prompt",
    "open_start",
    "tune",
]


def __dir__() -> list[str]:
    return [*__all__, "plot", "ray", "torch"]


def __getattr__(name: str) -> ModuleType:
    """The modules that need another library, once somebody asks for them."""
    if name in ("plot", "ray", "torch"):
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module 'gram' has no attribute {name!r}")
