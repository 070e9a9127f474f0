"""Prompts in torch models of transformers and open_clip have gram's logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gram
import numpy as np
import pytest
import torch

from conftest import Images

TINY = Path(__file__).parents[3] / "assets" / "tiny"
NAMES = ["banana", "ice cream", "bread"]
# Method and design: the name's place, contexts of classes' own, deep visual prompts.
PROMPTS: list[tuple[str, dict[str, Any]]] = [
    ("coop", {}),
    ("coop", {"context_tokens": 3, "class_position": "middle"}),
    ("coop", {"context_tokens": 2, "class_position": "front"}),
    ("coop", {"context_tokens": 2, "class_specific": True}),
    ("vpt", {"visual_tokens": 3}),
    ("vpt", {"visual_tokens": 2, "visual_depth": 2}),
    ("joint", {}),
    ("joint", {"visual_depth": 0, "class_position": "middle", "context_tokens": 4}),
]


def learned(model: gram.Model, images: Images, method: str, design: dict[str, Any]) -> gram.Prompt:
    labels = [NAMES[number % 3] for number in range(len(images))]
    return gram.tune(model, (images, labels), method, shots=3, epochs=2, settings={"design": design})


def check(model: gram.Model, images: Images, torch_model: Any, into: str, pixels: torch.Tensor) -> None:
    for method, design in PROMPTS:
        prompt = learned(model, images, method, design)
        prompted = getattr(prompt, into)(torch_model)
        with torch.no_grad():
            found = prompted(pixels).numpy()
        expected = prompt.classifier().logits(images)
        assert prompted.names == prompt.classes
        apart = np.abs(found - expected).max() / np.abs(expected).max()
        assert apart < 1e-5, f"{method} {design}: {apart}"
        if not design.get("class_specific"):
            with torch.no_grad():
                found = getattr(prompt, into)(torch_model, ["apple", "red wine"])(pixels).numpy()
            expected = prompt.classifier(["apple", "red wine"]).logits(images)
            assert np.abs(found - expected).max() / np.abs(expected).max() < 1e-5


def normalised(images: Images, mean: tuple[float, ...], deviation: tuple[float, ...]) -> torch.Tensor:
    pixels = torch.from_numpy(images).float().permute(0, 3, 1, 2) / 255
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(deviation).view(3, 1, 1)


MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@pytest.fixture(scope="module")
def squares() -> Images:
    """Images of the towers' own size, so that nothing is resized."""
    return np.random.default_rng(1).integers(0, 255, (9, 32, 32, 3), dtype=np.uint8)


def test_logits_in_transformers(squares: Images, tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    text = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "vocab_size": 49408,
        "max_position_embeddings": 77,
        "eos_token_id": 49407,
        "bos_token_id": 49406,
    }
    vision = {
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "image_size": 32,
        "patch_size": 8,
    }
    torch_model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).eval()
    torch_model.save_pretrained(tmp_path)
    model = gram.load(tmp_path)
    check(model, squares, torch_model, "into_transformers", normalised(squares, MEAN, DEVIATION))
    with pytest.raises(gram.PromptError, match="other weights"):
        learned(model, squares, "vpt", {}).into_transformers(CLIPModel(torch_model.config))
    with pytest.raises(TypeError, match="expected a transformers.CLIPModel"):
        learned(model, squares, "coop", {}).into_transformers("tiny")
    with pytest.raises(gram.PromptError, match="it is another model"):
        other = CLIPModel(CLIPConfig(text_config={**text, "hidden_size": 16}, vision_config=vision))
        learned(model, squares, "coop", {}).into_transformers(other)


def test_a_prompted_model_can_be_tuned_further(model: gram.Model) -> None:
    from transformers import CLIPModel

    images = np.random.default_rng(1).integers(0, 255, (6, 48, 48, 3), dtype=np.uint8)
    prompt = learned(model, images, "joint", {})
    torch_model = CLIPModel.from_pretrained(TINY, dtype=torch.float32)
    prompted = prompt.into_transformers(torch_model)
    assert sorted(name for name, _ in prompted.named_parameters()) == ["context", "visual"]
    loss = torch.nn.functional.cross_entropy(prompted(torch.zeros(3, 3, 48, 48)), torch.arange(3))
    loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in prompted.parameters())
    with torch.no_grad():
        expected = prompted(torch.ones(2, 3, 48, 48))
        found = prompt.into_transformers(torch_model.bfloat16())(torch.ones(2, 3, 48, 48).bfloat16())
    assert (found - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_logits_in_open_clip(squares: Images, tmp_path: Path, quick_gelu: bool) -> None:
    import open_clip

    torch.manual_seed(0)
    config = {
        "embed_dim": 24,
        "quick_gelu": quick_gelu,
        "vision_cfg": {"image_size": 32, "layers": 3, "width": 64, "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3},
    }
    config["vision_cfg"]["head_width"] = 16  # type: ignore[index]
    torch_model = open_clip.CLIP(**config).eval()
    torch.save(torch_model.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    described = {
        "model_cfg": config,
        "preprocess_cfg": {"mean": MEAN, "std": DEVIATION, "interpolation": "bicubic", "resize_mode": "shortest"},
    }
    (tmp_path / "open_clip_config.json").write_text(json.dumps(described))
    model = gram.load(tmp_path)
    check(model, squares, torch_model, "into_open_clip", normalised(squares, MEAN, DEVIATION))


def test_a_prompt_that_moves_with_the_image_is_refused(model: gram.Model) -> None:
    images = np.random.default_rng(1).integers(0, 255, (6, 48, 48, 3), dtype=np.uint8)
    prompt = learned(model, images, "cocoop", {})
    with pytest.raises(gram.PromptError, match="CoCoOp"):
        prompt.into_transformers(object())
