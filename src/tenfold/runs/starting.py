"""What a network starts from: the weights of a run or model file, or those of another program.

Importing this does not import PyTorch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tenfold.deployment.bundle import PreprocessingHeader
from tenfold.errors import FileRefusedError, UsageError, counted, listing, printable, quoted
from tenfold.listening import Listener
from tenfold.models.weight_order import COUNT, NotMatchedError, other_names
from tenfold.paths import exists
from tenfold.recipes import AugmentRecipe, Recipe
from tenfold.runs.facts import StartFacts
from tenfold.runs.folder import similar_run
from tenfold.runs.run import note_on_run, read_own_bundle
from tenfold.storage import StoredTensor, absolute, expanded, open_regular

if TYPE_CHECKING:
    from torch import nn
else:
    nn = Any

IMAGENET = PreprocessingHeader(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
"""Mean and deviation of ImageNet's pixels, which the weights of torchvision expect."""

_AS_TRAINED = (
    "choose the model, its arguments, the image size and the channels that they were trained with"
)

_SHOWN_NAMES = 6
"""Of layers whose names are not the network's, in a note."""

RESIDUAL = ("resnet18", "resnet34", "resnet50")
"""Models whose weights are recognized by their names and shapes."""


@dataclass(frozen=True)
class Start:
    """What a network starts from.

    Attributes:
        facts: what a run records of it.
        weights: by name; empty for a run that is resumed, whose checkpoints have them.
        classes: that the weights tell apart; None if that is not known.
        model: its name; empty if it is not known.
        arguments: the model's own.
        image_shape: of an image; None if it is not known.
        resize: how pictures were brought to that shape; None if it is not known.
        depth: of 16-bit gray, the number of bits that counted; None if it is not known.
        note: on the weights, for whoever trains from them; empty without one.
        source: the name or path of the data that it was trained on; empty if it is not known.
        fingerprint: of that data and its splits.
        keeps_order: whether the weights are in the order of their network.
    """

    facts: StartFacts
    weights: Mapping[str, StoredTensor]
    classes: tuple[str, ...] | None = None
    model: str = ""
    arguments: Mapping[str, Any] | None = None
    image_shape: tuple[int, int, int] | None = None
    resize: str | None = None
    depth: int | None = None
    note: str = ""
    source: str = ""
    fingerprint: str = ""
    keeps_order: bool = True

    def may_have_seen(self, source: str, fingerprint: str) -> str:
        """A note if it was trained on the same data, divided in another way; else empty.

        Args:
            source: of the data that is trained on now, a name or path.
            fingerprint: of that data and its splits.
        """
        if not self.source or self.source != source or self.fingerprint == fingerprint:
            return ""
        return (
            f"{self.facts.place} was trained on {source} too, read or divided in another way, so "
            "it may know the images that are held out now, and figures may be too good"
        )


