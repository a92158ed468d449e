"""The loop compared with a plain PyTorch loop, at epoch ends, and on divergence."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from tenfold.data.dataset import ImageDataset
from tenfold.errors import TrainingError
from tenfold.evaluation import Report, evaluate
from tenfold.models import Preprocessing
from tenfold.randomness import derive_seed
from tenfold.training import (
    TorchEngine,
    TrainingState,
    Watcher,
    build_schedule,
    epoch_order,
    train,
    train_step,
)
from tenfold.training.augment import Augmentation
from tenfold.training.averaging import AveragedWeights
from tenfold.training.checkpoint import Checkpointer, checkpoint_files, read_newest

DIGITS = tuple("0123456789")


def digits(first=0, n=250, split="train"):
    bunch = load_digits()
    part = slice(first, first + n)
    images = torch.from_numpy((bunch.images[part, None] * 15).astype(np.uint8))
    return ImageDataset(images, torch.from_numpy(bunch.target[part]).long(), DIGITS, split=split)


def perceptron(dropout=0.0):
    torch.manual_seed(1)
    return nn.Sequential(
        Preprocessing(),
        nn.Flatten(),
        nn.Linear(64, 32),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(32, 10),
    )


def new_state(model=None, lr=0.1, decay=0.0, **named):
    model = model or perceptron()
    return TrainingState(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=lr, **named),
        averaged=AveragedWeights(model, decay) if decay else None,
    )


def constant(lr):
    return build_schedule("constant", lr=lr, epochs=1, steps_per_epoch=1)


def run(state, train_data=None, val_data=None, **named):
    defaults = {"epochs": 3, "batch_size": 32, "schedule": constant(0.1)}
    if "step" in named:
        named["make_engine"] = partial(TorchEngine, step=named.pop("step"))
    return train(state, train_data or digits(), val_data, **(defaults | named))


def weights(state):
    return {name: tensor.clone() for name, tensor in state.model.state_dict().items()}


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


# --- The same run as the tutorial's loop -----------------------------------------------------


def order_by_hand(n, seed, epoch, shuffle):
    if not shuffle:
        return list(range(n))
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    return torch.randperm(n, generator=generator).tolist()


def plain_loop(model, dataset, *, lr, epochs, batch_size, seed, shuffle, **named):
    """A tutorial's loop: one image at a time, stacked, scaled, stepped."""
    network, optimizer = model[1:], torch.optim.SGD(model.parameters(), lr=lr, **named)
    history = []
    for epoch in range(epochs):
        network.train()
        loss_sum, correct = 0.0, 0
        order = order_by_hand(len(dataset), seed, epoch, shuffle)
        for start in range(0, len(order), batch_size):
            items = [dataset[i] for i in order[start : start + batch_size]]
            images = torch.stack([image for image, _ in items]).float() / 255
            labels = torch.tensor([label for _, label in items])
            optimizer.zero_grad()
            logits = network(images)
            loss = nn.functional.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(labels)
            correct += int((logits.argmax(1) == labels).sum())
        history.append((loss_sum / len(dataset), correct / len(dataset)))
    return history


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [1, 32, 50, 250, 1000])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_it_is_the_plain_loop_bit_for_bit(shuffle, batch_size, momentum):
    ours, theirs = new_state(momentum=momentum), perceptron()
    run(ours, batch_size=batch_size, shuffle=shuffle, seed=5, schedule=constant(0.05))
    history = plain_loop(
        theirs,
        digits(),
        lr=0.05,
        epochs=3,
        batch_size=batch_size,
        seed=5,
        shuffle=shuffle,
        momentum=momentum,
    )
    assert_same_weights(weights(ours), theirs.state_dict())
    for metrics, (loss, accuracy) in zip(ours.history, history, strict=True):
        assert metrics.train_loss == pytest.approx(loss, rel=1e-12)
        assert metrics.train_acc == accuracy


