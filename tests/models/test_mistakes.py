"""A learner's mistakes: each is explained where it is made, and what is advised mends it."""

from __future__ import annotations

import importlib.util
import tempfile
import textwrap
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tenfold.errors import TenfoldError, UsageError
from tenfold.evaluation import evaluate_accuracy
from tenfold.listening import Listener, Recorder
from tenfold.models import MODELS, ImageModel, Preprocessing, build
from tenfold.models.mistakes.checking import require_usable
from tenfold.models.mistakes.explaining import explained
from tenfold.training import train_epoch

SHAPE, CLASSES = (1, 28, 28), 10

HEAD = """
import torch
from torch import nn
import torch.nn.functional as F
from tenfold.training import train_epoch
"""

LENET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, 3)
        self.pool2 = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(400, 84)
        self.fc2 = nn.Linear(84, 10)

    def forward(self, x):
        x = self.pool1(F.relu(self.conv1(x)))
        x = self.pool2(F.relu(self.conv2(x)))
        x = x.flatten(1)
        x = F.relu(self.fc1(x))
        return self.fc2(x)
"""
"""On images of 28x28, 16 maps of 5x5 reach the linear layers: 24, 12, 10 and 5 pixels a side."""

MLP = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 20)
        self.fc2 = nn.Linear(20, 10)

    def forward(self, x):
        x = x.flatten(1)
        x = F.relu(self.fc1(x))
        return self.fc2(x)
"""

WITH_GRADIENTS = MLP.replace(
    "        x = x.flatten(1)\n",
    """
        with torch.inference_mode(False), torch.enable_grad():
            x = x.clone().flatten(1).requires_grad_()
            energy = self.fc1(x).tanh().sum()
            (x,) = torch.autograd.grad(energy, x, create_graph=True)
""",
)

KEEPING = """
from tenfold.evaluation import evaluate_accuracy
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(784, 10)
        self.scale = None

    def forward(self, x):
        if self.scale is None:
            self.scale = torch.linspace(0.9, 1.1, 10)
        return self.fc(x.flatten(1)) * self.scale.clone()

batch = torch.rand(6, 1, 28, 28), torch.tensor([0, 1, 2, 3, 4, 9])
net = Net()
evaluate_accuracy(net, [batch])
train_epoch(net, iter([batch]), torch.optim.SGD(net.parameters(), lr=0.1))
"""

LOOP = """
images, labels = torch.rand(6, 1, 28, 28), torch.tensor([0, 1, 2, 3, 4, 9])
net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
train_epoch(net, iter([(images, labels)]), optimizer)
"""


class Mistake(NamedTuple):
    """Code that works, the mistake made in it, and how it is mended."""

    right: str
    made: dict[str, str]
    """What is replaced in it to make the mistake."""
    says: tuple[str, ...]
    """What the message must contain, the remedy included."""
    mended: dict[str, str] | None = None
    """What is replaced in the wrong code, as the remedy says; None for what `made` replaced."""


