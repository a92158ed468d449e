"""A classifier predicts the same for the same pixels in any form."""

import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

from engines import WITH_AND_WITHOUT_KERNELS, needs_kernels
from live_server import small_classifier
from small_bundles import bundle_with
from tenfold.data.dataset import ImageDataset
from tenfold.deployment import Classifier, Guess, write_bundle
from tenfold.deployment.bundle import PreprocessingHeader
from tenfold.errors import DataError, FileRefusedError, UsageError
from tenfold.evaluation import evaluate
from tenfold.evaluation.compiled import CompiledModel
from tenfold.evaluation.metrics import softmax
from tenfold.models import build
from tenfold.types import ImageShape

DIGITS = tuple(f"digit {label}" for label in range(10))


def digits(n=40, channels=1):
    """Real 8x8 digits; in color, each channel is a little darker."""
    bunch = load_digits()
    gray = torch.from_numpy((bunch.images[:n] * 15).astype(np.uint8))
    images = torch.stack([gray // (channel + 1) for channel in range(channels)], dim=1)
    return ImageDataset(images, torch.from_numpy(bunch.target[:n]).long(), DIGITS, split="test")


def bundle_of(channels=1, classes=DIGITS):
    torch.manual_seed(0)
    shape = ImageShape(channels, 8, 8)
    arguments = {"channels": [8], "kernels": [3], "hidden": [16]}
    network = build("convpool", shape, len(classes), **arguments)
    if classes == DIGITS:
        learn(network, channels)
    return bundle_with(
        network.state_dict(),
        model="convpool",
        arguments=arguments,
        input_shape=shape,
        classes=list(classes),
        preprocessing=PreprocessingHeader(mean=[0.3] * channels, std=[0.4] * channels),
    )


def learn(network, channels):
    """Train enough for predictions that differ between images."""
    dataset = digits(200, channels)
    pixels = (dataset.images.float() / 255 - 0.3) / 0.4
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(pixels), dataset.labels).backward()
        optimizer.step()


@pytest.fixture(scope="module", params=[1, 3], ids=["gray", "color"])
def bundle(request):
    return bundle_of(request.param)


@pytest.fixture(scope="module", params=WITH_AND_WITHOUT_KERNELS, ids=["PyTorch", "kernels"])
def classifier(request, bundle):
    return Classifier(bundle, use_kernels=request.param)


def dataset_for(classifier, n=40):
    return digits(n, classifier.bundle.input_shape.channels)


def picture(image):
    array = image.numpy()
    return Image.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0))


def files(folder, dataset):
    paths = [folder / f"{number:03}.png" for number in range(len(dataset))]
    for path, image in zip(paths, dataset.images, strict=True):
        picture(image).save(path)
    return paths


