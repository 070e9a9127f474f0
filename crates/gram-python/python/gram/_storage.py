"""Folders and files in object stores, through fsspec, as copies on this machine."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, TypeAlias, Union

Path: TypeAlias = Union[str, "os.PathLike[str]"]
#: What is of one process alone.
_PRIVATE = (".lock", ".partial")


def is_url(path: Path) -> bool:
    """Whether a path names something in an object store, such as `s3://bucket/folder`."""
    return "://" in os.fspath(path)


def here(path: Path) -> str:
    """A path of this machine to write to; refuses a URL."""
    text = os.fspath(path)
    if is_url(text):
        raise ValueError(f"{text}: only gram.ray writes to object stores: give a path of this machine")
    return text


def _store(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the place in it."""
    try:
        import fsspec
    except ImportError as error:
        raise ImportError(f"{url}: needs fsspec, and the package that fsspec reads such URLs with") from error
    store, place = fsspec.core.url_to_fs(url)
    return store, place.rstrip("/")


def _listed(store: Any, place: str) -> dict[str, str]:
    """Files at a place by their path below it, `""` for the place itself, with what changes when a file does."""
    # What another process has written since is not in the listings that a store remembers.
    store.invalidate_cache()
    try:
        found = store.find(place, detail=True)
    except FileNotFoundError:
        return {}
    names = {path[len(place) :].lstrip("/"): info for path, info in found.items() if info["type"] == "file"}
    return {name: repr(sorted(info.items())) for name, info in names.items() if not name.endswith(_PRIVATE)}


def _path(place: str, name: str) -> str:
    return f"{place}/{name}" if name else place


def _download(store: Any, place: str, folder: pathlib.Path, names: Iterable[str]) -> None:
    """Each file is there as a whole, or as it was."""
    asked = list(names)
    files = [folder / name if name else folder for name in asked]
    partial = [file.with_name(file.name + ".partial") for file in files]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
    if asked:
        store.get([_path(place, name) for name in asked], [str(file) for file in partial])
    for came, file in zip(partial, files):
        came.replace(file)


def fetched(path: Path) -> str:
    """A path of this machine as it is; of a URL, the path of a copy that is up to date.

    Copies stay in `$XDG_CACHE_HOME/gram`, and a file that has not changed is not fetched again.
    """
    url = os.fspath(path)
    if not is_url(url):
        return url
    store, place = _store(url)
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache", "gram")
    root = cache / hashlib.sha256(url.encode()).hexdigest()[:16]
    copy, stamps = root / os.path.basename(place), root.with_suffix(".json")
    with _alone(root.with_suffix(".lock")):
        there = _listed(store, place)
        if not there:
            raise FileNotFoundError(f"{url}: nothing is there")
        known: dict[str, str] = json.loads(stamps.read_text()) if stamps.is_file() else {}
        _download(store, place, copy, (name for name, stamp in there.items() if known.get(name) != stamp))
        for name in known.keys() - there.keys():
            (copy / name).unlink(missing_ok=True)
        stamps.write_text(json.dumps(there))
    return str(copy)


@contextlib.contextmanager
def _alone(lock: pathlib.Path) -> Iterator[None]:
    """One process at a time."""
    import fcntl

    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


class Folder:
    """A folder to write to: one of this machine, or a copy of one in an object store for as long as it is open.

    Parameters
    ----------
    path
        The folder, or its URL.
    prefixes
        What the names of files in it begin with that matter here.
    """

    def __init__(self, path: Path, prefixes: tuple[str, ...] = ("",)) -> None:
        self.path = os.fspath(path)
        self._prefixes = prefixes
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._fetched: dict[str, str] = {}
        self._sent: dict[str, tuple[int, int]] = {}
        if is_url(self.path):
            self._store, self._place = _store(self.path)
            self._copy = tempfile.TemporaryDirectory()
            self.here = self._copy.name
        else:
            self.path = self.here = os.path.abspath(self.path)

    def pull(self) -> None:
        """Fetches what others have written."""
        if self._copy is None:
            return
        there = _listed(self._store, self._place)
        new = {name: stamp for name, stamp in there.items() if self._fetched.get(name) != stamp}
        new = {name: stamp for name, stamp in new.items() if name and name.startswith(self._prefixes)}
        _download(self._store, self._place, pathlib.Path(self.here), new)
        self._fetched.update(new)
        self._sent.update((name, stamp) for name, stamp in self._files().items() if name in new)

    def push(self) -> None:
        """Sends what was written here, and deletes what was deleted here."""
        if self._copy is None:
            return
        files = self._files()
        new = [name for name, stamp in files.items() if self._sent.get(name) != stamp]
        if new:
            paths = [_path(self._place, name) for name in new]
            self._store.put([os.path.join(self.here, name) for name in new], paths)
        gone = self._sent.keys() - files.keys()
        for name in gone:
            self._store.rm_file(_path(self._place, name))
        self._sent = files
        if new:
            there = _listed(self._store, self._place)
            self._fetched.update((name, there[name]) for name in new if name in there)

    def _files(self) -> dict[str, tuple[int, int]]:
        """Files here, with what changes when a file does."""
        found: dict[str, tuple[int, int]] = {}
        for folder, _, files in os.walk(self.here):
            for file in files:
                path = os.path.join(folder, file)
                name = os.path.relpath(path, self.here).replace(os.sep, "/")
                if not name.endswith(_PRIVATE) and name.startswith(self._prefixes):
                    with contextlib.suppress(FileNotFoundError):
                        status = os.stat(path)
                        found[name] = (status.st_mtime_ns, status.st_size)
        return found

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._copy is None:
            return
        if error is not None:
            # People know the folder, not its copy.
            said = [arg.replace(self.here, self.path) if isinstance(arg, str) else arg for arg in error.args]
            error.args = tuple(said)
        self._copy.cleanup()


def images_from(url: str, copy: str, pairs: str) -> str:
    """Portable pairs whose images are read from a store: those of the files that were copied from there."""
    store, place = _store(url)
    listed: list[dict[str, Any]] = json.loads(pairs)
    wanted: list[tuple[dict[str, Any], str, int | None, int | None]] = []
    for pair in listed:
        image = pair["image"]
        if "path" in image:
            path, start, end, name = image["path"], None, None, image["path"]
        elif "member" in image:
            member = image["member"]
            path, start, name = member["archive"], member["offset"], member["name"]
            end = start + member["length"]
        else:
            continue
        below = os.path.relpath(path, copy)
        wanted.append((image, _path(place, "" if below == "." else below.replace(os.sep, "/")), start, end))
        image.clear()
        image["bytes"] = {"name": name}
    if wanted:
        _, paths, starts, ends = zip(*wanted)
        for (image, *_), read in zip(wanted, store.cat_ranges(list(paths), list(starts), list(ends))):
            image["bytes"]["base64"] = base64.b64encode(read).decode()
    return json.dumps(listed)
