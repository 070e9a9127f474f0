"""Drawings by matplotlib of what the report shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .comparison import Results
    from .prompt import Prompt


def _axes(axes: Any) -> Any:
    if axes is not None:
        return axes
    import matplotlib.pyplot

    return matplotlib.pyplot.subplots()[1]


def losses(prompt: Prompt, axes: Any = None) -> Any:
    """The mean loss of every epoch of a tuning. Gives the axes."""
    axes = _axes(axes)
    axes.plot(range(1, 1 + len(prompt.losses)), prompt.losses)
    axes.set(xlabel="epoch", ylabel="loss", title=f"Tuning a {prompt.kind} prompt")
    return axes


def base_to_new(results: Results, axes: Any = None) -> Any:
    """Base accuracy, new accuracy and their harmonic mean by method, over datasets and seeds. Gives the axes.

    Bars are means over datasets, then over seeds; whiskers reach a standard deviation over seeds.
    """
    axes = _axes(axes)
    measures = ["base", "new", "harmonic_mean"]
    runs = results.table()
    seeds = runs.groupby(["method", "seed"], sort=False)[measures].mean().groupby(level=0, sort=False)
    means, spread = seeds.mean(), seeds.std().fillna(0.0)
    places = np.arange(len(means))
    for number, (measure, label) in enumerate(zip(measures, ["base", "new", "harmonic mean"])):
        axes.bar(places + 0.27 * (number - 1), means[measure], 0.27, yerr=spread[measure], label=label)
    axes.set_xticks(places, list(means.index), rotation=20)
    axes.set(ylabel="accuracy, %", title="Base-to-new generalization")
    axes.legend()
    return axes


def epochs(results: Results, dataset: str | None = None, measure: str = "new", axes: Any = None) -> Any:
    """Accuracy by epoch of adaptation, a line for each method. Gives the axes.

    Parameters
    ----------
    dataset
        Of which dataset; the mean over all without one.
    measure
        `base` or `new`.
    """
    if measure not in ("base", "new"):
        raise ValueError(f"measure is base or new, not {measure!r}")
    curves = results.curves()
    if dataset is not None:
        curves = curves[curves["dataset"] == dataset]
    if len(curves) == 0:
        raise ValueError("these results have no such course: bench(..., every_epoch=True) measures it")
    axes = _axes(axes)
    for method, points in curves.groupby("method", sort=False):
        means = points.groupby("epoch")[measure].mean()
        axes.plot(means.index, means.to_numpy(), label=method)
    axes.set(xlabel="epoch", ylabel=f"{measure} accuracy, %", title="Adaptation by epoch")
    axes.legend()
    return axes