MISTAKES = {
    "outputs of another number": Mistake(
        LENET,
        {"nn.Linear(84, 10)": "nn.Linear(84, 26)"},
        ("Net gives 26 outputs per image, wanted 10", "self.fc2 = nn.Linear(84, 10)"),
    ),
    "no last layer": Mistake(
        MLP,
        {"return self.fc2(x)": "return x"},
        ("Net gives 20 outputs per image, wanted 10", "self.fc1 = nn.Linear(784, 10)"),
        {"nn.Linear(784, 20)": "nn.Linear(784, 10)", "self.fc2 = nn.Linear(20, 10)": ""},
    ),
    "features after pooling": Mistake(
        LENET,
        {"nn.Linear(400, 84)": "nn.Linear(576, 84)"},
        (
            "net.py line 21, x = F.relu(self.fc1(x)): fc1 takes 576 features per image, but gets ",
            "400: pool2 gives 16 x 5 x 5, which is 400 numbers",
            "write self.fc1 = nn.Linear(400, 84)",
        ),
    ),
    "features of the images": Mistake(
        MLP,
        {"nn.Linear(784, 20)": "nn.Linear(28, 20)"},
        (
            "fc1 takes 28 features",
            "the images are 1 x 28 x 28, which is 784 numbers",
            "self.fc1 = nn.Linear(784, 20)",
        ),
    ),
    "features of the layer before": Mistake(
        MLP,
        {"nn.Linear(20, 10)": "nn.Linear(30, 10, bias=False)"},
        ("fc1 gives 20", "self.fc2 = nn.Linear(20, 10, bias=False)"),
        {"nn.Linear(30, 10, bias=False)": "nn.Linear(20, 10, bias=False)"},
    ),
    "features after pooling by a function": Mistake(
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 5)
        self.fc = nn.Linear(1152, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        return self.fc(x.flatten(1))
""",
        {"1152": "576"},
        (
            "fc takes 576 features per image, but gets 1152: max_pool2d gives 8 x 12 x 12, which ",
            "write self.fc = nn.Linear(1152, 10)",
        ),
    ),
    "features in a Sequential": Mistake(
        "Net = lambda: nn.Sequential(nn.Conv2d(1, 2, 5), nn.Flatten(), nn.Linear(1152, 10))",
        {"1152": "1250"},
        (
            "layer 2 (Linear) takes 1250 features per image, but gets 1152: layer 0 (Conv2d) ",
            "gives 2 x 24 x 24, which is 1152 numbers",
            "make layer 2 nn.Linear(1152, 10)",
        ),
    ),
    "features in a block": Mistake(
        """
class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(784, 10)

    def forward(self, x):
        return self.fc(x.flatten(1))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = Head()

    def forward(self, x):
        return self.head(x)
""",
        {"784": "10"},
        ("return self.fc(x.flatten(1)): head.fc takes 10", "self.fc = nn.Linear(784, 10) in Head"),
    ),
    "not flattened": Mistake(
        MLP,
        {"        x = x.flatten(1)\n": ""},
        ("fc1 takes 784 features per image, but gets 1 x 28 x 28, not flattened", "x.flatten(1)"),
    ),
    "not flattened in a Sequential": Mistake(
        "Net = lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10))",
        {"nn.Flatten(), ": ""},
        ("layer 0 (Linear) takes 784", "nn.Flatten()"),
    ),
    "a view of a wrong number": Mistake(
        LENET,
        {"x.flatten(1)": "x.view(-1, 576)", "400": "576"},
        (
            "line 20, x = x.view(-1, 576)",
            "x is 16 x 5 x 5, which is 400 numbers per image, not 576",
            "flatten with x.flatten(1), and write self.fc1 = nn.Linear(400, 84)",
        ),
    ),
    "a view that mixes images": Mistake(
        LENET,
        {"x.flatten(1)": "x.view(-1, 200)", "400": "200"},
        (
            "Net gives 4 rows of outputs for 2 images (in forward: x = x.view(-1, 200))",
            "x.flatten(1)",
            "self.fc1 = nn.Linear(400, 84)",
        ),
    ),
    "flatten of the whole batch": Mistake(
        MLP,
        {"x.flatten(1)": "x.flatten()[None]"},
        ("1 row for 2 images", "x.flatten(1)"),
    ),
    "a view for one size of batch": Mistake(
        MLP,
        {"x.flatten(1)": "x.view(64, -1)"},
        (
            "line 14, x = x.view(64, -1): (64, -1) is only for a batch of 64 images, and ",
            "this one has 2",
            "x.flatten(1), which takes a batch of any size",
        ),
    ),
    "a view for one size of batch, whose rows are shorter": Mistake(
        MLP,
        {"x.flatten(1)": "x.view(32, -1)"},
        (
            "32 rows for 2 images, wanted a row per image (in forward: x = x.view(32, -1))",
            "flatten",
        ),
    ),
    "a layer made of the images": Mistake(
        MLP,
        {"F.relu(self": "nn.ReLU(self"},
        (
            "line 16, return self.fc2(x): nn.ReLU(x) makes a layer and computes nothing",
            "(in forward: x = nn.ReLU(self.fc1(x))), wanted a call of one",
            "write nn.ReLU()(x)",
        ),
        {"nn.ReLU(self": "nn.ReLU()(self"},
    ),
    "a pooling made of the images": Mistake(
        MLP.replace("784", "196").replace("x.flatten", "F.max_pool2d(x, 2).flatten"),
        {"F.max_pool2d(x, 2)": "nn.MaxPool2d(x, 2)"},
        ("nn.MaxPool2d(x) makes a layer", "write nn.MaxPool2d(...)(x)"),
        {"nn.MaxPool2d(x, 2)": "nn.MaxPool2d(2)(x)"},
    ),
    "a function's layer made of the images": Mistake(
        MLP,
        {"F.relu(self.fc1(x))": "nn.Sigmoid(self.fc1(x))"},
        ("nn.Sigmoid(x) makes a layer", "write nn.Sigmoid()(x)"),
        {"nn.Sigmoid(": "nn.Sigmoid()("},
    ),
    "a layer returned": Mistake(
        MLP,
        {"return self.fc2(x)": "return nn.Softplus(self.fc2(x))"},
        ("(in forward: return nn.Softplus(self.fc2(x)))", "write nn.Softplus()(x)"),
        {"nn.Softplus(": "nn.Softplus()("},
    ),
    "a sum with a layer": Mistake(
        MLP,
        {"F.relu(self.fc1(x))": "self.fc1(x) + self.fc1"},
        ("fc1 is a layer of type Linear, wanted what it computes", "call it: self.fc1(x)"),
    ),
    "a layer that is not called": Mistake(
        MLP.replace("__init__()\n", "__init__()\n        self.relu = nn.ReLU()\n"),
        {"F.relu(self.fc1(x))": "self.relu"},
        ("return self.fc2(x): relu is a layer of type ReLU", "call it: self.relu(x)"),
    ),
    "a network that ends the process": Mistake(
        MLP, {"x = x.flatten(1)": "raise SystemExit(3)"}, ("Net raises SystemExit: 3",)
    ),
    "a view after permute": Mistake(
        MLP,
        {"x.flatten(1)": "x.permute(0, 2, 3, 1).transpose(1, 2).view(len(x), -1)"},
        ("permute or transpose", "reshape instead of view"),
        {"view(": "reshape("},
    ),
    "all numbers of all images in a row": Mistake(
        LENET,
        {"x.flatten(1)": "x.flatten()"},
        (
            "line 21, x = F.relu(self.fc1(x)): fc1 takes 400 features per image, but gets 1 row ",
            "for 2 images, wanted a row per image (in forward: x = x.flatten())",
            "x.flatten(1)",
        ),
    ),
    "a layer made in forward": Mistake(
        MLP,
        {"return self.fc2(x)": "return nn.Linear(20, 10)(x)"},
        ("Net.forward makes layers (return nn.Linear(20, 10)(x)), whose weights are new", "__init"),
        {"return nn.Linear(20, 10)(x)": "return self.fc2(x)"},
    ),
    "a layer made again in forward": Mistake(
        MLP,
        {"x = x.flatten(1)": "x = x.flatten(1); self.fc2 = nn.Linear(20, 10)"},
        ("Net.forward makes layers (x = x.flatten(1); self.fc2 = nn.Linear(20, 10))", "__init__"),
    ),
    "a layer that has its network inside": Mistake(
        MLP + "\n",
        {"self.fc2 = nn": "self.fc1.net = self\n        self.fc2 = nn"},
        ("Net contains itself, as fc1.net, wanted layers", "self.net = (module,)"),
        {"self.fc1.net = self": "self.fc1.net = (self,)"},
    ),
    "a state dict without the weights": Mistake(
        MLP,
        {"    def forward": "    def state_dict(self, *_, **__): return {}\n\n    def forward"},
        ("Net.state_dict leaves out fc1.weight, fc1.bias,", "super().state_dict(*args, **kwargs)"),
    ),
    "a buffer that grows": Mistake(
        MLP.replace(
            "__init__()\n", "__init__()\n        self.register_buffer('n', torch.zeros(2))\n"
        ),
        {"x = x.flatten(1)": "x = x.flatten(1); self.n = torch.cat([self.n, x[0, :1]])"},
        ("Net: n in its state dict was (2,) and became (3,) while it was used", "persistent=False"),
    ),
    "a softmax function": Mistake(
        MLP,
        {"return self.fc2(x)": "return F.softmax(self.fc2(x), dim=1)"},
        ("probabilities (return F.softmax(self.fc2(x), dim=1))", "a softmax of its own", "leave"),
    ),
    "a softmax layer": Mistake(
        "Net = lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10))",
        {"784, 10)": "784, 10), nn.Softmax(dim=1)"},
        ("gives probabilities (layer 2 (Softmax))", "leave out the softmax"),
    ),
    "a softmax over the images": Mistake(
        MLP,
        {"return self.fc2(x)": "return torch.softmax(self.fc2(x), 0)"},
        ("Net gives probabilities",),
    ),
    "no super().__init__()": Mistake(
        MLP,
        {"        super().__init__()\n": ""},
        (
            "line 9, self.fc1 = nn.Linear(784, 20): Net.__init__ does not call nn.Module's",
            "make super().__init__() the first line",
        ),
    ),
    "no super().__init__() with a parameter": Mistake(
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(784, 10))

    def forward(self, x):
        return x.flatten(1) @ self.weights
""",
        {"        super().__init__()\n": ""},
        ("Net.__init__ does not call nn.Module's", "super().__init__()"),
    ),
    "no super().__init__() with a number": Mistake(
        """
class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = 1

    def forward(self, x):
        return x.flatten(self.first)


Net = lambda: nn.Sequential(Flat(), nn.Linear(784, 10))
""",
        {"        super().__init__()\n": ""},
        ("Flat.__init__ does not call nn.Module's", "super().__init__()"),
    ),
    "a list of layers": Mistake(
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(784, 20), nn.Linear(20, 20)])
        self.last = nn.Linear(20, 10)

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.layers:
            x = F.relu(layer(x))
        return self.last(x)
