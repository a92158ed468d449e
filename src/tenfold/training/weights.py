"""Trained weights of any program, put into any module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from tenfold.errors import FileRefusedError, UsageError, listing
from tenfold.models.torch_files import is_finite
from tenfold.models.weight_files import read_weights
from tenfold.models.weight_names import with_own_prefixes
from tenfold.models.weight_order import COUNT, NotMatchedError, other_names
from tenfold.paths import is_folder
from tenfold.storage import kind_of
from tenfold.tensors import differences
from tenfold.training.parts_checkpoint import KIND, read_parts_checkpoint

_AS_TRAINED = "build the model with the layers, classes and image size that they were trained with"

_IN_ORDER = "save them with torch.save(net.state_dict(), FILE), which keeps their order"

_OF_TENFOLD = (
    "model.load_state_dict(tenfold.load({}).module.network.state_dict()) takes the weights of a "
    "run or a model of tenfold"
)

_OTHER_KINDS = {
    "tenfold-bundle": "a model of tenfold",
    "tenfold-checkpoint": "a checkpoint of a run",
}
"""Whose weights are not for any module."""


def load_weights(path: str | Path, model: nn.Module) -> dict[str, str]:
    """Load trained weights into a model; returns which was taken for which if names differ.

    Prefixes of all names, such as the `module.` of `DataParallel`, do not matter. Weights of which
    no name is the model's are matched by order and shape, and their types are converted to the
    model's. Every weight has to fit; only counts of batches, which older versions of batch
    normalization lack, may be missing, and stay as they are.

    Args:
        path: a file that `torch.save` wrote of a `state_dict()`, or of a checkpoint that has one
            under a usual key, such as `model_state_dict`; a safetensors file; or a checkpoint by
            `save_checkpoint`. No code in it is run.
        model: any module, such as one from `tenfold.models.build`; in case of an error unchanged.

    Returns:
        The model's name of each weight by its name in the file, if they were matched by order and
        shape; empty if the names agreed.

    Raises:
        FileRefusedError: the file cannot be read, or its weights do not fit the model.
        UsageError: the model has lazy layers that have not seen a batch yet.
    """
    path = Path(path)
    own = weights_of(model)
    found, keeps_order = _read(path, model)
    same = with_own_prefixes(found, own)
    try:
        others = matched_names(own, {same[name]: found[name] for name in found}, keeps_order)
    except NotMatchedError as error:
        raise FileRefusedError(
            f"{path}: its weights have other names than the model's, and cannot be matched by "
            f"order and shape: {error}",
            remedy=_AS_TRAINED if keeps_order else f"{_IN_ORDER}, or {_AS_TRAINED}",
        ) from error
    weights = {others.get(same[name], same[name]): tensor for name, tensor in found.items()}
    model.load_state_dict(_fitting(path, own, weights))
    return {name: others[same[name]] for name in found if others}


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """A model's state dict.

    Raises:
        UsageError: some of its shapes are not known yet.
    """
    own: dict[str, Tensor] = model.state_dict()
    unknown = [name for name, tensor in own.items() if is_lazy(tensor)]
    if unknown:
        raise UsageError(
            f"the model has lazy layers, whose shapes are not known yet: {listing(unknown, 3)}",
            remedy="call it once on a batch of images, model(images), before",
        )
    return own


def matched_names(
    own: Mapping[str, Tensor], found: Mapping[str, Tensor], keeps_order: bool
) -> dict[str, str]:
    """The model's name of each weight of a file, matched by order and shape; empty if names agree.

    Raises:
        NotMatchedError: all names are others, and they cannot be matched.
    """
    wanted, shapes = (
        {name: tuple(tensor.shape) for name, tensor in each.items()} for each in (own, found)
    )
    return other_names(wanted, shapes, last=(), keeps_order=keeps_order)


def _read(path: Path, model: nn.Module) -> tuple[dict[str, Tensor], bool]:
    """The weights in a file by name, and whether they are in the order of their network."""
    kind = kind_of(path)
    what = "a folder" if is_folder(path) else _OTHER_KINDS.get(kind, "")
    if what:
        place = "RUN" if kind == "tenfold-checkpoint" else repr(str(path))
        raise FileRefusedError(
            f"{path}: this is {what}, wanted a file of weights", remedy=_OF_TENFOLD.format(place)
        )
    if kind == KIND:
        return read_parts_checkpoint(path, model).weights, False
    file = read_weights(path)
    return file.weights, file.keeps_order


def _fitting(
    path: Path, own: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The weights of the model's types, and its own counts if the file has none.

    Raises:
        FileRefusedError: they do not fit, or would not be finite.
    """
    fitting = {
        name: tensor.to(own[name].dtype)
        if name in own and own[name].is_floating_point() and tensor.is_floating_point()
        else tensor
        for name, tensor in weights.items()
    }
    fitting |= {name: own[name] for name in own if name.endswith(COUNT) and name not in fitting}
    differing = differences(own, fitting)
    if differing:
        raise FileRefusedError(
            f"{path}: its weights do not fit the model: {listing(differing, 3)}",
            remedy=_AS_TRAINED,
        )
    infinite = [name for name, tensor in fitting.items() if not is_finite(tensor)]
    if infinite:
        raise FileRefusedError(
            f"{path}: not all of its weights are finite in the model's type: "
            f"{listing(infinite, 3)}",
            remedy="convert the model, model.float(), before",
        )
    return fitting