def test_dropout_draws_the_same_numbers_as_in_the_plain_loop():
    ours, theirs = new_state(perceptron(0.5)), perceptron(0.5)
    torch.manual_seed(9)
    run(ours, digits(), digits(500, 100, "val"), seed=5)
    torch.manual_seed(9)
    plain_loop(theirs, digits(), lr=0.1, epochs=3, batch_size=32, seed=5, shuffle=True)
    assert_same_weights(weights(ours), theirs.state_dict())


@pytest.mark.parametrize("n", [1, 7, 250])
def test_epoch_orders(n):
    assert epoch_order(n, 0, 3, shuffle=False).tolist() == list(range(n))
    orders = [
        epoch_order(n, seed, epoch, shuffle=True).tolist() for seed, epoch in ((0, 0), (0, 1))
    ]
    assert all(sorted(order) == list(range(n)) for order in orders)
    assert orders[0] == order_by_hand(n, 0, 0, True)
    assert n == 1 or orders[0] != orders[1]


def test_every_image_is_seen_once_an_epoch_with_its_own_label():
    dataset, seen = digits(), []

    def spy(model, optimizer, images, labels, **named):
        seen.extend(zip(images, labels.tolist(), strict=True))
        return train_step(model, optimizer, images, labels, **named)

    run(new_state(), dataset, step=spy, epochs=2)
    for epoch in range(2):
        part = seen[epoch * 250 : (epoch + 1) * 250]
        order = order_by_hand(250, 0, epoch, True)
        assert [label for _, label in part] == dataset.labels[order].tolist()
        assert torch.equal(torch.stack([image for image, _ in part]), dataset.images[order])


# --- History ---------------------------------------------------------------------------------


def test_validation_figures_are_those_of_an_evaluation():
    val, epochs = digits(500, 100, "val"), []

    class Look(Watcher):
        def epoch_done(self, metrics, epochs_wanted):
            report = evaluate(state.model, val)
            epochs.append((report.loss, report.accuracy))

    state = new_state()
    run(state, digits(), val, watcher=Look())
    assert [(m.val_loss, m.val_acc) for m in state.history] == epochs
    assert [m.epoch for m in state.history] == [1, 2, 3]
    assert all(m.seconds > 0 for m in state.history)


def test_without_validation_the_last_epoch_is_kept():
    state = new_state()
    assert run(state) == "finished"
    assert [(m.val_loss, m.val_acc) for m in state.history] == [(None, None)] * 3
    assert state.best is None
    epoch, final = state.final_weights()
    assert epoch == 3
    assert_same_weights(final, weights(state))


def test_the_schedule_is_followed_by_step_and_recorded_by_epoch():
    used = []

    def spy(model, optimizer, images, labels, **named):
        used.append(optimizer.param_groups[0]["lr"])
        return train_step(model, optimizer, images, labels, **named)

    state = new_state()
    schedule = build_schedule("cosine", lr=0.2, epochs=3, steps_per_epoch=8)
    run(state, schedule=schedule, step=spy)
    assert used == [schedule(step) for step in range(24)]
    assert [m.lr for m in state.history] == [used[7], used[15], used[23]]


def test_smoothing_and_clipping_reach_the_step():
    given = []

    def spy(model, optimizer, images, labels, **named):
        given.append(named)
        return train_step(model, optimizer, images, labels, **named)

    run(new_state(), label_smoothing=0.1, clip_norm=2.0, step=spy, epochs=1)
    assert given == [{"label_smoothing": 0.1, "clip_norm": 2.0, "class_weights": None}] * 8


def test_training_data_is_never_changed():
    dataset = digits()
    before = dataset.images.clone(), dataset.labels.clone()
    run(new_state(), dataset, augment=Augmentation(0, flip=True, crop_padding=1, cutout=2))
    assert torch.equal(dataset.images, before[0])
    assert torch.equal(dataset.labels, before[1])


