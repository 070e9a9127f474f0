"""Methods side by side, over datasets and seeds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import _native
from ._progress import Observer
from .data import Dataset, Path, as_dataset, settings_json
from .model import Model
from .prompt import Start

if TYPE_CHECKING:
    import pandas


class Results:
    """Everything that a comparison measured."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def table(self) -> pandas.DataFrame:
        """A row for each dataset, method and seed: accuracy on base and new classes, and their harmonic mean."""
        import pandas

        runs = pandas.DataFrame(self.values["base_to_new"], columns=["dataset", "method", "seed", "base", "new"])
        total = runs["base"] + runs["new"]
        runs["harmonic_mean"] = (2 * runs["base"] * runs["new"] / total.where(total > 0)).fillna(0.0)
        return runs

    def curves(self) -> pandas.DataFrame:
        """Accuracy by epoch of adaptation, a row for each point; none unless `every_epoch` was asked for."""
        import pandas

        columns = ["dataset", "method", "seed", "epoch", "loss", "base", "new"]
        return pandas.DataFrame(self.values["curves"], columns=columns)

    def __repr__(self) -> str:
        return f"Results({len(self.values['base_to_new'])} runs)"


def bench(
    model: Model,
    datasets: Sequence[Dataset | Path],
    methods: Sequence[str] | Mapping[str, Start | None],
    *,
    out: Path,
    seeds: Iterable[int] = (1, 2, 3),
    shots: int = 16,
    every_epoch: bool = False,
    settings: Mapping[str, Any] | None = None,
    progress: bool | None = None,
) -> Results:
    """Tune and measure methods beside zero-shot CLIP: base-to-new accuracy.

    Parameters
    ----------
    model
        The frozen model.
    datasets
        Datasets, or paths of them.
    methods
        Names of methods; or names with what was meta-trained for them, or `None`.
    out
        A folder. What is finished stays there, and the same call computes the rest.
    seeds
        Of shots and tuning.
    shots
        Labelled images of a class.
    every_epoch
        Whether methods are tested after every epoch, too, for `Results.curves`.
    settings
        Anything else, as a file of settings says it.
    progress
        Whether a bar is drawn; `None` draws one in a terminal or a notebook.
    """
    starts = methods if isinstance(methods, Mapping) else dict.fromkeys(methods)
    asked = [(name, None if start is None else start._native) for name, start in starts.items()]
    opened = [as_dataset(dataset)._native for dataset in datasets]
    with Observer(progress) as observer:
        found = _native.bench(
            model._native, opened, asked, out, list(seeds), shots, every_epoch, settings_json(settings), observer
        )
    return Results(json.loads(found))
