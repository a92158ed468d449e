"""The optimisers a recipe can name, beside PyTorch's own and beside their formulas."""

import pytest
import torch
from torch import nn

from tenfold.errors import UsageError
from tenfold.training import OPTIMIZERS, build_optimizer


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


def test_where_weight_decay_enters():
    """By hand. Adam's first step is lr * sign(gradient), and its decay is part of the gradient:
    -4 * 0.1 + 0.25 turns the second one's sign. AdamW's scales the weights instead."""
    assert one_step("sgd", weight_decay=0.1) == pytest.approx([1.93, -3.985])
    assert one_step("adam", weight_decay=0.1) == pytest.approx([1.9, -3.9])
    assert one_step("adamw", weight_decay=0.1) == pytest.approx([1.88, -4.06])


def test_without_a_decay_adam_and_adamw_are_the_same():
    assert one_step("adam") == one_step("adamw") == pytest.approx([1.9, -4.1])


def test_the_table_is_what_can_be_built():
    for name in OPTIMIZERS:
        assert isinstance(
            build_optimizer(name, problem()[0].parameters(), lr=0.1), torch.optim.Optimizer
        )


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("arguments", [{"momentum": 0.9}, {"nesterov": True}])
def test_momentum_where_there_is_none_is_refused(name, arguments):
    with pytest.raises(
        UsageError, match=f"optimizer {name} takes no momentum, .* set momentum = 0"
    ):
        build_optimizer(name, problem()[0].parameters(), lr=0.1, **arguments)


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(UsageError, match="needs a momentum above 0"):
        build_optimizer("sgd", problem()[0].parameters(), lr=0.1, nesterov=True)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="no optimizer 'sdg'; did you mean 'sgd'"):
        build_optimizer("sdg", problem()[0].parameters(), lr=0.1)