FORMS = {
    "data set": lambda dataset, folder: dataset,
    "tensor": lambda dataset, folder: dataset.images,
    "array": lambda dataset, folder: dataset.images.numpy(),
    "read-only array": lambda dataset, folder: np.frombuffer(
        dataset.images.numpy().tobytes(), np.uint8
    ).reshape(dataset.images.shape),
    "array of another layout": lambda dataset, folder: np.asfortranarray(dataset.images.numpy()),
    "turned array": lambda dataset, folder: dataset.images.flip(0).numpy()[::-1],
    "paths": lambda dataset, folder: files(folder, dataset),
    "names": lambda dataset, folder: [str(path) for path in files(folder, dataset)],
    "tuple": lambda dataset, folder: tuple(files(folder, dataset)),
    "opened images": lambda dataset, folder: [picture(image) for image in dataset.images],
    "images from files": lambda dataset, folder: [
        Image.open(io.BytesIO(path.read_bytes())) for path in files(folder, dataset)
    ],
    "some of each": lambda dataset, folder: [
        path if number % 2 else picture(dataset.images[number])
        for number, path in enumerate(files(folder, dataset))
    ],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_same_pixels_get_the_same_prediction_in_any_form(classifier, form, tmp_path):
    dataset = dataset_for(classifier)
    wanted = classifier.predict_proba(dataset)
    with torch.no_grad():
        of_module = classifier.bundle.module()(dataset.images).softmax(1).numpy()
    np.testing.assert_allclose(wanted, of_module, rtol=0, atol=1e-6)
    assert len(set(wanted.argmax(1))) == 10
    given = form(dataset, tmp_path)
    assert np.array_equal(classifier.predict_proba(given), wanted)
    assert classifier.predict(given) == [DIGITS[label] for label in wanted.argmax(1)]


def test_one_file_or_image_is_a_batch_of_one(classifier, tmp_path):
    dataset = dataset_for(classifier, 1)
    (path,) = files(tmp_path, dataset)
    wanted = classifier.predict_proba(dataset.images)
    assert wanted.shape == (1, 10)
    for one in (path, str(path), picture(dataset.images[0])):
        assert np.array_equal(classifier.predict_proba(one), wanted)


def test_gray_pixels_need_no_axis_for_channels():
    classifier, dataset = Classifier(bundle_of()), digits()
    wanted = classifier.predict(dataset.images)
    assert classifier.predict(dataset.images[:, 0]) == wanted
    assert classifier.predict(dataset.images[:, 0].numpy()) == wanted


def test_pictures_of_other_sizes_and_modes_are_converted(classifier):
    image = picture(dataset_for(classifier, 1).images[0])
    larger = image.resize((64, 64), Image.Resampling.NEAREST)
    others = [larger, image.convert("RGBA"), image.convert("L"), image.convert("P")]
    assert classifier.predict_proba(others).shape == (4, 10)


def test_the_given_pixels_are_not_changed(classifier):
    dataset = dataset_for(classifier)
    array = dataset.images.numpy().copy()
    classifier.predict(array)
    assert np.array_equal(array, dataset.images.numpy())


def test_many_images_are_predicted_like_few(classifier):
    dataset = dataset_for(classifier)
    many = dataset.images.repeat(60, 1, 1, 1)  # more than one batch
    wanted = classifier.predict_proba(dataset)
    torch.testing.assert_close(
        classifier.predict_proba(many), np.tile(wanted, (60, 1)), rtol=1e-5, atol=1e-7
    )


# --- Predictions -----------------------------------------------------------------------------


def test_probabilities_sum_to_one(classifier):
    probabilities = classifier.predict_proba(dataset_for(classifier))
    assert probabilities.dtype == np.float32
    assert (probabilities >= 0).all()
    assert probabilities.sum(1) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("k", [1, 3, 10, 100])
def test_the_top_guesses(classifier, k):
    dataset = dataset_for(classifier)
    probabilities = classifier.predict_proba(dataset)
    for row, guesses in zip(probabilities, classifier.top(dataset, k), strict=True):
        assert len(guesses) == min(k, 10)
        assert [guess.probability for guess in guesses] == sorted(row.tolist(), reverse=True)[:k]
        for guess in guesses:
            assert guess == Guess(guess.label, DIGITS[guess.label], float(row[guess.label]))
        assert guesses[0].name == DIGITS[row.argmax()]


@pytest.mark.parametrize("k", [0, -1])
def test_zero_guesses_are_refused(classifier, k):
    with pytest.raises(UsageError, match=f"k is {k}, wanted at least 1"):
        classifier.top(dataset_for(classifier), k)


def close_call():
    """Two classes whose logits differ, but whose probabilities round to the same number."""
    weights = {"linear.weight": torch.zeros(2, 1), "linear.bias": torch.tensor([0.0, 1e-9])}
    named = {"model": "softmax", "input_shape": (1, 1, 1), "classes": ["a", "b"]}
    return Classifier(bundle_with(weights, **named))


def test_prediction_and_evaluation_agree_bit_for_bit():
    classifier = close_call()
    pixel = torch.zeros(1, 1, 1, 1, dtype=torch.uint8)
    dataset = ImageDataset(pixel, torch.tensor([1]), ("a", "b"), split="test")
    assert len(set(classifier.predict_proba(pixel)[0])) == 1
    assert classifier.evaluate(dataset).test_acc == 1
    assert classifier.predict(pixel) == ["b"]
    assert classifier.top(pixel, 2)[0][0].name == "b"


def test_evaluation_agrees_with_the_module(classifier):
    dataset = dataset_for(classifier, 300)
    report, wanted = classifier.evaluate(dataset), evaluate(classifier.module, dataset)
    assert report.test_loss == pytest.approx(wanted.test_loss, rel=1e-6)
    assert np.array_equal(report.confusion, wanted.confusion)
    assert report.test_acc > 0.7
    hits = sum(
        name == DIGITS[label]
        for name, label in zip(classifier.predict(dataset), dataset.labels.tolist(), strict=True)
    )
    assert report.correct == hits


def test_without_kernels_pytorch_predicts(bundle):
    classifier = Classifier(bundle, use_kernels=False)
    dataset = dataset_for(classifier)
    with torch.no_grad():
        wanted = softmax(classifier.module(dataset.images))
    assert np.array_equal(classifier.predict_proba(dataset), wanted)


def test_changed_weights_are_used(classifier):
    dataset = dataset_for(classifier)
    own = Classifier(classifier.bundle)
    before = own.predict_proba(dataset)
    with torch.no_grad():
        own.module.network.classifier[-1].bias[3] += 100
    assert own.predict(dataset) == ["digit 3"] * len(dataset)
    assert np.array_equal(Classifier(classifier.bundle).predict_proba(dataset), before)


@needs_kernels
def test_a_classifier_agrees_with_validation_bit_for_bit():
    """The logits of an image depend neither on its neighbors nor on threads."""
    classifier = Classifier(bundle_of())
    images = digits(100).images
    compiled = CompiledModel(classifier.module, classifier.bundle.input_shape)
    whole = softmax(compiled.logits(images, 100))
    assert np.array_equal(classifier.predict_proba(images), whole)
    for count in (1, 7, 33):
        assert np.array_equal(classifier.predict_proba(images[:count]), whole[:count])
    torch.set_num_threads(3)
    try:
        assert np.array_equal(classifier.predict_proba(images), whole)
    finally:
        torch.set_num_threads(1)


def test_from_a_file(tmp_path):
    bundle = bundle_of()
    write_bundle(tmp_path / "model.safetensors", bundle)
    classifier = Classifier.from_file(tmp_path / "model.safetensors")
    assert classifier.classes == DIGITS
    assert np.array_equal(
        classifier.predict_proba(digits()), Classifier(bundle).predict_proba(digits())
    )
    with pytest.raises(FileRefusedError, match="no such file"):
        Classifier.from_file(tmp_path / "missing.safetensors")


def test_its_repr_is_safe_for_a_terminal():
    assert repr(Classifier(bundle_of())) == (
        "Classifier(convpool, 1x8x8, "
        "classes=digit 0, digit 1, digit 2, digit 3, digit 4 and 5 more)"
    )
    assert repr(Classifier(bundle_of(classes=("\x1b[2J", "b")))).isprintable()


# --- What cannot be predicted ----------------------------------------------------------------


def test_all_unusable_files_are_named(tmp_path):
    classifier = Classifier(bundle_of())
    (good,) = files(tmp_path, digits(1))
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:60])
    (tmp_path / "text.png").write_text("not an image")
    names = ["cut.png", "text.png", "missing.png", ".", "nul\0.png"]
    with pytest.raises(DataError, match="5 of 6 images cannot be used") as raised:
        classifier.predict([good, *(tmp_path / name for name in names)])
    for shown in ("cut.png", "text.png", "missing.png", "this is a folder", "nul\\x00.png"):
        assert shown in str(raised.value)
    assert good.name not in str(raised.value)


