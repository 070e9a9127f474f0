"""Classes in a sentence: zero-shot CLIP, for images from anywhere."""

import numpy as np

import gram

model = gram.load("tiny")
classifier = model.classifier(["apple", "banana", "bread"], template="a picture of a {}")

# Paths, PIL images and torch tensors do as well.
images = np.zeros((2, 48, 48, 3), np.uint8)
images[0, 12:36, 12:36] = (230, 30, 30)
images[1, 12:36, 12:36] = (240, 220, 60)
for name, probabilities in zip(classifier.predict(images), classifier.predict_proba(images)):
    print(name, probabilities.round(2))

features = model.encode_image(images)
print(features.shape, (features @ model.encode_text(["a red apple", "a yellow banana"]).T).round(2))
