"""Paths in an object store give what the same files on this machine give."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gram
import numpy as np
import pytest
from PIL import Image

boto3 = pytest.importorskip("boto3")
pytest.importorskip("s3fs")
ray = pytest.importorskip("ray")
server = pytest.importorskip("moto.server")


class Store:
    """A bucket of a server that speaks S3."""

    def __init__(self, endpoint: str) -> None:
        self._client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        self._client.create_bucket(Bucket="bucket")

    def upload(self, folder: Path, name: str) -> str:
        for path in folder.rglob("*"):
            if path.is_file():
                self._client.upload_file(str(path), "bucket", f"{name}/{path.relative_to(folder)}")
        return f"s3://bucket/{name}"

    def contents(self, name: str) -> dict[str, bytes]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket="bucket", Prefix=f"{name}/")
        keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
        read = {key: self._client.get_object(Bucket="bucket", Key=key)["Body"].read() for key in keys}
        return {key[len(name) + 1 :]: contents for key, contents in read.items()}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Store]:
    threads = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    threads.start()
    host, port = threads.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "FSSPEC_S3_ENDPOINT_URL": f"http://{host}:{port}",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    # Who has imported fsspec before has read the environment before.
    import fsspec

    fsspec.config.set_conf_env(fsspec.config.conf)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    # What it holds outlives it.
    urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST"))
    yield Store(f"http://{host}:{port}")
    fsspec.config.conf.pop("s3", None)
    threads.stop()


@pytest.fixture
def nodes(store: Store) -> Iterator[None]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    ray.init(address=cluster.address, log_to_driver=False)
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield
    ray.shutdown()
    cluster.shutdown()


def files(folder: Path) -> dict[str, bytes]:
    names = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in names.items() if not name.endswith(".lock")}


def png(random: np.random.Generator, colour: int = 0) -> bytes:
    pixels = random.integers(0, 100, (9, 9, 3)).astype(np.uint8)
    pixels[..., colour] += 120
    into = io.BytesIO()
    Image.fromarray(pixels).save(into, "png")
    return into.getvalue()


def test_features_of_shards_in_a_store_are_those_of_the_same_shards_here(
    model: gram.Model, store: Store, nodes: None, tmp_path: Path
) -> None:
    random, shards = np.random.default_rng(1), tmp_path / "pairs"
    shards.mkdir()
    for shard in range(3):
        with tarfile.open(shards / f"{shard:05}.tar", "w") as archive:
            for number in range(200):
                # One of them is cut short.
                image = png(random)[: 60 if shard == 1 and number == 7 else None]
                for suffix, contents in (("png", image), ("txt", f"a photo of thing {number}".encode())):
                    member = tarfile.TarInfo(f"{shard:05}{number:04}.{suffix}")
                    member.size = len(contents)
                    archive.addfile(member, io.BytesIO(contents))
    told = gram.embed(model, shards, tmp_path / "one")
    there = store.upload(shards, "pairs")
    found = gram.ray.embed(model, there, "s3://bucket/features", parts_per_task=1)
    assert found == told and (told.rows, told.unreadable) == (599, 1)
    one, stored = files(tmp_path / "one"), store.contents("features")
    assert b"s3://bucket/pairs/00002.tar: 000020199.png" in stored["pairs.jsonl"]
    # These say where the pairs are, and the last what the first two hold.
    for name in ("pairs.jsonl", "embedding.json", "unreadable.jsonl", "written.json"):
        told_by_name = one.pop(name).replace(str(shards).encode(), b"s3://bucket/pairs")
        assert name == "written.json" or stored[name] == told_by_name
        del stored[name]
    assert stored == one
    stored = store.contents("features")
    # Nothing is computed again.
    assert gram.ray.embed(model, there, "s3://bucket/features") == told
    assert store.contents("features") == stored
    with pytest.raises(gram.GramError, match="^s3://bucket/features: another run was begun here"):
        gram.ray.embed(model, there, "s3://bucket/features", full_precision=True)
    assert store.contents("features") == stored


def test_clusters_and_an_initialisation_in_a_store_are_those_of_this_machine(
    model: gram.Model, store: Store, nodes: None, tmp_path: Path
) -> None:
    gram.embed(model, "demo", tmp_path / "features")
    features = gram.Features(tmp_path / "features")
    there = store.upload(tmp_path / "features", "features")
    clusters = gram.cluster(model, features)
    clusters.save(tmp_path / "clusters")
    gram.ray.cluster(there, stages="s3://bucket/stages", model=model).save("s3://bucket/clusters")
    assert store.contents("clusters") == files(tmp_path / "clusters")
    assert {"kept.safetensors", "map.safetensors", "domains-0.safetensors"} <= store.contents("stages").keys()

    arguments: dict[str, Any] = {"steps": 3, "settings": {"tasks_at_once": 2}}
    gram.meta_train(model, features, clusters, "coop", out=tmp_path / "started" / "it.safetensors", **arguments)
    found = gram.ray.meta_train(
        model, gram.Features(there), "s3://bucket/clusters", "coop", out="s3://bucket/started/it.safetensors", **arguments
    )
    told, stored = files(tmp_path / "started"), store.contents("started")
    events = "it.run/events.out.tfevents.0.gram"
    assert events in told and events in stored
    # TensorBoard's events have the time.
    assert {**told, events: b""} == {**stored, events: b""}
    again = gram.open_start("s3://bucket/started/it.safetensors", model)
    assert pickle.dumps(again) == pickle.dumps(found)
    again.save("s3://bucket/saved/again.safetensors")
    assert store.contents("saved")["again.safetensors"] == stored["it.safetensors"]


def test_a_comparison_in_a_store_is_that_of_this_machine(
    model: gram.Model, store: Store, nodes: None, tmp_path: Path
) -> None:
    random, data = np.random.default_rng(1), tmp_path / "colours"
    for part in ("train", "test"):
        for number, name in enumerate(["red", "green", "blue", "cyan"]):
            (data / part / name).mkdir(parents=True)
            for image in range(3):
                (data / part / name / f"{image}.png").write_bytes(png(random, number % 3))
    arguments: dict[str, Any] = {"seeds": [1], "shots": 1, "settings": {"baseline": {"epochs": 2}}}
    told = gram.bench(model, data, "coop", out=tmp_path / "one", **arguments)
    found = gram.ray.bench(model, store.upload(data, "colours"), "coop", out="s3://bucket/bench", **arguments)
    assert found.table().equals(told.table())
    assert store.contents("bench") == files(tmp_path / "one")


def test_a_copy_is_fetched_again_when_the_store_has_something_else(store: Store, tmp_path: Path) -> None:
    from gram._storage import fetched

    (tmp_path / "data").mkdir()
    for name in ("kept", "changed", "gone"):
        (tmp_path / "data" / name).write_text(name)
    there = store.upload(tmp_path / "data", "data")
    copy = Path(fetched(there))
    assert copy.name == "data" and {path.name for path in copy.iterdir()} == {"kept", "changed", "gone"}
    before = os.stat(copy / "kept").st_mtime_ns
    (tmp_path / "data" / "changed").write_text("something else")
    store.upload(tmp_path / "data", "data")
    store._client.delete_object(Bucket="bucket", Key="data/gone")
    store._client.put_object(Bucket="bucket", Key="data/kept", Body=b"kept")
    assert fetched(there) == str(copy)
    assert (copy / "changed").read_text() == "something else" and not (copy / "gone").exists()
    assert os.stat(copy / "kept").st_mtime_ns >= before
    assert Path(fetched(f"{there}/changed")).read_text() == "something else"


def test_a_copy_that_was_damaged_is_made_again(store: Store, tmp_path: Path) -> None:
    from gram._storage import fetched

    (tmp_path / "data").mkdir()
    for name in ("lost", "cut", "kept"):
        (tmp_path / "data" / name).write_text(name)
    there = store.upload(tmp_path / "data", "data")
    copy = Path(fetched(there))
    (copy / "lost").unlink()
    (copy / "cut").write_text("c")
    before = os.stat(copy / "kept").st_mtime_ns
    fetched(there)
    assert files(copy) == files(tmp_path / "data") and os.stat(copy / "kept").st_mtime_ns == before
    [notes] = (tmp_path / "cache" / "gram").glob("*.json")
    notes.write_text("{")
    fetched(there)
    assert files(copy) == files(tmp_path / "data")
    # A folder where a file was, and the other way round.
    store._client.put_object(Bucket="bucket", Key="it", Body=b"a file")
    assert Path(fetched("s3://bucket/it")).read_text() == "a file"
    store._client.delete_object(Bucket="bucket", Key="it")
    store._client.put_object(Bucket="bucket", Key="it/below", Body=b"below")
    assert files(Path(fetched("s3://bucket/it"))) == {"below": b"below"}
    store._client.delete_object(Bucket="bucket", Key="it/below")
    store._client.put_object(Bucket="bucket", Key="it", Body=b"a file")
    assert Path(fetched("s3://bucket/it")).read_text() == "a file"


def test_no_name_in_a_store_leaves_the_copy(store: Store, tmp_path: Path) -> None:
    from gram._storage import Folder, fetched

    victim = tmp_path / "cache" / "victim"
    victim.parent.mkdir()
    victim.write_text("mine")
    for name in ("bad/../../../victim", "bad/x//y", "bad/./z"):
        store._client.put_object(Bucket="bucket", Key="bad/ok", Body=b"1")
        store._client.put_object(Bucket="bucket", Key=name, Body=b"taken")
        with pytest.raises(ValueError, match="cannot be the name of a file in a folder"):
            fetched("s3://bucket/bad")
        with pytest.raises(ValueError, match="cannot be the name"), Folder("s3://bucket/bad") as folder:
            folder.pull()
        store._client.delete_object(Bucket="bucket", Key=name)
    assert victim.read_text() == "mine"
    # What marks a folder in a console is no file.
    for name in ("marked/", "marked/sub/", "marked/sub/x"):
        store._client.put_object(Bucket="bucket", Key=name, Body=b"" if name.endswith("/") else b"1")
    assert files(Path(fetched("s3://bucket/marked"))) == {"sub/x": b"1"}


def test_a_table_comes_with_the_images_beside_it(store: Store, tmp_path: Path) -> None:
    random, data = np.random.default_rng(1), tmp_path / "data"
    (data / "images").mkdir(parents=True)
    for number in range(3):
        (data / "images" / f"{number}.png").write_bytes(png(random))
    rows = "".join(f"images/{number}.png,a photo of {number}\n" for number in range(3))
    (data / "pairs.csv").write_text("image,caption\n" + rows)
    assert len(gram.Pairs(f"{store.upload(data, 'data')}/pairs.csv")) == 3
    with pytest.raises(FileNotFoundError, match="s3://bucket/data/other.csv: nothing is there"):
        gram.Pairs("s3://bucket/data/other.csv")


def test_an_archive_that_changed_since_it_was_listed_is_refused(store: Store, tmp_path: Path) -> None:
    from gram._storage import images_from

    data = tmp_path / "data"
    data.mkdir()
    with tarfile.open(data / "0.tar", "w") as archive:
        for suffix, contents in (("png", png(np.random.default_rng(1))), ("txt", b"a photo")):
            member = tarfile.TarInfo(f"0.{suffix}")
            member.size = len(contents)
            archive.addfile(member, io.BytesIO(contents))
    pairs = gram.Pairs(store.upload(data, "data"))
    place, portable = pairs._store(), pairs._native.portable(0, 1)
    assert place is not None
    assert "base64" in images_from(*place, portable)
    store._client.put_object(Bucket="bucket", Key="data/0.tar", Body=b"other")
    with pytest.raises(OSError, match="s3://bucket/data: bucket/data/0.tar has changed"):
        images_from(*place, portable)
    store._client.delete_object(Bucket="bucket", Key="data/0.tar")
    with pytest.raises(FileNotFoundError, match="s3://bucket/data: "):
        images_from(*place, portable)


def test_files_have_folders_in_stores_too() -> None:
    from gram._storage import split

    assert split("s3://bucket/a/b.safetensors") == ("s3://bucket/a/", "b.safetensors")
    assert split("memory://b.safetensors") == ("memory://", "b.safetensors")
    assert split("a/b.safetensors") == ("a", "b.safetensors")
    with pytest.raises(ValueError, match="names no file"):
        split("s3://bucket/")


def test_a_url_is_refused_where_it_cannot_be(model: gram.Model, store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="s3://bucket/nowhere: nothing is there"):
        gram.Dataset("s3://bucket/nowhere")
    with pytest.raises(ValueError, match="only gram.ray writes to object stores"):
        gram.embed(model, "demo", "s3://bucket/features")
    with pytest.raises(ValueError, match="only gram.ray writes to object stores"):
        gram.bench(model, "demo:food", "coop", out="s3://bucket/bench")
    with pytest.raises(ValueError, match="single images are not read"):
        model.encode_image(["s3://bucket/a.png"])
    with pytest.raises(ValueError, match="nowhere://bucket/pairs: Protocol not known: nowhere"):
        gram.Pairs("nowhere://bucket/pairs")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
