"""The model bundle: one self-contained file per model.

A safetensors file with the network's weights and a JSON header with everything needed to use them:
architecture and arguments, the network as a list of layers if it is one, class names, input shape
and preprocessing. The header also says where they come from: the data's fingerprint and the run's
figures. Reading a bundle does not need PyTorch; turning it into a module does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import AfterValidator, ConfigDict, Field, model_validator

from tenfold.deployment.background import Background
from tenfold.errors import FileRefusedError, UsageError, listing, printable, quoted, shell_quoted
from tenfold.models.layers import Layer, Network, output_shapes, require_weights
from tenfold.models.older import renamed_weights, without_idle_dropout
from tenfold.models.own import OwnFacts, OwnModel
from tenfold.models.own_files import LARGEST_SOURCE
from tenfold.resizing import Resize
from tenfold.storage import Facts, StoredTensor, checked, read_tensors, write_tensors
from tenfold.types import ImageShape

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tenfold.models.image_model import ImageModel
else:
    Tensor = nn = ImageModel = Any

KIND, VERSION = "tenfold-bundle", 5

VERSION_OF_TABLE = 4
"""Written for models of the table, which older versions of tenfold read, too."""

MAX_CLASSES = 65_536

MOST_VALUES = 2**26
"""Maximum number of values in all outputs for one image; each takes 64 bytes in the kernels."""

_LARGE = 10**6
"""An argument beyond this is no usual size of a layer."""

_Side = Annotated[int, Field(gt=0, le=2**14)]  # no model takes larger images

_UNUSABLE = "not a usable model file"
_NAME_ONE = "name a run folder or its model.safetensors"


def _each_once(names: list[str]) -> list[str]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"more than one class is named {quoted(twice, 5)}")
    return names


def _single(number: float) -> float:
    """Refuse a number that becomes infinite where it is used."""
    with np.errstate(over="ignore"):
        if not np.isfinite(np.float32(number)):
            raise ValueError("it is infinite in single precision")
    return number


def _positive_single(number: float) -> float:
    """Refuse a number that has no normal value where it is used."""
    if np.float32(number) < np.finfo(np.float32).tiny:
        raise ValueError("it is too close to 0 for single precision")
    return number


_Single = Annotated[float, AfterValidator(_single)]


class PreprocessingHeader(Facts):
    """The arguments of `Preprocessing`; older files normalize no image by its own figures."""

    model_config = ConfigDict(extra="forbid")

    mean: list[_Single]
    std: list[Annotated[_Single, Field(gt=0), AfterValidator(_positive_single)]]
    by_image: bool = False


class BundleHeader(Facts):
    """The non-tensor part of a bundle.

    Attributes:
        model: its name in `MODELS`, or that of the user's own code.
        arguments: the model's own arguments, including defaults.
        input_shape: of one image: channels, height, width.
        classes: the class names, in the order of the logits.
        class_weights: of the loss that it was trained with; None if all images count alike.
        depth: of 16-bit gray, the number of bits that count; older files have none and 16.
        resize: how pictures are brought to the input shape; older files have none and crop.
        preprocessing: from raw pixels to the network's input.
        own: what is recorded of a network that is not of the table; None for one that is.
        source: the code of such a network, if it is no list of layers: to be read, never run.
        layers: the network as a flat list; None if it is not one, or this was not determined. It
            must be what `layer_list` finds, so a change there needs a new version of the file.
        temperature: the logits are divided by it for probabilities; fitted to validation images,
            1 if there were none, or in older files.
        background: of the training images; None if they have no common one, or in older files.
        data: `source` and `fingerprint` of the training data.
        figures: the figures measured when the bundle was created, by name.
    """

    model: str
    arguments: dict[str, Any]
    input_shape: Annotated[tuple[_Side, _Side, _Side], Field(strict=False)]
    classes: Annotated[
        list[str], Field(min_length=1, max_length=MAX_CLASSES), AfterValidator(_each_once)
    ]
    class_weights: list[Annotated[float, Field(ge=0)]] | None = None
    resize: Resize = "crop"
    depth: Annotated[int, Field(ge=8, le=16)] = 16
    preprocessing: PreprocessingHeader
    own: OwnFacts | None = None
    source: Annotated[str, Field(max_length=LARGEST_SOURCE)] = ""
    layers: Network | None = None
    temperature: Annotated[float, Field(ge=1e-3, le=1e3)] = 1.0
    background: Background | None = None
    data: dict[str, Any]
    figures: dict[str, Any]

    @model_validator(mode="after")
    def _fits(self) -> BundleHeader:
        means, deviations = len(self.preprocessing.mean), len(self.preprocessing.std)
        if means not in (0, self.input_shape[0]) or means != deviations:
            raise ValueError(
                f"its preprocessing has {means} channels, its model {self.input_shape[0]}"
            )
        if self.class_weights is not None and len(self.class_weights) != len(self.classes):
            raise ValueError(
                f"it has {len(self.class_weights)} class weights, but {len(self.classes)} classes"
            )
        if self.preprocessing.by_image and means:
            raise ValueError("its preprocessing normalizes twice")
        if self.own is not None and self.model != self.own.model:
            raise ValueError(f"its model is {self.model!r}, its own {self.own.model!r}")
        return self


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained model and everything needed to use it.

    Attributes:
        header: the non-tensor part.
        weights: the network's, by name.
        place: where it was read from, for messages.
        sha256: of the file's contents; empty if it was not read from a file.
        code: what makes its network, if that is the user's own and the user has named it.
        code_place: the file and name of that code, as typed here; empty if that is not known.
    """

    header: BundleHeader
    weights: Mapping[str, StoredTensor]
    place: str = "the model"
    sha256: str = ""
    code: OwnModel | None = None
    code_place: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the logits."""
        return tuple(self.header.classes)

    @property
    def input_shape(self) -> ImageShape:
        """The shape of one image."""
        return ImageShape(*self.header.input_shape)

    def network(self) -> nn.Module:
        """A new network with these weights, on the CPU, in evaluation mode.

        Raises:
            FileRefusedError: the architecture is unknown, or needs code that was not named, or the
                weights or layers do not fit it.
        """
        from tenfold.models.tracing import layer_list

        header = self.header
        if header.own is None:
            with _refused_as_unusable(self.place):
                network = self._of_table()
        else:
            network = self._own(header.own)
        weights = self._require_weights_of(network)
        # Copies: further training must not change the bundle or its other networks.
        copies = {name: tensor.clone() for name, tensor in weights.items()}
        network.load_state_dict(copies, assign=any(p.is_meta for p in network.parameters()))
        if header.layers is not None:
            found = layer_list(network)
            # Code that was named may be no list. Of others, tracing was disturbed if there is none.
            if found != header.layers and (found is not None or self._is_by_code):
                place, architecture = self._place_and_architecture
                raise self._not_its_architecture(
                    f"{place}: its list of layers is not that of {architecture}"
                )
        return network.eval()

    @property
    def _is_by_code(self) -> bool:
        """Whether the user's own code makes the network."""
        return self.header.own is not None and self.code is not None

    def _of_table(self) -> nn.Module:
        from tenfold.models.table import build, model_arguments

        header = self.header
        return build(
            header.model,
            header.input_shape,
            len(header.classes),
            device="meta",
            **model_arguments(header.model, header.arguments),
        )

    def _own(self, facts: OwnFacts) -> nn.Module:
        """The network by the user's code, if that was named; otherwise by the list of layers.

        Raises:
            FileRefusedError: neither is there.
        """
        import torch

        if self.code is not None:
            return self._by_code(self.code)
        if self.header.layers is not None:
            with _refused_as_unusable(self.place), torch.device("meta"):
                return OwnModel.listed(facts, self.header.layers).build({})
        raise FileRefusedError(
            f"{self.place}: its network, {facts.model}, needs its code, which is run only if you "
            "name it",
            remedy=how_to_name(facts, self.code_place),
        )

    def _by_code(self, code: OwnModel) -> nn.Module:
        """The network by the user's code, called with the file's arguments.

        Raises:
            FileRefusedError: with these, making it fails, or it has other weights than the file.
        """
        import torch

        arguments = self.header.arguments
        with torch.random.fork_rng(devices=[]):
            if not arguments or code.given is not None:
                return code.build(arguments)
            if self._claims_too_much(arguments):
                with suppress(UsageError), torch.device("meta"):
                    self._require_weights_of(code.build(arguments))
            try:
                return code.build(arguments)
            except UsageError as error:
                given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
                raise FileRefusedError(
                    f"{self.place}: its arguments are {printable(given, 200)}: {error.message}",
                    remedy="name the code that it was trained with, or a function that makes the "
                    "network without arguments",
                ) from error

    def _claims_too_much(self, value: object) -> bool:
        """Whether a file's arguments have a number that may be a size which takes all memory.

        Other networks are made only for real: tables that code keeps for its next networks would
        otherwise be on the meta device, without values.
        """
        if isinstance(value, Mapping):
            return any(map(self._claims_too_much, value.values()))
        if isinstance(value, list | tuple):
            return any(map(self._claims_too_much, value))
        weights = sum(math.prod(stored.shape) for stored in self.weights.values())
        return isinstance(value, int) and value > max(_LARGE, weights)

    def _require_weights_of(self, network: nn.Module) -> dict[str, Tensor]:
        """The weights, if they are those that a network has.

        Raises:
            FileRefusedError: they are not.
        """
        from tenfold.tensors import differences, from_stored

        weights = from_stored(self.weights)
        differing = differences(network.state_dict(), weights)
        if differing:
            place, architecture = self._place_and_architecture
            raise self._not_its_architecture(
                f"{place}: its weights do not fit {architecture}: {listing(differing, 5)}"
            )
        return weights

    @property
    def _place_and_architecture(self) -> tuple[str, str]:
        """What to call them where they differ."""
        if self.code is not None and self.header.own is not None:
            return self.place, self.code.model
        return f"{self.place}: {_UNUSABLE}", "its architecture"

    def _not_its_architecture(self, message: str) -> FileRefusedError:
        """The error that something is not that of its architecture."""
        own = self.header.own
        if own is None or self.code is None:
            return FileRefusedError(message, remedy=_NAME_ONE)
        return FileRefusedError(
            message,
            remedy=f"leave it out: the layers of {own.model} are in the file"
            if self.header.layers is not None
            else f"name the code that it was trained with, {own.model}; if it was made with "
            "arguments there, name a function that makes it with them",
        )

    @property
    def note_on_code(self) -> str:
        """The note that the code that was named is not what it was trained with; else empty."""
        own, code = self.header.own, self.code
        if own is None or code is None or code.code is None or own.sha256 in ("", code.code.sha256):
            return ""
        return (
            f"{self.place}: it was trained with other contents of {own.file}, so its answers may "
            "differ"
        )

    def module(self) -> ImageModel:
        """A new module: raw uint8 images to logits, on the CPU, in evaluation mode.

        Raises:
            FileRefusedError: see `network`.
        """
        from tenfold.models.image_model import ImageModel
        from tenfold.models.preprocessing import Preprocessing

        with _refused_as_unusable(self.place):
            preprocessing = Preprocessing(**self.header.preprocessing.model_dump())
        return ImageModel(preprocessing, self.network()).eval()