""",
        {"nn.ModuleList(": "list("},
        ("self.layers is a plain list of layers", "self.layers = nn.ModuleList([...])"),
    ),
    "a dict of layers": Mistake(
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleDict({"fc": nn.Linear(784, 10)})

    def forward(self, x):
        return self.layers["fc"](x.flatten(1))
""",
        {"nn.ModuleDict(": "dict("},
        ("self.layers is a plain dict of layers", "self.layers = nn.ModuleDict(...)"),
    ),
    "a tuple of parameters": Mistake(
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = nn.ParameterList([torch.zeros(784, 10), torch.zeros(10)])

    def forward(self, x):
        return x.flatten(1) @ self.weights[0] + self.weights[1]
""",
        {
            "nn.ParameterList([torch.zeros(784, 10), torch.zeros(10)])": "(nn.Parameter("
            "torch.zeros(784, 10)), nn.Parameter(torch.zeros(10)))"
        },
        ("self.weights is a plain tuple of parameters", "self.weights = nn.ParameterList([...])"),
    ),
    "no parameters": Mistake(
        MLP,
        {
            "self.fc1 = nn": "fc1 = nn",
            "self.fc2 = nn": "fc2 = nn",
            "F.relu(self.fc1(x))": "x",
            "self.fc2(x)": "x[:, :10]",
        },
        ("Net has no parameters", "attributes of self in __init__"),
    ),
    "a plain tensor as weights": Mistake(
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(784, 10))

    def forward(self, x):
        return x.flatten(1) @ self.w
""",
        {"nn.Parameter(torch.zeros(784, 10))": "torch.zeros(784, 10, requires_grad=True)"},
        ("self.w is a plain tensor, which no optimizer finds", "self.w = nn.Parameter("),
    ),
    "all weights frozen": Mistake(
        "Net = lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).requires_grad_()",
        {"requires_grad_()": "requires_grad_(False)"},
        ("requires_grad is False for all parameters", ".requires_grad_()"),
    ),
    "lazy layers": Mistake(
        """
def Net():
    net = nn.Sequential(nn.Flatten(), nn.LazyLinear(10))
    net(torch.zeros(1, 1, 28, 28))
    return net
""",
        {"    net(torch.zeros(1, 1, 28, 28))\n": ""},
        ("lazy layers", "call it once before"),
    ),
    "a class without nn.Module": Mistake(
        MLP,
        {"(nn.Module)": "", "        super().__init__()\n": ""},
        ("of type Net, wanted an nn.Module", "class Net(nn.Module): and call super().__init__()"),
    ),
    "the class itself": Mistake(
        "Make = lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10))\nNet = lambda: Make()",
        {"lambda: Make()": "lambda: nn.Linear"},
        ("Linear is a class, wanted a network made from it", "Linear()"),
    ),
    "forward misspelt": Mistake(
        MLP,
        {"def forward": "def foward"},
        ("Net has a method 'foward', wanted 'forward'", "rename foward to forward"),
    ),
    "forward inside of __init__": Mistake(
        MLP,
        {
            MLP[MLP.index("    def forward") :]: textwrap.indent(
                MLP[MLP.index("    def forward") :], "    "
            )
        },
        ("Net has no method forward", "indented as far as __init__"),
    ),
    "a ModuleList that is called": Mistake(
        "Net = lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10))",
        {"nn.Linear(784, 10)": "nn.ModuleList([nn.Linear(784, 10)])"},
        ("layer 1 (ModuleList) is a ModuleList, which cannot be called", "nn.Sequential"),
    ),
    "forward without x": Mistake(
        MLP,
        {"forward(self, x)": "forward(self)"},
        ("Net.forward takes only self, wanted self and the images", "def forward(self, x)"),
    ),
    "forward without self": Mistake(
        MLP,
        {"forward(self, x)": "forward(x)"},
        ("Net.forward takes only x, wanted self and the images", "def forward(self, x)"),
    ),
    "forward with more": Mistake(
        MLP,
        {"forward(self, x)": "forward(self, x, labels)"},
        ("Net.forward takes self, x, labels, but gets only the images", "forward(self, x)"),
    ),
    "a misspelt layer": Mistake(
        LENET,
        {"self.conv2(x)": "self.cnv2(x)"},
        ("line 19, x = self.pool2(F.relu(self.cnv2(x))): Net has no attribute 'cnv2'", "'conv2'?"),
    ),
    "double precision": Mistake(
        "Net = lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10))",
        {"784, 10)": "784, 10).double()"},
        ("1.weight is torch.float64, wanted torch.float32", ".float()"),
        {"784, 10).double()": "784, 10).double().float()"},
    ),
    "double precision in forward": Mistake(
        MLP,
        {"x = x.flatten(1)": "x = x.flatten(1).double()"},
        ("fc1 gets numbers of type torch.float64", "x = x.float()"),
        {".double()": ".double(); x = x.float()"},
    ),
    "a layer on another device": Mistake(
        MLP,
        {"nn.Linear(20, 10)": 'nn.Linear(20, 10, device="meta")'},
        ("Net: fc2.weight is on meta, wanted cpu", "make it there"),
    ),
    "a network without values": Mistake(
        'Net = lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10, device="cpu"))',
        {'"cpu"': '"meta"'},
        ("is on the meta device, where weights have no values", 'leave out device="meta"'),
    ),
    "a plain tensor on another device": Mistake(
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(784))
        self.fc = nn.Linear(784, 10)

    def forward(self, x):
        return self.fc(x.flatten(1) - self.mean)
