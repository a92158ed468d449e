"""A compiled network: arguments it accepts and refuses, threads, forks and signals."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from ctypes import c_float
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines import needs_kernels
from tenfold.errors import UsageError
from tenfold.models.layers import Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU
from tenfold.native import network as module
from tenfold.native.network import CompiledNetwork, TakenSteps
from tenfold.native.records import ADAM, SGD, ChannelNormalization, TrainedTensor
from tenfold.native.structures import StepSettingsRecord

pytestmark = needs_kernels

SHAPE = (2, 6, 7)

LAYERS: tuple[Layer, ...] = (
    Conv2d(
        input=-1,
        in_channels=2,
        out_channels=3,
        kernel_size=(3, 2),
        stride=(1, 1),
        padding=(1, 0),
        weight="conv.weight",
        bias="conv.bias",
    ),
    ReLU(input=0),
    MaxPool2d(input=1, kernel_size=(2, 2), stride=(2, 2), padding=(0, 0)),
    Flatten(input=2),
    Linear(
        input=3,
        in_features=27,
        out_features=4,
        weight="end.weight",
        bias=None,
        transposed=False,
    ),
)


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    numbers = np.random.RandomState(seed)
    shapes = {"conv.weight": (3, 2, 3, 2), "conv.bias": (3,), "end.weight": (4, 27)}
    return {name: numbers.randn(*shape).astype(np.float32) for name, shape in shapes.items()}


def images(n: int = 20, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (n, *SHAPE)).astype(np.uint8)


def labels(n: int = 20) -> np.ndarray:
    return np.arange(n) % 4


def by_hand(weights: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """The logits, computed with loops in double precision."""
    pixels = np.pad(images / 255.0, ((0, 0), (0, 0), (1, 1), (0, 0)))
    n = len(images)
    after = np.zeros((n, 3, 6, 6))
    for row in range(6):
        for column in range(6):
            window = pixels[:, :, row : row + 3, column : column + 2]
            after[:, :, row, column] = np.einsum("nchw,ochw->no", window, weights["conv.weight"])
    after = np.maximum(after + weights["conv.bias"][None, :, None, None], 0)
    pooled = after.reshape(n, 3, 3, 2, 3, 2).max((3, 5)).reshape(n, 27)
    return pooled @ weights["end.weight"].T


def trained(**options: int) -> dict[str, TrainedTensor]:
    moments = options.get("moments", 0)
    return {
        name: TrainedTensor(
            array,
            [np.zeros_like(array) for _ in range(moments)],
            average=array.copy() if options.get("average") else None,
            is_trained=True,
        )
        for name, array in weights().items()
    }


def take_steps(network: CompiledNetwork, **changes: Any) -> TakenSteps:
    """Take three steps on 20 images in batches of 8, with changed arguments."""
    arguments = {
        "tensors": trained(),
        "images": images(),
        "labels": labels(),
        "order": np.arange(20),
        "learning_rates": [0.1, 0.2, 0.1],
        "settings": StepSettingsRecord(optimizer=SGD),
    }
    return network.train(**{**arguments, **changes})


@pytest.fixture
def network() -> CompiledNetwork:
    return CompiledNetwork(LAYERS, SHAPE, 8, training=True)


def test_tensors_and_classes(network: CompiledNetwork) -> None:
    assert network.tensors == {
        "conv.weight": (3, 2, 3, 2),
        "conv.bias": (3,),
        "end.weight": (4, 27),
    }
    assert network.classes == 4


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 100])
def test_logits_of_any_number_of_images(network: CompiledNetwork, n: int) -> None:
    found = network.predict({**weights(), "other": np.zeros(3)}, images(n))
    assert (found.dtype, found.shape) == (np.float32, (n, 4))
    np.testing.assert_allclose(found, by_hand(weights(), images(n)), rtol=1e-5, atol=1e-5)


def test_normalization(network: CompiledNetwork) -> None:
    """`(x - mean) / deviation` is applied per channel."""
    mean, deviation = np.float32([0.25, 0.5]), np.float32([0.5, 2.0])
    found = network.predict(
        weights(), images(), normalization=ChannelNormalization(mean, deviation)
    )
    pixels = (images() / 255.0 - mean[:, None, None]) / deviation[:, None, None]
    wanted = by_hand(weights(), pixels * 255.0)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_read_only_weights_predict(network: CompiledNetwork) -> None:
    frozen = weights()
    for array in frozen.values():
        array.flags.writeable = False
    pixels = images()
    pixels.flags.writeable = False
    assert np.array_equal(network.predict(frozen, pixels), network.predict(weights(), images()))


def test_slices_of_any_size_give_the_same_bits(
    network: CompiledNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = network.predict(weights(), images(100))
    monkeypatch.setattr(module, "SLICE_SECONDS", 0.0)  # a block at a time
    assert np.array_equal(network.predict(weights(), images(100)), wanted)


@pytest.fixture
def handled_signals() -> Iterator[None]:
    """Ctrl-C raises an error even if a shell started these tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("handled_signals")