def read_start(recipe: Recipe) -> Start | None:
    """What a recipe says that the network starts from; None for random weights.

    Raises:
        FileRefusedError: the weights cannot be read.
    """
    if recipe.start:
        path = expanded(recipe.start)
        if not exists(path):
            raise FileRefusedError(
                f"{path}: no such folder or file",
                remedy=similar_run(path) or "name a run's folder or its model.safetensors",
            )
        bundle, folder = read_own_bundle(path)
        if bundle.header.own is None:
            bundle.network()  # refuses weights that do not fit the model
        header = bundle.header
        return Start(
            StartFacts(
                place=str(absolute(path)), sha256=bundle.sha256, preprocessing=header.preprocessing
            ),
            bundle.weights,
            bundle.classes,
            header.model,
            header.arguments,
            header.input_shape,
            header.resize,
            header.depth,
            "" if folder is None else note_on_run(folder, bundle),
            str(header.data.get("source", "")),
            str(header.data.get("fingerprint", "")),
        )
    if recipe.weights:
        from tenfold.models.weight_files import read_weights  # imports PyTorch
        from tenfold.tensors import to_stored

        path = expanded(recipe.weights)
        read = read_weights(path)
        with open_regular(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        facts = StartFacts(place=str(absolute(path)), sha256=digest)
        return Start(facts, to_stored(read.bare), keeps_order=read.keeps_order)
    return None


def with_start(recipe: Recipe, start: Start | None, listener: Listener) -> Recipe:
    """The recipe with what the weights decide.

    That is the model with its arguments, the number of channels, and, where the recipe leaves them
    to the data, the size of images, how they are normalized, and how many bits of 16 count.

    Args:
        recipe: as given.
        start: what the network starts from, as read.
        listener: gets the note on the weights, and one if the recipe augments images of which
            features are computed once.

    Raises:
        UsageError: the recipe wants another model, or it is not known which one it should be.
    """
    if start is None:
        return recipe
    if start.note:
        listener.note(start.note)
    decided = _of_model(recipe, start, listener) if start.model else _of_weights(recipe, start)
    if recipe.freeze and not recipe.views:
        given = recipe.augment.model_dump()
        asked = [
            name for name in given if given[name] and f"augment.{name}" not in recipe.left_to_data
        ]
        if asked:
            listener.note(
                f"images are not augmented ({listing(asked)}), because features are computed "
                "once; to augment them, compute several views: --set views=8"
            )
        decided["augment"] = AugmentRecipe()
    return recipe.model_copy(update=decided)


def _of_model(recipe: Recipe, start: Start, listener: Listener) -> dict[str, Any]:
    """What a model of tenfold decides."""
    left, place = recipe.left_to_data, start.facts.place
    if "model" not in left and recipe.model != start.model:
        raise UsageError(
            f"the network starts from {place}, which is of the model {start.model}, and not "
            f"{recipe.model}",
            remedy=f"choose --model {start.model}, or leave the model out",
        )
    assert start.image_shape is not None, "a model has one"
    decided: dict[str, Any] = {
        "model": start.model,
        "model_args": {**(start.arguments or {}), **recipe.model_args},
    }
    if recipe.channels is None and start.image_shape[0] in (1, 3):
        decided["channels"] = start.image_shape[0]
    if "image_size" in left or recipe.image_size is None:
        decided["image_size"] = tuple(start.image_shape[1:])
        if "resize" not in recipe.model_fields_set:
            decided["resize"] = start.resize
    if "normalize" in left:
        decided["normalize"] = "start"
    if recipe.depth is None and start.depth != 16:  # as for images of 8 bits
        decided["depth"] = start.depth
        listener.note(
            f"in 16-bit images, {start.depth} bits count, as for the start; higher values become "
            "white: --set depth=16 uses all of them"
        )
    return decided


def _of_weights(recipe: Recipe, start: Start) -> dict[str, Any]:
    """What weights of another program decide."""
    left, decided = recipe.left_to_data, dict[str, Any]()
    model = recipe.model
    if "model" in left:
        decided["model"] = model = _recognized(start)
    first = next((t.shape for t in start.weights.values() if len(t.shape) == 4), None)
    if recipe.channels is None and first is not None and first[1] in (1, 3):
        decided["channels"] = first[1]
    if "normalize" in left and model in RESIDUAL and first is not None and first[1] == 3:
        decided["normalize"] = "imagenet"
    return decided


def _recognized(start: Start) -> str:
    """The residual network that weights are of, whatever their classes.

    Raises:
        UsageError: they are of none.
    """
    from tenfold.models import build

    kernel = start.weights.get("conv1.weight")
    channels = kernel.shape[1] if kernel is not None and len(kernel.shape) == 4 else 3
    shapes = {name: tuple(t.shape) for name, t in start.weights.items()}
    differing_from = dict[str, list[str]]()
    for name in RESIDUAL:
        outline = build(name, (min(max(channels, 1), 64), 64, 64), 2, device="meta").state_dict()
        wanted = {n: tuple(t.shape) for n, t in outline.items()}
        differing_from[name] = [
            f"{each} is {list(shapes[each]) if each in shapes else 'missing'}"
            + (f", wanted {list(wanted[each])}" if each in wanted else ", and not in the network")
            for each in {**wanted, **shapes}
            if shapes.get(each) != wanted.get(each)
            and not each.startswith("fc.")
            and not each.endswith(COUNT)
        ]
        if not differing_from[name]:
            return name
    nearest = min(RESIDUAL, key=lambda name: len(differing_from[name]))
    raise UsageError(
        f"{start.facts.place}: its weights are of none of {listing(RESIDUAL)}; from {nearest} they "
        f"differ in {counted(len(differing_from[nearest]), 'place')}: "
        f"{listing(differing_from[nearest], 2)}",
        remedy="if they are of another model, name it: --model NAME",
    )


def head_of(network: nn.Module) -> str | None:
    """The name of the last linear layer, which tells the classes apart; None without one."""
    from torch.nn import Linear

    names = [name for name, module in network.named_modules() if isinstance(module, Linear)]
    return names[-1] if names else None


def with_own_names(network: nn.Module, start: Start) -> Start:
    """The start with the network's names of its weights.

    Weights of another program may have other names; they are matched by order and shape. Those that
    have the network's names, but do not fit, are left to `put_into`.

    Raises:
        FileRefusedError: they have other names, and cannot be matched.
    """
    if start.model:
        return start
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tensor.shape for name, tensor in start.weights.items()}
    head = head_of(network)
    last = [name for name in wanted if head is not None and name.startswith(f"{head}.")]
    try:
        names = other_names(wanted, found, last=last, keeps_order=start.keeps_order)
    except NotMatchedError as error:
        raise FileRefusedError(
            f"{start.facts.place}: its weights have other names than the network's, and cannot be "
            f"matched by order and shape: {error}",
            remedy=_AS_TRAINED,
        ) from error
    if not names:
        return start
    weights = {names[name]: tensor for name, tensor in start.weights.items()}
    facts = start.facts.model_copy(update={"renamed": names})
    return replace(start, facts=facts, weights=weights)


