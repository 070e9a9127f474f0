"""Interruption, threads, forks, progress and logging."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import gram
import numpy as np
import pytest

from conftest import Images


def test_other_threads_run_meanwhile(model: gram.Model) -> None:
    counted = 0
    is_done = threading.Event()

    def count() -> None:
        nonlocal counted
        while not is_done.is_set():
            counted += 1
            time.sleep(0.001)

    counter = threading.Thread(target=count)
    counter.start()
    gram.tune(model, "demo:food", shots=2, epochs=5)
    is_done.set()
    counter.join()
    assert counted > 10


INTERRUPTED = """
import os, signal, sys, threading, time
import gram
model = gram.load("tiny")
def interrupt(step, loss):
    if step == 2:
        os.kill(os.getpid(), signal.SIGINT)
try:
    gram.meta_train(model, "demo", sys.argv[1], "coop", steps=100000, out=sys.argv[2], on_step=interrupt)
except KeyboardInterrupt:
    print("interrupted", gram.load("tiny").encode_text("a cat").shape)
"""


def test_ctrl_c_ends_long_work_and_leaves_what_can_be_resumed(model: gram.Model, tmp_path: object) -> None:
    folder = str(tmp_path)
    clusters = os.path.join(folder, "clusters")
    gram.cluster(model, "demo").save(clusters)
    out = os.path.join(folder, "start.safetensors")
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, clusters, out], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == f"interrupted (1, {model.width})\n", done.stderr
    assert done.stderr == ""
    # A run that was stopped goes on, and ends in the bytes of one that was not.
    for _ in range(2):
        kept = os.path.join(folder, "short.safetensors")

        def stop(step: int, loss: float) -> None:
            if step == 12:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            gram.meta_train(model, "demo", clusters, "coop", steps=14, out=kept, on_step=stop)
    gram.meta_train(model, "demo", clusters, "coop", steps=14, out=kept)
    whole = os.path.join(folder, "whole.safetensors")
    gram.meta_train(model, "demo", clusters, "coop", steps=14, out=whole)
    with open(kept, "rb") as one, open(whole, "rb") as other:
        assert one.read() == other.read()


def _encode(images: Images) -> object:
    return gram.load("tiny").encode_image(images)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_does_not_hang(model: gram.Model, images: Images) -> None:
    expected = model.encode_image(images)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(_encode, [images] * 4).get(timeout=60)
    for features in found:
        np.testing.assert_array_equal(features, expected)


def test_threads_change_no_number(model: gram.Model, images: Images, tmp_path: object) -> None:
    path = os.path.join(str(tmp_path), "images.npy")
    np.save(path, images)
    script = (
        "import sys, numpy, gram; model = gram.load('tiny'); "
        "print(model.encode_image(numpy.load(sys.argv[1])).tobytes().hex())"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", script, path],
            env={**os.environ, "RAYON_NUM_THREADS": threads},
            capture_output=True,
            check=True,
            text=True,
        ).stdout.strip()
        for threads in ("1", "3")
    ]
    assert told == [model.encode_image(images).tobytes().hex()] * 2


def test_a_bar_is_drawn_where_it_is_asked_for(
    model: gram.Model, images: Images, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gram._progress import Observer

    model.encode_image(images)
    assert capsys.readouterr().err == ""
    with Observer(progress=True) as observer:
        observer("begin", "images", 4)
        monkeypatch.setattr(observer._bar, "delay", 0)
        observer._bar.start_t -= 10
        observer("reach", 2, "half")
        observer("advance", "")
        assert observer._bar.n == 3
        observer._bar.refresh()
    assert "images" in capsys.readouterr().err
