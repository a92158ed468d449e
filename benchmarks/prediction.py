"""Prediction and evaluation: one image, and 10,000 images.

    python benchmarks/prediction.py

*One image* is a whole command: `tenfold predict`; a script that imports PyTorch, builds the
network, loads its weights and classifies the image; and, for scale, a process that imports PyTorch
and then ends at once, without freeing it.
*10,000 images* are the test images in memory, classified in one process by tenfold's kernels and by
the same network in PyTorch, 1,024 at a time; *evaluation* is the tutorials' test loop, with the
recipe's batches, and tenfold's report on the same images. Networks have random weights, which take
as long as others.
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path

import torch
from measuring import (
    IMPORT,
    TENFOLD,
    Figure,
    Result,
    at_least_one,
    begin,
    data_for,
    finish,
    in_turns,
    parsed,
    parser,
    run,
    seconds,
)
from PIL import Image
from tutorials.pictures import Pictures

from tenfold.data import ImageDataset, load_splits
from tenfold.deployment import Classifier, write_bundle
from tenfold.deployment.bundle import Bundle, BundleHeader, PreprocessingHeader
from tenfold.models import build, model_arguments
from tenfold.models.tracing import layer_list
from tenfold.native.library import Kernels, find_kernels
from tenfold.recipes import load_recipe
from tenfold.tensors import to_stored

RECIPES = ("softmax-fashion", "mlp-fashion", "lenet-mnist", "cnn-cifar10", "convpool-mnist")

SCRIPT = """
import sys, numpy as np, torch
from PIL import Image
from torch import nn
network = nn.Sequential(
    nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 120, 5), nn.ReLU(),
    nn.Flatten(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
)
network.load_state_dict(torch.load(sys.argv[1], weights_only=True))
network.eval()
image = torch.from_numpy(np.array(Image.open(sys.argv[2]).convert("L"))).float() / 255
with torch.no_grad():
    print(network(image[None, None]).softmax(1).max(1))
"""
"""What one would write to classify an image with a LeNet."""


def bundle_of(recipe_name: str, data: ImageDataset) -> Bundle:
    """A recipe's network with random weights."""
    recipe = load_recipe(recipe_name)
    network = build(recipe.model, data.image_shape, len(data.classes), **recipe.model_args)
    header = BundleHeader(
        model=recipe.model,
        arguments=model_arguments(recipe.model, recipe.model_args),
        input_shape=data.image_shape,
        classes=list(data.classes),
        preprocessing=PreprocessingHeader(mean=[], std=[]),
        layers=layer_list(network),
        data={},
        figures={},
    )
    return Bundle(header, to_stored(network.state_dict()))


def of_one_image(folder: Path, result: Result, rounds: int) -> None:
    """Whole commands that classify one image with a LeNet."""
    test = load_splits("mnist").splits.test
    assert test is not None
    bundle = bundle_of("lenet-mnist", test)
    model, image, weights = folder / "model.safetensors", folder / "image.png", folder / "w.pt"
    write_bundle(model, bundle)
    names = (f"{place}.{kind}" for place in (0, 3, 6, 9, 11) for kind in ("weight", "bias"))
    torch.save(dict(zip(names, bundle.network().state_dict().values(), strict=True)), weights)
    Image.fromarray(test.image_array[0, 0]).save(image)
    commands = {
        "tenfold predict": [*TENFOLD, "predict", model, image],
        "a PyTorch script": [sys.executable, "-c", SCRIPT, weights, image],
        IMPORT: [sys.executable, "-c", "import os, torch; os._exit(0)"],
    }
    ways = {
        way: partial(lambda words: run(words).seconds, words) for way, words in commands.items()
    }
    for way, samples in in_turns(ways, rounds).items():
        result.figures.append(Figure("one image", way, "s", samples))


def of_many_images(name: str, result: Result, rounds: int) -> None:
    """All test images, in this process."""
    data = load_splits(data_for(load_recipe(name).data)).splits.test
    assert data is not None
    bundle = bundle_of(name, data)
    by_kernels, module = Classifier(bundle), Classifier(bundle).module

    def by_pytorch() -> None:
        with torch.inference_mode():
            torch.cat([module(part) for part in data.images.split(1024)]).argmax(1)

    pictures = Pictures(data.image_array.transpose(0, 2, 3, 1).squeeze(), data.label_array)
    loader = torch.utils.data.DataLoader(pictures, load_recipe(name).eval_batch_size)
    network = module.network

    def tutorial() -> None:
        correct = 0
        with torch.no_grad():
            for images, labels in loader:
                correct += (network(images).argmax(1) == labels).sum().item()

    works = {
        "predicting": {
            "kernels": lambda: by_kernels.predict(data),
            "PyTorch": by_pytorch,
        },
        "evaluating": {"kernels": lambda: by_kernels.evaluate(data), "tutorial": tutorial},
    }
    for work, ways in works.items():
        timed = {way: partial(seconds, function) for way, function in ways.items()}
        for way, samples in in_turns(timed, rounds, pause=0.05).items():
            of = f"{work}, {name}"
            per_image = [1e6 * taken / len(data) for taken in samples]
            result.figures.append(Figure(of, way, "µs per image", per_image))


def main() -> None:
    """See the module."""
    made = parser(__doc__, rounds=7)
    made.add_argument("--threads", type=at_least_one, default=2, help="by default 2")
    options = parsed(made)
    if not isinstance(find_kernels(), Kernels):
        sys.exit("there are no kernels here to compare with PyTorch; see tenfold info")
    torch.set_num_threads(options.threads)
    result = begin("prediction", options)
    with tempfile.TemporaryDirectory() as folder:
        of_one_image(Path(folder), result, options.rounds)
    print("one image: done", file=sys.stderr, flush=True)
    for name in RECIPES[:4] if options.quick else RECIPES:
        of_many_images(name, result, options.rounds)
        print(f"{name}: done", file=sys.stderr, flush=True)
    finish(result, options)


if __name__ == "__main__":
    main()