""",
        {
            'self.register_buffer("mean", torch.zeros(784))': (
                'self.mean = torch.zeros(784, device="meta")'
            )
        },
        ("Net: self.mean is a plain tensor", 'self.register_buffer("mean", ...)'),
    ),
    "a tensor made on another device": Mistake(
        MLP,
        {"x = x.flatten(1)": 'x = x.flatten(1) + torch.zeros(784, device="meta")'},
        ("line 14, x = x.flatten(1) + torch", "not on the network's device, cpu", "=x.device"),
        {'device="meta"': "device=x.device"},
    ),
    "a parameter changed in place": Mistake(
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(784, 10))

    def forward(self, x):
        w = self.w + 1
        return x.flatten(1) @ w
""",
        {"w = self.w + 1": "self.w += 1", "@ w": "@ self.w"},
        ("line 13, self.w += 1: a parameter is changed in place", "such as w = self.w + 1"),
    ),
    "a result changed in place": Mistake(
        MLP,
        {"F.relu(self.fc1(x))": "torch.sigmoid(self.fc1(x))\n        x += 1"},
        ("a result of Sigmoid was changed in place, perhaps in x += 1", "x = x + 1"),
        {"x += 1": "x = x + 1"},
    ),
    "nothing returned": Mistake(
        MLP,
        {"return self.fc2(x)": "self.fc2(x)"},
        ("Net.forward returns None, wanted the logits", "end forward with return"),
    ),
    "return print": Mistake(
        MLP,
        {"return self.fc2(x)": "return print(self.fc2(x))"},
        ("Net.forward returns None (return print(self.fc2(x)))", "print(x) returns nothing"),
    ),
    "a tuple": Mistake(
        MLP,
        {"return self.fc2(x)": "return self.fc2(x), x"},
        ("Net.forward returns a tuple of 2 (return self.fc2(x), x)", "return only the logits"),
    ),
    "a list": Mistake(
        MLP,
        {"return self.fc2(x)": "return [self.fc2(x)]"},
        ("Net.forward returns a list of 1", "return only the logits"),
    ),
    "a dict": Mistake(
        MLP,
        {"return self.fc2(x)": "return {'logits': self.fc2(x)}"},
        ("Net.forward returns a dict of 1", "return only the logits"),
    ),
    "the class instead of logits": Mistake(
        MLP,
        {"return self.fc2(x)": "return self.fc2(x).argmax(1)"},
        ("Net gives torch.int64", "without argmax"),
    ),
    "maps instead of rows": Mistake(
        "Net = lambda: nn.Sequential(nn.Conv2d(1, 10, 28), nn.Flatten())",
        {", nn.Flatten()": ""},
        ("gives 10 x 1 x 1 numbers per image", "x.flatten(1)"),
    ),
    "one number per image": Mistake(
        MLP,
        {"return self.fc2(x)": "return self.fc2(x).mean(1)"},
        ("Net gives outputs of shape [2] for 2 images", "such as mean()"),
    ),
    "no gradients": Mistake(
        MLP,
        {"return self.fc2(x)": "return self.fc2(x).detach()"},
        ("the loss has no gradients (in forward: return self.fc2(x).detach())", ".detach()"),
    ),
    "gradients in forward": Mistake(
        WITH_GRADIENTS,
        {"with torch.inference_mode(False), torch.enable_grad():": "if True:"},
        ("Net.forward takes gradients, but while", "torch.inference_mode(False)", "x.clone()"),
    ),
    "gradients in forward, of what needs none": Mistake(
        WITH_GRADIENTS,
        {".requires_grad_()": ""},
        ("Net.forward takes gradients of a value", "x.requires_grad_()"),
    ),
    "a tensor kept from evaluation": Mistake(
        KEEPING,
        {"self.scale.clone()": "self.scale"},
        ("Net uses a tensor that was made while the network was evaluated", ".clone()"),
    ),
    "channels of color images": Mistake(
        LENET,
        {"nn.Conv2d(1, 6, 5)": "nn.Conv2d(3, 6, 5)"},
        (
            "conv1 takes 3 channels, but gets 1; the images have 1",
            "self.conv1 = nn.Conv2d(1, 6, kernel_size=5)",
            "--set channels=3",
        ),
    ),
    "channels of the layer before": Mistake(
        LENET,
        {"nn.Conv2d(6, 16, 3)": "nn.Conv2d(3, 16, 3)"},
        ("conv2 takes 3 channels, but gets 6", "self.conv2 = nn.Conv2d(6, 16, kernel_size=3)"),
        {"nn.Conv2d(3, 16, 3)": "nn.Conv2d(6, 16, kernel_size=3)"},
    ),
    "channels of batch normalization": Mistake(
        "Net = lambda: nn.Sequential(nn.Conv2d(1, 2, 28), nn.BatchNorm2d(2), nn.Flatten(), "
        "nn.Linear(2, 10))",
        {"BatchNorm2d(2)": "BatchNorm2d(1)"},
        ("layer 1 (BatchNorm2d) takes 1 channel, but gets 2", "layer 1 nn.BatchNorm2d(2)"),
    ),
    "images too small for a convolution": Mistake(
        LENET,
        {"nn.Conv2d(6, 16, 3)": "nn.Conv2d(6, 16, 13)", "400": "16"},
        (
            "conv2 has a kernel of 13 x 13, but gets only 12 x 12 pixels, from images of 28 x 28",
            "self.conv2 = nn.Conv2d(6, 16, kernel_size=13, padding=1)",
        ),
        {"nn.Conv2d(6, 16, 13)": "nn.Conv2d(6, 16, kernel_size=13, padding=1)"},
    ),
    "images too small for pooling": Mistake(
        LENET,
        {"nn.MaxPool2d(2)": "nn.MaxPool2d(14)"},
        ("conv2 has a kernel of 3 x 3, but gets only 1 x 1 pixels", "leave out an earlier pooling"),
    ),
    "pooling of too few pixels": Mistake(
        LENET,
        {"self.pool2 = nn.MaxPool2d(2)": "self.pool2 = nn.MaxPool2d(11)"},
        ("pool2 has a window of 11, but gets only 10 x 10 pixels", "leave out pool2 or"),
        {"self.pool2(F.relu(self.conv2(x)))": "F.relu(self.conv2(x))", "400": "1600"},
    ),
    "a convolution of flattened images": Mistake(
        LENET,
        {"x = self.pool1(": "x = x.flatten(1)\n        x = self.pool1("},
        ("conv1 takes images", "784 per image, which is flattened", "after the last convolution"),
    ),
    "evaluation mode in forward": Mistake(
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(784, 10)

    def forward(self, x):
        return self.fc(self.dropout(x.flatten(1)))
""",
        {"        return": "        self.eval()\n        return"},
        (
            "Net.forward (self.eval()) switches Net, dropout, fc to evaluation mode",
            "leave that out",
        ),
    ),
    "evaluation mode in train": Mistake(
        MLP
        + """
    def train(self, mode=True):
        return super().train(mode)
""",
        {"super().train(mode)": "super().train(False)"},
        ("Net.train leaves the network in evaluation mode", "super().train(mode)"),
    ),
    # In a loop by hand
    "labels from 1": Mistake(
        LOOP,
        {"train_epoch(net": "labels = labels + 1\ntrain_epoch(net"},
        ("a label is 10, wanted 0..9: the network has 10 outputs", "labels - 1"),
        {"[(images, labels)]": "[(images, labels - 1)]"},
    ),
    "labels beyond the outputs": Mistake(
        LOOP,
        {"4, 9]": "4, 25]"},
        ("a label is 25, wanted 0..9", "give the last layer 26 outputs"),
        {"784, 10": "784, 26"},
    ),
    "labels below 0": Mistake(
        LOOP, {"[0, 1": "[-1, 1"}, ("a label is -1, wanted 0..9", "number the classes from 0")
    ),
    "float labels": Mistake(
        LOOP,
        {"4, 9]": "4, 9.0]"},
        ("the labels are torch.float32, wanted class numbers from 0", "labels.long()"),
        {"[(images, labels)]": "[(images, labels.long())]"},
    ),
    "one-hot labels": Mistake(
        LOOP,
        {"train_epoch(net": "labels = F.one_hot(labels, 10)\ntrain_epoch(net"},
        ("the labels are rows of 10, wanted class numbers", "labels.argmax(1)"),
        {"[(images, labels)]": "[(images, labels.argmax(1))]"},
    ),
    "one-hot floats": Mistake(
        LOOP,
        {"train_epoch(net": "labels = F.one_hot(labels, 10).float()\ntrain_epoch(net"},
        ("the labels are rows of 10, wanted class numbers", "labels.argmax(1)"),
        {"[(images, labels)]": "[(images, labels.argmax(1))]"},
    ),
    "a column of labels": Mistake(
        LOOP,
        {"train_epoch(net": "labels = labels[:, None]\ntrain_epoch(net"},
        ("the labels are a column", "labels.flatten().long()"),
        {"[(images, labels)]": "[(images, labels.flatten().long())]"},
    ),
    "images in double precision": Mistake(
        LOOP,
        {"train_epoch(net": "images = images.double()\ntrain_epoch(net"},
        ("the images are torch.float64, wanted torch.float32", "images.float()"),
        {"[(images, labels)]": "[(images.float(), labels)]"},
    ),
    "images as an array": Mistake(
        LOOP,
        {"train_epoch(net": "images = images.numpy()\ntrain_epoch(net"},
        ("the images are an object of type ndarray", "torch.as_tensor(images)"),
        {"[(images, labels)]": "[(torch.as_tensor(images), labels)]"},
    ),
    "labels as a list": Mistake(
        LOOP,
        {"[(images, labels)]": "[(images, labels.tolist())]"},
        ("the labels are an object of type list", "torch.as_tensor(labels)"),
        {"labels.tolist()": "torch.as_tensor(labels.tolist())"},
    ),
    "raw pixels": Mistake(
        LOOP,
        {"torch.rand(6, 1, 28, 28)": "torch.ones(6, 1, 28, 28, dtype=torch.uint8)"},
        ("the images are raw pixels 0..255", "tenfold.models.Preprocessing()"),
        {"nn.Flatten()": "__import__('tenfold').models.Preprocessing(), nn.Flatten()"},
    ),
    "the highest class as loss": Mistake(
        LOOP,
        {"optimizer)": "optimizer, loss=lambda logits, labels: logits.argmax(1).float().mean())"},
        ("the loss has no gradients", "argmax"),
    ),
    "one image in batch normalization": Mistake(
        LOOP.replace("784, 10)", "784, 10), nn.BatchNorm1d(10)"),
        {"[(images, labels)]": "[(images[:1], labels[:1])]"},
        ("layer 2 (BatchNorm1d) normalizes over the images of a batch", "drop_last=True"),
    ),
    "a tuple in a loop": Mistake(
        MLP + LOOP.replace("nn.Sequential(nn.Flatten(), nn.Linear(784, 10))", "Net()"),
        {"return self.fc2(x)": "return self.fc2(x), x"},
        ("Net.forward returns a tuple of 2", "return only the logits"),
    ),
    "mixed images in a loop": Mistake(
        MLP + LOOP.replace("nn.Sequential(nn.Flatten(), nn.Linear(784, 10))", "Net()"),
        {"x.flatten(1)": "x.view(-1, 392)", "784, 20": "392, 20"},
        ("4 rows of outputs for 2 images (in forward: x = x.view(-1, 392))", "x.flatten(1)"),
    ),
}


def changed(source: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in source, old
        source = source.replace(old, new)
    return source


def use(source: str, folder: Path) -> list[str]:
    """Run a learner's file, check its `Net` if there is one, and return the notes."""
    # In a folder of its own: Python takes a file of the same size and second for the same one.
    path = Path(tempfile.mkdtemp(dir=folder)) / "net.py"
    path.write_text(HEAD + source)
    module = importlib.util.module_from_spec(importlib.util.spec_from_file_location("net", path))
    notes = Recorder(Listener())
    torch.manual_seed(0)
    with explained(None, None):
        module.__spec__.loader.exec_module(module)
        network = module.Net() if hasattr(module, "Net") else None
    if network is not None and not hasattr(module, "optimizer"):
        assert require_usable(network, SHAPE, CLASSES, listener=notes).network is network
    return notes.notes


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_explained_and_the_remedy_works(name: str, tmp_path: Path) -> None:
    mistake = MISTAKES[name]
    wrong = changed(mistake.right, mistake.made)
    with pytest.raises(UsageError) as caught:
        use(wrong, tmp_path)
    for words in mistake.says:
        assert words in str(caught.value)
    mended = mistake.right if mistake.mended is None else changed(wrong, mistake.mended)
    assert use(mended, tmp_path) == []


def test_a_plain_tensor_on_the_networks_device_is_noted(tmp_path: Path) -> None:
    kept = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor(0.5))
        self.fc = nn.Linear(784, 10)

    def forward(self, x):
        return self.fc((x - self.mean).flatten(1))