def test_augmentation_gets_the_images_their_indices_and_the_epoch():
    dataset, calls = digits(), []

    def spy(images, indices, epoch):
        assert torch.equal(images, dataset.images[indices])
        calls.append((indices.tolist(), epoch))
        return 255 - images

    def seen(model, optimizer, images, labels, **named):
        assert torch.equal(images, 255 - dataset.images[calls[-1][0]])
        return train_step(model, optimizer, images, labels, **named)

    run(new_state(), dataset, epochs=2, augment=spy, step=seen)
    assert [epoch for _, epoch in calls] == [0] * 8 + [1] * 8
    assert [i for indices, epoch in calls if epoch for i in indices] == order_by_hand(
        250, 0, 1, True
    )


# --- The best epoch, patience ----------------------------------------------------------------


def rising(step):
    """Learns for two epochs of 8 steps, then diverges."""
    return 0.1 if step < 16 else 5.0


def test_the_best_epochs_weights_are_kept():
    states, val = [], digits(500, 100, "val")

    class Look(Watcher):
        def epoch_done(self, metrics, epochs):
            states.append(weights(state))

    state = new_state()
    run(state, digits(), val, epochs=4, schedule=rising, watcher=Look())
    losses = [m.val_loss for m in state.history]
    best = losses.index(min(losses))
    assert best == 1
    assert (state.best.epoch, state.best.value) == (2, min(losses))
    assert_same_weights(state.best.weights, states[1])
    assert_same_weights(state.final_weights()[1], states[1])
    assert state.final_weights()[0] == 2
    assert_same_weights(weights(state), states[3])


def scripted_validation(monkeypatch, figures):
    """Make validation return these (loss, accuracy) pairs in turn."""
    turn = iter(figures)

    def said(logits, dataset, class_weights):
        loss, right = next(turn)
        confusion = np.zeros((10, 10), dtype=np.int64)
        confusion[0, 0], confusion[0, 1] = right, 100 - right
        return Report(split="val", n=100, loss=loss, confusion=confusion, classes=DIGITS)

    monkeypatch.setattr("tenfold.training.loop.report_of", said)


FIGURES = [(0.9, 50), (0.5, 60), (0.7, 80), (0.6, 80), (0.8, 70), (0.4, 60)]


@pytest.mark.parametrize(
    ("choose_by", "patience", "outcome", "epochs", "best", "value"),
    [
        ("val_loss", 0, "finished", 6, 6, 0.4),
        ("val_acc", 0, "finished", 6, 3, 0.8),
        ("val_loss", 1, "stopped early", 3, 2, 0.5),
        ("val_loss", 3, "stopped early", 5, 2, 0.5),
        ("val_loss", 4, "finished", 6, 6, 0.4),
        ("val_acc", 1, "stopped early", 4, 3, 0.8),
        ("val_acc", 3, "finished", 6, 3, 0.8),
    ],
)
def test_choosing_and_patience(monkeypatch, choose_by, patience, outcome, epochs, best, value):
    scripted_validation(monkeypatch, FIGURES)
    state, data = new_state(), digits(n=32)
    assert run(state, data, data, epochs=6, choose_by=choose_by, patience=patience) == outcome
    assert state.epoch == len(state.history) == epochs
    assert (state.best.epoch, state.best.value) == (best, value)


def test_exhausted_patience_stays_exhausted_unless_it_is_raised(monkeypatch):
    scripted_validation(monkeypatch, FIGURES)
    state, data = new_state(), digits(n=32)
    assert run(state, data, data, epochs=6, patience=1) == "stopped early"
    assert run(state, data, data, epochs=6, patience=1) == "stopped early"
    assert state.epoch == 3
    assert run(state, data, data, epochs=6, patience=4) == "finished"
    assert state.epoch == 6


def test_each_gain_starts_the_patience_over(monkeypatch):
    """The run ends after two epochs in a row without gain, not after any two."""
    losses = [0.9, 0.95, 0.8, 0.85, 0.7, 0.75, 0.75]
    scripted_validation(monkeypatch, [(loss, 50) for loss in losses])
    state, data = new_state(), digits(n=32)
    assert run(state, data, data, epochs=8, choose_by="val_loss", patience=2) == "stopped early"
    assert (state.best.epoch, state.epoch) == (5, 7)


