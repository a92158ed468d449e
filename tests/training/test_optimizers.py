"""The optimizers by name, compared with PyTorch's and with their formulas."""

import copy
import pickle
import subprocess
import sys

import pytest
import torch
from torch import nn

from tenfold.errors import UsageError
from tenfold.training import OPTIMIZERS, build_optimizer, eager_optimizers

EVERY_ENTRY = pytest.mark.parametrize("name", OPTIMIZERS)

SWITCHED_ON = {"momentum": 0.9, "nesterov": True}
"""A value with an effect for every option that not every optimizer has."""


def problem():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 3))
    return model, torch.randn(64, 20), torch.randint(3, (64,))


def weights_after(make, steps=20):
    model, inputs, labels = problem()
    optimizer = make(model.parameters())
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 / (1 + step)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


SGD = [
    {},
    {"momentum": 0.9},
    {"weight_decay": 0.01},
    {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
]


@pytest.mark.parametrize("arguments", SGD, ids=str)
def test_sgd_is_pytorchs_to_the_bit(arguments):
    ours = weights_after(lambda p: build_optimizer("sgd", p, lr=0.1, **arguments))
    theirs = weights_after(lambda p: torch.optim.SGD(p, lr=0.1, foreach=False, **arguments))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("weight_decay", [0.0, 1e-4, 0.1])
@pytest.mark.parametrize(
    ("name", "plain"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_adam_is_pytorchs_plain_one(name, plain, weight_decay):
    ours = weights_after(lambda p: build_optimizer(name, p, lr=0.1, weight_decay=weight_decay))
    theirs = weights_after(
        lambda p: plain(p, lr=0.1, weight_decay=weight_decay, foreach=False, fused=False)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def one_step(name, **arguments):
    weight = nn.Parameter(torch.tensor([2.0, -4.0], dtype=torch.float64))
    optimizer = build_optimizer(name, [weight], lr=0.1, **arguments)
    weight.grad = torch.tensor([0.5, 0.25], dtype=torch.float64)
    optimizer.step()
    return weight.tolist()


def test_where_weight_decay_is_applied():
    """By hand. Adam's first step is lr * sign(gradient), and its decay is part of the gradient:
    -4 * 0.1 + 0.25 turns the second one's sign. AdamW's scales the weights instead."""
    assert one_step("sgd", weight_decay=0.1) == pytest.approx([1.93, -3.985])
    assert one_step("adam", weight_decay=0.1) == pytest.approx([1.9, -3.9])
    assert one_step("adamw", weight_decay=0.1) == pytest.approx([1.88, -4.06])


def test_without_a_decay_adam_and_adamw_are_the_same():
    assert one_step("adam") == one_step("adamw") == pytest.approx([1.9, -4.1])


def own_options(name):
    return {key: SWITCHED_ON[key] for key in OPTIMIZERS[name].own}


@EVERY_ENTRY
def test_an_entry_builds_its_kind_over_all_parameters(name):
    optimizer = build_optimizer(name, problem()[0].parameters(), lr=0.1, **own_options(name))
    assert type(optimizer).__name__ == OPTIMIZERS[name].kind
    assert isinstance(optimizer, torch.optim.Optimizer)
    (group,) = optimizer.param_groups
    assert len(group["params"]) == 4
    assert group["lr"] == 0.1


def test_the_kinds_differ():
    assert len({entry.kind for entry in OPTIMIZERS.values()}) == len(OPTIMIZERS)


@EVERY_ENTRY
def test_an_entry_remembers_what_it_says(name):
    model, inputs, labels = problem()
    optimizer = build_optimizer(name, model.parameters(), lr=0.1, **own_options(name))
    nn.functional.cross_entropy(model(inputs), labels).backward()
    optimizer.step()
    remembered = optimizer.state_dict()["state"].values()
    assert [values.keys() for values in remembered] == [OPTIMIZERS[name].remembers] * 4


@EVERY_ENTRY
def test_an_entry_learns(name):
    @torch.no_grad()
    def loss(weights):
        model, inputs, labels = problem()
        nn.utils.vector_to_parameters(weights, model.parameters())
        return float(nn.functional.cross_entropy(model(inputs), labels))

    start = nn.utils.parameters_to_vector(problem()[0].parameters()).detach()
    end = weights_after(lambda p: build_optimizer(name, p, lr=0.1, **own_options(name)))
    assert loss(end) < loss(start) - 0.05


@EVERY_ENTRY
def test_every_own_option_matters_and_is_off_by_default(name):
    entry = OPTIMIZERS[name]
    plain = weights_after(lambda p: build_optimizer(name, p, lr=0.1))
    off = weights_after(lambda p: build_optimizer(name, p, lr=0.1, **entry.own))
    assert torch.equal(plain, off)
    full = weights_after(lambda p: build_optimizer(name, p, lr=0.1, **own_options(name)))
    for key in entry.own.keys() - entry.needs.values():
        without = {**own_options(name), key: entry.own[key]}
        assert not torch.equal(
            full, weights_after(lambda p, o=without: build_optimizer(name, p, lr=0.1, **o))
        )


@pytest.mark.parametrize(
    ("name", "key"),
    [(name, key) for name in OPTIMIZERS for key in SWITCHED_ON if key not in OPTIMIZERS[name].own],
)
def test_an_option_that_an_entry_does_not_have_is_refused(name, key):
    with pytest.raises(
        UsageError,
        match=f"optimizer {name} takes no {key}, found {key} = .*; choose --set {key}=.*, or .*sgd",
    ):
        build_optimizer(name, problem()[0].parameters(), lr=0.1, **{key: SWITCHED_ON[key]})


def test_options_of_another_optimizer_are_refused_together():
    with pytest.raises(UsageError) as raised:
        build_optimizer("adam", problem()[0].parameters(), lr=0.1, momentum=0.9, nesterov=True)
    assert str(raised.value) == (
        "optimizer adam takes no momentum and no nesterov, "
        "found momentum = 0.9, nesterov = true; "
        "choose --set momentum=0.0 --set nesterov=false, or --optimizer sgd"
    )


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(UsageError, match="nesterov = true needs a momentum above 0"):
        build_optimizer("sgd", problem()[0].parameters(), lr=0.1, nesterov=True)


def test_an_unknown_name_suggests_the_closest():
    with pytest.raises(UsageError, match="no optimizer 'sdg'; did you mean 'sgd'"):
        build_optimizer("sdg", problem()[0].parameters(), lr=0.1)


# --- Without PyTorch's compiler --------------------------------------------------------------

TRAINED = """
import copy, pickle, sys, torch
from tenfold.training import build_optimizer
net = torch.nn.Linear(3, 2)
optimizer = build_optimizer({name!r}, net.parameters(), lr=0.1, weight_decay=0.01)
for _ in range(2):
    optimizer.zero_grad()
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer = pickle.loads(pickle.dumps(optimizer))
"""


def test_the_compiler_is_not_imported():
    code = "".join(TRAINED.format(name=name) for name in OPTIMIZERS)
    code += "assert 'torch._dynamo' not in sys.modules"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) == (0, "")


@EVERY_ENTRY
def test_it_is_one_of_pytorchs_with_its_state(name):
    kind = OPTIMIZERS[name].kind
    model, *_ = problem()
    ours, theirs = (
        make(model.parameters(), lr=0.1, **OPTIMIZERS[name].fixed)
        for make in (getattr(eager_optimizers, kind), getattr(torch.optim, kind))
    )
    assert isinstance(ours, getattr(torch.optim, kind))
    assert type(ours).__name__ == kind
    theirs.load_state_dict(ours.state_dict())
    assert str(ours) == str(theirs)
    assert str(copy.deepcopy(ours)) == str(pickle.loads(pickle.dumps(ours))) == str(ours)


@EVERY_ENTRY
def test_hooks_run_once_and_schedulers_work(name):
    """PyTorch adds hooks to a class's step when it creates the first optimizer of the class."""
    model, inputs, labels = problem()
    getattr(torch.optim, OPTIMIZERS[name].kind)(model.parameters(), lr=0.1)
    optimizer = build_optimizer(name, model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    called = []
    optimizer.register_step_pre_hook(lambda *_: called.append("before"))
    optimizer.register_step_post_hook(lambda *_: called.append("after"))
    nn.functional.cross_entropy(model(inputs), labels).backward()
    optimizer.step()
    scheduler.step()
    assert called == ["before", "after"]
    assert optimizer.param_groups[0]["lr"] == 0.05


@EVERY_ENTRY
def test_a_closure_is_called_with_gradients_enabled(name):
    model, inputs, labels = problem()
    optimizer = build_optimizer(name, model.parameters(), lr=0.1)

    def closure():
        loss = nn.functional.cross_entropy(model(inputs), labels)
        loss.backward()
        return loss

    assert optimizer.step(closure).requires_grad
    assert torch.is_grad_enabled()


COMPILED = """
import torch, torch._dynamo
from tenfold.training import build_optimizer
net = torch.nn.Linear(3, 2)
before = net.weight.detach().clone()
optimizer = build_optimizer("sgd", net.parameters(), lr=0.1)

@torch.compile(backend="eager")
def step():
    optimizer.zero_grad()
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()

step()
assert torch.allclose(net.weight, before - 0.1)
"""


def test_a_compiled_training_step_works():
    answer = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