"""
    assert use(kept, tmp_path) == []
    (note,) = use(
        changed(
            kept,
            {'self.register_buffer("mean", torch.tensor(0.5))': "self.mean = torch.tensor(0.5)"},
        ),
        tmp_path,
    )
    assert note.startswith("Net: self.mean is a plain tensor, which is not saved")
    assert note.endswith('write self.register_buffer("mean", ...)')


ODD = {
    "a weight that is not used": (
        {"return self.fc2(x)": "return self.fc2(x)"},
        {"self.fc2 = nn": "self.fc3 = nn.Linear(9, 9); self.fc2 = nn"},
        "Net: for two images, the output does not depend on fc3.weight, fc3.bias; what it never",
    ),
    "dropout in evaluation": (
        {"self.fc1(x))": "F.dropout(self.fc1(x), training=self.training))"},
        {", training=self.training": ""},
        "(in forward: x = F.relu(F.dropout(self.fc1(x)))), so no figure of it can be repeated",
    ),
    "a count of calls": (
        {"x = x.flatten(1)": "self.seen = x.flatten(1); x = self.seen"},
        {"self.seen = x": "self.calls = getattr(self, 'calls', 0) + 1; self.seen = x"},
        "Net.forward changes self.calls, which no checkpoint keeps",
    ),
    "a buffer that is not saved": (
        {"__init__()\n": "__init__()\n        self.register_buffer('n', torch.zeros(()))\n",
         "x = x.flatten(1)": "x = x.flatten(1); self.n += 1"},
        {"torch.zeros(())": "torch.zeros(()), persistent=False"},
        "Net.forward changes self.n, which no checkpoint keeps",
    ),
    "a mean that is carried on": (
        {"__init__()\n": "__init__()\n        self.register_buffer('m', torch.zeros(()))\n",
         "x = x.flatten(1)": "x = x.flatten(1)\n"
                             "        if self.training: self.m = self.m / 2 + x.mean()\n"
                             "        x = x - self.m"},
        {"self.register_buffer('m', torch.zeros(()))": "self.m = {0: 0.0}",
         "self.m = self.m / 2": "self.m[0] = self.m[0] / 2", "x - self.m": "x - self.m[0]"},
        "Net gives the same images another output after other batches, so it remembers what no",
    ),
    "a list in a dict": (
        {"x.flatten(1)": "x.flatten(1); self.seen = {'n': [len(x)], 'x': x, 'at': x.device}"},
        {"self.seen = {": "self.seen['n'].append(1); self.last = {",
         "__init__()\n": "__init__()\n        self.seen = {'n': []}\n"},
        "Net.forward changes self.seen, which no checkpoint keeps",
    ),
    "Python's random numbers": (
        {"x.flatten(1)": "x.flatten(1) + torch.rand(()) * self.training"},
        {"torch.rand(())": "__import__('random').random()"},
        "Net draws random numbers from Python's random, so the same run does not end the same",
    ),
    "a generator of its own": (
        {"__init__()\n": "__init__()\n        self.g = None\n",
         "x.flatten(1)": "x.flatten(1) + torch.rand((), generator=self.g) * self.training"},
        {"self.g = None": "self.g = torch.Generator()"},
        "Net draws random numbers from self.g, so the same run does not end the same",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_noted(name: str, tmp_path: Path) -> None:
    usual, odd, said = ODD[name]
    right = changed(MLP, usual)
    assert use(right, tmp_path) == []
    (note,) = use(changed(right, odd), tmp_path)
    assert said in note


class Usual(nn.Module):
    """A network with much that is not usual, and right."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.utils.parametrizations.weight_norm(nn.Linear(784, 10))
        self.register_buffer("row", torch.zeros(1).expand(5), persistent=False)
        self.register_buffer("nothing", torch.full((2,), torch.nan), persistent=False)
        self.settings = MappingProxyType({"a": 1})
        self.tree: dict[str, object] = {}
        self.tree["root"] = [self.tree]
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits; the images are changed in place, and much is kept to be looked at."""
        x = x.sub_(0.1).div_(0.3).flatten(1)
        self.device, self.norm = x.device, float(self.dropout(x).norm())
        self.made = SimpleNamespace(kept=[x.detach().numpy()], key=lambda value: value)
        y = checkpoint(lambda x: torch.relu(x), x.requires_grad_(), use_reentrant=True)
        return self.fc(self.dropout(y))


def test_a_network_with_much_that_is_not_usual_passes() -> None:
    notes = Recorder(Listener())
    network = Usual()
    require_usable(network, SHAPE, CLASSES, listener=notes)
    assert notes.notes == []
    assert network.tree["root"] == [network.tree]


@pytest.mark.parametrize("name", MODELS)
def test_no_model_of_tenfolds_own_is_a_mistake(name: str) -> None:
    notes = Recorder(Listener())
    require_usable(build(name, (3, 32, 32), 3), (3, 32, 32), 3, listener=notes)
    assert notes.notes == []


GOOD = {
    "a ReLU at the end": "Net = lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.ReLU())",
    "LogSoftmax": "Net = lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.LogSoftmax(1))",
    "batch normalization and dropout": """
