"""A run that is saved and restored continues with the same bits."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from tenfold.data.dataset import ImageDataset
from tenfold.errors import FileRefusedError
from tenfold.models import Preprocessing
from tenfold.storage import checked
from tenfold.training import TrainingState, Watcher, build_optimizer, build_schedule, train
from tenfold.training.augment import Augmentation
from tenfold.training.averaging import AveragedWeights
from tenfold.training.checkpoint import Checkpointer, read_newest
from tenfold.training.state import StateHeader

DIGITS = tuple("0123456789")
BATCHES = 7


def digits(first, n, split):
    bunch = load_digits()
    part = slice(first, first + n)
    images = torch.from_numpy((bunch.images[part, None] * 15).astype(np.uint8))
    return ImageDataset(images, torch.from_numpy(bunch.target[part]).long(), DIGITS, split=split)


TRAIN, VAL = digits(0, 205, "train"), digits(300, 60, "val")  # 7 batches of 32, the last of 13


def perceptron():
    return nn.Sequential(Preprocessing(), nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), LAST())


def LAST():  # noqa: N802 - reads as the layer that it makes
    return nn.Linear(24, 10)


def with_dropout():
    return nn.Sequential(
        Preprocessing(), nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Dropout(0.4), LAST()
    )


def with_batch_norm():
    return nn.Sequential(
        Preprocessing(),
        nn.Conv2d(1, 6, 3, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Dropout2d(0.2),
        nn.Flatten(),
        nn.Linear(6 * 36, 10),
    )


def thrown_off(step):
    """Learns for two epochs, then never does as well again."""
    return 0.1 if step < 2 * BATCHES else 5.0


def schedule(name, **named):
    return build_schedule(name, lr=0.05, epochs=4, steps_per_epoch=BATCHES, **named)


class EveryBatch(Watcher):
    every_batches = 1


@dataclasses.dataclass(frozen=True)
class Setup:
    """One way to train for four epochs."""

    model: object = perceptron
    optimizer: str = "sgd"
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    decay: float = 0.0
    schedule: object = schedule("constant")
    val: bool = True
    options: dict = dataclasses.field(default_factory=dict)

    def fresh(self, seed):
        torch.manual_seed(seed)
        model = self.model()
        return TrainingState(
            model=model,
            optimizer=build_optimizer(
                self.optimizer,
                model.parameters(),
                lr=0.05,
                momentum=self.momentum,
                nesterov=self.nesterov,
                weight_decay=self.weight_decay,
            ),
            averaged=AveragedWeights(model, self.decay) if self.decay else None,
        )

    def train(self, state, **named):
        options = {
            "epochs": 4,
            "batch_size": 32,
            "seed": 3,
            "schedule": self.schedule,
            "watcher": EveryBatch(),
        }
        return train(state, TRAIN, VAL if self.val else None, **(options | self.options | named))


SETUPS = {
    "plain": Setup(),
    "not shuffled, no validation": Setup(val=False, options={"shuffle": False}),
    "momentum": Setup(momentum=0.9, schedule=schedule("step", drop_every=2)),
    "nesterov, decay, cosine": Setup(
        momentum=0.9,
        nesterov=True,
        weight_decay=1e-3,
        schedule=schedule("cosine", warmup_epochs=1.5),
    ),
    "adam, dropout": Setup(with_dropout, "adam", weight_decay=1e-4, schedule=lambda step: 1e-3),
    "everything": Setup(
        with_batch_norm,
        "adamw",
        weight_decay=0.01,
        decay=0.95,
        schedule=schedule("one-cycle"),
        options={
            "augment": Augmentation(3, flip=True, crop_padding=1, cutout=2),
            "label_smoothing": 0.1,
            "clip_norm": 0.5,
            "choose_by": "val_acc",
        },
    ),
    "averaged": Setup(momentum=0.9, decay=0.9),
    "stops early": Setup(schedule=thrown_off, options={"patience": 2, "epochs": 6}),
}


@pytest.fixture(scope="module", params=SETUPS.values(), ids=SETUPS)
def setup(request):
    return request.param


@pytest.fixture(scope="module")
def whole(setup):
    """A run that was never stopped, and its outcome."""
    state = setup.fresh(0)
    return state, setup.train(state)


def copied(tensors):
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def snapshot(state):
    """A checkpoint as it would be read from a file."""
    header, tensors = state.to_checkpoint()
    return checked(StateHeader, header.model_dump(), "a checkpoint"), copied(tensors)


def everything_in(state):
    found, tensors = snapshot(state)
    header = found.model_dump()
    header["seconds"] = 0
    for metrics in header["history"]:
        metrics["seconds"] = 0
    return header, tensors


def assert_same_run(one, other):
    (header, tensors), (other_header, other_tensors) = everything_in(one), everything_in(other)
    assert header == other_header
    assert tensors.keys() == other_tensors.keys()
    for name in tensors:
        assert tensors[name].dtype == other_tensors[name].dtype, name
        assert torch.equal(tensors[name], other_tensors[name]), name
    assert one.final_weights()[0] == other.final_weights()[0]


def through_memory(setup, at, folder):
    state = setup.fresh(0)
    setup.train(state, should_stop=lambda: state.step >= at)
    return snapshot(state)


def through_a_file(setup, at, folder):
    state = setup.fresh(0)
    checkpointer = Checkpointer(folder, {})
    setup.train(state, should_stop=lambda: state.step >= at, checkpointer=checkpointer)
    checkpoint = read_newest(folder)
    return checkpoint.header, checkpoint.tensors


@pytest.mark.parametrize("at", [1, 7, 10, 14, 20, 24])
@pytest.mark.parametrize("through", [through_memory, through_a_file])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, setup, whole, at, through):
    wanted, outcome = whole
    header, tensors = through(setup, at, tmp_path)
    assert header.step == at
    resumed = setup.fresh(99)
    torch.rand(1000)
    resumed.restore(header, tensors)
    assert setup.train(resumed) == outcome
    assert_same_run(wanted, resumed)


def test_the_setups_do_what_their_names_say():
    early = SETUPS["stops early"].fresh(0)
    assert SETUPS["stops early"].train(early) == "stopped early"
    assert (early.epoch, early.best.epoch) == (4, 2)
    everything = SETUPS["everything"].fresh(0)
    assert SETUPS["everything"].train(everything) == "finished"
    assert everything.step == 4 * BATCHES
    assert len(everything.losses) == BATCHES


def test_a_run_interrupted_after_every_third_batch_ends_with_the_same_bits(setup, whole):
    wanted, outcome = whole
    state, seen = setup.fresh(0), 0
    while True:
        stop_at = state.step + 3
        found = setup.train(state, should_stop=lambda: state.step >= stop_at)  # noqa: B023
        if found != "interrupted":
            break
        checkpoint = snapshot(state)
        again = setup.fresh(seen + 5)
        again.restore(*checkpoint)
        state, seen = again, seen + 1
    assert found == outcome
    assert seen >= 5
    assert_same_run(wanted, state)


def test_one_checkpoint_can_be_resumed_twice():
    setup = SETUPS["everything"]
    header, tensors = through_memory(setup, 10, None)
    before = copied(tensors)
    ends = []
    for seed in (7, 8):
        state = setup.fresh(seed)
        state.restore(header, tensors)
        setup.train(state)
        ends.append(state)
    assert_same_run(*ends)
    assert all(torch.equal(tensors[name], before[name]) for name in before)


def test_seconds_of_a_half_epoch_are_not_lost():
    setup = SETUPS["plain"]
    header, tensors = through_memory(setup, 10, None)
    header = header.model_copy(update={"seconds": 1000.0})
    state = setup.fresh(0)
    state.restore(header, tensors)
    setup.train(state)
    assert state.history[1].seconds > 1000
    assert state.history[2].seconds < 1000


def test_a_header_is_json():
    header, _ = through_memory(SETUPS["everything"], 18, None)
    assert (header.epoch, header.batch, header.step) == (2, 4, 18)
    assert [metrics.epoch for metrics in header.history] == [1, 2]
    assert header.best.value == max(metrics.val_acc for metrics in header.history)


def test_any_number_of_epochs_may_be_claimed_but_takes_no_memory():
    header, _ = through_memory(SETUPS["plain"], 10, None)
    with pytest.raises(FileRefusedError, match="each finished epoch exactly once"):
        checked(StateHeader, header.model_dump() | {"epoch": 2**50, "step": 2**52}, "a checkpoint")


# --- What does not fit -----------------------------------------------------------------------


def other_width():
    return nn.Sequential(
        Preprocessing(), nn.Flatten(), nn.Linear(64, 25), nn.ReLU(), nn.Linear(25, 10)
    )


class Backwards(nn.Sequential):
    """The same names and shapes, but the optimizer's indices mean other parameters."""

    def named_parameters(self, *arguments, **named):
        return iter(list(super().named_parameters(*arguments, **named))[::-1])


