"""Layer lists give a network's logits to the bit; a network without one gives None."""

import copy
import os
import random
import subprocess
import sys
import threading
import warnings

import jaxtyping
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.nn.utils import prune

from interpreter import interpret
from tenfold.errors import UsageError
from tenfold.models import MODELS, build
from tenfold.models.calls import NotAListError
from tenfold.models.layers import Linear, output_shapes
from tenfold.models.tracing import layer_list, require_layer_list
from thoroughness import some

ARGUMENTS = [
    ("softmax", {}),
    ("softmax-scratch", {}),
    ("softmax-scratch", {"init_std": 0.5}),
    ("mlp", {}),
    ("mlp", {"hidden": []}),
    ("mlp", {"hidden": [5, 4, 3], "dropout": 0.5}),
    ("lenet", {}),
    ("lenet", {"dropout": 0.25}),
    ("cifar-cnn", {"hidden": [7], "dropout": 0.1}),
    ("cifar-cnn", {"hidden": []}),
    ("convpool", {"channels": [4, 8], "hidden": [16, 8]}),
    ("convpool", {"channels": [4], "kernels": [3], "hidden": [], "dropout": 0.0}),
    ("resnet-small", {}),
    ("resnet-small", {"widths": [4, 4, 8], "blocks": 2, "dropout": 0.3}),
    ("resnet-small", {"widths": [3]}),
    ("resnet-small", {"widths": [3, 5], "stem_pool": True}),
    ("resnet18", {"dropout": 0.3}),
    ("resnet34", {"stem_stride": 1, "stem_pool": False}),
    ("resnet50", {}),
]


def pictures(shape, n=5):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(1))


def unsettled(network, shape):
    """The network with running means and variances that differ from the initial ones."""
    network.train()(pictures(shape, n=6) * 3)
    return network


def require_same(network, shape):
    """Check the list's shapes, logits and, in training, gradients against the network's."""
    layers = layer_list(network)
    assert layers is not None
    images = pictures(shape)
    logits = network.eval()(images)
    assert output_shapes(layers, shape)[-1] == logits.shape[1:]
    assert torch.equal(interpret(layers, network.state_dict(), images), logits)

    other = copy.deepcopy(network)
    torch.manual_seed(7)
    logits = network.train()(images)
    torch.manual_seed(7)
    weights = {**dict(other.named_parameters()), **dict(other.named_buffers())}
    ours = interpret(layers, weights, images, training=True)
    assert torch.equal(ours, logits)
    logits.square().sum().backward()
    ours.square().sum().backward()
    for (name, theirs), own in zip(network.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(theirs.grad, own.grad), name
    for (name, theirs), own in zip(network.named_buffers(), other.buffers(), strict=True):
        assert torch.equal(theirs, own), name


def test_every_model_of_the_table_is_tested():
    assert {name for name, _ in ARGUMENTS} == set(MODELS)


@pytest.mark.parametrize(("name", "arguments"), ARGUMENTS)
@pytest.mark.parametrize("shape", some([(3, 32, 36), (1, 28, 28)]))
def test_every_model_of_the_table_is_its_list(name, arguments, shape):
    torch.manual_seed(0)
    require_same(unsettled(build(name, shape, 4, **arguments), shape), shape)


def network(forward, **parts):
    """A module with these submodules and this forward, which gets the module as `self`."""

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            for name, part in parts.items():
                setattr(self, name, part)

    Network.forward = forward
    return Network()


def conv(**changes):
    return nn.Conv2d(**{"in_channels": 1, "out_channels": 4, "kernel_size": 3} | changes)


def head(inputs=36):
    return nn.Linear(inputs, 3)


def of_functions():
    """PyTorch's first example, without its softmax."""

    def forward(self, x):
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), kernel_size=2, stride=1))
        x = F.dropout(x, training=self.training)
        return self.fc2(F.relu(self.fc1(x.view(-1, 3))))

    return network(
        forward,
        conv1=conv(),
        conv2=nn.Conv2d(4, 3, 2),
        fc1=nn.Linear(3, 8),
        fc2=nn.Linear(8, 3),
    )


def reshaped(reshape):
    return network(lambda self, x: self.fc(reshape(self.conv(x))), conv=conv(), fc=head(144))