Net = lambda: nn.Sequential(
    nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout2d(0.5),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 10),
)
""",
    "attention": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(28, 2, batch_first=True)
        self.softmax = nn.Softmax(dim=1)
        self.fc = nn.Linear(28, 10)

    def forward(self, x):
        rows = x.squeeze(1)
        shares = self.softmax(rows.mean(2, keepdim=True))
        return self.fc((self.attention(rows, rows, rows)[0] * shares).sum(1))
""",
    "layers in a list that are found elsewhere": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(784, 20), nn.Linear(20, 10)
        self.order = [self.fc1, nn.ReLU(), self.fc2]

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.order:
            x = layer(x)
        return x
""",
    "outputs that are kept to be looked at": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(784, 10)
        self(torch.rand(1, 1, 28, 28))

    def forward(self, x):
        self.features = x.flatten(1)
        return self.fc(self.features)
""",
    "frozen features": """
def Net():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 26 * 26, 10))
    net[0].requires_grad_(False)
    return net
""",
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_no_mistake_passes(name: str, tmp_path: Path) -> None:
    assert use(GOOD[name], tmp_path) == []


def test_a_network_for_a_single_class_passes() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 1), nn.Softmax(1))
    require_usable(net, (1, 2, 2), 1, listener=Listener())


def test_what_forward_prints_is_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printing = changed(MLP, {"x = x.flatten(1)": "x = x.flatten(1); print(x.shape)"})
    assert use(printing, tmp_path) == [
        "Net.forward prints, such as 'torch.Size([2, 784])', which it would do for every batch"
    ]
    assert capsys.readouterr().out == ""


