"""Images, datasets and pairs as Python programs hold them."""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, Union

import numpy as np
import numpy.typing as npt

from . import _native
from ._storage import Path, is_url, lasting, reading, sizes

#: One image: a path, the bytes of an encoded image, a PIL image, or uint8 as an array or a torch tensor.
Image: TypeAlias = Any
#: Several images, or one.
Images: TypeAlias = Any
#: Tables of images, which are beside them.
_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".csv.gz", ".tsv.gz", ".json.gz", ".jsonl.gz", ".parquet", ".txt", ".token")
_Native: TypeAlias = Union[str, "os.PathLike[str]", bytes, "npt.NDArray[np.uint8]"]


def native_images(images: Images) -> list[_Native]:
    """Images as the native module takes them, those of a batch one by one."""
    if _is_one(images):
        return [_native_image(images)]
    array = _array(images)
    if array is not None:
        return [_native_image(image) for image in array]
    return [_native_image(image) for image in images]


def _is_one(images: Images) -> bool:
    if isinstance(images, (str, bytes, os.PathLike)) or _is_pil(images):
        return True
    array = _array(images)
    return array is not None and array.dtype != object and array.dtype.kind not in "UST" and array.ndim < 4


def _is_pil(image: Image) -> bool:
    return hasattr(image, "convert") and hasattr(image, "getbands")


def _is_tensor(image: Image) -> bool:
    return type(image).__module__.split(".")[0] == "torch" and hasattr(image, "detach")


def _array(images: Images) -> npt.NDArray[Any] | None:
    """An array or a tensor of images as an array, channels last."""
    array = _numbers(images)
    if array is None or not _is_tensor(images):
        return array
    # Torch has channels first; three pixels in width are less usual than colours.
    return np.moveaxis(array, -3, -1) if array.ndim >= 3 and array.shape[-3] in (1, 3, 4) else array


def _numbers(given: Any) -> npt.NDArray[Any] | None:
    """An array or a tensor as an array."""
    if _is_tensor(given):
        array: npt.NDArray[Any] = given.detach().cpu().numpy()
        return array
    return given if isinstance(given, np.ndarray) else None


def _native_image(image: Image) -> _Native:
    if isinstance(image, (str, os.PathLike)) and is_url(image):
        raise ValueError(f"{os.fspath(image)}: single images are not read from object stores: name their folder or archive")
    if isinstance(image, (str, bytes, os.PathLike)):
        return image
    if _is_pil(image):
        return _of_pil(image)
    array = _array(image)
    if array is None:
        raise TypeError(
            "an image is a path, bytes, a PIL image, or uint8 as an array or a torch tensor, "
            f"not {type(image).__name__}"
        )
    if array.dtype != np.uint8:
        raise TypeError(f"an image's numbers are uint8 from 0 to 255, not {array.dtype}")
    return np.ascontiguousarray(array)


def _of_pil(image: Image) -> npt.NDArray[np.uint8]:
    """As it is meant to be seen: turned as its EXIF data say, with its transparency."""
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F"):
        raise TypeError(f"a PIL image of mode {image.mode} has no range: convert it to 8 bits first")
    if image.mode.startswith("I;16"):
        return np.round(np.asarray(image, dtype=np.float64) / 257).astype(np.uint8)
    is_transparent = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    return np.asarray(image.convert("RGBA" if is_transparent else "RGB"))


def settings_json(settings: Mapping[str, Any] | None) -> str | None:
    """Settings as the native module takes them."""
    return None if not settings else json.dumps(dict(settings), default=_plain, allow_nan=False)


def _plain(value: Any) -> Any:
    """A NumPy number as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a setting is a number, a text, a list or a dictionary, not {type(value).__name__}")


def label_list(labels: Iterable[Any]) -> list[Any]:
    """Labels one by one, from a list, an array or a tensor."""
    if isinstance(labels, str):
        raise TypeError("labels are a list of them, not one text")
    array = _numbers(labels)
    listed: list[Any] = list(labels) if array is None else array.tolist()
    listed = [label.item() if isinstance(label, np.generic) or _is_tensor(label) else label for label in listed]
    for label in listed:
        if label is None or isinstance(label, (list, tuple)) or _is_missing(label):
            raise ValueError(f"an image has a label, not {label!r}")
    if not listed:
        raise ValueError("there is no image")
    return listed


def _is_missing(label: Any) -> bool:
    """Whether a label is no number, or what pandas has for none."""
    try:
        return bool(label != label)
    except TypeError:
        return True


def name_list(names: str | Iterable[str]) -> list[str]:
    """Names of different classes; a text is one."""
    listed = [names] if isinstance(names, str) else list(names)
    for name in listed:
        if not isinstance(name, str):
            raise TypeError(f"a class is named by a text, not by {name!r}")
    check_names(listed)
    return listed


def check_names(names: Sequence[str]) -> None:
    """Refuses no class, and two that the model reads as one."""
    if not names:
        raise ValueError("there is no class")
    if not all(name.strip() for name in names):
        raise ValueError("a class has no name")
    if len({name.replace("_", " ") for name in names}) < len(names):
        raise ValueError("two classes have one name, as `_` is read as a space")


def matrix(name: str, features: Any) -> npt.NDArray[np.float32]:
    """Features as an array of two dimensions."""
    array = _numbers(features)
    numbers: npt.NDArray[np.float32] = np.asarray(features if array is None else array, dtype=np.float32)
    if numbers.ndim != 2:
        raise ValueError(f"{name} are [pairs, width], not {list(numbers.shape)}")
    return numbers


def count(name: str, value: int, least: int = 1) -> int:
    """A number that counts something, or is a seed."""
    number = operator.index(value)
    if not least <= number < 2**63:
        raise ValueError(f"{name} = {number}: {least} or more")
    return number


class Dataset:
    """Images with a class each.

    Parameters
    ----------
    source
        A path or name of any layout that the command line reads, such as a folder for each class, a manifest,
        a standard benchmark as CoOp keeps it, or `demo:food`; or images, with `labels`.
    labels
        A label for each image.
    name
        What results call it.
    splits
        What each of the images is for: `train`, `val` or `test`; all are for training without it.
    """

    def __init__(
        self,
        source: Path | Images,
        labels: Iterable[object] | None = None,
        name: str = "images",
        *,
        splits: Iterable[str] | None = None,
    ) -> None:
        self._path: str | None = None
        self._images: tuple[Any, ...] | None = None
        if labels is not None:
            texts, images = [str(label) for label in label_list(labels)], native_images(source)
            check_names(sorted(set(texts)))
            used = ["train"] * len(images) if splits is None else list(splits)
            self._images = _images_by_path(images, texts, name, used)
            self._native = _native.Dataset.of_images(name, images, texts, used)
        elif isinstance(source, (str, os.PathLike)):
            self._path = lasting(source)
            with reading(source, _TABLES) as path:
                self._native = _native.Dataset.open(path)
        else:
            raise TypeError("a dataset is a path, or images and labels")

    @property
    def name(self) -> str:
        """What results call it."""
        return self._native.name

    @property
    def classes(self) -> list[str]:
        """The classes' names."""
        return self._native.classes

    @property
    def domains(self) -> list[str]:
        """The domains' names; none if the dataset knows none."""
        return self._native.domains

    def __len__(self) -> int:
        return len(self._native)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._images is not None:
            return _dataset_of_paths, self._images
        if self._path is None:
            raise TypeError("a dataset of images in memory stays in its process: name images by their paths")
        return Dataset, (self._path,)

    def __repr__(self) -> str:
        return f"Dataset({self.name!r}, {len(self)} images of {len(self.classes)} classes)"


