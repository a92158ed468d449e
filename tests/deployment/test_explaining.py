"""What an answer depends on, and which images are alike to a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from small_bundles import bundle_with
from tenfold.data.dataset import ImageDataset
from tenfold.deployment.background import Background
from tenfold.deployment.classifier import Classifier
from tenfold.deployment.explaining import occlusion_map
from tenfold.deployment.features import feature_function, nearest_images
from tenfold.models import MODELS, build
from tenfold.models.tracing import layer_list


def classifier_of(model: str, shape: tuple[int, int, int], weights=None, **header) -> Classifier:
    torch.manual_seed(1)
    network = build(model, shape, 3)
    if weights is not None:
        weights(network)
    return Classifier(
        bundle_with(
            network.state_dict(),
            model=model,
            input_shape=shape,
            classes=["a", "b", "c"],
            layers=layer_list(network),
            **header,
        )
    )


def looks_at_a_corner(network: nn.Module) -> None:
    """Class a is the brightness of the upper left corner; b that of the lower right one."""
    (linear,) = (each for each in network.modules() if isinstance(each, nn.Linear))
    with torch.no_grad():
        linear.bias.zero_()
        linear.weight.zero_()
        images = linear.weight.view(3, 12, 12)
        images[0, :4, :4] = 1
        images[1, 8:, 8:] = 1


@pytest.mark.parametrize("shade", [None, "dark"])
def test_what_speaks_for_a_class_is_where_it_looks(shade):
    background = None if shade is None else Background(shade=shade, extent=1)
    classifier = classifier_of("softmax", (1, 12, 12), looks_at_a_corner, background=background)
    pixels = np.zeros((1, 1, 12, 12), np.uint8)
    pixels[0, 0, :4, :4] = pixels[0, 0, 8:, 8:] = 200
    found = occlusion_map(classifier, pixels, 0)
    assert found.shape == (12, 12)
    assert found[:4, :4].min() > 0.1  # without it, a is less probable
    assert found[8:, 8:].max() < -0.1  # without it, a is more probable
    assert np.abs(found[4:8, 4:8]).max() < 0.5 * found[:4, :4].max()


def test_a_map_is_the_fall_of_the_log_probability(monkeypatch):
    """With one window, which covers all of an image: the difference, computed by hand."""
    monkeypatch.setattr("tenfold.deployment.explaining._WINDOWS", 1)
    background = Background(shade="dark", extent=1)
    classifier = classifier_of("mlp", (3, 6, 6), background=background, temperature=2.0)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 6, 6)).astype(np.uint8)
    whole, black = (classifier.predict_proba(each)[0, 2] for each in (pixels, 0 * pixels))
    assert occlusion_map(classifier, pixels, 2) == pytest.approx(
        np.full((6, 6), np.log(whole) - np.log(black)), rel=1e-4
    )


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 9), (3, 33, 5)])
def test_any_shape_has_a_map(shape):
    classifier = classifier_of("mlp", shape)
    pixels = np.random.default_rng(0).integers(0, 256, (1, *shape)).astype(np.uint8)
    found = occlusion_map(classifier, pixels, 1)
    assert found.shape == shape[1:]
    assert np.isfinite(found).all()


@pytest.mark.parametrize("model", MODELS)
def test_features_are_the_input_of_the_last_linear_layer(model):
    """By kernels as by PyTorch."""
    classifier = classifier_of(model, (1, 28, 28))
    pixels = np.random.default_rng(0).integers(0, 256, (5, 1, 28, 28)).astype(np.uint8)
    found = feature_function(classifier)(pixels)
    parameters = [each.detach().numpy() for each in classifier.bundle.network().parameters()]
    weight, bias = parameters[-2:]
    logits = found @ (weight if model == "softmax-scratch" else weight.T) + bias
    assert logits == pytest.approx(classifier.logits(pixels), abs=1e-5)
    slow = Classifier(classifier.bundle, use_kernels=False)
    assert feature_function(slow)(pixels) == pytest.approx(found, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("model", ["softmax", "softmax-scratch"])
def test_a_network_with_one_layer_compares_pixels(model):
    classifier = classifier_of(model, (1, 4, 4))
    pixels = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)
    assert feature_function(classifier)(pixels) == pytest.approx(pixels.reshape(1, 16) / 255)


def test_the_most_like_images_come_first():
    classifier = classifier_of("mlp", (1, 8, 8))
    images = np.random.default_rng(0).integers(0, 256, (3000, 1, 8, 8)).astype(np.uint8)
    dataset = ImageDataset(images, np.zeros(3000, np.int64), ("a", "b", "c"))
    found = nearest_images(classifier, images[2500:2501], dataset, 5)
    assert found[0] == (2500, pytest.approx(1))
    features = feature_function(classifier)(images).astype(np.float64)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    cosines = features @ features[2500]
    assert [index for index, _ in found] == np.argsort(-cosines)[:5].tolist()
    assert [like for _, like in found] == pytest.approx(np.sort(cosines)[::-1][:5], abs=1e-5)
