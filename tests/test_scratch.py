"""The raw-tensor lesson, against PyTorch's functions and on the real data."""

import gzip
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn
from torch.nn import functional as F  # noqa: N812

from tenfold import scratch
from tenfold.errors import DataError, UsageError

SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)


def logits_up_to(bound):
    return arrays.arrays(np.float32, SHAPES, elements=st.floats(-bound, bound, width=32)).map(
        torch.from_numpy
    )


@st.composite
def logits_and_labels(draw, bound):
    logits = draw(logits_up_to(bound))
    label = st.integers(0, logits.shape[1] - 1)
    labels = draw(st.lists(label, min_size=len(logits), max_size=len(logits)))
    return logits, torch.tensor(labels)


@given(logits_up_to(1e4))
def test_softmax_is_pytorchs_for_logits_of_any_size(logits):
    probabilities = scratch.softmax(logits)
    torch.testing.assert_close(probabilities, F.softmax(logits, dim=1))
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(len(logits)))


@given(logits_and_labels(1e4))
def test_cross_entropy_is_pytorchs_for_logits_of_any_size(case):
    logits, labels = case
    torch.testing.assert_close(
        scratch.cross_entropy(logits, labels), F.cross_entropy(logits, labels, reduction="none")
    )


@given(logits_and_labels(1e4))
def test_the_gradient_of_cross_entropy_is_pytorchs(case):
    logits, labels = case
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    scratch.cross_entropy(ours, labels).sum().backward()
    F.cross_entropy(theirs, labels, reduction="sum").backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


@given(logits_and_labels(20))
def test_the_gradient_of_softmax_is_pytorchs(case):
    logits, labels = case
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    scratch.of_true_class(scratch.softmax(ours), labels).sum().backward()
    scratch.of_true_class(F.softmax(theirs, dim=1), labels).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


@given(logits_and_labels(20))
def test_the_naive_pair_equals_the_stable_one_where_it_works(case):
    logits, labels = case
    probabilities = scratch.naive_softmax(logits)
    torch.testing.assert_close(probabilities, scratch.softmax(logits))
    torch.testing.assert_close(
        scratch.naive_cross_entropy(probabilities, labels),
        scratch.cross_entropy(logits, labels),
        atol=1e-5,
        rtol=1e-4,
    )


def test_at_ten_thousand_the_naive_pair_breaks_and_the_stable_one_does_not():
    logits = torch.tensor([[1e4, 0.0], [-1e4, 0.0], [-1e4, -1e4]])
    labels = torch.tensor([1, 0, 0])
    assert scratch.naive_softmax(logits)[0].isnan().any()
    assert scratch.naive_cross_entropy(scratch.naive_softmax(logits), labels)[1] == torch.inf
    assert scratch.softmax(logits).tolist() == [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]
    losses = scratch.cross_entropy(logits, labels)
    torch.testing.assert_close(losses, torch.tensor([1e4, 1e4, math.log(2)]))


def test_cross_entropy_picks_the_true_classs_probability():
    probabilities = torch.tensor([[0.1, 0.3, 0.6], [0.3, 0.2, 0.5]])
    labels = torch.tensor([0, 2])
    assert scratch.of_true_class(probabilities, labels).tolist() == pytest.approx([0.1, 0.5])
    assert scratch.naive_cross_entropy(probabilities, labels).tolist() == pytest.approx(
        [np.log(10), np.log(2)]
    )


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class_is_refused(label):
    with pytest.raises(RuntimeError, match="out of bounds"):
        scratch.cross_entropy(torch.zeros(1, 3), torch.tensor([label]))


def test_accuracy_is_a_count():
    scores = torch.tensor([[0.1, 0.3, 0.6], [0.3, 0.2, 0.5], [0.9, 0.0, 0.1]])
    assert scratch.accuracy(scores, torch.tensor([0, 2, 0])) == 2
    assert scratch.accuracy(scores[:0], torch.tensor([], dtype=torch.int64)) == 0