def pooled(pool):
    return network(
        lambda self, x: self.fc(torch.flatten(pool(self.conv(x)), start_dim=1)),
        conv=conv(),
        fc=nn.LazyLinear(3),
    )


def preactivation_block():
    """Two branches joined again, where the shortcut is read twice."""

    def forward(self, x):
        x = self.stem(x)
        y = self.second(torch.relu(self.bn2(self.first(self.bn1(x).relu()))))
        x = torch.add(x, y) + self.shortcut(x)
        return self.fc(x.mean([-2, -1]))

    return network(
        forward,
        stem=conv(padding=1),
        bn1=nn.BatchNorm2d(4, eps=1e-3, momentum=0.3),
        bn2=nn.BatchNorm2d(4),
        first=nn.Conv2d(4, 4, 3, padding="same", bias=False),
        second=nn.Conv2d(4, 4, (1, 3), padding=(0, 1)),
        shortcut=nn.Sequential(nn.Identity(), nn.Conv2d(4, 4, 1)),
        fc=head(4),
    )


def overwriting_block():
    """As in torchvision: ReLU in place, and `+=`."""

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(x))
        out += x
        return self.fc(self.relu(out).flatten(1))

    return network(
        forward,
        conv1=conv(bias=False),
        bn1=nn.BatchNorm2d(4),
        conv2=nn.Conv2d(4, 4, 3, padding=1),
        bn2=nn.BatchNorm2d(4),
        relu=nn.ReLU(inplace=True),
        fc=head(144),
    )


