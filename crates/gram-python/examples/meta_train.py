"""Image-text pairs to topics, and these to a start that is worth more than a sentence's words."""

import tempfile

import gram

model = gram.load("tiny")
clusters = gram.cluster(model, "demo")
largest = clusters.topics.select(["name", "size", "coverage"]).slice(0, 5)
print(largest.to_pandas())
start = gram.meta_train(
    model, "demo", clusters, method="coop", steps=20, on_step=lambda step, loss: print(step, round(loss, 3))
)
with tempfile.TemporaryDirectory() as folder:
    results = gram.bench(
        model, ["demo:food"], {"coop": None, "coop-gram": start}, out=folder, seeds=[1, 2], shots=1
    )
print(results.table().groupby("method")[["base", "new", "harmonic_mean"]].mean().round(1))
