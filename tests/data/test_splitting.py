"""Stratified splits: fair, disjoint, keyed by seed and name."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bad_inputs.makers.pictures import pictures
from small_images import digits, numbered, numbers
from tenfold.data.dataset import ImageDataset
from tenfold.data.splitting import folds_of, split_stratified
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
    wanted = [
        max(0, min(count - 1, max(held, 1 if count >= 3 else 0)))
        for count, held in zip(counts, largest_remainder(counts, fraction), strict=True)
    ]
    if not any(wanted):
        with pytest.raises(DataError, match="too few images in each class to hold out"):
            split_stratified(dataset, fraction, seed=seed, name="val")
        return
    rest, held = split_stratified(dataset, fraction, seed=seed, name="val")
    assert sorted(numbers(rest) + numbers(held)) == list(range(len(labels)))
    assert numbers(rest) == sorted(numbers(rest))
    assert numbers(held) == sorted(numbers(held))
    assert held.class_counts().tolist() == wanted
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


def test_a_class_of_one_image_is_trained_on():
    rest, held = split_stratified(numbered([0] * 10 + [1], 2), 0.2, seed=0, name="val")
    assert rest.class_counts().tolist() == [8, 1]
    assert held.class_counts().tolist() == [2, 0]


@pytest.mark.parametrize(
    ("counts", "name", "remedy"),
    [
        ([1, 1], "val", "add images, or hold out none with --val 0"),
        ([2, 2], "test", "add images, or hold out none with --set test=0"),
        ([1, 0, 1], "more", "add images"),
    ],
)
def test_too_few_images_to_hold_out_any(counts, name, remedy):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    with pytest.raises(DataError) as raised:
        split_stratified(numbered(labels, len(counts)), 0.1, seed=0, name=name)
    assert str(raised.value) == (
        f"memory (train): too few images in each class to hold out 10 % for {name}; {remedy}"
    )


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_tiny_folder_is_trained_on(tenfold, tmp_path, n):
    pictures(cat=n, dog=n)(tmp_path)
    answer = tenfold("train", "photos", "--epochs", "1", "--threads", "1", "--val", "0.1")
    assert answer.code == 0, answer.err
    assert "note: there are too few training images to hold out any for validation\n" in answer.err
    none = "note: there are no test images, and too few others to hold any out\n" in answer.err
    assert none == (n == 1)


# --- Groups ----------------------------------------------------------------------------------


def grouped(labels, classes, groups):
    dataset = numbered(labels, classes)
    return ImageDataset(
        dataset.images,
        dataset.labels,
        dataset.classes,
        names=dataset.names,
        groups=[str(group) for group in groups],
    )


@settings(deadline=None, max_examples=100)
@given(
    images=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=2, max_size=80),
    fraction=st.floats(0.05, 0.9),
    seed=st.integers(),
)
def test_a_group_is_never_divided(images, fraction, seed):
    labels, groups = zip(*images, strict=True)
    dataset = grouped(labels, 4, groups)
    try:
        rest, held = split_stratified(dataset, fraction, seed=seed, name="test")
    except DataError:
        return
    assert sorted(numbers(rest) + numbers(held)) == list(range(len(labels)))
    assert set(rest.groups).isdisjoint(held.groups)
    kept, before = rest.class_counts(), dataset.class_counts()
    assert ((kept > 0) == (before > 0)).all()
    again = split_stratified(dataset, fraction, seed=seed, name="test")[1]
    assert again.fingerprint == held.fingerprint


def test_shares_of_groups_are_near_the_fraction():
    """A hundred groups of one to ten images, each of one class."""
    sizes = [1 + number % 10 for number in range(100)]
    labels = [number % 4 for number, size in enumerate(sizes) for _ in range(size)]
    groups = [number for number, size in enumerate(sizes) for _ in range(size)]
    dataset = grouped(labels, 4, groups)
    for seed in range(10):
        _, held = split_stratified(dataset, 0.2, seed=seed, name="test")
        shares = held.class_counts() / dataset.class_counts()
        assert (abs(shares - 0.2) < 0.05).all()


def test_one_group_cannot_be_divided():
    with pytest.raises(DataError, match="too few groups to hold out 20 % for test"):
        split_stratified(grouped([0, 1] * 5, 2, [0] * 10), 0.2, seed=0, name="test")


# --- Copies ----------------------------------------------------------------------------------


def with_copies(labels, classes, copies, groups=None):
    """A numbered data set in which some images are copies of others."""
    dataset = numbered(labels, classes)
    pixels = dataset.image_array.copy()
    pixels[:, 0, 1, 1] = 255  # none is of one value
    for copy, original in copies:
        pixels[copy] = pixels[original]
    return ImageDataset(pixels, dataset.labels, dataset.classes, names=dataset.names, groups=groups)


@settings(deadline=None, max_examples=100)
@given(
    labels=st.lists(st.integers(0, 3), min_size=2, max_size=60),
    copies=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 59)), max_size=40),
    groups=st.one_of(st.none(), st.lists(st.integers(0, 4), min_size=60, max_size=60)),
    fraction=st.floats(0.05, 0.9),
    seed=st.integers(),
)
def test_copies_are_never_divided(labels, copies, groups, fraction, seed):
    n = len(labels)
    copies = [(copy, original) for copy, original in copies if max(copy, original) < n]
    names = None if groups is None else [str(group) for group in groups[:n]]
    dataset = with_copies(labels, 4, copies, names)
    try:
        rest, held = split_stratified(dataset, fraction, seed=seed, name="test")
    except DataError:
        return
    assert len(rest) + len(held) == n
    pixels = [{image.tobytes() for image in part.image_array} for part in (rest, held)]
    assert pixels[0].isdisjoint(pixels[1])
    if names is not None:
        assert set(rest.groups).isdisjoint(held.groups)
    assert ((rest.class_counts() > 0) == (dataset.class_counts() > 0)).all()
    folds = folds_of(dataset, 2, seed=seed)  # something was held out, so there are two groups
    assert set(folds.tolist()) == {0, 1}
    for copy, original in copies:
        if (dataset.image_array[copy] == dataset.image_array[original]).all():
            assert folds[copy] == folds[original]


def test_an_image_of_many_groups_does_not_join_them():
    """It rather says that there is no picture."""
    copies = [(i, 0) for i in range(0, 60, 3)]
    dataset = with_copies([0, 1] * 30, 2, copies, [str(i // 3) for i in range(60)])
    rest, held = split_stratified(dataset, 0.2, seed=0, name="test")
    assert 10 <= len(held) <= 14
    assert set(rest.groups).isdisjoint(held.groups)
    assert sorted(np.bincount(folds_of(dataset, 5, seed=0))) == [12] * 5


def test_an_image_with_very_many_copies_is_not_held_out():
    dataset = with_copies([0, 1] * 100, 2, [(i, 0) for i in range(0, 100, 2)])
    for seed in range(10):
        _, held = split_stratified(dataset, 0.2, seed=seed, name="test")
        assert not (held.image_array == dataset.image_array[0]).all((1, 2, 3)).any()
        assert 20 <= len(held) <= 40


def test_without_copies_the_split_is_the_same():
    dataset = with_copies([0, 1] * 40, 2, [])
    both = [
        split_stratified(dataset, 0.25, seed=3, name="val", duplicates_together=together)[1]
        for together in (True, False)
    ]
    assert both[0].names == both[1].names


def test_copies_can_be_divided_as_older_runs_did():
    dataset = with_copies([0, 1] * 40, 2, [(i + 40, i) for i in range(40)])
    rest, held = split_stratified(dataset, 0.25, seed=0, name="val", duplicates_together=False)
    pixels = [{image.tobytes() for image in part.image_array} for part in (rest, held)]
    assert pixels[0] & pixels[1]
    assert len(held) == 20


# --- Folds -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=100)
@given(counts=st.lists(st.integers(0, 40), min_size=1, max_size=6), seed=st.integers())
@pytest.mark.parametrize("folds", [2, 5])
def test_folds_are_stratified_and_of_one_size(folds, counts, seed):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    assume(len(labels) >= folds)
    dataset = numbered(labels, len(counts))
    found = folds_of(dataset, folds, seed=seed)
    sizes = np.bincount(found, minlength=folds)
    assert sizes.max() - sizes.min() <= 1
    for label in range(len(counts)):
        sizes = np.bincount(found[dataset.label_array == label], minlength=folds)
        assert sizes.max() - sizes.min() <= 1
    assert np.array_equal(found, folds_of(dataset, folds, seed=seed))


def test_groups_stay_in_one_fold():
    labels = [number % 3 for number in range(60) for _ in range(4)]
    groups = [number for number in range(60) for _ in range(4)]
    dataset = grouped(labels, 3, groups)
    found = folds_of(dataset, 5, seed=0)
    assert all(len({found[i] for i in range(4 * g, 4 * g + 4)}) == 1 for g in range(60))
    for label in range(3):
        sizes = np.bincount(found[dataset.label_array == label], minlength=5)
        assert sizes.tolist() == [16] * 5


@pytest.mark.parametrize("groups", [None, [0, 0, 1, 1]])
def test_too_few_for_the_folds(groups):
    dataset = numbered([0, 1, 0, 1], 2) if groups is None else grouped([0, 1, 0, 1], 2, groups)
    what = "4 images" if groups is None else "2 groups"
    with pytest.raises(DataError, match=f"{what} cannot be divided into 5 folds"):
        folds_of(dataset, 5, seed=0)
    with pytest.raises(UsageError, match="folds is 1, wanted at least 2"):
        folds_of(dataset, 1, seed=0)


def test_a_class_without_images_is_left_alone():
    rest, held = split_stratified(numbered([0] * 10 + [2] * 10, 3), 0.2, seed=0, name="val")
    assert held.class_counts().tolist() == [2, 0, 2]
    assert rest.classes == held.classes
