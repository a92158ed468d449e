"""Replaced functions of PyTorch are called, and a changed PyTorch does its own loading."""

from __future__ import annotations

import functools
import sys
from types import MappingProxyType, ModuleType

import pytest
import torch
from comparing import GATHERED, assert_alike, assert_same, images, torchvision
from torch.nn.modules import module as torch_modules
from torch.utils.data import ConcatDataset, Subset, TensorDataset
from torch.utils.data._utils import collate

from tenfold.data import DataLoader
from tenfold.data.loading.untouched import is_original

NORMALIZED = GATHERED["CIFAR100"]


@pytest.mark.parametrize(
    ("name", "owner"),
    [("tensors", TensorDataset), ("joined", ConcatDataset), ("subset", Subset), ("CIFAR10", None)],
)
def test_a_replaced_method_is_called(name, owner, monkeypatch, gathered):
    owner = owner or torchvision().datasets.CIFAR10
    method = "__getitems__" if owner is Subset else "__getitem__"
    original = getattr(owner, method)

    def replacement(self, index):
        return original(self, index)[::-1]

    # Despite its name, it is defined elsewhere.
    functools.update_wrapper(replacement, original)
    replacement.__code__ = replacement.__code__.replace(co_qualname=original.__qualname__)
    monkeypatch.setattr(owner, method, replacement)
    assert_alike(GATHERED[name], batch_size=3)
    assert not gathered


def test_another_method_of_the_same_class_is_not_the_original(monkeypatch):
    assert is_original(TensorDataset, "__getitem__")
    monkeypatch.setattr(TensorDataset, "__getitem__", TensorDataset.__len__)
    assert not is_original(TensorDataset, "__getitem__")


@pytest.mark.parametrize("function", ["to_tensor", "normalize"])
def test_a_replaced_function_of_torchvision_is_called(function, monkeypatch, gathered):
    functional = torchvision().transforms.functional
    original = getattr(functional, function)
    monkeypatch.setattr(functional, function, lambda *given, **named: original(*given, **named) + 1)
    assert_alike(NORMALIZED, batch_size=3)
    assert not gathered


def first_labels(items):
    return [label for _, label in items]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_replaced_default_collation_is_called(num_workers, monkeypatch):
    monkeypatch.setattr(collate, "default_collate", first_labels)
    batches = list(DataLoader(images(), batch_size=2, num_workers=num_workers))
    assert batches[0] == [0, 7]


@pytest.mark.parametrize("kind", [int, torch.Tensor, tuple])
def test_functions_added_to_the_default_collation_are_called(kind, monkeypatch, gathered):
    def last(batch, *, collate_fn_map):
        return batch[-1]

    monkeypatch.setitem(collate.default_collate_fn_map, kind, last)
    assert_alike(images, batch_size=3)
    assert not gathered


@pytest.mark.parametrize("num_workers", [0, 1])
def test_hooks_on_all_modules_are_called(num_workers):
    hook = torch_modules.register_module_forward_hook(lambda module, given, output: output * 2)
    try:
        assert_alike(NORMALIZED, batch_size=3, num_workers=num_workers)
    finally:
        hook.remove()


def test_a_replaced_call_of_all_modules_is_called(monkeypatch, gathered):
    original = torch.nn.Module.__call__
    monkeypatch.setattr(torch.nn.Module, "__call__", lambda *given: original(*given) + 1)
    assert_alike(NORMALIZED, batch_size=3)
    assert not gathered


class StacksToZero(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, function, types, arguments=(), named=None):
        result = function(*arguments, **(named or {}))
        return result * 0 if function is torch.stack else result


def test_a_torch_function_mode_is_respected(gathered):
    with StacksToZero():
        assert_alike(images, batch_size=3)
    assert not gathered


MISSING_OR_OF_ANOTHER_KIND = {
    "no collation": lambda patch: patch.delitem(sys.modules, collate.__name__),
    "empty collation": lambda patch: patch.setitem(sys.modules, collate.__name__, ModuleType("")),
    "no function to stack": lambda patch: patch.delattr(collate, "collate_tensor_fn"),
    "another table": lambda patch: patch.setattr(
        collate, "default_collate_fn_map", MappingProxyType(collate.default_collate_fn_map)
    ),
    "no modes": lambda patch: patch.delattr(torch._C, "_len_torch_function_stack"),
    "other modes": lambda patch: patch.setattr(torch._C, "_len_torch_function_stack", 0),
    "no call": lambda patch: patch.delattr(torch.nn.Module, "_wrapped_call_impl"),
    "no hooks": lambda patch: patch.delattr(torch_modules, "_has_any_global_hook"),
    "other hooks": lambda patch: patch.setattr(torch_modules, "_has_any_global_hook", False),
}


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize(
    "change", MISSING_OR_OF_ANOTHER_KIND.values(), ids=MISSING_OR_OF_ANOTHER_KIND
)
def test_where_pytorch_is_not_as_expected_its_own_loader_is_used(
    change, num_workers, monkeypatch, gathered
):
    usual = list(DataLoader(NORMALIZED(), batch_size=7))
    assert len(gathered) == len(usual)
    gathered.clear()
    change(monkeypatch)
    assert_same(list(DataLoader(NORMALIZED(), batch_size=7, num_workers=num_workers)), usual)
    assert not gathered


def test_errors_are_raised_as_they_are_where_pytorch_does_not_wrap_them(monkeypatch):
    monkeypatch.delattr(torch._utils, "ExceptionWrapper")
    with pytest.raises(IndexError, match=r"^index 29 is out of"):
        list(DataLoader(images(), sampler=[29], num_workers=1))