def test_no_images_are_refused():
    classifier = Classifier(bundle_of())
    with pytest.raises(DataError, match="no images, wanted at least one"):
        classifier.predict([])
    with pytest.raises(DataError, match=r"n at least 1"):
        classifier.predict(torch.zeros(0, 1, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (torch.zeros(2, 1, 8, 8), "float32 of shape [2, 1, 8, 8]"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.int64), "found int64"),
        (torch.zeros(2, 1, 8, 9, dtype=torch.uint8), "uint8 of shape [2, 1, 8, 9]"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "of shape [2, 3, 8, 8]"),
        (torch.zeros(8, 9, dtype=torch.uint8), "of shape [8, 9]"),
        (torch.zeros(2, 8, 7, dtype=torch.uint8), "of shape [2, 8, 7]"),
        (np.zeros((2, 1, 8, 8)), "found float64"),
        (np.zeros((2, 1, 8, 8), np.uint16), "found uint16"),
        (np.array(["a.png", "b.png"]), "found <U5 of shape [2]"),
        (np.array([None, 3]), "found object of shape [2]"),
    ],
    ids=str,
)
def test_pixels_of_another_type_or_shape_are_refused(images, found):
    with pytest.raises(DataError) as raised:
        Classifier(bundle_of()).predict(images)
    assert found in str(raised.value)
    assert "uint8" in str(raised.value)


