"""A `model.py` in plain PyTorch that has the network and all that is needed to use it."""

from __future__ import annotations

from tenfold.deployment.background import IN_WORDS, Shade, opposite
from tenfold.deployment.bundle import BundleHeader
from tenfold.deployment.export.network import network_code
from tenfold.deployment.export.reading import reading_code
from tenfold.deployment.export.text import call, text_literal
from tenfold.errors import FileRefusedError
from tenfold.types import ImageShape

MARK = '"""Exported by tenfold: '
"""How every such file begins."""


def model_source(header: BundleHeader, weights: str, place: str) -> tuple[str, dict[str, str]]:
    """The source of a `model.py`, and the names of its network's tensors.

    Args:
        header: the bundle's.
        weights: the name of the file with the weights, which will be beside it.
        place: the bundle's, for messages.

    Returns:
        The source; and the names of the tensors in the bundle, by those in the source, in order.

    Raises:
        FileRefusedError: the bundle does not list its layers.
        UsageError: the network branches in another way than by residual blocks.
    """
    if header.layers is None:
        raise FileRefusedError(
            f"{place}: the model file does not list the layers of its network, so no code can be "
            "written for it",
            remedy="export it with --to torch-export or --to onnx",
        )
    network = network_code(
        header.layers, f"{_name(header)}: images, as `scaled` gives them, to logits."
    )
    shape = ImageShape(*header.input_shape)
    takes_files = shape.channels in (1, 3)
    top = _top(header, shape, has_functions=network.has_functions, takes_files=takes_files)
    parts = [
        f"{top}\n{_constants(header, weights)}",
        *network.classes,
        _LOAD,
        _scaling(header),
        _predict(shape, len(header.classes)),
    ]
    if takes_files:
        parts += reading_code(shape, header.resize, header.depth)
        shade = None if header.background is None else header.background.shade
        parts += [_looks_inverted(shade)] if shade else []
        parts.append(_main(shade))
    return "\n\n".join(parts), network.names


def _name(header: BundleHeader) -> str:
    """What the network is called in a docstring: an identifier, or a name of the table."""
    return header.model if header.own is None else header.own.name


def _top(header: BundleHeader, shape: ImageShape, *, has_functions: bool, takes_files: bool) -> str:
    size = " x ".join(map(str, shape))
    usage = "IMAGE..." if header.background is None else "[--invert] IMAGE..."
    on_files = (
        f"Answers for image files, with Pillow: python model.py {usage}\n" if takes_files else ""
    )
    imports = ["import sys\n"] if takes_files else []
    imports += ["from pathlib import Path\n", "\nimport torch\n"]
    imports += ["import torch.nn.functional as F\n"] if has_functions else []
    return (
        f"{MARK}{_name(header)} for images of {size}.\n\n"
        f"{on_files}In Python, for raw pixels of shape n x {size}, 0..255 as uint8:\n\n"
        "    net = load()\n"
        "    probabilities = predict(net, images)\n"
        f'"""\n\n{"".join(imports)}from torch import nn\n'
    ).rstrip("\n") + "\n"


def _constants(header: BundleHeader, weights: str) -> str:
    lines = [
        loading(weights),
        call("CLASSES = [", [text_literal(name) for name in header.classes], "]"),
    ]
    preprocessing = header.preprocessing
    if not preprocessing.by_image:
        channels = header.input_shape[0]
        mean = preprocessing.mean or [0.0] * channels
        std = preprocessing.std or [1.0] * channels
        lines += [
            "# Of each channel, with pixels from 0 to 1.",
            call("MEAN = [", [repr(float(each)) for each in mean], "]"),
            call("STD = [", [repr(float(each)) for each in std], "]"),
        ]
    lines += [
        "# Logits are divided by it for probabilities.",
        f"TEMPERATURE = {header.temperature!r}",
    ]
    return "\n".join(lines) + "\n"


def loading(weights: str) -> str:
    """The line of a `model.py` that names its weights."""
    return f"WEIGHTS = Path(__file__).with_name({text_literal(weights)})"


_LOAD = '''\
def load(path=WEIGHTS):
    """The trained network."""
    net = Net()
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return net.eval()
'''


def _scaling(header: BundleHeader) -> str:
    if header.preprocessing.by_image:
        return '''\
def scaled(images):
    """Raw pixels as the network takes them: each image has mean 0 and deviation 1."""
    pixels = images.double() / 255
    mean = pixels.mean((1, 2, 3), keepdim=True)
    std = pixels.std((1, 2, 3), correction=0, keepdim=True)
    return ((pixels - mean) / std.clamp(min=1 / 255)).float()
'''
    return '''\
def scaled(images):
    """Raw pixels as the network takes them."""
    mean, std = (torch.tensor(values).reshape(-1, 1, 1) for values in (MEAN, STD))
    return (images.float() / 255 - mean.to(images.device)) / std.to(images.device)
'''


def _predict(shape: ImageShape, classes: int) -> str:
    size = " x ".join(map(str, shape))
    return f'''\
def predict(net, images):
    """Probabilities, n x {classes}, of raw pixels: n x {size}, uint8."""
    with torch.inference_mode():
        return torch.softmax(net(scaled(images)) / TEMPERATURE, dim=1)
'''


def _looks_inverted(shade: Shade) -> str:
    is_other = "> 127" if shade == "dark" else "< 128"
    return f'''\
def looks_inverted(images):
    """Which of n raw images are {IN_WORDS[opposite(shade)]}, as the training images are not."""
    sides = images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]
    rims = torch.cat(sides, dim=2).float().mean(dim=1)
    return rims.median(dim=1).values {is_other}
'''


def _main(shade: Shade | None) -> str:
    """What answers for image files.

    Args:
        shade: of the training images' background, if they have a common one.
    """
    usage, options, inverting = "IMAGE...", "", ""
    if shade is not None:
        usage = "[--invert] IMAGE..."
        options = """\
    invert = "--invert" in names
    names = [name for name in names if name != "--invert"]
"""
        inverting = f'''\
        image = 255 - image if invert else image
        if looks_inverted(image[None]):
            other = "see --invert, or for photographs tenfold predict --center"
            remedy = "leave out --invert" if invert else other
            note = "{IN_WORDS[opposite(shade)]}, as the training images are not"
            print(f"{{name}}: {{note}}; {{remedy}}", file=sys.stderr)
'''
    return f"""\
if __name__ == "__main__":
    names = sys.argv[1:]
{options}    usage = "usage: python model.py {usage}"
    if not names:
        sys.exit(usage)
    if "-h" in names or "--help" in names:
        print(usage)
        sys.exit()
    try:
        trained = load()
    except OSError as error:
        sys.exit(str(error))
    for name in names:
        try:
            image = read(name)
        except (OSError, ValueError) as error:
            sys.exit(f"{{name}}: {{error}}")
{inverting}        (probabilities,) = predict(trained, image[None])
        best = int(probabilities.argmax())
        print(f"{{name}}: {{CLASSES[best]}} {{probabilities[best]:.4f}}")
"""