def test_patience_without_validation_never_ends():
    state = new_state()
    assert run(state, epochs=4, patience=1, schedule=constant(0.0)) == "finished"
    assert state.epoch == 4


def test_averaged_weights_are_validated_and_kept_but_not_trained():
    val, seen = digits(500, 100, "val"), []

    class Look(Watcher):
        def epoch_done(self, metrics, epochs):
            seen.append((metrics, {k: t.clone() for k, t in state.averaged.tensors.items()}))

    state, plain = new_state(decay=0.9), new_state()
    run(state, digits(), val, watcher=Look())
    run(plain, digits(), val)
    assert_same_weights(weights(state), weights(plain))
    for metrics, averaged in seen:
        model = perceptron()
        model.load_state_dict(averaged)
        report = evaluate(model, val)
        assert (metrics.val_loss, metrics.val_acc) == (report.loss, report.accuracy)
        if metrics.epoch == state.best.epoch:
            assert_same_weights(state.best.weights, averaged)
    assert state.history[-1].val_loss != plain.history[-1].val_loss


# --- Losses that are not finite --------------------------------------------------------------


class Poisoned:
    """A step whose loss is NaN from a given call on."""

    def __init__(self, at, value=math.nan):
        self.calls, self.at, self.value = itertools.count(), at, value

    def __call__(self, model, optimizer, images, labels, **named):
        loss, logits = train_step(model, optimizer, images, labels, **named)
        return (loss + self.value if next(self.calls) >= self.at else loss), logits


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, math.nan, r"became nan in epoch 1, batch 1, at a learning rate of 0\.1"),
        (11, math.nan, r"became nan in epoch 2, batch 4, at a learning rate of 0\.1"),
        (15, math.inf, r"became inf in epoch 2, batch 8, at a learning rate of 0\.1"),
        (16, -math.inf, r"became -inf in epoch 3, batch 1, at a learning rate of 5"),
    ],
)
def test_it_says_where_and_stops_saving(tmp_path, at, value, message):
    checkpointer = Checkpointer(tmp_path, {}, every_batches=1)
    with pytest.raises(TrainingError, match=message) as raised:
        run(new_state(), step=Poisoned(at, value), schedule=rising, checkpointer=checkpointer)
    assert "ten times lower" in raised.value.remedy
    assert read_newest(tmp_path).header.step == at


def test_a_learning_rate_that_is_far_too_high_ends_the_same_way(tmp_path):
    checkpointer = Checkpointer(tmp_path, {}, every_batches=1)
    state = new_state(perceptron())
    with pytest.raises(TrainingError, match=r"in epoch \d+, .*at a learning rate of 1e\+3"):
        run(state, schedule=constant(1e37), checkpointer=checkpointer)
    checkpoint = read_newest(tmp_path)
    assert all(
        tensor.isfinite().all()
        for name, tensor in checkpoint.tensors.items()
        if tensor.is_floating_point()
    )


@pytest.mark.parametrize("with_validation", [True, False])
def test_weights_that_diverge_in_the_last_step_are_not_saved(tmp_path, with_validation):
    """The last loss is finite; only the weights after it are not."""

    def overshoot(model, optimizer, images, labels, **named):
        result = train_step(model, optimizer, images, labels, **named)
        with torch.no_grad():
            model[2].weight[0, 0] = math.inf
        return result

    data = digits(n=32)
    with pytest.raises(
        TrainingError, match=r"2\.weight became infinite .* in epoch 1, up to batch 1"
    ):
        run(
            new_state(),
            data,
            data if with_validation else None,
            step=overshoot,
            checkpointer=Checkpointer(tmp_path, {}),
        )
    assert [path.name for path in checkpoint_files(tmp_path)] == ["step-000000000.safetensors"]


def test_a_validation_loss_that_is_not_finite_is_an_error(monkeypatch, tmp_path):
    scripted_validation(monkeypatch, [(0.5, 10), (math.inf, 10)])
    state, data = new_state(), digits(n=32)
    with pytest.raises(TrainingError, match="validation loss became inf in epoch 2"):
        run(state, data, data, checkpointer=Checkpointer(tmp_path, {}, every_batches=1))
    assert read_newest(tmp_path).header.epoch == 1