@pytest.mark.parametrize(
    ("model_shape", "shapes"),
    [((1, 8, 8), [(8, 8), (1, 8, 8), (1, 1, 8, 8)]), ((3, 8, 8), [(3, 8, 8), (1, 3, 8, 8)])],
)
def test_a_single_image_may_be_passed_alone(model_shape, shapes):
    classifier = small_classifier(model_shape)
    image = np.random.default_rng(0).integers(0, 256, model_shape).astype(np.uint8)
    wanted = classifier.logits(image[None])
    for shape in shapes:
        assert (classifier.logits(image.reshape(shape)) == wanted).all()


def test_data_that_does_not_fit_is_not_evaluated(classifier):
    dataset = dataset_for(classifier)
    renamed = ImageDataset(dataset.images, dataset.labels, DIGITS[::-1])
    with pytest.raises(DataError, match=r"its classes are 'digit 9', .* the model's are 'digit 0'"):
        classifier.evaluate(renamed)
    channels = classifier.bundle.input_shape.channels
    flat = ImageDataset(dataset.images.reshape(-1, channels, 4, 16), dataset.labels, DIGITS)
    with pytest.raises(DataError, match=f"its images are {channels}x4x16, the model's are"):
        classifier.evaluate(flat)


OTHER_THINGS = """
import sys, torch
from pathlib import Path
from tenfold.deployment import Classifier
from tenfold.errors import UsageError

classifier = Classifier.from_file(Path(sys.argv[1]))
image = torch.zeros(1, 8, 8, dtype=torch.uint8)
for given in ([image, image], None, 3, [None], [image.numpy()], {"a": image}.values()):
    try:
        classifier.predict(given)
    except UsageError as error:
        print(error)
"""


def test_other_types_are_refused(tmp_path):
    """In a separate process, where nothing but the code itself checks types."""
    write_bundle(tmp_path / "model.safetensors", bundle_of(classes=("a", "b")))
    result = subprocess.run(
        [sys.executable, "-c", OTHER_THINGS, str(tmp_path / "model.safetensors")],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = result.stdout.splitlines()
    wanted = ["Tensor", "NoneType", "int", "NoneType", "ndarray", "Tensor"]
    assert len(lines) == len(wanted)
    for line, kind in zip(lines, wanted, strict=True):
        assert line.startswith(
            f"predict: image 0 is of type {kind}, wanted a file name, the bytes of"
        )
