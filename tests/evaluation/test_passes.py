"""A pass over data: the right figures, no gradients, and the model as it was before."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, log_loss
from torch import nn

from tenfold.data.dataset import ImageDataset
from tenfold.errors import DataError, UsageError
from tenfold.evaluation import evaluate, evaluate_accuracy, predict_logits
from tenfold.models import Preprocessing

DIGITS = tuple("0123456789")


def digits(n=300, split="test"):
    bunch = load_digits()
    images = torch.from_numpy((bunch.images[:n, None] * 15).astype(np.uint8))
    labels = torch.from_numpy(bunch.target[:n]).long()
    return ImageDataset(images, labels, DIGITS, split=split)


def network():
    """One in which evaluation mode matters twice."""
    torch.manual_seed(0)
    return nn.Sequential(
        Preprocessing(),
        nn.Flatten(),
        nn.Linear(64, 32),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(32, 10),
    )


def test_the_figures_are_scikit_learns():
    model, dataset = network(), digits()
    with torch.no_grad():
        probabilities = model.eval()(dataset.images).double().softmax(1).numpy()
    report = evaluate(model, dataset)
    truth = dataset.labels.numpy()
    assert report.accuracy == accuracy_score(truth, probabilities.argmax(1))
    assert report.loss == pytest.approx(log_loss(truth, probabilities, labels=range(10)), rel=1e-5)
    assert (report.split, report.n, report.classes) == ("test", 300, DIGITS)
    assert report.confusion.sum(1).tolist() == dataset.class_counts().tolist()


@pytest.mark.parametrize("batch_size", [1, 7, 299, 300, 10_000])
def test_the_size_of_batches_does_not_matter(batch_size):
    model, dataset = network(), digits()
    report, other = evaluate(model, dataset), evaluate(model, dataset, batch_size=batch_size)
    assert np.array_equal(other.confusion, report.confusion)
    assert other.loss == pytest.approx(report.loss, rel=1e-5)


def test_the_model_is_left_as_it_was():
    model, dataset = network(), digits()
    model.train()
    model[3].eval()  # batch norm frozen, as in fine-tuning
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    randomness = torch.get_rng_state()
    evaluate(model, dataset)
    assert [module.training for module in model] == [True, True, True, False, True, True, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(randomness, torch.get_rng_state())


def test_modes_come_back_after_an_error_too():
    model = network().train()

    class Broken(nn.Module):
        def forward(self, images):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        evaluate(nn.Sequential(model, Broken()), digits(10))
    assert all(module.training for module in model.modules())


def test_logits_have_no_gradients_and_stand_in_the_images_order():
    model, dataset = network(), digits(50)
    logits = predict_logits(model, dataset.images, batch_size=8)
    assert not logits.requires_grad
    assert logits.shape == (50, 10)
    one_by_one = [predict_logits(model, image[None]) for image in dataset.images]
    assert torch.allclose(logits, torch.cat(one_by_one), atol=1e-6)


def test_a_model_without_parameters_works_where_the_images_are():
    class Brightest(nn.Module):
        def forward(self, images):
            return images.flatten(1)[:, :10].float()

    dataset = digits(50)
    wanted = dataset.images.flatten(1)[:, :10].argmax(1) == dataset.labels
    assert evaluate(Brightest(), dataset).correct == int(wanted.sum())


@pytest.mark.parametrize("outputs", [3, 9, 11, 1000])
def test_a_model_of_other_classes_is_refused(outputs):
    model = nn.Sequential(Preprocessing(), nn.Flatten(), nn.Linear(64, outputs))
    with pytest.raises(UsageError, match=f"gives {outputs} logits per image, wanted 10"):
        evaluate(model, digits())


# --- The accuracy of anything that can be called ---------------------------------------------


def test_any_callable_and_any_batches_will_do():
    batches = [
        (torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 0])),
        (torch.tensor([[0.6, 0.4]]), torch.tensor([0])),
    ]
    assert evaluate_accuracy(lambda scores: scores, iter(batches)) == 2 / 3


def test_it_agrees_with_the_report_of_the_same_model():
    model, dataset = network().train(), digits()
    batches = list(zip(dataset.images.split(32), dataset.labels.split(32), strict=True))
    assert evaluate_accuracy(model, batches) == evaluate(model, dataset).accuracy
    assert model.training


def test_an_untrained_net_scores_about_a_tenth():
    dataset = digits(1797)
    weights = 0.01 * torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
    batches = [(dataset.images, dataset.labels)]
    found = evaluate_accuracy(lambda images: images.flatten(1).float() @ weights, batches)
    assert 0.02 < found < 0.3


def test_no_batches_are_refused():
    with pytest.raises(DataError, match="the data has no batches, wanted at least one"):
        evaluate_accuracy(lambda images: images, [])
