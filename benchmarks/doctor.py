"""How much of what is planted in good data `tenfold check` finds, and how long it takes.

    python benchmarks/doctor.py
    python benchmarks/doctor.py mnist --rounds 1

For each data set, with all its splits together:

- near duplicates: copies of images are added, 100 of each kind: as they are, saved as JPEG (quality
  90, 75), scaled down to three quarters and up again, moved by a pixel, brightened. A copy is found
  if it is in one pair with the image it was made from. A pair of two images of the data itself is
  counted, too; whether it is a false alarm, a person has to see.
- wrong labels: of 10,000 images, 50 get another class at random; how many of them are among the
  first 100 and the first 200 suspects.
- the brief check before a training: its time, and that of an epoch of the data set's recipe.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from measuring import Figure, begin, choose_from, data_for, finish, parsed, parser, run
from PIL import Image

from tenfold.data import ImageDataset, load_splits
from tenfold.types import LabeledArrays

DATA = {"mnist": "lenet-mnist", "fashion-mnist": "softmax-fashion", "cifar10": "cnn-cifar10"}
"""Each data set, and the recipe that its brief check is compared with."""

COPIES = 100

WRONG, OF_IMAGES, SUSPECTS = 50, 10_000, (100, 200)

SEARCH = """
import json, re, sys, time
import numpy as np
from tenfold.data import ImageDataset
from tenfold.doctor.near_duplicates import find_near_duplicates
stored = np.load(sys.argv[1])
data = ImageDataset(stored["images"], stored["labels"], [str(n) for n in range(10)])
before = int(re.search(r"VmRSS:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
started = time.perf_counter()
found = find_near_duplicates([data])
seconds = time.perf_counter() - started
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
print(json.dumps({
    "seconds": seconds, "memory": (peak - before) / 2**10,
    "groups": [[image.index for image in finding.images] for finding in found],
}))
"""
"""The search in a process of its own: its time, the memory that it needs, and what it finds."""

Picture = np.ndarray
"""uint8, of shape (channels, height, width)."""


def as_picture(pixels: Picture) -> Image.Image:
    """For Pillow."""
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))


def as_pixels(picture: Image.Image) -> Picture:
    """From Pillow."""
    array = np.asarray(picture)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def by_jpeg(quality: int) -> Callable[[Picture, np.random.Generator], Picture]:
    """Saved as JPEG."""

    def saved(pixels: Picture, _: np.random.Generator) -> Picture:
        encoded = io.BytesIO()
        as_picture(pixels).save(encoded, "JPEG", quality=quality)
        return as_pixels(Image.open(encoded))

    return saved


def resized(pixels: Picture, _: np.random.Generator) -> Picture:
    """Three quarters of the size, and back."""
    picture = as_picture(pixels)
    small = picture.resize((picture.width * 3 // 4, picture.height * 3 // 4), Image.BILINEAR)
    return as_pixels(small.resize(picture.size, Image.BILINEAR))


def shifted(pixels: Picture, generator: np.random.Generator) -> Picture:
    """Moved by a pixel in one of eight directions; what comes in repeats the edge."""
    down, across = 0, 0
    while down == across == 0:
        down, across = generator.integers(-1, 2, 2).tolist()
    padded = np.pad(pixels, ((0, 0), (1, 1), (1, 1)), "edge")
    height, width = pixels.shape[1:]
    return padded[:, 1 + down : 1 + down + height, 1 + across : 1 + across + width]


def brightened(pixels: Picture, generator: np.random.Generator) -> Picture:
    """Brighter by a tenth to three tenths."""
    factor = generator.uniform(1.1, 1.3)
    return np.minimum(pixels * factor, 255).round().astype(np.uint8)


KINDS: dict[str, Callable[[Picture, np.random.Generator], Picture]] = {
    "exact": lambda pixels, _: pixels,
    "JPEG 90": by_jpeg(90),
    "JPEG 75": by_jpeg(75),
    "resized": resized,
    "shifted": shifted,
    "brightened": brightened,
}
"""How copies are made."""


def whole(name: str) -> ImageDataset:
    """All splits of a data set as one."""
    parts = list(load_splits(data_for(name)).splits)
    arrays = LabeledArrays(
        np.concatenate([part.image_array for part in parts]),
        np.concatenate([part.label_array for part in parts]),
        parts[0].classes,
    )
    return ImageDataset.from_arrays(arrays, split="train", source=name)


def near_duplicates(name: str, data: ImageDataset, seed: int) -> Iterator[Figure]:
    """Plant copies, and look for them."""
    generator, n = np.random.default_rng(seed), len(data)
    source = generator.choice(n, COPIES * len(KINDS), replace=False)
    kinds = [kind for kind in KINDS for _ in range(COPIES)]
    copies = [
        KINDS[kind](data.image_array[at], generator)
        for kind, at in zip(kinds, source.tolist(), strict=True)
    ]
    images = np.concatenate([data.image_array, np.stack(copies)])
    labels = np.concatenate([data.label_array, data.label_array[source]])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npz"
        np.savez(path, images=images, labels=labels)
        found = json.loads(run([sys.executable, "-c", SEARCH, path]).out)
    group_of = {image: number for number, group in enumerate(found["groups"]) for image in group}
    exact = ImageDataset.from_arrays(
        LabeledArrays(images, labels, data.classes), split="train", source=name
    )
    from tenfold.data.checks.duplicates import equal_images

    same = {
        place: number
        for number, group in enumerate(equal_images([exact.image_array]))
        for place in group.tolist()
    }
    for kind in KINDS:
        told = 0
        for place, its_kind in enumerate(kinds):
            one, other = n + place, int(source[place])
            in_group = group_of.get(one, -1) == group_of.get(other, -2)
            told += its_kind == kind and (in_group or same.get(one, -1) == same.get(other, -2))
        yield Figure(f"{name}, copies found", kind, "", [told / COPIES])
    own = [sorted(i for i in group if i < n) for group in found["groups"]]
    pairs = sum(len(group) - 1 for group in own if len(group) > 1)
    yield Figure(f"{name}, pairs of its own", "per 1,000 images", "pairs", [1000 * pairs / n])
    yield Figure(f"{name}, searched {len(images):,}", "time", "s", [found["seconds"]])
    yield Figure(f"{name}, searched {len(images):,}", "memory", "MiB", [found["memory"]])


def wrong_labels(name: str, data: ImageDataset, seed: int) -> Iterator[Figure]:
    """Change labels, and look for them."""
    from tenfold.doctor.wrong_labels import judge_labels
    from tenfold.runs.resources import Resources
    from tenfold.training.watching import Watcher

    generator = np.random.default_rng(seed)
    some = data.select(np.sort(generator.choice(len(data), OF_IMAGES, replace=False)))
    labels, classes = some.label_array.copy(), len(data.classes)
    wrong = generator.choice(OF_IMAGES, WRONG, replace=False)
    labels[wrong] = (labels[wrong] + generator.integers(1, classes, WRONG)) % classes
    began = time.perf_counter()
    judged = judge_labels(
        [some.with_labels(labels, data.classes)],
        resources=Resources(device="cpu", threads=2),
        watcher=Watcher(),
    )
    assert judged is not None, "every class has images"
    seconds = time.perf_counter() - began
    planted = set(wrong.tolist())
    for suspects in SUSPECTS:
        told = sum(finding.images[0].index in planted for finding in judged.findings[:suspects])
        yield Figure(f"{name}, wrong labels found", f"in the first {suspects}", "", [told / WRONG])
    yield Figure(f"{name}, labels of {OF_IMAGES:,}", "time", "s", [seconds])


def brief(name: str) -> Iterator[Figure]:
    """The check before a training, and the first epoch of one."""
    from tenfold.data.checks.brief import brief_notes
    from tenfold.recipes import load_recipe
    from tenfold.runs.fit import fit
    from tenfold.runs.resources import Resources

    splits = load_splits(data_for(name)).splits
    began = time.perf_counter()
    brief_notes(list(splits))
    yield Figure(f"{name}, brief check", "time", "s", [time.perf_counter() - began])
    recipe = load_recipe(DATA[name], {"epochs": 1, "schedule": "constant"})
    fitted = fit(recipe, splits, resources=Resources(device="cpu", threads=2))
    yield Figure(f"{name}, brief check", f"epoch of {DATA[name]}", "s", [fitted.history[0].seconds])


def main() -> None:
    """See the module."""
    made = parser(__doc__, rounds=3)
    choose_from(made, "sets", DATA)
    options = parsed(made)
    result = begin("doctor", options)
    samples: dict[tuple[str, str, str], list[float]] = {}
    for name in options.sets:
        data = whole(name)
        for seed in range(options.rounds):
            for figure in chain(
                near_duplicates(name, data, seed), wrong_labels(name, data, seed), brief(name)
            ):
                print(
                    f"round {seed}: {figure.of}, {figure.way}: {figure.text} {figure.unit}",
                    flush=True,
                )
                key = figure.of, figure.way, figure.unit
                samples.setdefault(key, []).extend(figure.samples)
    result.figures.extend(Figure(*key, values) for key, values in samples.items())
    finish(result, options)


if __name__ == "__main__":
    main()
