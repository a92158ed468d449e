"""Schedules, compared with PyTorch's step by step, and by hand at their ends."""

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from tenfold.errors import UsageError
from tenfold.training import SCHEDULES, build_schedule

EVERY_ENTRY = pytest.mark.parametrize("name", SCHEDULES)

OPTIONS = {"drop_every": (2, 3), "drop_factor": (0.5, 0.3)}
"""Two values for every option that not every schedule has."""


def pytorchs(make, steps, lr=0.1):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # OneCycleLR warns after its last step
            try:
                scheduler.step()
            except ValueError:
                break
    return rates


def ours(name, epochs, steps_per_epoch, lr=0.1, **arguments):
    schedule = build_schedule(
        name, lr=lr, epochs=epochs, steps_per_epoch=steps_per_epoch, **arguments
    )
    return [schedule(step) for step in range(epochs * steps_per_epoch)]


def test_constant():
    assert ours("constant", 3, 7) == [0.1] * 21


@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (1, 2), (3, 7), (10, 50)])
def test_cosine_is_pytorchs(epochs, steps):
    wanted = pytorchs(lambda o: lr_scheduler.CosineAnnealingLR(o, epochs * steps), epochs * steps)
    assert ours("cosine", epochs, steps) == pytest.approx(wanted, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(("every", "factor"), [(1, 0.5), (2, 0.1), (5, 0.3), (100, 0.1)])
def test_step_is_pytorchs_by_epochs(every, factor):
    by_epoch = pytorchs(lambda o: lr_scheduler.StepLR(o, every, factor), 12)
    wanted = [rate for rate in by_epoch for _ in range(7)]
    assert ours("step", 12, 7, drop_every=every, drop_factor=factor) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("epochs", "steps"), [(1, 1), (1, 2), (1, 3), (1, 4), (2, 5), (10, 1), (10, 50), (3, 37)]
)
def test_one_cycle_is_pytorchs(epochs, steps):
    total = epochs * steps
    wanted = pytorchs(
        lambda o: lr_scheduler.OneCycleLR(
            o, max_lr=0.1, total_steps=total, anneal_strategy="cos", cycle_momentum=False
        ),
        total,
    )
    assert len(wanted) == total
    assert ours("one-cycle", epochs, steps) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(
    ("warmup_epochs", "steps_per_epoch"), [(1, 2), (1, 10), (3, 1), (3, 2), (3, 10)]
)
def test_warmup_is_pytorchs_linear_one(warmup_epochs, steps_per_epoch):
    warmup = warmup_epochs * steps_per_epoch
    wanted = pytorchs(
        lambda o: lr_scheduler.LinearLR(o, start_factor=1 / warmup, total_iters=warmup - 1),
        5 * steps_per_epoch,
    )
    found = ours("constant", 5, steps_per_epoch, warmup_epochs=float(warmup_epochs))
    assert found == pytest.approx(wanted)


@EVERY_ENTRY
def test_an_entry_reaches_the_highest_rate(name):
    assert max(ours(name, 10, 10)) == pytest.approx(0.1)


@EVERY_ENTRY
@pytest.mark.parametrize("key", OPTIONS)
def test_an_entry_reads_its_own_options_and_no_others(name, key):
    options = {option: values[0] for option, values in OPTIONS.items()}
    same = ours(name, 10, 5, **options) == ours(name, 10, 5, **{**options, key: OPTIONS[key][1]})
    assert same == (key not in SCHEDULES[name].own)


@EVERY_ENTRY
def test_warmup_does_not_change_what_comes_after(name):
    plain, warm = ours(name, 10, 8), ours(name, 10, 8, warmup_epochs=2.5)
    assert warm[20:] == plain[20:]
    assert warm[:20] == pytest.approx([rate * (k + 1) / 20 for k, rate in enumerate(plain[:20])])


@settings(deadline=None)
@given(
    name=st.sampled_from(list(SCHEDULES)),
    epochs=st.integers(1, 50),
    steps=st.integers(1, 50),
    warmup=st.floats(0, 10),
    step=st.integers(0, 10_000),
)
def test_rates_stay_between_0_and_the_highest_even_after_the_end(name, epochs, steps, warmup, step):
    schedule = build_schedule(
        name, lr=0.1, epochs=epochs, steps_per_epoch=steps, warmup_epochs=warmup
    )
    assert 0 <= schedule(step) <= 0.1 * (1 + 1e-12)
    assert schedule(step) == schedule(step)


def test_the_ends():
    cosine, cycle = ours("cosine", 10, 10), ours("one-cycle", 10, 10)
    assert cosine[0] == 0.1
    assert cosine[50] == pytest.approx(0.05)
    assert cosine[-1] == pytest.approx(0.05 * (1 + math.cos(0.99 * math.pi)))
    assert cycle[0] == pytest.approx(0.1 / 25)
    assert cycle[29] == pytest.approx(0.1)
    assert cycle[-1] == pytest.approx(0.1 / 25 / 1e4)


def test_an_unknown_name_suggests_the_closest():
    with pytest.raises(UsageError, match="no schedule 'cosin'; did you mean 'cosine'"):
        build_schedule("cosin", lr=0.1, epochs=1, steps_per_epoch=1)
