"""The table of models, and building a model from a name and plain arguments."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeGuard

from tenfold.errors import UsageError, did_you_mean, listing, shell_quoted
from tenfold.models.own import LARGEST_NETWORK, WITHOUT_FILE, is_code
from tenfold.paths import is_file
from tenfold.types import ImageShape

if TYPE_CHECKING:
    import torch
    from torch import nn


MODELS: dict[str, str] = {
    "softmax": "tenfold.models.softmax:Softmax",
    "softmax-scratch": "tenfold.models.softmax_scratch:SoftmaxScratch",
    "mlp": "tenfold.models.mlp:MLP",
    "lenet": "tenfold.models.lenet:LeNet",
    "cifar-cnn": "tenfold.models.cifar_cnn:CifarCNN",
    "convpool": "tenfold.models.convpool:ConvPool",
    "resnet-small": "tenfold.models.resnet_small:ResNetSmall",
    "resnet18": "tenfold.models.resnet:ResNet18",
    "resnet34": "tenfold.models.resnet:ResNet34",
    "resnet50": "tenfold.models.resnet:ResNet50",
}
"""The class of each model, as `module:Class`, imported when a model is built.

A class takes the image shape, the number of classes, and its own arguments, which are keyword-only
and have defaults.
"""

_WANTED = {
    bool: "true or false",
    str: "text",
    float: "a number",
    int: "a whole number",
    tuple: "a list of whole numbers",
}
"""What a model's argument may be, in words, by the type of its default."""


def build(
    name: str,
    input_shape: Sequence[object],
    classes: int,
    *,
    device: str | torch.device | None = None,
    **arguments: object,
) -> nn.Module:
    """A new model with random weights, in training mode.

    Args:
        name: one of `MODELS`.
        input_shape: channels, height and width of one image.
        classes: number of classes.
        device: where to create the weights; `"meta"` gives shapes without weights.
        arguments: the model's own arguments; missing ones get their defaults, lists work as tuples.

    Raises:
        UsageError: an unknown name, a value of the wrong type or out of range, images too small for
            the model, or more than `LARGEST_NETWORK` parameters.
    """
    import torch

    model_class = _model_class(name)
    shape = _image_shape(name, input_shape)
    complete = _complete_arguments(name, model_class, arguments)
    with torch.device("meta"):
        outline = model_class(shape, classes, **complete)
    parameters = sum(parameter.numel() for parameter in outline.parameters())
    if parameters > LARGEST_NETWORK:
        raise UsageError(
            f"{name}: on images of {shape} it would have {parameters:,} parameters, "
            f"wanted at most {LARGEST_NETWORK:,}",
            remedy="choose smaller layers or smaller images",
        )
    if device is not None and torch.device(device).type == "meta":
        return outline
    with nullcontext() if device is None else torch.device(device):
        return model_class(shape, classes, **complete)


def model_arguments(name: str, given: Mapping[str, object]) -> dict[str, Any]:
    """All of a model's own arguments, defaults included, in a form that JSON and TOML can hold.

    `build` accepts the result, and passing it here again does not change it.

    Args:
        name: one of `MODELS`.
        given: some of the arguments; lists work as tuples.

    Raises:
        UsageError: an unknown name, or a value of the wrong type.
    """
    complete = _complete_arguments(name, _model_class(name), given)
    return {
        argument: list(value) if isinstance(value, tuple) else value
        for argument, value in complete.items()
    }


def _model_class(name: str) -> Callable[..., nn.Module]:
    if name.startswith(WITHOUT_FILE):
        raise UsageError(
            f"the model {name} is code that was in no file",
            remedy="pass it again in Python, with model=",
        )
    if name not in MODELS and is_code(name):
        raise UsageError(
            f"the model {name} is code, which is run only if you name it yourself",
            remedy=f"add --model {name}, with the path of the file",
        )
    if name not in MODELS:
        raise UsageError(f"there is no model {name!r}", remedy=how_to_name_instead(name))
    model_class: Callable[..., nn.Module] = pkgutil.resolve_name(MODELS[name])
    return model_class


def how_to_name_instead(name: str) -> str:
    """What to do about a name that no model has: it may be a file's, without `.py`."""
    file = f"{name}.py"
    if is_file(file):
        return f"name your own network by its file: {shell_quoted(file)}"
    return did_you_mean(name, MODELS)


def _image_shape(name: str, input_shape: Sequence[object]) -> ImageShape:
    sizes = [size for size in input_shape if _is_whole(size)]
    if len(sizes) != 3 or len(input_shape) != 3:
        raise UsageError(
            f"{name}: the images' shape is {input_shape}, "
            "wanted channels, height and width as whole numbers"
        )
    if sizes[2] in (1, 3) and sizes[0] > 4:
        raise UsageError(
            f"{name}: the images' shape is {tuple(input_shape)}, wanted channels, height and width",
            remedy=f"give the channels first: {(sizes[2], *sizes[:2])}",
        )
    return ImageShape(*sizes)


def _complete_arguments(
    name: str, model_class: Callable[..., nn.Module], given: Mapping[str, object]
) -> dict[str, Any]:
    """The model's defaults, overridden by the given values, with their types checked."""
    complete = _defaults(model_class)
    for argument, value in given.items():
        if argument not in complete:
            raise UsageError(
                f"{name}: there is no argument {argument!r}, "
                f"the model has {listing(list(complete))}",
                remedy=did_you_mean(argument, complete),
            )
        complete[argument] = _as_type_of(complete[argument], value, name, argument)
    return complete


def _defaults(model_class: Callable[..., nn.Module]) -> dict[str, Any]:
    """The model's own arguments, which are its keyword-only ones, with their defaults."""
    return {
        parameter.name: parameter.default
        for parameter in inspect.signature(model_class).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def _as_type_of(default: object, value: object, name: str, argument: str) -> object:
    """The value as the default's type; lists work as tuples, whole numbers as floats."""
    match default, value:
        case (bool(), bool()) | (str(), str()):
            return value
        case float(), float():
            return float(value)
        case float(), int() if _is_whole(value) and abs(value) < 2**53:
            return float(value)
        case int(), int() if _is_whole(default) and _is_whole(value):
            return value
        case tuple(), list() | tuple() if all(_is_whole(item) for item in value):
            return tuple(value)
    raise UsageError(f"{name}: {argument} is {value!r}, wanted {_WANTED[type(default)]}")


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