def test_an_accumulator_keeps_running_sums_until_it_is_reset():
    sums = scratch.Accumulator(2)
    sums.add(1, 0.5)
    sums.add(2, 0.25)
    assert (sums[0], sums[1], len(sums)) == (3, 0.75, 2)
    sums.reset()
    assert (sums[0], sums[1], len(sums)) == (0, 0, 2)
    with pytest.raises(UsageError, match="3 numbers to add, wanted 2"):
        sums.add(1, 2, 3)


def test_an_accumulator_keeps_numbers_and_no_tensors():
    sums = scratch.Accumulator(2)
    sums.add(torch.tensor([0.5], requires_grad=True) * 2, np.float32(0.25))
    assert [(type(total), total) for total in (sums[0], sums[1])] == [(float, 1.0), (float, 0.25)]


def batches(n=70, batch_size=16, classes=3):
    """Small images whose class is the bright row; the last batch is smaller."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, classes, (n,), generator=generator)
    images = torch.randint(0, 100, (n, 1, classes, 4), dtype=torch.uint8, generator=generator)
    images[torch.arange(n), 0, labels] += 120
    return list(zip(images.split(batch_size), labels.split(batch_size), strict=True))


def a_net():
    torch.manual_seed(0)
    weights, bias = scratch.new_parameters(12, 3)
    return (lambda images: scratch.linear(images, weights, bias)), [weights, bias]


def by_hand(params, lr=0.1):
    return lambda batch_size: scratch.sgd(params, lr, batch_size)


def test_new_parameters_are_narrow_weights_and_no_bias():
    torch.manual_seed(0)
    weights, bias = scratch.new_parameters(784, 10)
    assert abs(weights.std().item() - 0.01) < 5 * 0.01 / (2 * 7840) ** 0.5
    assert bias.count_nonzero() == 0
    assert weights.requires_grad
    assert bias.requires_grad


def test_sgd_divides_by_the_batch_size_and_clears_the_gradients():
    param = torch.tensor([1.0, 2.0], requires_grad=True)
    (param * torch.tensor([4.0, 8.0])).sum().backward()
    scratch.sgd([param], lr=0.5, batch_size=4)
    assert param.tolist() == [1 - 0.5 * 4 / 4, 2 - 0.5 * 8 / 4]
    assert param.grad.tolist() == [0, 0]
    with pytest.raises(UsageError, match="has no gradient"):
        scratch.sgd([torch.zeros(2, requires_grad=True)], lr=0.5, batch_size=4)


def test_an_epoch_by_hand_and_one_with_pytorchs_optimizer_and_loss_are_the_same():
    data = batches()
    net, params = a_net()
    ours = scratch.train_epoch(net, data, scratch.cross_entropy, by_hand(params))
    other_net, other_params = a_net()
    optimizer = torch.optim.SGD(other_params, lr=0.1)
    loss = nn.CrossEntropyLoss(reduction="none")
    assert scratch.train_epoch(other_net, data, loss, optimizer) == pytest.approx(ours)
    for param, other in zip(params, other_params, strict=True):
        torch.testing.assert_close(param, other)


def test_an_epochs_figures_are_over_images_and_not_over_batches():
    data = batches()
    net, _ = a_net()
    loss, share = scratch.train_epoch(net, data, scratch.cross_entropy, lambda batch_size: None)
    images, labels = (torch.cat(parts) for parts in zip(*data, strict=True))
    logits = net(images / 255)
    assert loss == pytest.approx(F.cross_entropy(logits, labels).item())
    assert share == pytest.approx(scratch.accuracy(logits, labels) / 70)
    assert scratch.evaluate_accuracy(net, data) == share


def test_it_learns_what_can_be_learned_and_reports_every_epoch():
    data = batches()
    net, params = a_net()
    watched = []
    history = scratch.train(
        net, data, data, scratch.cross_entropy, 30, by_hand(params, lr=0.5), watch=watched.append
    )
    assert watched == history
    assert [figures.epoch for figures in history] == list(range(1, 31))
    assert history[-1].train_loss < history[0].train_loss / 2
    assert history[-1].test_acc == 1.0


def test_a_module_is_switched_between_training_and_evaluation():
    class Remembers(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(12, 3)
            self.modes = []

        def forward(self, images):
            self.modes.append(self.training)
            return self.linear(images.flatten(1))

    net, data = Remembers(), batches(n=16)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    scratch.train(net, data, data, scratch.cross_entropy, 2, optimizer)
    net.train()
    scratch.predict(net, data)
    assert net.modes == [True, False, True, False, False]


def test_evaluation_and_prediction_build_no_graph():
    net, _ = a_net()
    seen = []

    def watching(images):
        scores = net(images)
        seen.append(scores.requires_grad)
        return scores

    scratch.evaluate_accuracy(watching, batches(n=8))
    scratch.predict(watching, batches(n=8))
    assert seen == [False, False]


def test_raw_pixels_are_scaled_and_floats_are_not():
    net, _ = a_net()
    raw = batches()
    scaled = [(images / 255, labels) for images, labels in raw]
    assert scratch.evaluate_accuracy(net, raw) == scratch.evaluate_accuracy(net, scaled)
    assert scratch.as_floats(torch.tensor([255], dtype=torch.uint8)).item() == 1.0
    assert scratch.as_floats(torch.tensor([255.0])).item() == 255.0
    with pytest.raises(UsageError, match=r"the dtype is torch.int64, wanted raw pixels"):
        scratch.as_floats(torch.tensor([255]))


def test_predictions_are_for_the_first_images():
    data = batches()
    net, params = a_net()
    scratch.train(net, data, data, scratch.cross_entropy, 30, by_hand(params, lr=0.5))
    predictions = scratch.predict(net, data, n=5)
    assert torch.equal(predictions.images, data[0][0][:5])
    assert predictions.labels.tolist() == predictions.predicted.tolist() == data[0][1][:5].tolist()


def test_a_loss_that_is_already_a_mean_is_refused():
    net, params = a_net()
    with pytest.raises(
        UsageError, match=r"shape is \[\], wanted one number per image.* reduction='none'"
    ):
        scratch.train_epoch(net, batches(), nn.CrossEntropyLoss(), by_hand(params))


def test_data_without_images_is_refused():
    net, params = a_net()
    used_up = iter(batches())
    scratch.evaluate_accuracy(net, used_up)
    with pytest.raises(DataError, match="a generator is used up after one epoch"):
        scratch.evaluate_accuracy(net, used_up)
    with pytest.raises(DataError, match="no images"):
        scratch.train_epoch(net, [], scratch.cross_entropy, by_hand(params))
    with pytest.raises(DataError, match="no images"):
        scratch.predict(net, [])


def fashion_mnist(folder, part, batch_size=256):
    def values(name, offset):
        packed = (folder / f"FashionMNIST/raw/{part}-{name}.gz").read_bytes()
        return torch.from_numpy(
            np.frombuffer(gzip.decompress(packed), np.uint8, offset=offset).copy()
        )

    images = values("images-idx3-ubyte", 16).reshape(-1, 1, 28, 28)
    labels = values("labels-idx1-ubyte", 8).long()
    return list(zip(images.split(batch_size), labels.split(batch_size), strict=True))


@pytest.mark.real_data
def test_on_fashion_mnist_it_reaches_the_published_figures(real_data):
    train_data, test_data = fashion_mnist(real_data, "train"), fashion_mnist(real_data, "t10k")
    torch.manual_seed(0)
    weights, bias = scratch.new_parameters(784, 10)

    def net(images):
        return scratch.linear(images, weights, bias)

    assert scratch.evaluate_accuracy(net, test_data) == pytest.approx(0.1, abs=0.08)
    history = scratch.train(
        net, train_data, test_data, scratch.cross_entropy, 10, by_hand([weights, bias])
    )
    assert history[-1].train_loss < 0.5
    assert 0.7 < history[-1].train_acc <= 1
    assert 0.7 < history[-1].test_acc <= 1
    # A correct run gives a loss of about 0.45 and an accuracy of about 0.83.
    assert history[-1].train_loss == pytest.approx(0.45, abs=0.02)
    assert history[-1].test_acc == pytest.approx(0.83, abs=0.03)
