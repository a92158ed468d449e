"""Check a learner's network before a run, so that a mistake in it shows at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO

import torch
from torch import Tensor, nn

from tenfold.errors import UsageError, listing, printable
from tenfold.listening import Listener
from tenfold.models.mistakes import declarations, outputs, values
from tenfold.models.mistakes.explaining import explained, named
from tenfold.models.mistakes.forgetting import are_close, forgotten_in_training
from tenfold.models.mistakes.naming import called, in_forward, lines_of_forward
from tenfold.models.mistakes.trial import Call, device_of, leaves_of, recorded, undone

_IMAGES = 2
"""With one, a batch that is mixed up would not show, and batch normalization would fail."""


@dataclass(frozen=True)
class Usable:
    """A network that can be trained.

    Attributes:
        network: the module.
        forgets: in words, what a checkpoint does not keep of it, so that a resumed run may end
            differently; empty for nothing.
    """

    network: nn.Module
    forgets: tuple[str, ...]


def require_usable(
    network: object,
    image_shape: Sequence[int],
    n_classes: int,
    *,
    images: Tensor | None = None,
    listener: Listener,
) -> Usable:
    """The network, if it can be trained; tried with two images.

    In training mode it runs forward three times, and backward once; in evaluation mode it runs
    forward twice. Its weights, buffers, gradients and modes, and all random states, are afterwards
    as they were.

    Args:
        network: anything; a module from n x channels x height x width, float32, to logits.
        image_shape: channels, height and width of one image.
        n_classes: number of logits per image.
        images: two images as the network gets them; with fewer, random pixels, 0..1.
        listener: receives notes about what is unusual but not wrong.

    Raises:
        UsageError: where in the network, what was found, what was wanted, and the remedy.
    """
    module = declarations.require_module(network)
    if isinstance(module, torch.jit.ScriptModule):
        raise UsageError(
            "the network was compiled by torch.jit, wanted a module that can be trained",
            remedy="pass the module as it was before torch.jit.script or trace",
        )
    with named(type(module).__name__):  # a module that contains itself, for example
        declarations.require_registered_layers(module)
        values.require_trainable_attributes(module)
        declarations.require_parameters(module)
        values.require_single_precision(module)
        values.require_one_device(module)
    values.require_storable_state(module)
    if images is None or len(images) < _IMAGES:
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(_IMAGES, *image_shape, generator=generator)
    images = images.to(device_of(module))
    printed = StringIO()
    constants = values.plain_tensors(module)
    with undone(module), redirect_stdout(printed), named(type(module).__name__):
        notes = _try_training(module, images, n_classes)
        forgets = forgotten_in_training(module, images)
        notes += _try_evaluation(module, images, n_classes)
        # What forward replaces is only kept to be looked at.
        kept = values.about_plain_tensors(module, lambda tensor: id(tensor) in constants)
        notes += [str(each) for each in kept]
    for note in [*notes, *forgets, *_about_printing(module, printed.getvalue())]:
        listener.note(note)
    return Usable(module, tuple(forgets))


def _try_training(network: nn.Module, images: Tensor, n_classes: int) -> list[str]:
    """Run forward and backward in training mode; returns notes."""
    with explained(network, images):
        network.train()
    notes = _about_frozen(network)
    training = [module for module in network.modules() if module.training]
    weights = {name: each for name, each in network.named_parameters() if each.requires_grad}
    known, shapes = {*map(id, network.parameters())}, shapes_of(network)
    with torch.enable_grad():
        with recorded(network) as calls, explained(network, images):
            logits = network(images.clone())
        _require_logits(network, logits, n_classes, calls)
        _require_still_training(network, training)
        labels = torch.zeros(len(images), dtype=torch.int64, device=logits.device)
        with explained(network, images, labels):
            loss = nn.functional.cross_entropy(logits, labels)
            _require_no_new_weights(network, loss, known)
            gradients = _gradients(loss, [*weights.values()])
    require_same_shapes(network, shapes)
    idle = [name for name, each in zip(weights, gradients, strict=True) if each is None]
    if idle:
        notes.append(
            f"{type(network).__name__}: for two images, the output does not depend on "
            f"{listing(idle, 4)}; what it never depends on is not trained"
        )
    return notes


def _gradients(loss: Tensor, weights: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """The gradients, None where there is none; zeros for what only `backward` can compute."""
    try:
        return torch.autograd.grad(loss, weights, allow_unused=True)
    except RuntimeError as error:
        if "use_reentrant" in str(error) or "incompatible with .grad()" in str(error):
            return [torch.zeros(()) for _ in weights]
        raise


def _require_no_new_weights(network: nn.Module, loss: Tensor, known: Collection[int]) -> None:
    """Refuse layers that are made in `forward`, and new for every batch.

    Raises:
        UsageError: the loss depends on a parameter that the network did not have before.
    """
    if any(id(each) not in known for each in leaves_of(loss) if isinstance(each, nn.Parameter)):
        makes = " and ".join(lines_of_forward(network, r"\bnn\.[A-Z]\w*\("))
        raise UsageError(
            f"{type(network).__name__}.forward makes layers{f' ({makes})' if makes else ''}, whose "
            "weights are new for every batch and not trained, wanted layers made once",
            remedy="make them in __init__, as attributes of self, and only call them in forward",
        )


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors in a network's state dict, by name."""
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def require_same_shapes(network: nn.Module, before: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a network whose state dict has other names or shapes than before.

    Raises:
        UsageError: which one.
    """
    now = shapes_of(network)
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            was, became = (each.get(name, "not there") for each in (before, now))
            raise UsageError(
                f"{type(network).__name__}: {name} in its state dict was {was} and became "
                f"{became} while it was used, wanted a state dict that keeps its names and shapes",
                remedy="make it in __init__ in its final shape, or leave it out of the state dict: "
                "self.register_buffer(..., persistent=False)",
            )


def _try_evaluation(network: nn.Module, images: Tensor, n_classes: int) -> list[str]:
    """Run forward in evaluation mode; returns notes."""
    network.eval()
    with torch.inference_mode(), recorded(network) as calls:
        with explained(network, images):
            logits = network(images.clone())
        _require_logits(network, logits, n_classes, calls)
    with torch.inference_mode(), explained(network, images):
        again = network(images.clone())
    if are_close(logits, again, 1e-3):
        return []
    drops = in_forward(network, r"dropout\w*\(|\brand")
    note = (
        f"{type(network).__name__} gives the same images other outputs each time in evaluation "
        f"mode{drops}, so no figure of it can be repeated; functions such as F.dropout need "
        "training=self.training"
    )
    return [note]


def _require_logits(
    network: nn.Module, logits: object, n_classes: int, calls: Sequence[Call]
) -> None:
    problem = outputs.mixed_images(network, logits, _IMAGES, calls) or outputs.not_logits(
        network, logits, _IMAGES
    )
    if problem is None and isinstance(logits, Tensor):
        problem = outputs.wrong_count(network, logits, n_classes, calls)
        if network.training:
            problem = problem or outputs.softmax_at_the_end(network, logits, calls)
    if problem is not None:
        raise problem


def _about_frozen(network: nn.Module) -> list[str]:
    """A note about modules that a `train` of their own keeps in evaluation mode.

    Raises:
        UsageError: the whole network stays in it.
    """
    if not network.training:
        raise UsageError(
            f"{type(network).__name__}.train leaves the network in evaluation mode, wanted "
            "training mode: dropout and batch normalization would not train",
            remedy="call super().train(mode) in it, and return self",
        )
    frozen = [called(network, module) for module in network.modules() if not module.training]
    if not frozen:
        return []
    note = (
        f"{listing(frozen)} {'stays' if len(frozen) == 1 else 'stay'} in evaluation mode while the "
        "network trains, because train() was redefined"
    )
    return [note]


def _require_still_training(network: nn.Module, before: Sequence[nn.Module]) -> None:
    """Refuse a `forward` that switches to evaluation mode.

    Raises:
        UsageError: a module that was in training mode no longer is.
    """
    switched = [called(network, module) for module in before if not module.training]
    if switched:
        lines = " and ".join(lines_of_forward(network, r"\.eval\(|\.train\("))
        raise UsageError(
            f"{type(network).__name__}.forward{f' ({lines})' if lines else ''} switches "
            f"{listing(switched)} to evaluation mode, wanted training mode: dropout and batch "
            "normalization would not train",
            remedy="leave that out of forward: the training loop sets the mode",
        )


def _about_printing(network: nn.Module, printed: str) -> list[str]:
    if not printed.strip():
        return []
    first = printable(printed.strip().partition("\n")[0], 100)
    kind = type(network).__name__
    return [f"{kind}.forward prints, such as {first!r}, which it would do for every batch"]
