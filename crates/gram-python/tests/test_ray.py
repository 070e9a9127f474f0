"""Tasks on a cluster of three nodes, one of which is lost, end in the bytes of one machine."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gram
import numpy as np
import PIL.Image
import pyarrow.parquet
import pytest

ray = pytest.importorskip("ray")


@pytest.fixture
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a run but its lock."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != "run.lock"}


def wait_for_two_nodes() -> None:
    for _ in range(600):
        if sum(node["Alive"] for node in ray.nodes()) == 2:
            return
        time.sleep(0.1)
    raise AssertionError("no node was lost")


def test_features_are_those_of_one_machine_when_a_node_is_lost(
    model: gram.Model, cluster: Any, tmp_path: Path
) -> None:
    others = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    told = gram.embed(model, "demo", tmp_path / "one")
    parts = tmp_path / "many" / "parts"

    def lose_a_node() -> None:
        while not parts.is_dir() or len(os.listdir(parts)) < 2:
            time.sleep(0.01)
        cluster.remove_node(others[0], allow_graceful=False)

    loser = threading.Thread(target=lose_a_node, daemon=True)
    loser.start()
    found = gram.ray.embed(model, "demo", tmp_path / "many", parts_per_task=1)
    loser.join(timeout=60)
    assert not loser.is_alive()
    wait_for_two_nodes()
    assert found == told
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    # Nothing is computed again.
    assert gram.ray.embed(model, "demo", tmp_path / "many") == told


def test_a_comparison_is_that_of_one_machine_when_a_node_is_lost(
    model: gram.Model, cluster: Any, tmp_path: Path
) -> None:
    others = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    arguments: dict[str, Any] = {"seeds": [1, 2, 3], "shots": 1, "settings": {"baseline": {"epochs": 3}}}
    told = gram.bench(model, ["demo:food", "demo:travel"], ["coop", "vpt"], out=tmp_path / "one", **arguments)
    runs = tmp_path / "many" / "runs"

    def lose_a_node() -> None:
        while not runs.is_dir() or len(list(runs.rglob("*.json"))) < 2:
            time.sleep(0.01)
        cluster.remove_node(others[0], allow_graceful=False)

    loser = threading.Thread(target=lose_a_node, daemon=True)
    loser.start()
    found = gram.ray.bench(model, ["demo:food", "demo:travel"], ["coop", "vpt"], out=tmp_path / "many", **arguments)
    loser.join(timeout=60)
    assert not loser.is_alive()
    assert found.table().equals(told.table()) and len(found.table()) == 18
    one, many = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.json")}
        for folder in (tmp_path / "one" / "runs", runs)
    )
    assert one == many and len(one) == 18


def test_what_was_stopped_goes_on_with_tasks(model: gram.Model, cluster: Any, tmp_path: Path) -> None:
    out = tmp_path / "features"
    cluster.add_node(num_cpus=1, num_gpus=1)
    pairs = gram.Pairs("demo")
    [first, *_] = pairs._native.parts_left(model._native, out, False)
    gram._native.write_part(model._native, pairs._native.portable(*first), first[0], out, False)
    before = (out / "parts" / "000000.safetensors").stat().st_mtime_ns
    assert len(pairs._native.parts_left(model._native, out, False)) == 7
    assert (out / "parts" / "000000.safetensors").stat().st_mtime_ns == before
    gram.ray.embed(model, pairs, out, gpus=0.5)
    gram.embed(model, "demo", tmp_path / "one")
    assert contents(out) == contents(tmp_path / "one")
    with pytest.raises(gram.GramError, match="features"):
        gram.ray.embed(model, pairs, out, full_precision=True)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> gram.Features:
    """More pairs than one piece has: of ten things in four looks."""
    folder, random = tmp_path_factory.mktemp("features"), np.random.default_rng(1)
    things = ["dog", "car", "apple", "house", "tree", "bird", "boat", "chair", "horse", "lamp"]
    thing, look = random.integers(len(things), size=200_000), random.integers(4, size=200_000)
    near = [random.normal(size=(number, 24)).astype(np.float32) for number in (len(things), 4)]
    for name, rows in (("img", near[0][thing] + near[1][look]), ("text", near[0][thing])):
        (folder / f"{name}_emb").mkdir()
        noisy = rows + 0.2 * random.normal(size=rows.shape).astype(np.float32)
        np.save(folder / f"{name}_emb" / f"{name}_emb_0.npy", noisy)
    captions = [f"a photo of a {things[number]}" for number in thing]
    (folder / "metadata").mkdir()
    table = pyarrow.table({"image_path": [f"{number:06}.jpg" for number in range(200_000)], "caption": captions})
    pyarrow.parquet.write_table(table, folder / "metadata" / "metadata_0.parquet")
    return gram.Features(folder)


def test_clusters_are_those_of_one_machine_when_a_node_is_lost(
    features: gram.Features, cluster: Any, tmp_path: Path
) -> None:
    others = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    settings = {"umap": {"epochs": 20}, "hdbscan": {"min_cluster_size": 100}}
    told = gram.cluster(None, features, settings={"fit_sample": 3000, **settings})
    assert len(told.topics) >= 8
    stages = tmp_path / "stages"

    def lose_a_node() -> None:
        while not stages.is_dir() or not list(stages.glob("others-*.safetensors")):
            time.sleep(0.01)
        cluster.remove_node(others[0], allow_graceful=False)

    loser = threading.Thread(target=lose_a_node, daemon=True)
    loser.start()
    found = gram.ray.cluster(features, stages=stages, fit_sample=3000, settings=settings)
    loser.join(timeout=60)
    assert not loser.is_alive()
    wait_for_two_nodes()
    told.save(tmp_path / "one")
    found.save(tmp_path / "many")
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    made = {path.stem: path.stat().st_mtime_ns for path in stages.glob("*-*.safetensors")}
    assert {name.split("-")[0] for name in made} == {"others", "domains"} and len(made) >= 6
    # Pieces that are there are not made again.
    again = gram.ray.cluster(features, stages=stages, fit_sample=3000, settings=settings)
    assert again.topics == found.topics
    assert {path.stem: path.stat().st_mtime_ns for path in stages.glob("*-*.safetensors")} == made


def test_all_pairs_are_laid_out_by_one_task(model: gram.Model, cluster: Any, tmp_path: Path) -> None:
    gram.embed(model, "demo", tmp_path / "features")
    told = gram.cluster(model, gram.Features(tmp_path / "features"))
    found = gram.ray.cluster(tmp_path / "features", stages=tmp_path / "stages", model=model)
    told.save(tmp_path / "one")
    found.save(tmp_path / "many")
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_workers_see_relative_paths_as_the_caller_does(
    model: gram.Model, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Workers begin where Ray was started.
    monkeypatch.chdir(tmp_path)
    image = PIL.Image.new("RGB", (9, 9), "red")
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png"):
        image.save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "broken.png").write_text("no image")
    pairs = ([f"photos/{name}.png" for name in ("a", "b", "broken")], ["red", "a red thing", "nothing"])
    told = gram.embed(model, pairs, "one")
    assert gram.ray.embed(model, pairs, "many") == told and (told.rows, told.unreadable) == (2, 1)
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    photos, splits = [f"photos/{name}.png" for name in "abab"], ["train", "train", "test", "test"]
    dataset = gram.Dataset(photos, ["red", "x"] * 2, splits=splits)
    arguments: dict[str, Any] = {"seeds": [1], "shots": 1, "settings": {"baseline": {"epochs": 1}}}
    here = gram.bench(model, dataset, "coop", out="bench-one", **arguments)
    assert gram.ray.bench(model, dataset, "coop", out="bench-many", **arguments).table().equals(here.table())
    with pytest.raises(TypeError, match="stays in its process"):
        gram.ray.bench(model, gram.Dataset([image] * 2, ["red", "x"]), "coop", out="bench-none")
    gram.embed(model, "demo", "features")
    found = gram.ray.cluster("features", stages="stages")
    assert found.topics == gram.cluster(None, gram.Features("features")).topics


def test_what_is_wrong_in_a_task_is_said_in_its_line(
    features: gram.Features, cluster: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from gram._progress import Observer

    each = gram.ray._Resources(1, 0)
    with Observer(False), pytest.raises(gram.GramError) as raised:
        task = each.task(gram.ray._make_pieces).remote(features, 1, None, str(tmp_path / "nowhere"), ["layout"])
        list(gram.ray._finished(iter([task]), 1))
    assert type(raised.value).__module__.split(".")[0] == "gram" and "\n" not in str(raised.value)
    assert "no clustering that other processes share was begun here" in str(raised.value)
    gram.ray._Resources(1, 3)
    assert "no node has 1 CPUs and 3 GPUs: work waits for one" in caplog.text
    with pytest.raises(ValueError, match="cpus = 0"):
        gram.ray._Resources(0, 0)
    ray.shutdown()
    with pytest.raises(RuntimeError, match="ray.init"):
        gram.ray.cluster(features, stages=tmp_path / "stages")


@pytest.mark.parametrize(
    ("method", "settings", "numbers"),
    [("coop", {"tasks_at_once": 1}, (1, 2, 3)), ("joint", {"inner": {"steps": 2, "learn_rates": True}}, (2,))],
)
def test_an_initialisation_is_that_of_one_machine_for_any_number_of_actors(
    model: gram.Model, cluster: Any, tmp_path: Path, method: str, settings: dict[str, Any], numbers: tuple[int, ...]
) -> None:
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    gram.cluster(model, "demo").save(tmp_path / "clusters")
    arguments: dict[str, Any] = {"steps": 3, "settings": settings}
    pairs: str | gram.Features = "demo"
    if method == "coop":
        gram.embed(model, "demo", tmp_path / "features")
        pairs = gram.Features(tmp_path / "features")
    told = gram.meta_train(model, pairs, tmp_path / "clusters", method, out=tmp_path / "one.safetensors", **arguments)
    for actors in numbers:
        name = f"of-{actors}.safetensors"
        found = gram.ray.meta_train(
            model, pairs, tmp_path / "clusters", method, out=tmp_path / name, actors=actors, **arguments
        )
        assert pickle.dumps(found) == pickle.dumps(told)
        one, many = (contents(tmp_path / f"{stem}.run") for stem in ("one", f"of-{actors}"))
        # TensorBoard's events have the time.
        for files in (one, many):
            del files["events.out.tfevents.0.gram"]
        assert one == many
        assert (tmp_path / name).read_bytes() == (tmp_path / "one.safetensors").read_bytes()


def test_an_initialisation_is_that_of_one_machine_when_a_node_is_lost(
    model: gram.Model, cluster: Any, tmp_path: Path
) -> None:
    others = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    gram.cluster(model, "demo").save(tmp_path / "clusters")
    gram.embed(model, "demo", tmp_path / "features")
    features = gram.Features(tmp_path / "features")
    arguments: dict[str, Any] = {"steps": 12, "settings": {"tasks_at_once": 1}}
    told = gram.meta_train(model, features, tmp_path / "clusters", "coop", **arguments)
    steps: list[int] = []

    def lose_a_node(step: int, loss: float) -> None:
        steps.append(step)
        if step == 3:
            cluster.remove_node(others[0], allow_graceful=False)

    found = gram.ray.meta_train(
        model, features, gram.open_clusters(tmp_path / "clusters"), "coop", actors=3, on_step=lose_a_node, **arguments
    )
    assert steps == list(range(1, 13))
    wait_for_two_nodes()
    assert pickle.dumps(found) == pickle.dumps(told)


def test_a_worker_that_sees_other_data_is_refused(model: gram.Model, tmp_path: Path) -> None:
    from gram._progress import Observer
    from gram.clustering import MetaTrainingArguments

    clusters = gram.cluster(model, "demo")
    asked, other = (MetaTrainingArguments("demo", clusters, "coop", 1, seed, None, None) for seed in (1, 2))
    worker = other.prepared(model).worker()

    class Asking(Observer):
        def __call__(self, event: str, /, *details: Any) -> Any:
            return [worker.gradients(details[0], which) for which in range(2)] if event == "gradients" else None

    with pytest.raises(gram.GramError, match="other settings, another model or other pairs"):
        asked.prepared(model).fit(None, True, Asking())
