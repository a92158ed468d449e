"""Other libraries that fit the same models to the same arrays.

Each fits with its own usual loop, in one process, with images in memory as float32.
"""

from __future__ import annotations

import importlib.util
import os
import time
import warnings
from collections.abc import Callable
from functools import cache

import numpy as np
import torch

from tenfold.data import ImageDataset
from tenfold.models import build
from tenfold.recipes import Recipe, load_recipe

Fit = Callable[[int], float]
"""From a number of steps to seconds per step."""


def _timed(
    recipe: Recipe,
    data: ImageDataset,
    fit: Callable[[np.ndarray, np.ndarray], object],
    *,
    channels_last: bool = False,
) -> Fit:
    """Time a function of images, 0..1, and labels; there are as many as some steps take."""

    @cache
    def arrays(steps: int) -> tuple[np.ndarray, np.ndarray]:
        n = steps * recipe.batch_size
        images = data.image_array[:n].astype(np.float32) / 255
        if channels_last:
            images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        return images, data.label_array[:n]

    def measured(steps: int) -> float:
        images, labels = arrays(steps)
        started = time.perf_counter()
        fit(images, labels)
        return (time.perf_counter() - started) / steps

    return measured


def mlp_classifier(name: str, data: ImageDataset) -> Fit:
    """scikit-learn's MLPClassifier."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    recipe = load_recipe(name)
    warnings.simplefilter("ignore", ConvergenceWarning)

    def fit(images: np.ndarray, labels: np.ndarray) -> None:
        MLPClassifier(
            tuple(recipe.model_args["hidden"]),
            solver="sgd",
            alpha=0.0,
            batch_size=recipe.batch_size,
            learning_rate_init=recipe.lr,
            momentum=0.0,
            shuffle=recipe.shuffle,
            max_iter=1,
        ).fit(images.reshape(len(images), -1), labels)

    return _timed(recipe, data, fit)


def sgd_classifier(name: str, data: ImageDataset) -> Fit:
    """scikit-learn's SGDClassifier: one class against the rest, updated after each image."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import SGDClassifier

    recipe = load_recipe(name)
    warnings.simplefilter("ignore", ConvergenceWarning)

    def fit(images: np.ndarray, labels: np.ndarray) -> None:
        SGDClassifier(
            "log_loss",
            alpha=0.0,
            eta0=recipe.lr,
            learning_rate="constant",
            max_iter=1,
            penalty=None,
            n_jobs=torch.get_num_threads(),
        ).fit(images.reshape(len(images), -1), labels)

    return _timed(recipe, data, fit)


def skorch(name: str, data: ImageDataset) -> Fit:
    """skorch's NeuralNetClassifier."""
    from skorch import NeuralNetClassifier

    recipe = load_recipe(name)

    def fit(images: np.ndarray, labels: np.ndarray) -> None:
        NeuralNetClassifier(
            build(recipe.model, data.image_shape, 10, **recipe.model_args),
            criterion=torch.nn.CrossEntropyLoss,
            optimizer=_optimizer(recipe),
            lr=recipe.lr,
            batch_size=recipe.batch_size,
            iterator_train__shuffle=recipe.shuffle,
            max_epochs=1,
            train_split=None,
            verbose=0,
        ).fit(images, labels)

    return _timed(recipe, data, fit)


def lightning(name: str, data: ImageDataset) -> Fit:
    """A LightningModule, and a DataLoader over tensors."""
    import logging

    import lightning as L  # noqa: N812 - as its documents do

    recipe = load_recipe(name)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = build(recipe.model, data.image_shape, 10, **recipe.model_args)

        def training_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
            images, labels = batch
            return torch.nn.functional.cross_entropy(self.network(images), labels)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return _optimizer(recipe)(self.parameters(), lr=recipe.lr)

    def fit(images: np.ndarray, labels: np.ndarray) -> None:
        tensors = torch.utils.data.TensorDataset(*map(torch.from_numpy, (images, labels)))
        L.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(
            Module(),
            torch.utils.data.DataLoader(tensors, recipe.batch_size, shuffle=recipe.shuffle),
        )

    return _timed(recipe, data, fit)


def keras_on(backend: str) -> Callable[[str, ImageDataset], Fit]:
    """Keras on one of its backends, compiled as it does by default."""

    def make(name: str, data: ImageDataset) -> Fit:
        os.environ["KERAS_BACKEND"] = backend
        os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        import keras

        recipe = load_recipe(name)
        layers = keras.layers
        channels, height, width = data.image_shape
        stacks = {
            "softmax-fashion": [layers.Flatten(), layers.Dense(10)],
            "mlp-fashion": [
                layers.Flatten(),
                layers.Dense(512, "relu"),
                layers.Dense(512, "relu"),
                layers.Dense(10),
            ],
            "lenet-mnist": [
                layers.Conv2D(6, 5, padding="same", activation="relu"),
                layers.MaxPooling2D(),
                layers.Conv2D(16, 5, activation="relu"),
                layers.MaxPooling2D(),
                layers.Conv2D(120, 5, activation="relu"),
                layers.Flatten(),
                layers.Dense(84, "relu"),
                layers.Dense(10),
            ],
            "cnn-cifar10": [
                layers.Conv2D(6, 3, activation="relu"),
                layers.MaxPooling2D(),
                layers.Conv2D(16, 3, activation="relu"),
                layers.MaxPooling2D(),
                layers.Flatten(),
                layers.Dense(120, "relu"),
                layers.Dense(84, "relu"),
                layers.Dense(10),
            ],
        }
        network = keras.Sequential([keras.Input((height, width, channels)), *stacks[name]])
        optimizers = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}
        network.compile(
            optimizers[recipe.optimizer](recipe.lr),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )

        def fit(images: np.ndarray, labels: np.ndarray) -> None:
            network.fit(
                images,
                labels,
                batch_size=recipe.batch_size,
                shuffle=recipe.shuffle,
                verbose=0,
            )

        return _timed(recipe, data, fit, channels_last=True)

    return make


def _optimizer(recipe: Recipe) -> type[torch.optim.Optimizer]:
    return {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[recipe.optimizer]


PEERS: dict[str, Callable[[str, ImageDataset], Fit]] = {
    "Keras on TensorFlow": keras_on("tensorflow"),
    "Keras on JAX": keras_on("jax"),
    "Lightning": lightning,
    "skorch": skorch,
    "MLPClassifier": mlp_classifier,
    "SGDClassifier": sgd_classifier,
}
"""By name, a function that prepares for a recipe's training images."""

_NEEDS = {
    "Keras on TensorFlow": ("keras", "tensorflow"),
    "Keras on JAX": ("keras", "jax"),
    "Lightning": ("lightning",),
    "skorch": ("skorch",),
    "MLPClassifier": ("sklearn",),
    "SGDClassifier": ("sklearn",),
}

_FOUR = ("softmax-fashion", "mlp-fashion", "lenet-mnist", "cnn-cifar10")

_RECIPES = {"MLPClassifier": ("mlp-fashion",), "SGDClassifier": ("softmax-fashion",)}


def can_fit(peer: str, recipe: str) -> bool:
    """Whether a peer is installed, and has the recipe's model."""
    installed = all(importlib.util.find_spec(name) is not None for name in _NEEDS[peer])
    return installed and recipe in _RECIPES.get(peer, _FOUR)
