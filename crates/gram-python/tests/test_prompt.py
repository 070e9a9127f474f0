"""Tuning, files, clustering, meta-training and comparisons."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gram
import numpy as np
import pytest
import torch

from conftest import Images


@pytest.fixture(scope="module")
def prompt(model: gram.Model) -> gram.Prompt:
    return gram.tune(model, "demo:food", method="coop", shots=2, epochs=3)


def test_a_prompt_is_that_of_the_command_line(
    prompt: gram.Prompt, model: gram.Model, command_line: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "prompt.safetensors"
    arguments = ["--shots", 2, "--epochs", 3, "--seed", 1]
    command_line("adapt", "--model", "tiny", "--data", "demo:food", "--method", "coop", *arguments, "--out", path)
    told = gram.open_prompt(path, model)
    assert prompt.text_vectors is not None and told.text_vectors is not None
    np.testing.assert_array_equal(prompt.text_vectors, told.text_vectors)
    assert (prompt.kind, prompt.classes, prompt.template) == (told.kind, told.classes, told.template)


def test_a_prompt_is_the_same_after_its_file_and_a_pickle(
    prompt: gram.Prompt, model: gram.Model, images: Images, tmp_path: Path
) -> None:
    prompt.save(tmp_path / "prompt.safetensors")
    expected = prompt.classifier(["banana", "bread"]).predict_proba(images)
    for other in [gram.open_prompt(tmp_path / "prompt.safetensors", model), pickle.loads(pickle.dumps(prompt))]:
        np.testing.assert_array_equal(other.classifier(["banana", "bread"]).predict_proba(images), expected)
    assert prompt.classifier().names == prompt.classes


def test_epochs_are_told_with_their_losses(model: gram.Model) -> None:
    heard: list[tuple[int, float]] = []

    def hear(epoch: int, loss: float) -> None:
        heard.append((epoch, loss))

    prompt = gram.tune(model, "demo:food", shots=1, epochs=4, on_epoch=hear)
    assert [epoch for epoch, _ in heard] == [1, 2, 3, 4]
    np.testing.assert_allclose([loss for _, loss in heard], prompt.losses, rtol=1e-6)


def test_what_on_epoch_raises_ends_the_tuning(model: gram.Model) -> None:
    heard: list[int] = []

    def stop(epoch: int, loss: float) -> None:
        heard.append(epoch)
        if epoch == 2:
            raise StopIteration("enough")

    with pytest.raises(StopIteration, match="enough"):
        gram.tune(model, "demo:food", shots=1, epochs=50, on_epoch=stop)
    assert heard == [1, 2]


def test_images_and_labels_are_a_dataset(model: gram.Model, images: Images) -> None:
    labels = ["circle", "dot"] * 5
    prompt = gram.tune(model, (images, labels), shots=5, epochs=2, settings={"baseline": {"batch_size": 4}})
    assert prompt.classes == ["circle", "dot"]
    assert "'batch_size': 4" in str(prompt.header["settings"])
    assert len(pickle.loads(pickle.dumps(gram.Pairs("demo")))) == 4000
    with pytest.raises(TypeError, match="stay in their process"):
        pickle.dumps(gram.Pairs(images, labels))
    tensor = torch.tensor([number % 2 for number in range(10)])
    assert gram.Dataset(images, tensor).classes == ["0", "1"]
    divided = gram.Dataset(list(images) * 2, labels * 2, splits=["train"] * 10 + ["test"] * 10)
    assert gram.tune(model, divided, shots=5, epochs=1).classes == ["circle", "dot"]
    dataset = gram.Dataset(images, labels)
    assert (len(dataset), dataset.classes) == (10, ["circle", "dot"])
    with pytest.raises(ValueError, match="10 images, but 1 labels"):
        gram.Dataset(images, ["circle"])
    with pytest.raises(gram.DataError, match="class"):
        gram.Dataset(images, ["circle"] * 10)


def test_a_wrong_setting_is_named(model: gram.Model) -> None:
    with pytest.raises(gram.GramError, match="settings: unknown field `rat`"):
        gram.tune(model, "demo:food", settings={"baseline": {"rat": 1}})
    with pytest.raises(gram.GramError, match="unknown method `cop`"):
        gram.tune(model, "demo:food", "cop")
    with pytest.raises(gram.GramError, match="leaves no prompt"):
        gram.tune(model, "demo:food", "tip-adapter")
    with pytest.raises(gram.GramError, match="write words before"):
        gram.tune(model, "demo:food", template="{}")
    with pytest.raises(gram.GramError, match="pass it with `start`"):
        gram.tune(model, "demo:food", "unigram", shots=1)
    with pytest.raises(gram.DataError, match="dataset nowhere"):
        gram.tune(model, "nowhere")
    with pytest.raises(ValueError, match="shots = -1"):
        gram.tune(model, "demo:food", shots=-1)
    with pytest.raises(TypeError, match="what gram.load gives"):
        gram.tune("tiny", "demo:food")  # type: ignore[arg-type]


def test_topics_become_tables_and_an_initialisation(
    model: gram.Model, command_line: Callable[..., Any], tmp_path: Path
) -> None:
    command_line("cluster", "--pairs", "demo", "--out", tmp_path / "told")
    clusters = gram.cluster(model, "demo")
    told = gram.open_clusters(tmp_path / "told")
    assert clusters.pairs.equals(told.pairs) and clusters.topics.equals(told.topics)
    pairs = clusters.pairs.to_pandas()
    assert len(pairs) == 4000 and pairs["kept"].all()
    assert clusters.topics.num_rows == pairs["topic"].max() + 1
    clusters.save(tmp_path / "saved")
    assert gram.open_clusters(tmp_path / "saved").pairs.equals(clusters.pairs)
    assert pickle.loads(pickle.dumps(clusters)).pairs.equals(clusters.pairs)

    command_line("embed", "--pairs", "demo", "--out", tmp_path / "features")
    command_line("cluster", "--features", tmp_path / "features", "--model", "tiny", "--out", tmp_path / "of-features")
    features, of_features = gram.Features(tmp_path / "features"), gram.open_clusters(tmp_path / "of-features")
    found = gram.cluster(model, features)
    assert len(features) == 4000 and found.pairs.equals(of_features.pairs) and found.topics.equals(of_features.topics)
    by_pairs, by_features = (
        gram.meta_train(model, seen, found, "coop", steps=1, progress=False) for seen in ("demo", features)
    )
    assert by_pairs.kind == by_features.kind
    with pytest.raises(gram.DataError):
        gram.Features(tmp_path / "saved")
    with pytest.raises(gram.GramError, match="a visual prompt needs images"):
        gram.meta_train(model, features, found, "vpt", steps=1)

    steps: list[int] = []
    arguments = ["--pairs", "demo", "--clusters", tmp_path / "told", "--method", "coop", "--steps", 3]
    command_line("meta-train", *arguments, "--seed", 1, "--out", tmp_path / "told.safetensors")
    in_memory = gram.meta_train(
        model, "demo", clusters, "coop", steps=3, on_step=lambda step, loss: steps.append(step)
    )
    in_memory.save(tmp_path / "memory.safetensors")
    gram.meta_train(model, "demo", tmp_path / "told", "coop", steps=3, out=tmp_path / "run.safetensors")
    assert steps == [1, 2, 3]
    vectors = [
        gram.open_prompt(tmp_path / f"{name}.safetensors", model).text_vectors for name in ("told", "memory", "run")
    ]
    for other in vectors[1:]:
        assert other is not None and vectors[0] is not None
        np.testing.assert_array_equal(other, vectors[0])

    start = gram.open_start(tmp_path / "run.safetensors", model)
    assert pickle.loads(pickle.dumps(start)).kind == "coop"
    with pytest.raises(gram.GramError, match="give it one"):
        gram.bench(model, "demo:food", "coop-gram", out=tmp_path / "none", seeds=[1], shots=1)
    prompt = gram.tune(model, "demo:food", "coop", shots=1, epochs=1, start=start)
    assert prompt.header["settings"] and prompt.kind == "coop"
    with pytest.raises(gram.GramError, match="coop"):
        gram.tune(model, "demo:food", "vpt", shots=1, epochs=1, start=start)

    start.save(tmp_path / "coop.safetensors")
    methods = {"coop": None, "coop-gram": tmp_path / "coop.safetensors"}
    results = gram.bench(
        model, ["demo:food"], methods, out=tmp_path / "bench", seeds=[1, 2], shots=1, every_epoch=True
    )
    table = results.table()
    assert len(table) == 6 and set(table["method"]) == {"zero-shot", "coop", "coop-gram"}
    mean = 2 * table["base"] * table["new"] / (table["base"] + table["new"])
    np.testing.assert_allclose(table["harmonic_mean"], mean)

    import matplotlib

    matplotlib.use("agg")
    from gram import plot

    assert len(plot.base_to_new(results).patches) == 9
    assert len(plot.losses(prompt).lines) == 1
    assert len(plot.epochs(results).lines) == len(plot.epochs(results, "food", "base").lines) == 3


def test_features_are_clustered_as_pairs_are(model: gram.Model) -> None:
    random = np.random.default_rng(3)
    things = ["cat", "tree", "car", "cup"]
    which = np.repeat(np.arange(4), 40)
    captions = [f"a photo of a {things[thing]}" for thing in which]
    texts = np.eye(16, dtype=np.float32)[which] + 0.05 * random.standard_normal((160, 16))
    looks = np.eye(16, dtype=np.float32)[4 + np.arange(160) % 2]
    features = texts + looks + 0.05 * random.standard_normal((160, 16))
    settings = {"domains": 2, "hdbscan": {"min_cluster_size": 10}}
    clusters = gram.cluster(
        captions=captions, image_features=features, caption_embeddings=texts, settings=settings
    )
    assert sorted(clusters.topics.column("name").to_pylist()) == sorted(things)
    with pytest.raises(gram.GramError, match="16 wide"):
        gram.cluster(model, captions=captions, image_features=features, caption_embeddings=texts)
    with pytest.raises(ValueError, match="one shape"):
        gram.cluster(captions=captions, image_features=features, text_features=texts[:, :8])
    with pytest.raises(gram.GramError, match="image features"):
        gram.cluster(captions=captions, image_features=features[:9], caption_embeddings=texts)
    with pytest.raises(TypeError, match="cluster pairs, or"):
        gram.cluster(model)