def as_dataset(data: Dataset | Path | tuple[Images, Iterable[object]]) -> Dataset:
    """A dataset, the path of one, or images and labels."""
    if isinstance(data, Dataset):
        return data
    return Dataset(*data) if isinstance(data, tuple) else Dataset(data)


def _images_by_path(images: list[_Native], *rest: Any) -> tuple[Any, ...] | None:
    """Images and what is said of them, for another process; none where they are not named by their paths."""
    paths = [lasting(image) for image in images if isinstance(image, (str, os.PathLike))]
    return (paths, *rest) if len(paths) == len(images) else None


def _dataset_of_paths(images: list[str], labels: list[str], name: str, splits: list[str]) -> Dataset:
    return Dataset(images, labels, name, splits=splits)


class Pairs:
    """Images with a caption each.

    Parameters
    ----------
    source
        A path or name of any layout that the command line reads, such as a WebDataset shard, a table with
        columns `image` and `caption`, COCO's or Flickr's captions, or `demo`; or images, with `captions`.
    captions
        A caption for each image.
    """

    def __init__(self, source: Path | Images, captions: Sequence[str] | None = None) -> None:
        self._path: str | None = None
        self._copy: str | None = None
        self._images: tuple[Any, ...] | None = None
        if captions is not None:
            images, texts = native_images(source), list(captions)
            self._images = _images_by_path(images, texts)
            self._native = _native.Pairs.of_images(images, texts)
        elif isinstance(source, (str, os.PathLike)):
            self._path = lasting(source)
            with reading(source, _TABLES) as path:
                self._native = _native.Pairs.open(path, self._path if is_url(self._path) else None)
                self._copy = path if is_url(self._path) else None
        else:
            raise TypeError("pairs are a path, or images and captions")

    def __len__(self) -> int:
        return len(self._native)

    def _store(self) -> tuple[str, str, dict[str, int]] | None:
        """The URL that they are from, where the copy of it is here, and the sizes of its archives."""
        if self._path is None or self._copy is None:
            return None
        return self._path, self._copy, sizes(self._copy)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._images is not None:
            return Pairs, self._images
        if self._path is None:
            raise TypeError("pairs in memory stay in their process: name images by their paths")
        return Pairs, (self._path,)

    def __repr__(self) -> str:
        return f"Pairs({len(self)})"


def as_pairs(pairs: Pairs | Path | tuple[Images, Sequence[str]]) -> Pairs:
    """Pairs, their path, or images and captions."""
    if isinstance(pairs, Pairs):
        return pairs
    return Pairs(*pairs) if isinstance(pairs, tuple) else Pairs(pairs)


class Features:
    """Features of pairs in a folder, from `embed` or clip-retrieval.

    Parameters
    ----------
    folder
        The folder.

    Raises
    ------
    DataError
        If there are no features, or a file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._path = lasting(folder)
        with reading(folder) as path:
            self._native = _native.Features.open(path)

    def __len__(self) -> int:
        return len(self._native)

    def __reduce__(self) -> tuple[type[Features], tuple[str]]:
        return Features, (self._path,)

    def __repr__(self) -> str:
        return f"Features({self._path!r}, {len(self)} pairs)"


def as_pairs_or_features(pairs: Pairs | Features | Path | tuple[Images, Sequence[str]]) -> Pairs | Features:
    """Pairs or features; a path names features where it is a folder of them."""
    if isinstance(pairs, Features):
        return pairs
    if isinstance(pairs, (str, os.PathLike)) and not is_url(pairs):
        made = [os.path.join(os.fspath(pairs), name) for name in ("features.safetensors", "img_emb")]
        if any(os.path.exists(path) for path in made):
            return Features(pairs)
    return as_pairs(pairs)
