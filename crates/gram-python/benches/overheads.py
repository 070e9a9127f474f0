"""What Python costs: calls, copies, and predictions beside the command line and open_clip, as a table.

usage: GRAM=target/release/gram python overheads.py [images]

ViT-B/32 with random weights, JPEG files of 320 x 240. Each row is the fastest of three, all in one run. Needs the package
with torch, open_clip_torch and Pillow.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image

os.environ.setdefault("GRAM_DEVICE", "cpu")

import gram  # noqa: E402

CLASSES = ["cat", "dog", "tree", "car", "house"]


def fastest(work: Callable[[], object], times: int = 3) -> float:
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def saved_model(folder: Path) -> torch.nn.Module:
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32").eval()
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    config = {"model_cfg": open_clip.get_model_config("ViT-B-32"), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return model


def saved_images(folder: Path, count: int) -> list[Path]:
    random = np.random.default_rng(1)
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for path in paths:
        coarse = random.integers(0, 255, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC).save(path)
    return paths


def main(count: int) -> None:
    program = os.environ.get("GRAM", "gram")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        theirs = saved_model(folder)
        files = saved_images(folder, count)
        model = gram.load(folder)
        classifier = model.classifier(CLASSES)
        arrays = [np.asarray(Image.open(path)) for path in files]

        preprocess = open_clip.image_transform(224, is_train=False)
        tokens = open_clip.get_tokenizer("ViT-B-32")([f"a photo of a {name}" for name in CLASSES])
        with torch.no_grad():
            texts = torch.nn.functional.normalize(theirs.encode_text(tokens), dim=-1)

        def by_open_clip(paths: list[Path]) -> np.ndarray:
            found = []
            with torch.no_grad():
                for first in range(0, len(paths), 64):
                    pixels = torch.stack([preprocess(Image.open(path)) for path in paths[first : first + 64]])
                    images = torch.nn.functional.normalize(theirs.encode_image(pixels), dim=-1)
                    found.append((theirs.logit_scale.exp() * images @ texts.T).softmax(dim=-1))
            return torch.cat(found).numpy()

        def by_command(paths: list[Path]) -> object:
            command = [program, "predict", "--model", folder, "--classes", ",".join(CLASSES), *paths]
            return subprocess.run(command, check=True, capture_output=True)

        apart = np.abs(by_open_clip(files[:8]) - classifier.predict_proba(files[:8])).max()
        print(f"probabilities are apart by {apart:.0e}; {torch.get_num_threads()} threads\n")
        print("| work | seconds |\n|---|---|")
        calls = 10_000
        print(f"| an attribute of Rust's | {fastest(lambda: [model.width for _ in range(calls)]) / calls:.1e} |")
        work = [("no image", lambda: classifier.predict_proba([]))]
        work += [("features of one text", lambda: model.encode_text("a photo of a cat"))]
        for title, paths, held in [("1 image", files[:1], arrays[:1]), (f"{count} images", files, arrays)]:
            work += [(f"{title}, from files", lambda paths=paths: classifier.predict_proba(paths))]
            work += [(f"{title}, from arrays", lambda held=held: classifier.predict_proba(held))]
            work += [(f"{title}, open_clip, from files", lambda paths=paths: by_open_clip(paths))]
            work += [(f"{title}, `gram predict`, from files", lambda paths=paths: by_command(paths))]
        for title, do in work:
            print(f"| {title} | {fastest(do):.4f} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