def backwards():
    return Backwards(*perceptron())


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Setup(other_width), r"another architecture: 2\.bias: \[24\] float32, wanted \[25\]"),
        (Setup(with_batch_norm), "another architecture"),
        (Setup(backwards), "parameters are in another order"),
        (Setup(optimizer="adam"), "the checkpoint is from a run with SGD, this one has Adam"),
        (Setup(decay=0.9), "only one of checkpoint and recipe averages the weights"),
    ],
)
def test_another_run_is_refused(other, message):
    checkpoint = through_memory(SETUPS["plain"], 10, None)
    with pytest.raises(FileRefusedError, match=message):
        other.fresh(0).restore(*checkpoint)


def test_averages_that_the_run_does_not_keep_are_refused():
    checkpoint = through_memory(SETUPS["averaged"], 10, None)
    with pytest.raises(FileRefusedError, match="only one of checkpoint and recipe averages"):
        Setup(momentum=0.9).fresh(0).restore(*checkpoint)


def test_an_optimizer_with_other_groups_is_refused():
    checkpoint = through_memory(SETUPS["plain"], 10, None)
    state = SETUPS["plain"].fresh(0)
    groups = [{"params": [p]} for p in state.model.parameters()]
    state = TrainingState(state.model, torch.optim.SGD(groups, lr=0.1))
    with pytest.raises(FileRefusedError, match="optimizer does not fit"):
        state.restore(*checkpoint)


def test_a_damaged_state_of_the_random_numbers_is_refused():
    header, tensors = through_memory(SETUPS["plain"], 10, None)
    before = torch.get_rng_state()
    damaged = {**tensors, "random.cpu": torch.zeros_like(tensors["random.cpu"])}
    with pytest.raises(FileRefusedError, match="random number generator state is damaged"):
        SETUPS["plain"].fresh(0).restore(header, damaged)
    assert torch.equal(torch.get_rng_state(), before)