def test_layers_that_are_frozen_on_purpose_are_a_note(tmp_path: Path) -> None:
    frozen = """
    def train(self, mode=True):
        super().train(mode)
        self.fc1.eval()
        return self
"""
    assert use(MLP + frozen, tmp_path) == [
        "fc1 stays in evaluation mode while the network trains, because train() was redefined"
    ]


class Changing(nn.Module):
    """Changes whatever a forward pass can."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)
        )
        self.calls, self.seen = 0, []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.seen.append(np.random.rand())  # noqa: NPY002
        with torch.no_grad():
            self.layers[1].weight.mul_(0.5)
        return self.layers(x)


def test_a_check_leaves_no_trace() -> None:
    net = Changing().eval()
    net.layers[0].train()
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    of_torch, of_numpy = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    require_usable(net, (1, 2, 2), 3, listener=Listener())
    assert (net.calls, net.seen) == (0, [])
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert torch.equal(torch.get_rng_state(), of_torch)
    assert all(map(np.array_equal, np.random.get_state(), of_numpy))  # noqa: NPY002
    assert not any(module._forward_hooks for module in net.modules())


def test_an_explanation_leaves_no_trace() -> None:
    net = Changing()
    net.layers[4] = nn.Linear(9, 3)
    images = torch.rand(5, 1, 2, 2)
    with pytest.raises(UsageError, match=r"layers\.4") as caught, explained(net, images):
        net(images)
    assert "layers.3 (Dropout) gives 8" in str(caught.value)
    assert net.calls == 1
    assert not any(module._forward_hooks for module in net.modules())


def test_other_errors_stay_as_they_are() -> None:
    for error in (
        ZeroDivisionError("x"),
        RuntimeError("target"),
        TenfoldError("shape"),
        KeyError(),
    ):
        with pytest.raises(type(error)) as caught, explained(nn.Flatten(), torch.rand(2, 1, 2, 2)):
            raise error
        assert caught.value is error


def test_a_model_with_preprocessing_is_explained_by_the_learners_names() -> None:
    net = nn.Sequential()
    net.fc = nn.Linear(5, 2)
    model = ImageModel(Preprocessing(), nn.Sequential(nn.Flatten(), net))
    pixels = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    batches = [(pixels, torch.zeros(3, dtype=torch.int64))]
    with pytest.raises(UsageError, match=r"^1\.fc takes 5 features per image, but gets 4: .*2 x 2"):
        evaluate_accuracy(model, batches)


class StopError(Exception):
    """Ends an epoch on a device without values."""


def test_batches_are_moved_to_the_models_device() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).to("meta")
    batches = [(torch.zeros(3, 1, 2, 2), torch.zeros(3, dtype=torch.int64))]
    devices = []

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        devices.extend([logits.device.type, labels.device.type])
        raise StopError

    with pytest.raises(StopError):
        train_epoch(model, batches, torch.optim.SGD(model.parameters(), lr=0.1), loss)
    assert devices == ["meta", "meta"]


def test_labels_of_one_hot_rows_are_refused_in_evaluation_too() -> None:
    with pytest.raises(UsageError, match="the labels are rows of 3"):  # which would broadcast
        evaluate_accuracy(lambda images: images, [(torch.rand(3, 3), torch.eye(3))])