def note_on_names(facts: StartFacts) -> str:
    """Which weights were matched with which of the network; empty if they had its names."""
    modules = {a.rpartition(".")[0]: b.rpartition(".")[0] for a, b in facts.renamed.items()}
    pairs = facts.renamed if "" in modules or "" in modules.values() else modules
    if not pairs:
        return ""
    said = [f"{printable(name, 40)} as {own}" for name, own in pairs.items()]
    return (
        f"the weights in {facts.place} have other names than the network's and were matched by "
        f"order and shape: {listing(said, _SHOWN_NAMES)}"
        f"{' (all are in run.json)' if len(said) > _SHOWN_NAMES else ''}"
    )


def put_into(network: nn.Module, start: Start, classes: Sequence[str]) -> str:
    """Put the weights into a new network.

    Its last linear layer gets the rows of its classes, if all of them are known, or all rows, if
    it is not known of which classes they are, but there are as many; otherwise it stays as it is,
    with random weights.

    Args:
        network: with random weights.
        start: what it starts from.
        classes: that the network will tell apart, in order.

    Returns:
        A note on what was done.

    Raises:
        FileRefusedError: the weights do not fit the network.
    """
    from tenfold.tensors import from_stored

    own, head = network.state_dict(), head_of(network)
    found = from_stored(start.weights)
    of_head = [name for name in own if head is not None and name.startswith(f"{head}.")]
    body = [
        name for name in own if name not in of_head and (name in found or not name.endswith(COUNT))
    ]
    differing = [
        f"{name} is {list(found[name].shape) if name in found else 'missing'}, wanted "
        f"{list(own[name].shape)}"
        for name in own
        if (name in body and (name not in found or found[name].shape != own[name].shape))
        or (name in of_head and name in found and found[name].ndim != own[name].ndim)
    ]
    differing += [
        f"{name} is not in the network"
        if name not in own
        else f"{name} has numbers of type {found[name].dtype}, wanted {own[name].dtype}"
        for name in found
        if name not in own or found[name].is_floating_point() != own[name].is_floating_point()
    ]
    if differing:
        raise FileRefusedError(
            f"{start.facts.place}: its weights do not fit the network: {listing(differing, 3)}",
            remedy=_AS_TRAINED,
        )
    if head is None and start.classes not in (None, tuple(classes)):
        raise FileRefusedError(
            f"{start.facts.place}: it tells other classes apart, or in another order, and its "
            "network has no last layer that could be replaced",
            remedy="start from another model",
        )
    rows = _rows(start.classes, classes, [found[name].shape for name in of_head if name in found])
    if rows is not None and len(rows) == len(classes) and all(name in found for name in of_head):
        taken = {name: found[name][rows] for name in of_head}
        fits = all(taken[name].shape == own[name].shape for name in of_head)
    else:
        taken, fits = {}, False
    if not body and not fits:
        raise FileRefusedError(
            f"{start.facts.place}: nothing of it can be used: its only layer is the last one, and "
            "that is for other classes or another image size",
            remedy="start from another model, or train a new one",
        )
    values = {name: found[name] for name in body} | (taken if fits else {})
    network.load_state_dict(
        {name: values.get(name, tensor).to(tensor.dtype) for name, tensor in own.items()}
    )
    said = f"the network starts from {start.facts.place}"
    lost = [name for name in start.classes or () if name not in classes]
    if lost:
        them = "it" if len(lost) == 1 else "them"
        said += (
            f"; this data lacks {len(lost):,} of its {len(start.classes or ()):,} classes "
            f"({quoted(lost, 5)}), so the new model will not know {them}: to keep {them}, train on "
            f"{start.source or 'the old data'} and give this data to --add"
        )
    if fits and start.classes is None:
        return f"{said}, its last layer ({head}) too, because it has as many outputs"
    if fits or not of_head:
        return said
    if any(name not in found for name in of_head):
        why = "the weights have none"
    elif taken:
        why = "its inputs are others"
    elif start.classes is not None:
        unknown = [name for name in classes if name not in start.classes]
        why = f"it does not know {listing(list(map(repr, unknown)), 3)}"
    else:
        why = f"that of the weights has {counted(len(found[of_head[0]]), 'output')}"
    return f"{said}; its last layer ({head}) is new, because {why}"


