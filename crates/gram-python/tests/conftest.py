"""What all tests use: the built-in model on the CPU, images, and the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

os.environ.setdefault("GRAM_DEVICE", "cpu")

import gram  # noqa: E402

Images = npt.NDArray[np.uint8]


@pytest.fixture(scope="session")
def model() -> gram.Model:
    return gram.load("tiny")


@pytest.fixture(scope="session")
def images() -> Images:
    """Ten coloured shapes, `[10, 56, 72, 3]`."""
    random = np.random.default_rng(7)
    images = np.empty((10, 56, 72, 3), np.uint8)
    rows, columns = np.mgrid[:56, :72]
    for image in images:
        image[:] = random.integers(0, 255, 3)
        middle, radius = random.integers(15, 40, 2), random.integers(8, 20)
        image[(rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 < radius**2] = random.integers(0, 255, 3)
    return images


@pytest.fixture(scope="session")
def image_files(images: Images, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same images as PNG files."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("images")
    paths = [folder / f"{number}.png" for number in range(len(images))]
    for path, image in zip(paths, images):
        Image.fromarray(image).save(path)
    return paths


@pytest.fixture(scope="session")
def command_line() -> Callable[..., Any]:
    """Runs `gram` with arguments, and gives what `--json` prints."""
    program = os.environ.get("GRAM") or shutil.which("gram")
    if program is None:
        pytest.skip("the command line is not there: GRAM=path/to/gram")

    def run(*arguments: object) -> Any:
        command = [program, *map(str, arguments), "--json"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        lines = done.stdout.splitlines()
        return json.loads(done.stdout) if len(lines) == 1 else [json.loads(line) for line in lines]

    return run