class Noisy(nn.Module):
    """A beginner's network that prints and keeps what it saw."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), head(64))

    def forward(self, x):
        print("images:", x.shape)
        self.last = x
        return self.layers(x)


class Counting(nn.Module):
    """Changes what it computes, or could, with each call."""

    seen, calls_of_all = (), 0

    def __init__(self, count):
        super().__init__()
        self.fc, self.drop, self.calls, self.count = head(64), nn.Dropout(0.1), 0, count

    def forward(self, x):
        self.count(self)
        return self.fc(self.drop(x.flatten(1)))


CALLS = [0]


def raw_tensors():
    return network(
        lambda self, x: F.relu(x.flatten(1) @ self.W1 + self.b1) @ self.W2 + self.b2,
        W1=nn.Parameter(torch.randn(64, 5)),
        b1=nn.Parameter(torch.randn(5)),
        W2=nn.Parameter(torch.randn(5, 3)),
        b2=nn.Parameter(torch.randn(3)),
    )


LISTS = {
    "a row": lambda: nn.Sequential(
        conv(stride=2, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), head(16)
    ),
    "rows in a row": lambda: nn.Sequential(
        nn.Sequential(conv(padding="valid"), nn.ReLU()), nn.Sequential(nn.Flatten(), head(144))
    ),
    "a pool to one pixel": lambda: nn.Sequential(
        conv(), nn.AdaptiveAvgPool2d((1, 1)), nn.Conv2d(4, 3, 1), nn.Flatten()
    ),
    "windows that are not square": lambda: nn.Sequential(
        conv(kernel_size=(3, 5), stride=(1, 2), padding=(0, 3)),
        nn.MaxPool2d((3, 2), stride=(2, 1), padding=(1, 0)),
        nn.AvgPool2d(2, stride=1, padding=1),
        nn.Flatten(),
        nn.LazyLinear(3),
    ),
    "an input that is added to": lambda: nn.Sequential(
        network(lambda self, x: x + self.conv(x), conv=conv(out_channels=1, padding=1)),
        nn.Flatten(),
        head(64),
    ),
    "functions": of_functions,
    "torch.flatten": lambda: reshaped(lambda x: torch.flatten(x, 1)),
    "x.flatten": lambda: reshaped(lambda x: x.flatten(start_dim=1)),
    "x.view by size": lambda: reshaped(lambda x: x.view(x.size(0), -1)),
    "x.view by size()": lambda: reshaped(lambda x: x.view(x.size()[0], 144)),
    "x.reshape by shape": lambda: reshaped(lambda x: x.reshape((x.shape[0], -1))),
    "x.view by features": lambda: reshaped(lambda x: x.view(-1, 144)),
    "torch.reshape": lambda: reshaped(lambda x: torch.reshape(x, (-1, 144))),
    "F.avg_pool2d": lambda: pooled(lambda x: F.avg_pool2d(x, 2, padding=1)),
    "F.max_pool2d": lambda: pooled(lambda x: F.max_pool2d(x, (2, 3), stride=1, padding=1)),
    "F.adaptive_avg_pool2d": lambda: pooled(lambda x: F.adaptive_avg_pool2d(x, 1)),
    "torch.mean": lambda: pooled(lambda x: torch.mean(x, dim=(2, 3))),
    "x.mean with its axes kept": lambda: pooled(lambda x: x.mean((3, 2), keepdim=True)),
    "two ways": preactivation_block,
    "overwriting": overwriting_block,
    "raw tensors": raw_tensors,
    "one that prints": Noisy,
}


def random_states():
    of_numpy = np.random.get_state()  # noqa: NPY002
    return random.getstate(), of_numpy[1].tolist(), of_numpy[2], torch.get_rng_state().tolist()


def initialized(make):
    torch.manual_seed(0)
    network = make()
    network(pictures((1, 8, 8)))  # gives lazy layers their sizes
    return unsettled(network, (1, 8, 8))


@pytest.mark.parametrize("name", LISTS)
def test_a_network_of_known_layers_is_its_list(name):
    require_same(initialized(LISTS[name]), (1, 8, 8))


@pytest.mark.parametrize("name", LISTS)
def test_the_network_does_not_change(name, capsys, monkeypatch):
    # The type checker itself draws random numbers.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    model = initialized(LISTS[name])
    next(model.children(), model).eval()
    print("so far", end="")
    before = {
        key: (id(value), value.clone()) for key, value in model.state_dict(keep_vars=True).items()
    }
    attributes = {key: dict(vars(part)) for key, part in model.named_modules()}
    states = random_states()
    assert layer_list(model) is not None
    after = model.state_dict(keep_vars=True)
    assert {key: id(value) for key, value in after.items()} == {
        key: identity for key, (identity, _) in before.items()
    }
    assert all(torch.equal(after[key], value) for key, (_, value) in before.items())
    for key, part in model.named_modules():
        assert vars(part).keys() == attributes[key].keys()
        assert all(vars(part)[name] is value for name, value in attributes[key].items())
    assert random_states() == states
    assert capsys.readouterr().out.endswith("so far")


def test_no_weights_are_needed():
    real, outline = (
        build("resnet-small", (1, 9, 9), 3, device=device) for device in ("cpu", "meta")
    )
    assert layer_list(outline) == layer_list(real) != None  # noqa: E711
    assert layer_list(real.eval()) == layer_list(outline)


def test_a_reshape_of_features_into_images_gives_no_list():
    layers = layer_list(reshaped(lambda x: x.view(-1, 144)))
    output_shapes(layers, (1, 8, 8))
    with pytest.raises(UsageError, match=r"it reads 576, wanted 144 features"):
        output_shapes(layers, (1, 14, 14))  # 4 channels of 12x12 pixels


def test_the_entries_say_where_their_weights_are():
    layers = layer_list(raw_tensors())
    assert [layer for layer in layers if isinstance(layer, Linear)] == [
        Linear(input=0, in_features=64, out_features=5, weight="W1", bias="b1", transposed=True),
        Linear(input=2, in_features=5, out_features=3, weight="W2", bias="b2", transposed=True),
    ]


# ---- Networks without a list -------------------------------------------------------------------


class TwiceLinear(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class SameLinear(nn.Linear):
    pass


class FrozenNormalization(nn.Sequential):
    def train(self, mode=True):
        super().train(mode)
        self[1].eval()
        return self


class CalledOtherwise(nn.Sequential):
    def __call__(self, x):
        return super().__call__(x) * 2


class OtherParameter(nn.Parameter):
    pass


class NotSaved(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = head(64)
        self.register_buffer("mean", torch.zeros(1), persistent=False)

    def forward(self, x):
        return self.fc(x.flatten(1))


def flat(*layers):
    return nn.Sequential(nn.Flatten(), *(layers or [head(64)]))


def flat_forward(forward, **parts):
    return network(lambda self, x: forward(self, x.flatten(1)), **{"fc": head(64)} | parts)


def hooked(register):
    model = flat()
    register(model[1])
    return model


def tied(layers):
    layers[-1].weight = layers[1].weight
    return layers


def tied_by_memory(layers):
    layers[-1].weight.data = layers[1].weight.data
    return layers


def changed(layer, **attributes):
    for name, value in attributes.items():
        setattr(layer, name, value)
    return nn.Sequential(layer, nn.Flatten(), nn.LazyLinear(3))


def changed_methods(**methods):
    model = flat(nn.Linear(64, 64), nn.Dropout(), head(64))
    for name, method in methods.items():
        setattr(model[2], name, method)
    return model


class CalledInside(nn.Identity):
    def _call_impl(self, x):
        return -x


def chance(self, x):
    return self.fc(x if self.rng.random() < 0.9 else -x)


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(flat())


def without_gradients(self, x):
    with torch.no_grad():
        return self.fc(x)


def gradients_decide(self, x):
    return self.fc(x if torch.is_grad_enabled() else -x)


def window(layer):
    return nn.Sequential(layer, nn.Flatten(), nn.LazyLinear(3))


def parametrized():
    model = flat()
    nn.utils.parametrizations.weight_norm(model[1])
    return model


def pruned():
    model = flat()
    prune.l1_unstructured(model[1], "weight", 0.5)
    return model


def other_forward():
    model = flat()
    model[1].forward = lambda x: x.sum(1, keepdim=True)
    return model


def without_gradient(self, x):
    with torch.no_grad():
        x = self.first(x)
    return self.fc(x)


def in_half_precision(self, x):
    with torch.autocast("cpu", torch.bfloat16):
        return self.fc(x)


def overwritten_under_another_name(self, x):
    x = kept = self.first(x)
    x += self.second(x)
    return self.fc(x + kept)


def overwritten_by_relu(self, x):
    x = self.first(x)
    return self.fc(F.relu(x, inplace=True) + x)


def overwritten_through_a_view(self, x):
    x = self.conv(x)
    y = F.relu(x.flatten(1), inplace=True)
    return self.fc(y + x.flatten(1))


def product_used_twice(self, x):
    product = x @ self.W
    return (product + self.b) + (product + self.b)


SQUARE = {"first": nn.Linear(64, 64), "second": nn.Linear(64, 64)}
NO_LISTS = {
    "weights used twice": lambda: flat_forward(
        lambda self, x: self.fc(self.first(self.first(x))), **SQUARE
    ),
    "tied weights": lambda: tied(flat(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))),
    "weights in the same memory": lambda: tied_by_memory(
        flat(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
    ),
    "one layer under two names": lambda: flat(*[nn.Linear(64, 64)] * 2),
    "unused weights": lambda: flat_forward(lambda self, x: self.fc(x), unused=head()),
    "a layer for nothing": lambda: flat_forward(lambda self, x: (self.second(x), self.fc(x))[1],
                                                **SQUARE),
    "a forward hook": lambda: hooked(lambda m: m.register_forward_hook(lambda *_: None)),
    "a forward pre-hook": lambda: hooked(lambda m: m.register_forward_pre_hook(lambda *_: None)),
    "a backward hook": lambda: hooked(lambda m: m.register_full_backward_hook(lambda *_: None)),
    "a parameter's hook": lambda: hooked(lambda m: m.weight.register_hook(lambda g: g * 2)),
    "a hook after a gradient": lambda: hooked(
        lambda m: m.weight.register_post_accumulate_grad_hook(lambda p: None)
    ),
    "a hook on saving": lambda: hooked(
        lambda m: m.register_state_dict_post_hook(lambda _m, state, prefix, _l: state.clear())
    ),
    "a subclass with another forward": lambda: flat(TwiceLinear(64, 3)),
    "a subclass": lambda: flat(SameLinear(64, 3)),
    "another forward": other_forward,
    "another train": lambda: FrozenNormalization(
        conv(), nn.BatchNorm2d(4), nn.Flatten(), head(144)
    ),
    "a train of its own": lambda: changed_methods(train=lambda mode=True: None),
    "an eval of its own": lambda: changed_methods(eval=lambda: None),
    "another way to call": lambda: flat(CalledInside(), head(64)),
    "gradients decide": lambda: flat_forward(gradients_decide),
    "a generator of Python's": lambda: flat_forward(chance, rng=random.Random(3)),
    "a generator of NumPy's": lambda: flat_forward(chance, rng=np.random.default_rng(3)),
    "a generator of PyTorch's": lambda: flat_forward(
        lambda self, x: self.fc(x if torch.rand((), generator=self.rng) < 0.9 else -x),
        rng=torch.Generator(),
    ),
    "another __call__": lambda: CalledOtherwise(nn.Flatten(), head(64)),
    "a parameter of another kind": lambda: changed(
        conv(), weight=OtherParameter(torch.ones(4, 1, 3, 3))
    ),
    "weight normalization": parametrized,
    "pruning": pruned,
    "a sum decides": lambda: flat_forward(
        lambda self, x: self.fc(x) if x.sum() > 0 else self.fc(-x)
    ),
    "a shape decides": lambda: flat_forward(
        lambda self, x: self.fc(x if len(x) > 1 else torch.relu(x))
    ),
    "the mode decides": lambda: flat_forward(
        lambda self, x: self.fc(x) if self.training else self.fc(torch.relu(x))
    ),
    "chance of torch decides": lambda: flat_forward(
        lambda self, x: self.fc(x) if torch.rand(1) < 2 else x
    ),
    "chance of Python decides": lambda: flat_forward(
        lambda self, x: self.fc(x) if random.random() < 2 else x
    ),
    "chance of NumPy decides": lambda: flat_forward(
        lambda self, x: self.fc(x) if np.random.rand() < 2 else x  # noqa: NPY002
    ),
    "calls that are counted": lambda: Counting(lambda m: setattr(m, "calls", m.calls + 1)),
    "calls that are counted in the class": lambda: Counting(
        lambda m: setattr(type(m), "calls_of_all", type(m).calls_of_all + 1)
    ),
    "calls that are counted in a global variable": lambda: Counting(lambda _: CALLS.append(1)),
    "dropout that grows": lambda: Counting(lambda m: setattr(m.drop, "p", m.drop.p + 0.01)),
    "a layer that is replaced": lambda: Counting(lambda m: setattr(m, "fc", head(64))),
    "dropout that never stops": lambda: flat_forward(lambda self, x: self.fc(F.dropout(x, 0.1))),
    "dropout of channels": lambda: window(nn.Dropout2d(0.1)),
    "dropout of everything": lambda: flat(nn.Dropout(1.0), head(64)),
    "layer normalization": lambda: flat(nn.LayerNorm(64), head(64)),
    "group normalization": lambda: window(nn.GroupNorm(1, 1)),
    "another activation": lambda: flat(head(64), nn.GELU()),
    "a softmax at the end": lambda: flat_forward(lambda self, x: F.log_softmax(self.fc(x), dim=1)),
    "scaling": lambda: flat_forward(lambda self, x: self.fc(x / 2)),
    "a number added": lambda: flat_forward(lambda self, x: self.fc(x) + 1),
    "a constant added": lambda: flat_forward(lambda self, x: self.fc(x) + torch.ones(3)),
    "an offset added": lambda: flat_forward(
        lambda self, x: self.fc(x) + self.offset, offset=nn.Parameter(torch.ones(3))
    ),
    "more than added": lambda: flat_forward(
        lambda self, x: self.fc(torch.add(x, self.first(x), alpha=2)), **SQUARE
    ),
    "a product used twice": lambda: flat_forward(
        product_used_twice, fc=nn.Identity(), W=nn.Parameter(torch.ones(64, 3)),
        b=nn.Parameter(torch.ones(3)),
    ),
    "a bias for every image": lambda: flat_forward(
        lambda self, x: x @ self.W + self.b, fc=nn.Identity(), W=nn.Parameter(torch.ones(64, 3)),
        b=nn.Parameter(torch.ones(1, 3)),
    ),
    "a second input": lambda: network(
        lambda self, x, scale=None: self.fc(x.flatten(1)), fc=head(64)
    ),
    "two outputs": lambda: flat_forward(lambda self, x: (self.fc(x), x)),
    "no layers": nn.Sequential,
    "a buffer": lambda: flat_forward(lambda self, x: self.fc(x), bn=nn.BatchNorm2d(1)),
    "a buffer that is not saved": NotSaved,
    "double precision": lambda: flat().double(),
    "half precision": lambda: flat().to(torch.bfloat16),
    "half precision in between": lambda: flat_forward(in_half_precision),
    "no gradient in between": lambda: flat_forward(without_gradient, **SQUARE),
    "a detour without gradient": lambda: flat_forward(
        lambda self, x: self.fc(self.first(x).detach()), **SQUARE
    ),
    "overwritten under another name": lambda: flat_forward(
        overwritten_under_another_name, **SQUARE
    ),
    "overwritten by ReLU": lambda: flat_forward(overwritten_by_relu, **SQUARE),
    "overwritten through a view": lambda: network(
        overwritten_through_a_view, conv=conv(), fc=head(144)
    ),
    "overwritten images": lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), head(64)),
    "all in one row": lambda: network(lambda self, x: torch.flatten(x)),
    "features as images": lambda: network(
        lambda self, x: F.relu(self.conv(x).view(-1, 4)), conv=conv()
    ),
    "channels as images": lambda: network(
        lambda self, x: self.conv(x).view(x.size(2), -1), conv=conv(out_channels=8)
    ),
    "rows as images": lambda: network(
        lambda self, x: self.conv(x).view(x.shape[2], -1), conv=conv(out_channels=8)
    ),
    "a fixed number of images": lambda: flat_forward(lambda self, x: self.fc(x.view(5, -1))),
    "a view of something else": lambda: flat_forward(lambda self, x: self.fc(x).view(-1, 3, 1)),
    "dilation": lambda: window(conv(dilation=2)),
    "groups": lambda: nn.Sequential(
        conv(), nn.Conv2d(4, 4, 1, groups=2), nn.Flatten(), head(144)
    ),
    "reflected padding": lambda: window(conv(padding=1, padding_mode="reflect")),
    "padding of an even kernel": lambda: window(conv(kernel_size=2, padding="same")),
    "a transposed convolution": lambda: window(nn.ConvTranspose2d(1, 2, 3)),
    "pooling of what is left": lambda: window(nn.MaxPool2d(3, ceil_mode=True)),
    "averaging of what is left": lambda: window(nn.AvgPool2d(3, ceil_mode=True)),
    "pooling with gaps": lambda: window(nn.MaxPool2d(2, dilation=2)),
    "pooling without its padding": lambda: window(
        nn.AvgPool2d(2, padding=1, count_include_pad=False)
    ),
    "pooling with another divisor": lambda: window(nn.AvgPool2d(2, divisor_override=3)),
    "pooling to four pixels": lambda: window(nn.AdaptiveAvgPool2d(2)),
    "the mean of rows": lambda: network(lambda self, x: self.fc(x.mean(dim=(1, 2))), fc=head(8)),
    "normalization without weights": lambda: window(nn.BatchNorm2d(1, affine=False)),
    "normalization that keeps nothing": lambda: window(
        nn.BatchNorm2d(1, track_running_stats=False)
    ),
    "normalization that stopped keeping": lambda: changed(
        nn.BatchNorm2d(1), track_running_stats=False
    ),
    "normalization that counts otherwise": lambda: changed(
        nn.BatchNorm2d(1), num_batches_tracked=torch.tensor(0, dtype=torch.int32)
    ),
    "normalization over all batches": lambda: window(nn.BatchNorm2d(1, momentum=None)),
    "normalization of features": lambda: flat(nn.BatchNorm1d(64), head(64)),
    "something that cannot be copied": lambda: flat_forward(
        lambda self, x: self.fc(x), lock=threading.Lock()
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_LISTS)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_other_networks_give_none(name):
    model = NO_LISTS[name]()
    parameter = next(model.parameters(), torch.empty(0))
    model(pictures((1, 8, 8)).to(getattr(parameter, "dtype", torch.float32)))  # it does work
    assert layer_list(model) is None


@pytest.mark.parametrize(
    ("make", "blamed"),
    [
        (lambda: flat(nn.Linear(64, 4), nn.LeakyReLU()), "its module 2 is LeakyReLU$"),
        (
            lambda: nn.Sequential(nn.Conv2d(1, 1, 3, dilation=2), nn.Flatten()),
            "its module 0 is Conv2d with options that no layer has$",
        ),
        (lambda: flat_forward(lambda self, x: self.fc(x).exp()), "its code calls exp$"),
        (
            lambda: flat_forward(lambda self, x: self.fc(x.view(2, -1))),
            "its code calls view with arguments",
        ),
        (lambda: flat_forward(lambda self, x: (self.fc(x), x)), "its output is not the output"),
        (
            lambda: flat_forward(lambda self, x: 1 / 0),
            "tracing its code raises ZeroDivisionError: ",
        ),
        (
            lambda: flat_forward(lambda self, x: self.fc(x if x.sum() > 0 else -x)),
            "tracing its code raises TraceError: symbolically traced variables cannot be used as ",
        ),
        (lambda: flat_forward(without_gradients), "its code switches gradients or precision$"),
        (
            lambda: hooked(lambda m: m.register_forward_hook(lambda *_: None)),
            "its module 1 has hooks$",
        ),
        (
            lambda: changed_methods(train=lambda mode=True: None),
            "its module 2 has its own method train$",
        ),
        (lambda: flat(CalledInside(), head(64)), "its module 1 has its own method _call_impl"),
        (scripted, "it is compiled by torch.jit$"),
        (lambda: tied(flat(head(64), nn.Linear(64, 64))), "two of its tensors share memory"),
        (lambda: flat().double(), "1.weight is torch.float64"),
    ],
)
def test_the_reason_is_named(make, blamed):
    with pytest.raises(NotAListError, match=f"^{blamed}"):
        require_layer_list(make())


def test_tied_weights_are_found_without_memory():
    square = nn.Linear(64, 64), nn.Linear(64, 64)
    assert layer_list(flat(*square).to("meta")) is not None
    assert layer_list(tied(flat(*square)).to("meta")) is None


def test_with_hooks_on_all_modules_nothing_is_a_list():
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert layer_list(flat()) is None
    finally:
        handle.remove()
    assert layer_list(flat()) is not None


def test_the_compiler_is_not_loaded():
    code = (
        "import sys; from tenfold.models import MODELS, build\n"
        "from tenfold.models.tracing import layer_list\n"
        "for name in MODELS: assert layer_list(build(name, (1, 28, 28), 10)), name\n"
        "assert not {'torch._dynamo', 'torch._inductor'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["torch", "Python", "NumPy"])
def test_the_random_state_is_restored(name, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    model = NO_LISTS[f"chance of {name} decides"]()
    before = random_states()
    assert layer_list(model) is None
    assert random_states() == before


def test_threads_that_trace_and_run_do_not_disturb_each_other(monkeypatch):
    # The type checker draws random numbers, which would look like the network's.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    model, other = (build("resnet-small", (1, 8, 8), 3).eval() for _ in "ab")
    images, call = pictures((1, 8, 8)), nn.Module.__call__
    logits, traced, answers = model(images), threading.Event(), []

    def run():
        while not traced.is_set():
            answers.append(torch.equal(model(images), logits))

    def trace():
        answers.extend(layer_list(other) is not None for _ in range(20))

    runner, tracers = threading.Thread(target=run), [threading.Thread(target=trace) for _ in "ab"]
    for thread in (runner, *tracers):
        thread.start()
    for thread in tracers:
        thread.join()
    traced.set()
    runner.join()
    assert len(answers) > 40
    assert all(answers)
    assert nn.Module.__call__ is call


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_process_may_be_forked_while_a_thread_traces():
    code = """
import os, signal, sys, threading
from torch import nn
from tenfold.models import build
from tenfold.models.tracing import layer_list
network, call, ended = build("resnet-small", (1, 8, 8), 3), nn.Module.__call__, threading.Event()
def trace():
    while not ended.is_set():
        layer_list(network)
thread = threading.Thread(target=trace)
thread.start()
for _ in range(5):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        whole = nn.Module.__call__ is call and layer_list(network) is not None
        os._exit(0 if whole else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=sys.__stdout__)
ended.set()
thread.join()
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert (answer.stdout, answer.stderr) == ("0\n" * 5, "")


def test_it_is_the_same_list_in_inference_mode():
    model = NO_LISTS["gradients decide"]()
    with torch.inference_mode():
        assert layer_list(model) is None
        assert layer_list(flat()) is not None


def test_a_network_that_fails_gives_none():
    assert layer_list(flat_forward(lambda self, x: self.nothing(x))) is None
    assert layer_list(flat(nn.LazyLinear(3))) is None  # it has no sizes yet