def test_test_data_decides_nothing():
    """Neither weights nor random numbers nor the best epoch depend on it."""
    states = {}
    for test_data in (None, digits(first=250, n=100, split="test")):
        torch.manual_seed(3)
        state = states[test_data is None] = new_state(perceptron(0.5), decay=0.9)
        run(state, val_data=digits(first=350, n=50, split="val"), test_data=test_data)
        assert [each.test_acc is None for each in state.history] == [test_data is None] * 3
        states[test_data is None, "random"] = torch.get_rng_state()
    shown, plain = states[False], states[True]
    assert_same_weights(weights(shown), weights(plain))
    assert_same_weights(shown.averaged.tensors, plain.averaged.tensors)
    assert_same_weights(shown.best.weights, plain.best.weights)
    assert torch.equal(states[False, "random"], states[True, "random"])
    last = shown.history[-1]
    with shown.final_weights_in_place():
        report = evaluate(shown.model, digits(first=250, n=100, split="test"))
    assert (last.test_acc, last.test_loss) == (report.accuracy, report.loss)


# --- Watching, stopping, saving --------------------------------------------------------------


class Recorder(Watcher):
    every_batches = 1

    def __init__(self):
        self.events = []

    def advanced(self, standing):
        self.events.append((standing.epoch, standing.batch, standing.step, standing.batches))

    def epoch_done(self, metrics, epochs):
        self.events.append((metrics.epoch, epochs))


def test_a_watcher_is_called_for_every_batch_and_epoch():
    recorder = Recorder()
    run(new_state(), digits(n=80), epochs=2, watcher=recorder)
    assert recorder.events == [
        (1, 1, 1, 3),
        (1, 2, 2, 3),
        (1, 3, 3, 3),
        (1, 2),
        (2, 1, 4, 3),
        (2, 2, 5, 3),
        (2, 3, 6, 3),
        (2, 2),
    ]


def test_the_running_loss_is_of_this_epoch_only():
    found, losses = [], []

    def spy(model, optimizer, images, labels, **named):
        loss, logits = train_step(model, optimizer, images, labels, **named)
        losses.append(loss.item())
        return loss, logits

    class Look(Watcher):
        every_batches = 1

        def advanced(self, standing):
            found.append(standing.running_loss)

    state = new_state()
    assert math.isnan(state.running_loss())
    run(state, epochs=2, step=spy, watcher=Look())
    for step in range(16):
        assert found[step] == pytest.approx(np.mean(losses[step // 8 * 8 : step + 1]))


class EveryBatch(Watcher):
    every_batches = 1


@pytest.mark.parametrize("at", range(1, 24))
def test_it_stops_and_saves_when_asked(tmp_path, at):
    state = new_state()
    outcome = run(
        state,
        checkpointer=Checkpointer(tmp_path, {}),
        watcher=EveryBatch(),
        should_stop=lambda: state.step >= at,
    )
    assert outcome == "interrupted"
    assert state.step == at
    header = read_newest(tmp_path).header
    assert (header.step, header.epoch, header.batch) == (at, at // 8, at % 8)


def test_a_request_to_stop_at_the_very_end_comes_too_late():
    state = new_state()
    assert run(state, should_stop=lambda: state.step >= 24) == "finished"


def test_a_finished_run_has_nothing_to_do():
    state = new_state()
    run(state)
    before = weights(state)
    assert run(state) == "finished"
    assert_same_weights(before, weights(state))
    assert len(state.history) == 3


def test_more_epochs_continue_from_there():
    once, twice = new_state(), new_state()
    run(once, epochs=5)
    run(twice, epochs=2)
    run(twice, epochs=5)
    assert_same_weights(weights(once), weights(twice))
    assert [m.train_loss for m in once.history] == [m.train_loss for m in twice.history]
