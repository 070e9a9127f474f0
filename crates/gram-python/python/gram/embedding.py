"""Features of pairs into a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ._progress import Observer
from ._storage import Path, here
from .data import Images, Pairs, as_pairs
from .model import Model, check_model


@dataclass(frozen=True)
class EmbeddingSummary:
    """What became of the pairs.

    Attributes
    ----------
    rows
        Pairs with features.
    cut_captions
        Captions that were longer than the model reads, and were cut.
    unreadable
        Pairs whose image cannot be read.
    """

    rows: int
    cut_captions: int
    unreadable: int


def embed(
    model: Model,
    pairs: Pairs | Path | tuple[Images, Sequence[str]],
    out: Path,
    *,
    full_precision: bool = False,
    progress: bool | None = None,
) -> EmbeddingSummary:
    """Compute features of images and captions into a features folder, as `gram embed` does.

    Parameters
    ----------
    model
        The frozen model.
    pairs
        Pairs, their path, or images and captions.
    out
        The folder. What was stopped goes on there.
    full_precision
        Whether features are written in 32 bits instead of 16.
    progress
        Whether a bar is drawn; `None` draws one in a terminal or a notebook.

    Returns
    -------
    EmbeddingSummary
        How many pairs have features, and how many images cannot be read: `unreadable.jsonl` in the folder names them.

    Raises
    ------
    GramError
        If the folder holds features of something else, or no image can be read.
    """
    with Observer(progress) as observer:
        said = as_pairs(pairs)._native.embed(check_model(model), here(out), full_precision, observer)
    return EmbeddingSummary(**json.loads(said))
