"""Folders and files in object stores, through fsspec, as copies on this machine."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
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
    # Folders are made where a store has some.
    options = {"auto_mkdir": True} if url.startswith(("file://", "local://")) else {}
    with _naming(url):
        store, place = fsspec.core.url_to_fs(url, **options)
    return store, place.rstrip("/")


@contextlib.contextmanager
def _naming(url: str) -> Iterator[None]:
    """Names the URL in what a store says is wrong."""
    try:
        yield
    except ImportError:
        raise
    except ValueError as error:
        raise ValueError(f"{url}: {error}") from error
    except Exception as error:
        kind = type(error) if isinstance(error, (FileNotFoundError, PermissionError)) else OSError
        raise kind(f"{url}: {error}") from error


def _name_url(error: BaseException, url: str, copy: str) -> None:
    """Names the URL in the place of its copy: people know no copy."""
    error.args = tuple(arg.replace(copy, url) if isinstance(arg, str) else arg for arg in error.args)


def _listed(store: Any, url: str, place: str) -> dict[str, str]:
    """Files at a place by their path below it, `""` for the place itself, with what changes when a file does.

    That is empty where the store does not tell.
    """
    # What another process has written since is not in the listings that a store remembers.
    store.invalidate_cache()
    with _naming(url):
        try:
            found = store.find(place, detail=True)
        except FileNotFoundError:
            return {}
    files: dict[str, str] = {}
    for path, info in found.items():
        name = path[len(place) + 1 :]
        # Consoles mark folders with an empty file whose name ends so.
        if path.endswith("/") or info.get("type", "file") != "file" or name.endswith(_PRIVATE):
            continue
        if name and any(part in ("", ".", "..") for part in name.split("/")):
            raise ValueError(f"{url}: {name!r} cannot be the name of a file in a folder: rename it there")
        known = {key: value for key, value in info.items() if key not in ("name", "type") and value is not None}
        files[name] = repr(sorted(known.items())) if known else ""
    return files


def _path(place: str, name: str) -> str:
    return f"{place}/{name}" if name else place


def _download(store: Any, url: str, place: str, folder: pathlib.Path, names: list[str]) -> None:
    """Each file is there as a whole, or as it was."""
    files = [folder / name if name else folder for name in names]
    partial = [file.with_name(file.name + ".partial") for file in files]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
    with _naming(url):
        store.get([_path(place, name) for name in names], [str(file) for file in partial])
    for came, file in zip(partial, files):
        came.replace(file)


def _seen(file: pathlib.Path) -> list[int] | None:
    """What changes when a file of this machine does; none if there is no file."""
    try:
        status = file.stat()
    except OSError:
        return None
    return [status.st_mtime_ns, status.st_size]


#: Files that are fetched before it is noted that they are there.
_AT_ONCE = 64


def fetched(path: Path, with_folder: tuple[str, ...] = ()) -> str:
    """A path of this machine as it is; of a URL, the path of a copy that is up to date.

    Copies stay in `$XDG_CACHE_HOME/gram`, and a file that has not changed is not fetched again. A file whose name ends
    as one of `with_folder` is fetched with the folder that it is in.
    """
    url = os.fspath(path)
    if not is_url(url):
        return url
    if with_folder and url.endswith(with_folder):
        folder, _, name = url.rpartition("/")
        found = os.path.join(fetched(folder), name)
        if not os.path.isfile(found):
            raise FileNotFoundError(f"{url}: nothing is there")
        return found
    store, place = _store(url)
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache", "gram")
    root = cache / hashlib.sha256(url.encode()).hexdigest()[:16]
    copy, notes = root / (os.path.basename(place) or "root"), root.with_suffix(".json")
    with _alone(root.with_suffix(".lock")):
        there = _listed(store, url, place)
        if not there:
            raise FileNotFoundError(f"{url}: nothing is there")
        if copy.exists() and copy.is_file() != (list(there) == [""]):
            shutil.rmtree(root)
        known = _read_notes(notes)
        for name in known.keys() - there.keys():
            (copy / name).unlink(missing_ok=True)
        file = {name: copy / name if name else copy for name in there}
        known = {name: note for name, note in known.items() if name in there}
        _write_notes(notes, known)
        new = [
            name
            for name, stamp in there.items()
            if not stamp or known.get(name) != [stamp, _seen(file[name])]
        ]
        for start in range(0, len(new), _AT_ONCE):
            names = new[start : start + _AT_ONCE]
            _download(store, url, place, copy, names)
            known.update((name, [there[name], _seen(file[name])]) for name in names)
            _write_notes(notes, known)
    return str(copy)


def _read_notes(notes: pathlib.Path) -> dict[str, list[Any]]:
    """What was fetched; nothing where that cannot be read."""
    try:
        known = json.loads(notes.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write_notes(notes: pathlib.Path, known: dict[str, list[Any]]) -> None:
    partial = notes.with_suffix(".partial")
    partial.write_text(json.dumps(known), encoding="utf-8")
    partial.replace(notes)


@contextlib.contextmanager
def reading(path: Path, with_folder: tuple[str, ...] = ()) -> Iterator[str]:
    """The path of this machine to read something from."""
    url, copy = os.fspath(path), fetched(path, with_folder)
    try:
        yield copy
    except Exception as error:
        _name_url(error, url, copy)
        raise


def lasting(path: Path) -> str:
    """A path that is the same from any folder; names stay."""
    text = os.fspath(path)
    return text if is_url(text) or not os.path.exists(text) else os.path.abspath(text)


def split(path: str) -> tuple[str, str]:
    """The folder that a file is in, and its name there."""
    if not is_url(path):
        return os.path.split(path)
    folder, _, name = path.rpartition("/")
    if not name:
        raise ValueError(f"{path}: it names no file")
    return folder + "/", name


@contextlib.contextmanager
def _alone(lock: pathlib.Path) -> Iterator[None]:
    """One process at a time."""
    import fcntl

    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def writing(path: Path) -> Iterator[str]:
    """The path of this machine to write a file to; it is sent where the path is a URL."""
    if not is_url(path):
        yield os.fspath(path)
        return
    folder, name = split(os.fspath(path))
    with Folder(folder, (name,)) as place:
        yield os.path.join(place.here, name)
        place.push()


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
        self._sent: dict[str, list[int] | None] = {}
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
        there = _listed(self._store, self.path, self._place)
        new = {name: stamp for name, stamp in there.items() if not stamp or self._fetched.get(name) != stamp}
        new = {name: stamp for name, stamp in new.items() if name and name.startswith(self._prefixes)}
        _download(self._store, self.path, self._place, pathlib.Path(self.here), list(new))
        self._fetched.update(new)
        self._sent.update((name, _seen(pathlib.Path(self.here, name))) for name in new)

    def push(self) -> None:
        """Sends what was written here, and deletes what was deleted here."""
        if self._copy is None:
            return
        files = self._files()
        new = [name for name, stamp in files.items() if self._sent.get(name) != stamp]
        with _naming(self.path):
            if new:
                paths = [_path(self._place, name) for name in new]
                self._store.put([os.path.join(self.here, name) for name in new], paths)
            for name in self._sent.keys() - files.keys():
                self._store.rm_file(_path(self._place, name))
        self._sent = files
        if new:
            there = _listed(self._store, self.path, self._place)
            self._fetched.update((name, there[name]) for name in new if name in there)

    def _files(self) -> dict[str, list[int] | None]:
        """Files here, with what changes when a file does."""
        root = pathlib.Path(self.here)
        files = {path.relative_to(root).as_posix(): _seen(path) for path in root.rglob("*") if path.is_file()}
        # One that has gone meanwhile is none.
        return {
            name: seen
            for name, seen in files.items()
            if seen and not name.endswith(_PRIVATE) and name.startswith(self._prefixes)
        }

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._copy is None:
            return
        if error is not None:
            _name_url(error, self.path, self.here)
        self._copy.cleanup()


def images_from(url: str, copy: str, sizes: dict[str, int], pairs: str) -> str:
    """Portable pairs whose images are read from a store: those of the files that were copied from there.

    Archives have the sizes that they had when they were copied.
    """
    store, place = _store(url)
    store.invalidate_cache()
    listed: list[dict[str, Any]] = json.loads(pairs)
    wanted: list[tuple[dict[str, Any], str, int | None, int | None]] = []
    for pair in listed:
        image = pair["image"]
        if "path" in image:
            path, start, end, name = image["path"], None, None, ""
        elif "member" in image:
            member = image["member"]
            path, start, name = member["archive"], member["offset"], f": {member['name']}"
            end = start + member["length"]
        else:
            continue
        below = os.path.relpath(path, copy)
        below = "" if below == "." else below.replace(os.sep, "/")
        wanted.append((image, _path(place, below), start, end))
        image.clear()
        image["bytes"] = {"name": _path(url.rstrip("/"), below) + name}
    archives = {path for _, path, start, _ in wanted if start is not None}
    with _naming(url):
        for path in archives:
            if store.info(path)["size"] != sizes[path[len(place) + 1 :]]:
                raise OSError(f"{path} has changed since its pairs were listed")
        if wanted:
            _, paths, starts, ends = zip(*wanted)
            read = store.cat_ranges(list(paths), list(starts), list(ends), on_error="raise")
            for (image, path, start, end), contents in zip(wanted, read):
                if start is not None and end is not None and len(contents) != end - start:
                    raise OSError(f"{path} ends before its images do")
                image["bytes"]["base64"] = base64.b64encode(contents).decode()
    return json.dumps(listed)


def sizes(copy: str) -> dict[str, int]:
    """Sizes of the archives in a copy, by their path below it."""
    root = pathlib.Path(copy)
    files = [root] if root.is_file() else (path for path in root.rglob("*") if path.suffix in (".tar", ".tgz", ".gz"))
    return {"" if path == root else path.relative_to(root).as_posix(): path.stat().st_size for path in files}
