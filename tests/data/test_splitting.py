"""Stratified splits: fair, disjoint, keyed by seed and name."""

import math
import re
import shlex
from collections import Counter

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from small_images import digits, numbered, numbers

from bad_inputs.makers.pictures import pictures
from tenfold.data.dataset import ImageDataset
from tenfold.data.splitting import split_stratified
from tenfold.errors import DataError, UsageError


def largest_remainder(counts, fraction):
    """Hamilton's method, from its definition: quotas rounded down, seats by remainder."""
    total = round(fraction * sum(counts))
    quotas = [fraction * count for count in counts]
    seats = [math.floor(quota) for quota in quotas]
    for _ in range(total - sum(seats)):
        remainders = [quota - seat for quota, seat in zip(quotas, seats, strict=True)]
        seats[remainders.index(max(remainders))] += 1
    return seats


@settings(deadline=None, max_examples=200)
@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    fraction=st.floats(0.02, 0.98),
    seed=st.integers(),
    shuffler=st.randoms(use_true_random=False),
)
def test_properties_of_a_split(counts, fraction, seed, shuffler):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    assume(labels)
    shuffler.shuffle(labels)
    dataset = numbered(labels, len(counts))
    wanted = largest_remainder(counts, fraction)
    if any(count and held in (0, count) for count, held in zip(counts, wanted, strict=True)):
        with pytest.raises(DataError, match=r"(class 'class \d' has|classes have too few) "):
            split_stratified(dataset, fraction, seed=seed, name="val")
        return
    rest, held = split_stratified(dataset, fraction, seed=seed, name="val")
    assert sorted(numbers(rest) + numbers(held)) == list(range(len(labels)))
    assert numbers(rest) == sorted(numbers(rest))
    assert numbers(held) == sorted(numbers(held))
    assert held.class_counts().tolist() == wanted
    assert len(held) == round(fraction * len(labels))
    for part in (rest, held):
        assert part.labels.tolist() == [labels[i] for i in numbers(part)]
        assert list(part.names) == [f"image {i}" for i in numbers(part)]
    assert (rest.split, held.split) == ("train", "val")
    again = split_stratified(dataset, fraction, seed=seed, name="val")[1]
    assert again.fingerprint == held.fingerprint


def test_the_split_of_mnists_size_is_the_tutorials():
    """20 % of 60,000 is 12,000, and every class gives its fifth to within one image."""
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    rest, held = split_stratified(numbered(labels, 10), 0.2, seed=0, name="val")
    assert (len(rest), len(held)) == (48_000, 12_000)
    for count, held_count in zip(counts, held.class_counts().tolist(), strict=True):
        assert abs(held_count - count / 5) < 1


def test_seed_and_name_change_the_split():
    dataset = digits()
    chosen = {
        split_stratified(dataset, 0.1, seed=seed, name=name)[1].fingerprint
        for seed in (0, 1)
        for name in ("val", "test")
    }
    assert len(chosen) == 4


def test_pixels_do_not_affect_the_split():
    dataset = numbered([0, 1] * 20, 2)
    dark = ImageDataset(torch.zeros_like(dataset.images), dataset.labels, dataset.classes)
    dark.names = dataset.names
    assert (
        split_stratified(dark, 0.25, seed=3, name="val")[1].names
        == split_stratified(dataset, 0.25, seed=3, name="val")[1].names
    )


def test_every_image_is_as_likely_to_be_held_out_as_any_other():
    dataset = numbered([0] * 30 + [1] * 10, 2)
    held = Counter()
    for seed in range(1000):
        held.update(numbers(split_stratified(dataset, 0.3, seed=seed, name="val")[1]))
    assert len(held) == 40
    assert all(240 <= count <= 360 for count in held.values())  # 300, standard deviation 14.5


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_an_invalid_fraction_is_refused(fraction):
    with pytest.raises(UsageError, match="wanted 0 < fraction < 1"):
        split_stratified(digits(20), fraction, seed=0, name="val")


