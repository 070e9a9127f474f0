"""Images and labels that a program holds, with scikit-learn's tools."""

import numpy as np
from sklearn.model_selection import cross_val_score

import gram

random = np.random.default_rng(1)
images = random.integers(0, 60, (24, 48, 48, 3), dtype=np.uint8)
labels = np.arange(24) % 2
images[labels == 0, 12:36, 12:36, 0] = 230
images[labels == 1, 12:36, 12:36, 2] = 230

estimator = gram.PromptClassifier("tiny", epochs=3, class_names={0: "red square", 1: "blue square"})
print("accuracy by fold:", cross_val_score(estimator, images, labels, cv=3))
print(estimator.fit(images, labels).predict_proba(images[:2]).round(2))
