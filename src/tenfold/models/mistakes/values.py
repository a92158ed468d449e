"""Explain failures from what tensors hold: their types, devices and gradients."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from tenfold.errors import UsageError, listing
from tenfold.models.mistakes.failure import Failure
from tenfold.models.mistakes.naming import in_forward, lines_of_forward
from tenfold.models.torch_files import is_usual

_IN_PLACE = r"[\w\])]\s*[-+*/]=\s|\.\w+_\(|inplace=True"
"""Code that changes a tensor in place."""


def raw_pixels(failure: Failure, _match: re.Match[str]) -> UsageError | None:
    """A network that cannot compute with raw pixels."""
    if not (isinstance(failure.images, Tensor) and failure.images.dtype == torch.uint8):
        return None
    return UsageError(
        "the images are raw pixels 0..255 (torch.uint8), and the network failed: "
        f"{failure.first_line}",
        remedy="scale them to 0..1: start the network with tenfold.models.Preprocessing(), or "
        "load with tenfold.data.DataLoader(..., scale=True)",
    )


def not_a_tensor(failure: Failure, _match: re.Match[str]) -> UsageError | None:
    """Batches of arrays or lists."""
    for name, value in (("images", failure.images), ("labels", failure.labels)):
        if failure.network is not None and not isinstance(value, Tensor | None):
            return UsageError(
                f"the {name} are an object of type {type(value).__name__}, wanted a tensor",
                remedy=f"convert them: torch.as_tensor({name})",
            )
    return None


def wrong_type(failure: Failure, _match: re.Match[str]) -> UsageError | None:
    """Numbers of another type than single precision."""
    if failure.network is not None:
        require_single_precision(failure.network)
    wanted = "wanted torch.float32, as the weights are"
    if isinstance(failure.images, Tensor) and failure.images.dtype == torch.float64:
        return failure.explained_by(
            f"the images are {failure.images.dtype}, {wanted}",
            remedy="convert them: images.float()",
        )
    if failure.taken is None or failure.taken.dtype == torch.float32:
        return None
    return failure.explained_by(
        f"{failure.layer_name} gets numbers of type {failure.taken.dtype}, {wanted}",
        remedy="convert them before: x = x.float()",
    )


def require_single_precision(network: nn.Module) -> None:
    """Refuse parameters and buffers of floats other than float32.

    Raises:
        UsageError: it has one.
    """
    for name, tensor in _tensors(network):
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise UsageError(
                f"{type(network).__name__}: {name} is {tensor.dtype}, wanted torch.float32",
                remedy="convert the network with .float()",
            )


def _is_storable(tensor: Tensor) -> bool:
    """Whether a tensor is of a type that networks have, and has its own numbers in memory."""
    return (
        is_usual(tensor)
        and tensor.layout == torch.strided
        and not tensor.is_nested
        and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
    )


def require_storable_state(network: nn.Module) -> None:
    """Refuse a state dict that a checkpoint and a model file cannot hold.

    Raises:
        UsageError: something in it is no plain tensor, or is not finite.
    """
    kind, state = type(network).__name__, network.state_dict()
    missing = [name for name, _ in network.named_parameters() if name not in state]
    if missing:
        raise UsageError(
            f"{kind}.state_dict leaves out {listing(missing, 4)}, wanted all parameters",
            remedy="let it return super().state_dict(*args, **kwargs), with additions if need be",
        )
    for name, value in state.items():
        if not (isinstance(value, Tensor) and _is_storable(value)):
            raise UsageError(
                f"{kind}: {name} in its state dict is not a plain tensor, wanted one that can be "
                "saved",
                remedy="make it a plain tensor, or leave it out of the state dict: "
                "self.register_buffer(..., persistent=False)",
            )
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise UsageError(
                f"{kind}: not all numbers of {name} are finite, wanted ones that can be saved",
                remedy="leave it out of the state dict: self.register_buffer(..., "
                "persistent=False), or make it in forward",
            )


def no_gpu(failure: Failure, _match: re.Match[str]) -> UsageError:
    """A network that moves itself, or what it gets, to a GPU that is not there."""
    return failure.explained_by(
        "PyTorch has no CUDA device here",
        remedy="leave out .cuda(): a run moves the network and the images to its device, and "
        "--device cuda chooses that",
    )


def wrong_device(failure: Failure, _match: re.Match[str]) -> UsageError | None:
    """Tensors on several devices."""
    network, images = failure.network, failure.images
    if network is None:
        return None
    require_one_device(network)
    device = next((tensor.device for _, tensor in _tensors(network)), None)
    for problem in about_plain_tensors(network, lambda tensor: tensor.device != device):
        return problem
    if isinstance(images, Tensor) and device is not None and images.device != device:
        return failure.explained_by(
            f"the images are on {images.device}, but the network is on {device}",
            remedy=f'move them: images.to("{device}")',
        )
    return failure.explained_by(
        f"a tensor that is made here is not on the network's device, {device}",
        remedy="make it with device=x.device",
    )


def require_one_device(network: nn.Module) -> None:
    """Refuse parameters and buffers on several devices.

    Raises:
        UsageError: they are.
    """
    devices = [str(tensor.device) for _, tensor in _tensors(network)]
    usual = max(devices, key=devices.count, default="")
    for name, tensor in _tensors(network):
        if str(tensor.device) != usual:
            raise UsageError(
                f"{type(network).__name__}: {name} is on {tensor.device}, wanted {usual}, "
                "where the rest is",
                remedy=f'make it there, or move the whole network with .to("{usual}")',
            )


def about_plain_tensors(
    network: nn.Module, concerns: Callable[[Tensor], bool]
) -> Iterator[UsageError]:
    """The errors, if they are any, of attributes that are neither parameters nor buffers.

    Args:
        network: any module.
        concerns: which of them it is said of.
    """
    for module, name, tensor in _plain_tensors(network):
        if concerns(tensor):
            yield UsageError(
                f"{type(module).__name__}: self.{name} is a plain tensor, which is not saved with "
                "the network and stays behind when it moves to another device, wanted a buffer",
                remedy=f'write self.register_buffer("{name}", ...)',
            )


def require_trainable_attributes(network: nn.Module) -> None:
    """Refuse plain tensors that were meant as parameters.

    Raises:
        UsageError: there is one with `requires_grad`.
    """
    for module, name, tensor in _plain_tensors(network):
        if tensor.requires_grad and tensor.is_leaf:
            raise UsageError(
                f"{type(module).__name__}: self.{name} is a plain tensor, which no optimizer "
                "finds, wanted a parameter",
                remedy=f"write self.{name} = nn.Parameter(...) around its values",
            )


def plain_tensors(network: nn.Module) -> dict[int, Tensor]:
    """The tensors that are plain attributes, by identity."""
    return {id(tensor): tensor for _, _, tensor in _plain_tensors(network)}


def _plain_tensors(network: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    for module in network.modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                yield module, name, value


def _tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from network.named_parameters()
    yield from network.named_buffers()


def leaf_changed(failure: Failure, _match: re.Match[str]) -> UsageError:
    """A parameter that is changed in place while gradients are recorded."""
    return failure.explained_by(
        "a parameter is changed in place, and its gradient would be lost",
        remedy="to update it, do so inside with torch.no_grad(): and to compute with it, make a "
        f"new tensor, such as {_out_of_place(failure.place.code) or 'w = self.w + 1'}",
    )


def result_changed(failure: Failure, _match: re.Match[str]) -> UsageError:
    """A result that is changed in place, though its gradient needs it as it was."""
    kind = re.search(r"output \d+ of (\w+?)(Backward\d*)?,", str(failure.error))
    of = f" of {kind[1]}" if kind else ""
    lines = [] if failure.network is None else list(lines_of_forward(failure.network, _IN_PLACE))
    named = f", perhaps in {' or '.join(lines)}" if lines else ""
    mended = next(filter(None, map(_out_of_place, lines)), "x = x + ... instead of x += ...")
    return failure.explained_by(
        f"a result{of} was changed in place{named}, but its gradient needs it unchanged",
        remedy=f"make a new tensor: {mended}",
    )


def _out_of_place(line: str) -> str:
    """A line such as `x += 1` as `x = x + 1`; empty if it is another one."""
    parts = re.fullmatch(r"([\w.]+)\s*([-+*/])=\s*(.+)", line)
    if parts is None:
        return ""
    target, sign, value = parts.groups()
    result = target.rpartition(".")[2]
    return f"{result} = {target} {sign} {value}"


def no_gradients(failure: Failure, _match: re.Match[str]) -> UsageError:
    """A loss, or a value in `forward`, that has no gradients for what they are taken of."""
    if failure.place.layer is not None and re.search(r"\bgrad\(|\.backward\(", failure.place.code):
        if not torch.is_grad_enabled() or torch.is_inference_mode_enabled():
            return _gradients_in_evaluation(failure)
        return failure.explained_by(
            f"{type(failure.network).__name__}.forward takes gradients of a value that was not "
            "computed from a tensor that requires them",
            remedy="call x.requires_grad_() on that tensor before it is used",
        )
    losing = r"no_grad|inference_mode|\.detach\(|argmax|\.item\(|\.numpy\(|\.data\b"
    return failure.explained_by(
        f"the loss has no gradients{in_forward(failure.network, losing)}, "
        "wanted one computed from the network's outputs and "
        "weights that are trained",
        remedy="leave out torch.no_grad(), .detach() and argmax on the way from the images to the "
        "loss",
    )


def _gradients_in_evaluation(failure: Failure) -> UsageError:
    return failure.explained_by(
        f"{type(failure.network).__name__}.forward takes gradients, but while a network is "
        "evaluated nothing is recorded for them",
        remedy="put that part inside `with torch.inference_mode(False), torch.enable_grad():`, and "
        "clone the tensors that it uses from outside: x = x.clone()",
    )


def made_in_evaluation(failure: Failure, _match: re.Match[str]) -> UsageError | None:
    """Gradients through a tensor of the inference mode, in which tenfold evaluates."""
    if torch.is_inference_mode_enabled():
        taking = in_forward(failure.network, r"\bgrad\(|\.backward\(|requires_grad")
        return _gradients_in_evaluation(failure) if taking else None
    if failure.place.layer is None:
        return None
    return failure.explained_by(
        f"{failure.layer_name} uses a tensor that was made while the network was evaluated, and no "
        "gradients can be computed through it",
        remedy="make it in __init__ with self.register_buffer(...), or use a clone of it: .clone()",
    )


def one_image(failure: Failure, _match: re.Match[str]) -> UsageError | None:
    """Batch normalization in training of a batch of one image."""
    if not isinstance(failure.images, Tensor) or len(failure.images) != 1:
        return None
    return failure.explained_by(
        f"{failure.layer_name} normalizes over the images of a batch, but this batch has only one",
        remedy="choose another batch size, which leaves no single image at the end, or leave the "
        "last batch out: DataLoader(..., drop_last=True)",
    )
