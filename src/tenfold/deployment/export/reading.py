"""The code that reads image files as the model takes them, by the rules of tenfold."""

from __future__ import annotations

from tenfold.resizing import Resize
from tenfold.types import ImageShape

_RESIZED: dict[Resize, str] = {
    "squash": "image.resize(({width}, {height}), Image.Resampling.BILINEAR)",
    "crop": "ImageOps.fit(image, ({width}, {height}), Image.Resampling.BILINEAR)",
    "pad": "padded(image, {width}, {height})",
}
"""How a picture is brought to its size."""

_PADDED = '''\
def padded(image, width, height):
    """All of an image in the middle; around it, the mean color of its outermost pixels."""
    import numpy as np
    from PIL import Image

    if image.height * width >= image.width * height:
        size = max(1, round(image.width * height / image.height)), height
    else:
        size = width, max(1, round(image.height * width / image.width))
    image = image.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    rim = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    color = tuple((rim.mean(axis=0) + 0.5).astype(int).tolist())
    canvas = Image.new(image.mode, (width, height), color)
    canvas.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return canvas
'''


def reading_code(shape: ImageShape, resize: Resize, depth: int) -> list[str]:
    """The functions that read an image file.

    Args:
        shape: of one image, gray or color.
        resize: how pictures are brought to it.
        depth: of 16-bit gray, the number of bits that count.
    """
    resized = _RESIZED[resize].format(width=shape.width, height=shape.height)
    high = f"np.asarray(image) >> {depth - 8}"
    high = f"np.minimum({high}, 255)" if depth < 16 else f"({high})"
    gray = shape.channels == 1
    mode = '.convert("RGB").convert("L")' if gray else '.convert("RGB")'
    last = "[None]" if gray else ".permute(2, 0, 1)"
    read = f'''\
def read(path):
    """The raw pixels of an image file: {" x ".join(map(str, shape))}, uint8."""
    import numpy as np
    from PIL import Image, ImageOps

    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file)
    deep = image.mode == "I" and file.format in ("PNG", "PPM")
    if deep or image.mode.startswith("I;16"):
        image = Image.fromarray({high}.astype("uint8"))
    if image.mode in ("I", "F"):
        raise ValueError(f"{{path}}: wanted 8 or 16 bits per channel")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    image = image{mode}
    image = {resized}
    return torch.from_numpy(np.array(image)){last}
'''
    return [_PADDED, read] if resize == "pad" else [read]
