"""A learned prompt in a torch model of transformers, which has the same logits."""

import tempfile

import numpy as np
import torch
from transformers import CLIPConfig, CLIPModel

import gram

torch.manual_seed(0)
sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
torch_model = CLIPModel(
    CLIPConfig(text_config=sizes, vision_config={**sizes, "image_size": 32, "patch_size": 8}, projection_dim=16)
).eval()
with tempfile.TemporaryDirectory() as folder:
    torch_model.save_pretrained(folder)
    model = gram.load(folder)

images = np.random.default_rng(1).integers(0, 255, (6, 32, 32, 3), dtype=np.uint8)
prompt = gram.tune(model, (images, ["tulip", "rose"] * 3), method="joint", shots=3, epochs=2)
prompted = prompt.into_transformers(torch_model)

mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
pixels = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / deviation
with torch.no_grad():
    logits = prompted(pixels).numpy()
print("apart by", np.abs(logits - prompt.classifier().logits(images)).max())
