"""A few labelled images to a prompt, its file, and classes that it was not tuned on."""

import tempfile
from pathlib import Path

import gram

model = gram.load("tiny")
prompt = gram.tune(
    model,
    "demo:food",
    method="coop",
    shots=4,
    classes="base",
    on_epoch=lambda epoch, loss: print(f"epoch {epoch}: {loss:.3f}"),
    epochs=10,
)
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "food.safetensors"
    prompt.save(path)
    same = gram.open_prompt(path, model)
classifier = same.classifier(["cookie", "red apple"])
print(same, classifier.names, len(same.losses))