def test_a_class_of_one_image_is_named():
    dataset = numbered([0] * 10 + [1], 2)
    with pytest.raises(DataError, match="class 'class 1' has 1 image, too few to hold out 20 %"):
        split_stratified(dataset, 0.2, seed=0, name="val")


@pytest.mark.parametrize(
    ("counts", "fraction", "message"),
    [
        (
            [10, 1],
            0.2,
            (
                "class 'class 1' has 1 image, too few to hold out 20 % for val; "
                "add images to the class, remove it, or hold out none with --val 0"
            ),
        ),
        (
            [40, 2],
            0.1,
            (
                "class 'class 1' has 2 images, too few to hold out 10 % for val; "
                "add images to the class, or try --val 0.3"
            ),
        ),
        (
            [1, 40, 0, 1],
            0.125,
            (
                "2 classes have too few images to hold out 12.5 % for val: 'class 0' (1), "
                "'class 3' (1); add images to these classes, remove them, or hold out none with "
                "--val 0"
            ),
        ),
        (
            [3, 3, 3],
            0.1,
            (
                "2 classes have too few images to hold out 10 % for val: 'class 1' (3), "
                "'class 2' (3); add images to these classes, or try --val 0.3"
            ),
        ),
        (
            [10, 10],
            0.99,
            (
                "2 classes have too few images to hold out 99 % for val: 'class 0' (10), "
                "'class 1' (10); add images to these classes, or try --val 0.1"
            ),
        ),
    ],
)
def test_classes_that_are_too_small_are_all_named(counts, fraction, message):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    with pytest.raises(DataError) as raised:
        split_stratified(numbered(labels, len(counts)), fraction, seed=0, name="val")
    assert str(raised.value) == f"memory (train): {message}"


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.floats(0.01, 0.99))
def test_the_fraction_that_is_advised_is_the_smallest_that_works(counts, fraction):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    assume(labels)
    dataset = numbered(labels, len(counts))
    try:
        split_stratified(dataset, fraction, seed=0, name="more")
        return
    except DataError as error:
        _, found, advised = error.remedy.partition("try a fraction of ")
    works = []
    for percent in range(5, 100, 5):
        try:
            split_stratified(dataset, percent / 100, seed=0, name="more")
            works.append(percent / 100)
        except DataError:
            pass
    assert ([float(advised)] if found else []) == works[:1]


def test_pasted_advice_leads_to_a_trained_model(tenfold, tmp_path):
    """Of the classes, one has two images, so each of the two splits needs its own fraction."""
    pictures(cat=30, dog=3)(tmp_path)
    command = ["train", "photos", "--model", "softmax", "--epochs", "1", "--batch-size", "4"]
    command += ["--threads", "1", "--set", "test=0.05", "--val", "0.05"]
    advice = []
    while (answer := tenfold(*command)).code == 3:
        advice.append(
            re.search(r"(?:try|with) (--(?:set test=|val )[\d.]+)$", answer.err.strip())[1]
        )
        command += shlex.split(advice[-1])
    assert answer.code == 0, answer.err
    assert advice == ["--set test=0.2", "--val 0.3"]


def test_pasted_advice_for_classes_of_one_image(tenfold, tmp_path):
    pictures(cat=1, dog=1)(tmp_path)
    command = ["train", "photos", "--model", "softmax", "--epochs", "1", "--batch-size", "2"]
    assert "hold out none with --set test=0\n" in tenfold(*command).err
    command += ["--threads", "1", "--set", "test=0"]
    assert "hold out none with --val 0\n" in tenfold(*command).err
    answer = tenfold(*command, "--val", "0")
    assert answer.code == 0, answer.err


def test_a_class_without_images_is_left_alone():
    rest, held = split_stratified(numbered([0] * 10 + [2] * 10, 3), 0.2, seed=0, name="val")
    assert held.class_counts().tolist() == [2, 0, 2]
    assert rest.classes == held.classes
