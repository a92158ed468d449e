"""The table of models, and how one is built from a name and plain arguments."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, TypeGuard

import torch
from torch import nn

from tenfold.errors import UsageError, did_you_mean, listing
from tenfold.models.cifar_cnn import CifarCNN
from tenfold.models.convpool import ConvPool
from tenfold.models.lenet import LeNet
from tenfold.models.mlp import MLP
from tenfold.models.resnet_small import ResNetSmall
from tenfold.models.softmax import Softmax
from tenfold.models.softmax_scratch import SoftmaxScratch
from tenfold.types import ImageShape

MODELS: dict[str, type[nn.Module]] = {
    "softmax": Softmax,
    "softmax-scratch": SoftmaxScratch,
    "mlp": MLP,
    "lenet": LeNet,
    "cifar-cnn": CifarCNN,
    "convpool": ConvPool,
    "resnet-small": ResNetSmall,
}
"""Every model that has a name, with the class that makes it."""

LARGEST_MODEL = 2**30
"""Parameters of a model, at the most: 4 GiB in single precision."""


def build(
    name: str,
    input_shape: Sequence[object],
    classes: int,
    *,
    device: str | torch.device | None = None,
    **arguments: object,
) -> nn.Module:
    """A new model with fresh weights, in training mode.

    Args:
        name: one of `MODELS`.
        input_shape: channels, height and width of one image.
        classes: how many there are.
        device: where the weights are made; `"meta"` makes shapes without weights.
        arguments: the model's own, with its defaults for the rest; lists will do for tuples.

    Raises:
        UsageError: a name that is not known, a value of a wrong type or out of range, images that
            are too small for the model, or a model of more than `LARGEST_MODEL` parameters.
    """
    model_class = _model_class(name)
    shape = _image_shape(name, input_shape)
    complete = _complete_arguments(name, arguments)
    with torch.device("meta"):
        outline = model_class(shape, classes, **complete)
    parameters = sum(parameter.numel() for parameter in outline.parameters())
    if parameters > LARGEST_MODEL:
        raise UsageError(
            f"{name}: on images of {shape} it would have {parameters:,} parameters, "
            f"wanted at most {LARGEST_MODEL:,}",
            remedy="choose smaller layers or smaller images",
        )
    if device is not None and torch.device(device).type == "meta":
        return outline
    with nullcontext() if device is None else torch.device(device):
        return model_class(shape, classes, **complete)


def model_arguments(name: str, given: Mapping[str, object]) -> dict[str, Any]:
    """All of a model's own arguments, defaults included, as JSON and TOML can hold them.

    What comes back gives the same again, and `build` takes it.

    Args:
        name: one of `MODELS`.
        given: some of the arguments; lists will do for tuples.

    Raises:
        UsageError: a name that is not known, or a value of a wrong type.
    """
    _model_class(name)
    complete = _complete_arguments(name, given)
    return {
        argument: list(value) if isinstance(value, tuple) else value
        for argument, value in complete.items()
    }


def _model_class(name: str) -> type[nn.Module]:
    if name not in MODELS:
        raise UsageError(f"model {name!r} is not known", remedy=did_you_mean(name, MODELS))
    return MODELS[name]


def _image_shape(name: str, input_shape: Sequence[object]) -> ImageShape:
    sizes = [size for size in input_shape if _is_whole(size)]
    if len(sizes) != 3 or len(input_shape) != 3:
        raise UsageError(
            f"{name}: the images' shape is {input_shape}, "
            "wanted channels, height and width as whole numbers"
        )
    return ImageShape(*sizes)


def _complete_arguments(name: str, given: Mapping[str, object]) -> dict[str, Any]:
    """The model's defaults with the given values in their place, checked for their type."""
    defaults = _defaults(MODELS[name])
    for argument in given:
        if argument not in defaults:
            raise UsageError(
                f"{name}: argument {argument!r} is not known, "
                f"the model has {listing(list(defaults))}",
                remedy=did_you_mean(argument, defaults),
            )
    return {
        argument: _as_type_of(default, given[argument], name, argument)
        if argument in given
        else default
        for argument, default in defaults.items()
    }


def _defaults(model_class: type[nn.Module]) -> dict[str, Any]:
    """The model's own arguments, which are its keyword-only ones, with their defaults."""
    return {
        parameter.name: parameter.default
        for parameter in inspect.signature(model_class).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def _as_type_of(default: object, value: object, name: str, argument: str) -> object:
    """The value as the default's type: a whole number, a number, or a tuple of whole numbers."""
    if isinstance(default, tuple):
        if isinstance(value, list | tuple) and all(_is_whole(item) for item in value):
            return tuple(value)
        wanted = "a list of whole numbers"
    elif isinstance(default, float):
        if isinstance(value, float) or (_is_whole(value) and abs(value) < 2**53):
            return float(value)
        wanted = "a number"
    else:
        if _is_whole(value):
            return value
        wanted = "a whole number"
    raise UsageError(f"{name}: {argument} is {value!r}, wanted {wanted}")


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
