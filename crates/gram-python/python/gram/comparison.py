"""Methods side by side, over datasets and seeds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import _native
from ._progress import Observer
from ._storage import Path, here
from .data import Dataset, as_dataset, count, settings_json
from .model import Model, check_model
from .prompt import Start, check_start, open_start

if TYPE_CHECKING:
    import pandas


class Results:
    """Everything that a comparison measured.

    Attributes
    ----------
    values
        What `results.json` of `gram bench` holds.
    """

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
    datasets: Dataset | Path | Sequence[Dataset | Path],
    methods: str | Sequence[str] | Mapping[str, Start | Path | None],
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
        Names of methods; or names with what was meta-trained for them, or its file, or `None`.
    out
        A folder. What is finished stays there, and the same call computes the rest.
    seeds
        Of shots and tuning.
    shots
        Labelled images of a class.
    every_epoch
        Whether methods are tested after every epoch, too, for `Results.curves`.
    settings
        Anything else, as a file of settings says it: its keys are those of `gram bench --config`.
    progress
        Whether a bar is drawn; `None` draws one in a terminal or a notebook.

    Returns
    -------
    Results
        Accuracies as a table, and curves.
    """
    starts, opened = starts_of(methods, model), dataset_list(datasets)
    with Observer(progress) as observer:
        compared = comparison(model, opened, starts, here(out), seeds, shots, every_epoch, settings)
        return Results(json.loads(compared.run(observer)))


def starts_of(
    methods: str | Sequence[str] | Mapping[str, Start | Path | None], model: Model
) -> dict[str, Start | None]:
    """What each method starts from: zero-shot CLIP first, then those that are asked for."""
    if not isinstance(methods, Mapping):
        methods = dict.fromkeys([methods] if isinstance(methods, str) else methods)
    opened = {
        name: open_start(start, model) if isinstance(start, (str, os.PathLike)) else start
        for name, start in methods.items()
    }
    return {"zero-shot": None, **opened}


def dataset_list(datasets: Dataset | Path | Sequence[Dataset | Path]) -> list[Dataset]:
    """Datasets, opened; or one."""
    several = [datasets] if isinstance(datasets, (str, os.PathLike, Dataset)) else datasets
    return [as_dataset(dataset) for dataset in several]


def comparison(
    model: Model,
    datasets: Sequence[Dataset],
    starts: Mapping[str, Start | None],
    out: Path,
    seeds: Iterable[int],
    shots: int,
    every_epoch: bool,
    settings: Mapping[str, Any] | None,
) -> _native.Bench:
    """A comparison of these methods and no other, as the native module takes it."""
    return _native.Bench(
        check_model(model),
        [dataset._native for dataset in datasets],
        [(name, None if start is None else check_start(start)) for name, start in starts.items()],
        out,
        [count("seed", seed, 0) for seed in seeds],
        count("shots", shots),
        every_epoch,
        settings_json(settings),
    )