def how_to_name(facts: OwnFacts, place: str = "") -> str:
    """How a user names the code of a network.

    Args:
        facts: the network's.
        place: the file and name, as typed here; empty if it is not known where the file is.
    """
    if facts.file:
        code = shell_quoted(place or facts.model)
        return f"add --code {code}, or in Python model={facts.name}"
    return "in Python, pass it again as in the training, with model="


def write_bundle(path: Path, bundle: Bundle) -> str:
    """Write a bundle atomically: if the process dies, the old file or the new one is there.

    Returns:
        The SHA-256 of its contents, as in `Bundle.sha256`.

    Raises:
        StorageError: it could not be written.
    """
    is_own = bundle.header.own is not None
    header = bundle.header.model_dump(mode="json", exclude=set() if is_own else {"own", "source"})
    version = VERSION if is_own else VERSION_OF_TABLE
    return write_tensors(path, bundle.weights, kind=KIND, version=version, header=header)


def read_bundle(path: Path) -> Bundle:
    """Read a bundle.

    No code in the file is executed, and memory use is limited to the file's size.

    Raises:
        FileRefusedError: the file is not a bundle, is damaged, is from a newer tenfold, or is
            inconsistent: weights or layers do not fit each other, the image shape or the number
            of classes.
    """
    file = read_tensors(path, kind=KIND, version=VERSION)
    header = checked(BundleHeader, file.header, f"{path}: {_UNUSABLE}", remedy=_NAME_ONE)
    weights = file.tensors
    if file.version == 1:
        header, weights = _from_version_1(header, weights)
    with _refused_as_unusable(str(path)):
        _require_finite(weights)
        if header.layers is not None:
            require_weights(header.layers, {n: t.shape for n, t in weights.items()})
            shapes = output_shapes(header.layers, header.input_shape)
            if sum(map(math.prod, shapes)) > MOST_VALUES:
                raise FileRefusedError(
                    f"its layers compute {sum(map(math.prod, shapes)):,} numbers per image, wanted "
                    f"at most {MOST_VALUES:,}"
                )
            _require_logits(header, shapes[-1])
    return Bundle(header, weights, str(path), file.sha256)


