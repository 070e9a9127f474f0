"""Reads a run's TensorBoard events back with the tensorboard package: every scalar is that of metrics.jsonl."""

import json
import math
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TAGS = {"query/loss": "query_loss", "query/accuracy": "query_accuracy", "gradients/alignment": "alignment",
        "gradients/meta_gradient_norm": "meta_gradient_norm", "regulator/gamma": "gamma", "regulator/beta": "beta",
        "regulator/regulated_over_raw": "regulated_over_raw"}

run = Path(sys.argv[1])
steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
events = EventAccumulator(str(run), size_guidance={"scalars": 0})
events.Reload()
assert steps and set(TAGS) <= set(events.Tags()["scalars"]), events.Tags()
for tag, key in TAGS.items():
    found = [(event.step, event.value) for event in events.Scalars(tag)]
    assert len(found) == len(steps), f"{tag}: {len(found)} events of {len(steps)} steps"
    for (step, value), expected in zip(found, steps):
        assert step == expected["step"] and math.isclose(value, expected[key], rel_tol=1e-6), (tag, step, value, expected)
validated = [step["step"] for step in steps if step["validation"]]
assert [event.step for event in events.Scalars("held_out/loss")] == validated
print(f"{len(steps)} steps, {len(validated)} validations")
