"""Features and zero-shot classes, from everything that is an image."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gram
import numpy as np
import pytest
import torch
from PIL import Image

from conftest import Images


def test_features_are_those_of_the_command_line(
    model: gram.Model, image_files: list[Path], command_line: Callable[..., Any], tmp_path: Path
) -> None:
    captions = [f"a picture of a shape number {number}" for number in range(len(image_files))]
    rows = "".join(f"{path},{caption}\n" for path, caption in zip(image_files, captions))
    (tmp_path / "pairs.csv").write_text("image,caption\n" + rows)
    out = tmp_path / "features"
    command_line("embed", "--pairs", tmp_path / "pairs.csv", "--full-precision", "--out", out)
    np.testing.assert_array_equal(model.encode_image(image_files), np.load(out / "image_features.npy"))
    np.testing.assert_array_equal(model.encode_text(captions), np.load(out / "text_features.npy"))


def test_an_image_gives_one_feature_whatever_holds_it(
    model: gram.Model, images: Images, image_files: list[Path]
) -> None:
    expected = model.encode_image(image_files)
    assert expected.shape == (10, model.width) and expected.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1.0, atol=1e-6)
    channels_first = torch.from_numpy(images).permute(0, 3, 1, 2)
    held: list[Any] = [
        [str(path) for path in image_files],
        [path.read_bytes() for path in image_files],
        [Image.open(path) for path in image_files],
        images,
        list(images),
        images[:, ::-1][:, ::-1],
        channels_first,
        list(channels_first),
        torch.from_numpy(images),
    ]
    for form in held:
        np.testing.assert_array_equal(model.encode_image(form), expected)
    for alone in [image_files[3], images[3], channels_first[3], Image.open(image_files[3])]:
        np.testing.assert_array_equal(model.encode_image(alone), expected[3:4])
    assert model.encode_image([]).shape == (0, model.width)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16", "CMYK"])
def test_pil_images_of_every_mode_are_what_their_file_shows(
    model: gram.Model, images: Images, mode: str, tmp_path: Path
) -> None:
    picture = Image.fromarray(images[0])
    if mode == "I;16":
        grey = np.asarray(picture.convert("L")).astype(np.uint16) * 200
        picture = Image.fromarray(grey)
    else:
        picture = picture.convert(mode)
    if mode in ("LA", "RGBA"):
        picture.putalpha(Image.fromarray(images[1]).convert("L"))
    path = tmp_path / ("picture.tiff" if mode == "CMYK" else "picture.png")
    picture.save(path)
    shown = model.encode_image(Image.open(path)) @ model.encode_image(path).T
    assert shown > 0.9999


def test_a_turned_photograph_is_turned_back(model: gram.Model, images: Images, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(images[0]).save(tmp_path / "turned.png", exif=exif)
    of_file = model.encode_image(tmp_path / "turned.png")
    np.testing.assert_array_equal(model.encode_image(Image.open(tmp_path / "turned.png")), of_file)
    np.testing.assert_array_equal(model.encode_image(np.rot90(images[0], -1)), of_file)


def test_classes_are_those_that_the_command_line_predicts(
    model: gram.Model, image_files: list[Path], command_line: Callable[..., Any]
) -> None:
    names = ["cat", "tiger", "red apple"]
    told = command_line("predict", "--model", "tiny", "--classes", ",".join(names), "--top", 1, *image_files)
    classifier = model.classifier(names)
    assert classifier.names == names
    probabilities = classifier.predict_proba(image_files)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-6)
    best = [row["predictions"][0] for row in told]
    assert classifier.predict(image_files) == [row["class"] for row in best]
    np.testing.assert_allclose(probabilities.max(axis=1), [row["probability"] for row in best], atol=1e-6)


def test_logits_are_scaled_cosines(model: gram.Model, images: Images) -> None:
    classifier = model.classifier(["cat", "dog"])
    assert classifier.weights is not None
    cosines = model.encode_image(images) @ classifier.weights.T
    scale = classifier.logits(images) / cosines
    np.testing.assert_allclose(scale, scale[0, 0], rtol=1e-3)


def test_long_texts_are_cut_and_logged(model: gram.Model, caplog: pytest.LogCaptureFixture) -> None:
    assert model.encode_text("a very long caption " * 50).shape == (1, model.width)
    assert "1 of 1 texts were cut" in caplog.text
    assert model.encode_text([]).shape == (0, model.width)


@pytest.mark.parametrize(
    ("error", "words", "work"),
    [
        (gram.ModelError, "model nowhere", lambda model, images: gram.load("nowhere")),
        (gram.DeviceError, "cuda", lambda model, images: gram.load("tiny", device="cuda")),
        (ValueError, "no device is called", lambda model, images: gram.load("tiny", device="abacus")),
        (gram.DataError, "nowhere.png", lambda model, images: model.encode_image(["nowhere.png"])),
        (gram.DataError, "image 0", lambda model, images: model.encode_image(b"no image")),
        (gram.PromptError, "template", lambda model, images: model.classifier(["a"], "no place")),
        (TypeError, "not float32", lambda model, images: model.encode_image(images.astype(np.float32))),
        (ValueError, "56, 72, 2", lambda model, images: model.encode_image(images[0, :, :, :2])),
        (TypeError, "mode F", lambda model, images: model.encode_image(Image.fromarray(images[0, :, :, 0] / 255))),
        (ValueError, "one name", lambda model, images: model.classifier(["a_b", "a b"])),
        (TypeError, "NoneType", lambda model, images: gram.load(None)),  # type: ignore[arg-type]
        (TypeError, "not int", lambda model, images: model.encode_image([7])),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    error: type[Exception], words: str, work: Callable[..., object], model: gram.Model, images: Images
) -> None:
    with pytest.raises(error, match=words) as raised:
        work(model, images)
    assert "\n" not in str(raised.value)
    assert not isinstance(raised.value, gram.GramError) or issubclass(error, gram.GramError)


def test_a_model_is_pickled_by_its_name(model: gram.Model, images: Images) -> None:
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.encode_image(images), model.encode_image(images))