def _rows(
    before: Sequence[str] | None, now: Sequence[str], shapes: Sequence[Sequence[int]]
) -> list[int] | None:
    """For each class, its row in the old last layer; None if a class is new."""
    if before is None:  # if there are as many, they are taken for the same, in the same order
        fits = all(tuple(shape[:1]) == (len(now),) for shape in shapes)
        return list(range(len(now))) if fits else None
    rows = {name: row for row, name in enumerate(before)}
    return [rows[name] for name in now] if set(now) <= rows.keys() else None


def freeze(network: nn.Module) -> str:
    """Let only the last linear layer be trained.

    Returns:
        A note on it.

    Raises:
        UsageError: there is no such layer.
    """
    head = head_of(network)
    if head is None:
        raise UsageError(
            "freeze is true, but the network has no linear layer that could be trained alone",
            remedy="leave freeze out, or choose another model",
        )
    for parameter in network.parameters():
        parameter.requires_grad = False
    trained = list(network.get_submodule(head).parameters())
    for parameter in trained:
        parameter.requires_grad = True
    total = sum(parameter.numel() for parameter in network.parameters())
    if total == sum(parameter.numel() for parameter in trained):
        raise UsageError(
            "freeze is true, but the network has no other layers than its last",
            remedy="leave freeze out, or start from another model",
        )
    n = sum(math.prod(parameter.shape) for parameter in trained)
    return f"{counted(n, 'weight')} of {total:,} are trained: those of the last layer ({head})"
