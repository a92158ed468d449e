"""Explain the exceptions that common mistakes in a network or a training loop raise."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tenfold.errors import StoppedAtOnce, TenfoldError, UsageError, printable
from tenfold.models.mistakes import declarations, labels, shapes, values
from tenfold.models.mistakes.failure import Failure
from tenfold.models.mistakes.outputs import wrong_outputs
from tenfold.models.mistakes.tracebacks import Place

_Case = Callable[[Failure, re.Match[str]], UsageError | None]

_DEVICES = (
    r"tensors to be on the same device|is not on the expected device"
    r"|Input type \(.*cuda.*\) and weight type|Input type \(.*\) and weight type \(.*cuda"
)
_TYPES = (
    r"must have the same dtype|expected m1 and m2 to have the same dtype"
    r"|Input type .* should be the same$|expected scalar type|Found dtype"
)
_FROM_EVALUATION = (
    r"Inference tensors cannot be saved for backward|requires_grad=True on inference tensor"
)

_CASES: tuple[tuple[str, _Case], ...] = (
    (r"^.*(?:Byte|unsigned char)", values.raw_pixels),
    (r"has no attribute 'to'|must be Tensor, not", values.not_a_tensor),
    (r"not compiled with CUDA|No CUDA GPUs are|Found no NVIDIA driver", values.no_gpu),
    (r"^No module named '([\w.]+)'", declarations.imported_late),
    # Declarations
    (r"before Module\.__init__\(\) call", declarations.init_not_called),
    (r"has no attribute '(\w+)'", declarations.init_not_called),
    (r"'(?P<kind>\w+)' object has no attribute '(?P<attribute>\w+)'", declarations.not_called),
    (r"must be Tensor, not (?P<kind>\w+)", declarations.not_called),
    (r"(?P<kind>\w+)\.__init__\(\) takes \d+ positional", declarations.not_called),
    (r"unsupported operand type.*: .*?'(?!Tensor')(?P<kind>\w+)'", declarations.not_called),
    (r"has no attribute '(\w+)'", declarations.unknown_attribute),
    (r"Module \[(\w+)\] is missing the required \"forward\"", declarations.no_forward),
    (r"(\S+)\.forward\(\) (?:takes|missing) ", declarations.wrong_signature),
    # Devices and types: before shapes, which are right in these
    (_DEVICES, values.wrong_device),
    (_TYPES, values.wrong_type),
    # Shapes
    (r"shapes cannot be multiplied|must have same reduction dim", shapes.wrong_features),
    (r"shape '\[([-\d, ]+)\]' is invalid for input of size (\d+)", shapes.wrong_view),
    (r"view size is not compatible with input tensor's size", shapes.view_of_strides),
    (r"expected input\[.*\] to have \d+ channels, but got \d+", shapes.wrong_channels),
    (r"Invalid channel dimensions", shapes.wrong_channels),  # on the meta device
    (r"running_mean should contain \d+ elements not \d+", shapes.wrong_channels),
    (r"Calculated padded input size per channel: (\(.*?\))", shapes.too_small),
    (r"Given input size: (\(.*?\))\. Calculated output size", shapes.too_small),
    (r"(?i)expected .*input.* got (?:input of size|\dD input)", shapes.wrong_dimensions),
    # Gradients
    (r"leaf Variable that requires grad is being used in an in-place", values.leaf_changed),
    (r"has been modified by an inplace operation", values.result_changed),
    (r"(?:element 0 of t|differentiated T)ensors does not require grad", values.no_gradients),
    (_FROM_EVALUATION, values.made_in_evaluation),
    (r"Expected more than 1 value per channel when training", values.one_image),
    # Labels
    (r"^Target (-?\d+) is out of bounds", labels.out_of_range),
    (r"target|size of tensor|nll_loss", labels.wrong_type),
    # Outputs
    (
        r"must be Tensor, not|has no attribute|target|size of tensor|Dimension out of range",
        wrong_outputs,
    ),
)
"""What PyTorch's messages contain, and what explains them; the first that can does."""


@contextmanager
def explained(network: object, images: object, labels: object = None) -> Iterator[None]:
    """Explain an exception that a learner's code raises inside the block, if it is a known one.

    Others are raised as they are. Without an exception this costs nothing: no hooks, no checks.

    Args:
        network: what is called in the block, a module or any callable.
        images: its input, a batch.
        labels: the batch's labels, if the block computes a loss or an accuracy.

    Raises:
        UsageError: where in the learner's code, what was found, what was wanted, and the remedy.
    """
    try:
        yield
    except TenfoldError:
        raise
    except Exception as error:
        failure = Failure(error, network, images, labels)
        explanation = next(filter(None, _explanations(failure)), None)
        if explanation is None:
            raise
        raise explanation from error


@contextmanager
def named(what: str) -> Iterator[None]:
    """Name the line of a learner's code that raises an exception which nothing explains.

    Args:
        what: is done in the block, such as `making Net`.

    Raises:
        UsageError: with the line and what it raised.
    """
    try:
        yield
    except (TenfoldError, StoppedAtOnce):
        raise
    except (Exception, SystemExit) as error:
        line = Place(error).line
        reason = printable(str(error).partition("\n")[0], 300)
        said = f"{what} raises {type(error).__name__}: {reason}"
        raise UsageError(f"{line}: {said}" if line else said) from error


def _explanations(failure: Failure) -> Iterator[UsageError | None]:
    text = str(failure.error)
    for pattern, case in _CASES:
        match = re.search(pattern, text)
        if match is not None:
            yield case(failure, match)
