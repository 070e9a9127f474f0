"""The work of benches/clustering.rs by umap-learn and hdbscan. Prints seconds, peak memory and agreement with the truth as
JSON.

    python clustering.py points POINTS.npy TRUTH.json    # one run over these points
    python clustering.py digits                          # scikit-learn's digits under five seeds
"""

import json
import resource
import sys
import tempfile
import time
import warnings

import hdbscan
import numpy as np
import umap
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score

warnings.filterwarnings("ignore")


def clusters(points, min_cluster_size, min_samples):
    return hdbscan.HDBSCAN(min_cluster_size=min_cluster_size, min_samples=min_samples).fit_predict(points)


def of_points(path, truth):
    points = np.load(path)
    # What is compiled at the first call is compiled before the clock runs.
    warm = umap.UMAP(n_neighbors=15, n_components=5, min_dist=0.0, metric="cosine").fit_transform(points[:5000])
    clusters(warm, 50, 10)
    begin = time.perf_counter()
    # Without a seed: with one, umap-learn uses one core.
    reduced = umap.UMAP(n_neighbors=15, n_components=5, min_dist=0.0, metric="cosine").fit_transform(points)
    middle = time.perf_counter()
    labels = clusters(reduced, 50, 10)
    end = time.perf_counter()
    return {
        "umap": middle - begin,
        "hdbscan": end - middle,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "agreement": adjusted_rand_score(truth, labels),
    }


def of_digits():
    points, truth = load_digits(return_X_y=True)
    points = points.astype(np.float32)
    agreements = []
    for seed in range(1, 6):
        reduced = umap.UMAP(n_neighbors=15, n_components=5, min_dist=0.0, random_state=seed).fit_transform(points)
        agreements.append(adjusted_rand_score(truth, clusters(reduced, 15, None)))
    path = tempfile.mktemp(suffix=".npy")
    np.save(path, points)
    return {"points": path, "truth": truth.tolist(), "agreements": agreements}


if __name__ == "__main__":
    if sys.argv[1] == "digits":
        print(json.dumps(of_digits()))
    else:
        with open(sys.argv[3]) as file:
            print(json.dumps(of_points(sys.argv[2], json.load(file))))