def _from_version_1(
    header: BundleHeader, weights: Mapping[str, StoredTensor]
) -> tuple[BundleHeader, dict[str, StoredTensor]]:
    """Some weights had other names, and the list had dropout layers that drop nothing."""
    new_names = renamed_weights(header.model, header.arguments, weights)

    def renamed(layer: Layer) -> Layer:
        fields = layer.model_dump(include={"weight", "bias"})
        return layer.model_copy(update={f: new_names.get(n, n) for f, n in fields.items()})

    if header.layers is not None:
        layers = tuple(renamed(layer) for layer in without_idle_dropout(header.layers))
        header = header.model_copy(update={"layers": layers})
    return header, {new_names.get(name, name): tensor for name, tensor in weights.items()}


def _require_finite(weights: Mapping[str, StoredTensor]) -> None:
    """Refuse weights that are not finite: no run saves them, and their outputs would be useless."""
    arrays = {name: weights[name].array() for name in sorted(weights)}
    wrong = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if wrong:
        raise FileRefusedError(f"its weights are not all finite: {listing(wrong, 5)}")


def _require_logits(header: BundleHeader, output: tuple[int, ...]) -> None:
    if output != (len(header.classes),):
        raise FileRefusedError(
            f"its layers output {'x'.join(map(str, output))} numbers per image, "
            f"wanted {len(header.classes)}, one per class"
        )


@contextmanager
def _refused_as_unusable(place: str) -> Iterator[None]:
    """Add the bundle's place to errors raised inside the block."""
    try:
        yield
    except (UsageError, FileRefusedError) as error:
        raise FileRefusedError(
            f"{place}: {_UNUSABLE}: {error.message}", remedy=_NAME_ONE
        ) from error