def test_a_signal_is_handled_between_slices(
    network: CompiledNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the signal, no more images are predicted."""
    monkeypatch.setattr(module, "SLICE_SECONDS", 0.0)
    real, calls = network._call, []

    def call(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        real(*arguments)

    monkeypatch.setattr(network, "_call", call)
    with pytest.raises(KeyboardInterrupt):
        network.predict(weights(), images(100))
    assert len(calls) == 3


def test_steps_change_the_tensors_in_place(network: CompiledNetwork) -> None:
    tensors = trained(moments=1, average=1)
    settings = StepSettingsRecord(optimizer=SGD, momentum=0.9, average_decay=0.5)
    taken = take_steps(network, tensors=tensors, settings=settings)
    assert (taken.losses.dtype, taken.losses.shape) == (np.float32, (3,))
    assert 0 <= taken.correct <= 20
    assert taken.largest_gradients.keys() == network.tensors.keys()
    for name, before in weights().items():
        tensor = tensors[name]
        for array in (tensor.value, *tensor.moments, tensor.average):
            assert not np.array_equal(array, before), name


def test_loss_and_correct_count_match_the_logits(network: CompiledNetwork) -> None:
    logits = by_hand(weights(), images(8))
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    taken = take_steps(network, order=np.arange(8), learning_rates=[0.1])
    loss = -np.log(chances[np.arange(8), labels(8)]).mean()
    np.testing.assert_allclose(taken.losses, [loss], rtol=1e-5)
    assert taken.correct == (logits.argmax(1) == labels(8)).sum()


def test_untrained_tensors_stay_unchanged(network: CompiledNetwork) -> None:
    tensors = trained()
    tensors["conv.weight"] = TrainedTensor(weights()["conv.weight"])
    taken = take_steps(network, tensors=tensors)
    assert np.array_equal(tensors["conv.weight"].value, weights()["conv.weight"])
    assert not np.array_equal(tensors["end.weight"].value, weights()["end.weight"])
    assert taken.largest_gradients.keys() == {"conv.bias", "end.weight"}


def test_a_step_with_class_weights(network: CompiledNetwork) -> None:
    """Images of a class with weight 0 have no effect."""
    settings = StepSettingsRecord(optimizer=SGD, class_weights=(c_float * 4)(1, 0, 1, 1))
    tensors, others = trained(), trained()
    order = np.array([0, 2, 3, 1, 5])  # labels 0, 2, 3, 1, 1
    take_steps(network, order=order, learning_rates=[0.1], tensors=tensors, settings=settings)
    take_steps(network, order=order[:3], learning_rates=[0.1], tensors=others)
    for name in network.tensors:
        np.testing.assert_allclose(tensors[name].value, others[name].value, rtol=1e-5, atol=1e-6)


def test_a_closed_network_refuses_calls(network: CompiledNetwork) -> None:
    network.close()
    network.close()
    with pytest.raises(UsageError, match="the network is closed; create a new one"):
        network.predict(weights(), images())
    with pytest.raises(UsageError, match="the network is closed"):
        take_steps(network)


def without(name: str) -> dict[str, np.ndarray]:
    return {each: array for each, array in weights().items() if each != name}


def turned(array: np.ndarray) -> np.ndarray:
    return np.asfortranarray(array)


WRONG_WEIGHTS: dict[str, tuple[Callable[[], dict[str, np.ndarray]], str]] = {
    "missing": (lambda: without("conv.bias"), r"conv\.bias is missing"),
    "double": (
        lambda: {**weights(), "conv.bias": np.zeros(3)},
        r"conv\.bias \(value\): found float64 \[3\], wanted float32 \[3\]",
    ),
    "of the wrong shape": (
        lambda: {**weights(), "conv.bias": np.zeros(4, np.float32)},
        r"found float32 \[4\], wanted float32 \[3\]",
    ),
    "in the wrong byte order": (
        lambda: {**weights(), "conv.bias": np.zeros(3, ">f4")},
        r"found >f4 \[3\], wanted float32",
    ),
    "in the wrong layout": (
        lambda: {**weights(), "end.weight": turned(weights()["end.weight"])},
        r"end\.weight \(value\) is not C-contiguous",
    ),
}


@pytest.mark.parametrize(("make", "said"), WRONG_WEIGHTS.values(), ids=WRONG_WEIGHTS)
def test_wrong_weights_are_refused(make: Callable[[], Any], said: str) -> None:
    network = CompiledNetwork(LAYERS, SHAPE, 8)
    with pytest.raises(UsageError, match=said):
        network.predict(make(), images())


WRONG_IMAGES = {
    "of floats": (images() / 255, r"images: found float64 \[20, 2, 6, 7\], wanted uint8"),
    "of the wrong shape": (
        images()[:, :1],
        r"found uint8 \[20, 1, 6, 7\], wanted .*\[20, 2, 6, 7\]",
    ),
    "without channels": (images()[:, 0], r"found uint8 \[20, 6, 7\], wanted .*\[20, 2, 6, 7\]"),
    "in the wrong layout": (turned(images()), "images is not C-contiguous"),
}


@pytest.mark.parametrize(("pixels", "said"), WRONG_IMAGES.values(), ids=WRONG_IMAGES)
def test_wrong_images_are_refused(pixels: np.ndarray, said: str) -> None:
    network = CompiledNetwork(LAYERS, SHAPE, 8, training=True)
    with pytest.raises(UsageError, match=said):
        network.predict(weights(), pixels)
    with pytest.raises(UsageError, match=said):
        take_steps(network, images=pixels)


def one_wrong(value: int) -> np.ndarray:
    array = np.arange(20) % 4
    array[7] = value
    return array


def read_only() -> dict[str, TrainedTensor]:
    tensors = trained()
    tensors["conv.bias"].value.flags.writeable = False
    return tensors


WRONG_STEPS: dict[str, tuple[dict[str, Any], str]] = {
    "labels of the wrong type": (
        {"labels": labels().astype(np.int32)},
        r"labels: found int32 \[20\], wanted int64 \[20\]",
    ),
    "too few labels": ({"labels": labels(19)}, r"found int64 \[19\], wanted int64 \[20\]"),
    "a label that is too large": ({"labels": one_wrong(4)}, r"labels: found 0\.\.4, wanted 0\.\.3"),
    "a label below 0": ({"labels": one_wrong(-1)}, r"labels: found -1\.\.3, wanted 0\.\.3"),
    "an order of the wrong type": (
        {"order": np.arange(20).astype(np.int32)},
        r"order: found int32 \[20\], wanted int64",
    ),
    "an order in the wrong layout": (
        {"order": np.arange(40)[::2]},
        "order is not C-contiguous",
    ),
    "an image that does not exist": ({"order": np.arange(1, 21)}, r"order: found 1\.\.20, wanted"),
    "more learning rates than batches": (
        {"learning_rates": [0.1] * 4},
        "there are 4 learning rates for 20 images in batches of 8, wanted one per batch",
    ),
    "fewer learning rates than batches": ({"learning_rates": [0.1] * 2}, "there are 2 learning"),
    "no steps": ({"order": np.arange(0), "learning_rates": []}, "there are 0 learning rates"),
    "a negative step": ({"step": -1}, r"step is -1, wanted 0\.\."),
    "a negative optimizer step": ({"optimizer_step": -1}, r"optimizer_step is -1, wanted 0\.\."),
    "read-only weights": (
        {"tensors": read_only()},
        r"conv\.bias \(value\) is read-only, wanted a writable array",
    ),
    "no momentum buffers": (
        {"settings": StepSettingsRecord(optimizer=SGD, momentum=0.9)},
        r"conv\.weight has 0 moments, wanted 1",
    ),
    "no second moments": (
        {"settings": StepSettingsRecord(optimizer=ADAM), "tensors": trained(moments=1)},
        r"conv\.weight has 1 moments, wanted 2",
    ),
    "no averages": (
        {"settings": StepSettingsRecord(optimizer=SGD, average_decay=0.9)},
        r"conv\.weight has no average",
    ),
    "a mean for every pixel": (
        {"normalization": ChannelNormalization(np.zeros(42, np.float32), np.ones(2, np.float32))},
        r"mean: found float32 \[42\], wanted float32 \[2\]",
    ),
    "a deviation in double precision": (
        {"normalization": ChannelNormalization(np.zeros(2, np.float32), np.ones(2))},
        r"deviation: found float64 \[2\], wanted float32 \[2\]",
    ),
}


@pytest.mark.parametrize(("changes", "said"), WRONG_STEPS.values(), ids=WRONG_STEPS)
def test_wrong_steps_are_refused(changes: dict[str, Any], said: str) -> None:
    network = CompiledNetwork(LAYERS, SHAPE, 8, training=True)
    with pytest.raises(UsageError, match=said):
        take_steps(network, **changes)


@pytest.mark.parametrize("threads", [0, 1025])
def test_a_wrong_number_of_threads_is_refused(threads: int) -> None:
    with pytest.raises(UsageError, match=rf"threads is {threads}, wanted 1\.\.1024"):
        CompiledNetwork(LAYERS, SHAPE, 8, threads=threads)


@pytest.mark.parametrize(
    ("layers", "shape", "batch_size", "said"),
    [
        (LAYERS, SHAPE, 0, r"batch_size is 0, wanted 1\.\.16777216"),
        (LAYERS, SHAPE, 2**24 + 1, "batch_size is 16777217"),
        (LAYERS, (3, 6, 7), 8, r"layer 0 \(conv2d\): it reads 3x6x7, wanted 2 channels"),
        (LAYERS[:3], SHAPE, 8, r"the last layer \(max_pool2d\) outputs 3x3x3 per image"),
        ((ReLU(input=-1), Flatten(input=0)), (2**20, 2**6, 2**6), 8, "wanted at most"),
    ],
)
def test_an_invalid_network_is_refused(
    layers: tuple[Layer, ...], shape: tuple[int, ...], batch_size: int, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        CompiledNetwork(layers, shape, batch_size)


def test_a_network_that_is_too_large_for_memory() -> None:
    wide = Linear(
        input=0, in_features=2**20, out_features=2**30, weight="w", bias=None, transposed=False
    )
    with pytest.raises(MemoryError, match=r"not enough memory for batches of 16,777,216 images"):
        CompiledNetwork((Flatten(input=-1), wide), (1, 2**10, 2**10), 2**24, training=True)


MEMORY = Path("/proc/self/statm")


def resident() -> int:
    """Resident memory of this process in bytes."""
    return int(MEMORY.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not MEMORY.exists(), reason="memory usage is not available here")
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "forgotten"])
def test_memory_is_freed(closed: bool) -> None:
    kept: list[CompiledNetwork] = []

    def make() -> int:
        """The memory in use while a network exists."""
        network = CompiledNetwork(LAYERS, SHAPE, 2**16, training=True)
        used = resident()
        if closed:
            network.close()
            kept.append(network)  # the object itself is small
        return used

    of_images = 4 * 2**16 * math.prod(SHAPE)  # bytes: the minimum that a network needs
    first = make()  # may reuse memory freed earlier
    most = max(make() for _ in range(20))
    assert most - first < 3 * of_images


def test_several_threads_use_separate_networks() -> None:
    found: dict[int, list[bytes]] = {}

    def work(seed: int) -> None:
        network = CompiledNetwork(LAYERS, SHAPE, 8, training=True, threads=2)
        results = []
        for _ in range(20):
            tensors = trained()
            taken = take_steps(network, tensors=tensors, images=images(seed=seed))
            logits = network.predict(weights(seed), images(50, seed))
            results += [taken.losses, tensors["end.weight"].value, logits]
        found[seed] = [array.tobytes() for array in results]

    def all_at(once: bool) -> dict[int, list[bytes]]:
        found.clear()
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
            if not once:
                thread.join()
        for thread in threads:
            thread.join()
        return dict(found)

    assert all_at(once=True) == all_at(once=False)


def test_threads_take_turns_with_one_network() -> None:
    network = CompiledNetwork(LAYERS, SHAPE, 8)
    wanted = [network.predict(weights(seed), images(200, seed)) for seed in range(4)]
    found: dict[int, np.ndarray] = {}

    def work(seed: int) -> None:
        for _ in range(30):
            found[seed] = network.predict(weights(seed), images(200, seed))
            if not np.array_equal(found[seed], wanted[seed]):
                return

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        assert np.array_equal(found[seed], wanted[seed])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_process_may_be_forked_between_calls() -> None:
    """The network is used before and after, in both processes, with several threads."""
    code = """
import os, sys
import numpy as np
sys.path[:0] = {paths!r}
from test_network import *
network = CompiledNetwork(LAYERS, SHAPE, 8, training=True, threads=3)
def work():
    tensors = trained()
    taken = take_steps(network, tensors=tensors)
    logits = network.predict(weights(), images(100))
    return taken.losses.tobytes() + tensors["end.weight"].value.tobytes() + logits.tobytes()
wanted = work()
child = os.fork()
same = work() == wanted
if child == 0:
    network.close()
    os._exit(0 if same else 1)
_, status = os.waitpid(child, 0)
print(same, os.waitstatus_to_exitcode(status), work() == wanted)
"""
    answer = subprocess.run(
        [sys.executable, "-c", code.format(paths=sys.path)], capture_output=True, text=True
    )
    assert (answer.stdout, answer.stderr) == ("True 0 True\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_process_may_be_forked_while_another_thread_is_in_a_call() -> None:
    code = """
import os, signal, sys, threading
sys.path[:0] = {paths!r}
from test_network import *
network = CompiledNetwork(LAYERS, SHAPE, 8, threads=2)
def work():
    return network.predict(weights(), images(3000)).tobytes()
wanted, ended = work(), threading.Event()
def keep_working():
    while not ended.is_set():
        work()
thread = threading.Thread(target=keep_working)
thread.start()
for _ in range(5):
    while not network._working.locked():
        pass
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if work() == wanted else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
ended.set()
thread.join()
print(work() == wanted)
"""
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code.format(paths=sys.path)],
        capture_output=True,
        text=True,
    )
    assert (answer.stdout, answer.stderr) == ("0\n" * 5 + "True\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_process_that_was_forked_during_training_can_train_with_the_same_network() -> None:
    """Whatever was half done at that moment is begun anew; hence the many children."""
    code = """
import os, signal, sys, threading, time
sys.path[:0] = {paths!r}
from test_network import *
sizes = (84, 640, 128, 128)
layers = [Flatten(input=-1)]
for i, (n, m) in enumerate(zip(sizes, sizes[1:])):
    if i:
        layers.append(ReLU(input=len(layers) - 1))
    of = dict(weight=str(i), bias=None, transposed=False)
    layers.append(Linear(input=len(layers) - 1, in_features=n, out_features=m, **of))
network = CompiledNetwork(layers, SHAPE, 16, training=True, threads=2)
def train(steps):
    numbers = np.random.RandomState(0)
    tensors = {{}}
    for i, (n, m) in enumerate(zip(sizes, sizes[1:])):
        start = (numbers.randn(m, n) / 20).astype(np.float32)
        tensors[str(i)] = TrainedTensor(start, [], is_trained=True)
    order = np.resize(np.arange(20), 16 * steps)
    take_steps(network, tensors=tensors, order=order, learning_rates=[0.01] * steps)
    return b"".join(each.value.tobytes() for each in tensors.values())
wanted = train(10)
children = []
for i in range(25):
    thread = threading.Thread(target=train, args=(300,))
    thread.start()
    while not network._working.locked():
        pass
    time.sleep(0.005 + i / 5000)
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if train(10) == wanted else 1)
    thread.join()
    children.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(sum(map(bool, children)))
"""
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code.format(paths=sys.path)],
        capture_output=True,
        text=True,
    )
    assert (answer.stdout, answer.stderr) == ("0\n", "")


def test_predicting_needs_no_pytorch() -> None:
    code = """
import sys
sys.modules["torch"] = None
sys.path[:0] = {paths!r}
import numpy as np
from tenfold.native.network import CompiledNetwork
from tenfold.models.layers import Flatten, Linear
linear = Linear(
    input=0, in_features=4, out_features=2, weight="w", bias="b", transposed=False
)
network = CompiledNetwork((Flatten(input=-1), linear), (1, 2, 2), 3)
weights = {{"w": np.ones((2, 4), np.float32), "b": np.arange(2, dtype=np.float32)}}
print(network.predict(weights, np.full((1, 1, 2, 2), 255, np.uint8)).tolist())
"""
    answer = subprocess.run(
        [sys.executable, "-c", code.format(paths=sys.path)], capture_output=True, text=True
    )
    assert (answer.stdout, answer.stderr) == ("[[4.0, 5.0]]\n", "")
