"""Every mode, orientation and kind of damage of image files."""

from __future__ import annotations

import io
import tarfile
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.JpegImagePlugin import JpegImageFile

from tenfold.data.folders.images import decode_image, image_to_array, read_header
from tenfold.data.folders.pillow import LARGEST_PIXELS
from tenfold.errors import DataError, UsageError

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def random_image(mode: str = "RGB", width: int = 13, height: int = 9) -> Image.Image:
    channels = {"L": 1, "RGB": 3, "LA": 2, "RGBA": 4, "CMYK": 4}[mode]
    pixels = np.random.default_rng(7).integers(0, 256, (height, width, channels), np.uint8)
    return Image.frombytes(mode, (width, height), pixels.tobytes())


def decoded(data: bytes, channels: int = 3) -> np.ndarray:
    return decode_image(data, "test", channels=channels, size=None)


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_gives_its_size_and_pixels(kind):
    image = random_image()
    data = encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert read_header(data, "test")[:3] == (9, 13, False)
    pixels = decoded(data)
    assert pixels.shape == (3, 9, 13)
    if kind not in ("JPEG", "GIF"):  # these two are lossy
        assert np.array_equal(pixels.transpose(1, 2, 0), np.asarray(image))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "PPM"])
def test_gray_files_are_told_from_color(kind):
    assert read_header(encoded(random_image("L"), kind), "test")[:3] == (9, 13, True)


def test_jpeg_headers_are_read_as_pillow_reads_them(real_data):
    with tarfile.open(real_data / "cifar10-jpeg.tar.xz") as archive:
        for _ in range(300):
            member = archive.next()
            if member is not None and member.isfile():
                data = archive.extractfile(member).read()
                image = Image.open(io.BytesIO(data))
                wanted = (image.height, image.width, image.mode == "L")
                assert read_header(data, member.name)[:3] == wanted


@pytest.mark.parametrize("progressive", [False, True])
def test_plain_jpegs_have_their_size_read(progressive):
    data = encoded(random_image("RGB", 301, 47), "JPEG", progressive=progressive, dpi=(72, 72))
    assert read_header(data, "test")[:3] == (47, 301, False)


# not TIFF, whose header Pillow writes last, nor WebP, which it reads whole
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "PPM"])
def test_the_header_is_read_without_the_pixels(kind):
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    cut = data.index(b"\xff\xda") if kind == "JPEG" else 900
    assert read_header(data[:cut], "test")[:3] == (90, 90, False)


def test_orientation_after_the_pixels_of_a_png_counts():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.new("RGB", (5, 3)), "PNG", exif=exif)
    start = data.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    moved = data[:start] + data[end:-12] + data[start:end] + data[-12:]
    assert moved.index(b"eXIf") > moved.index(b"IDAT")
    assert read_header(moved, "test")[:2] == (5, 3)
    assert decoded(moved).shape == (3, 5, 3)


def test_gray_becomes_color_by_repetition():
    gray = random_image("L")
    pixels = decoded(encoded(gray))
    assert all(np.array_equal(plane, np.asarray(gray)) for plane in pixels)


def test_color_becomes_gray_by_itu_r_601():
    image = random_image()
    red, green, blue = np.asarray(image, np.float64).transpose(2, 0, 1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert np.abs(decoded(encoded(image), channels=1)[0] - luma).max() <= 1


def test_alpha_is_composited_on_white():
    image = Image.new("RGBA", (3, 1))
    image.putdata([(255, 0, 0, 255), (0, 0, 0, 0), (0, 0, 0, 51)])
    # 51 of 255 is a fifth of black, so four fifths of white are left: 204
    assert decoded(encoded(image))[:, 0].T.tolist() == [[255, 0, 0], [255] * 3, [204] * 3]


def test_gray_with_alpha_stays_gray_and_exact():
    image = Image.new("LA", (2, 1))
    image.putdata([(77, 255), (0, 0)])
    data = encoded(image)
    assert read_header(data, "test")[2]
    assert decoded(data, channels=1).tolist() == [[[77, 255]]]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white(kind):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.putdata([0, 1])
    pixels = decoded(encoded(image, kind, transparency=1))
    assert pixels[:, 0].T.tolist() == [[10, 20, 30], [255, 255, 255]]


@pytest.mark.parametrize(
    ("mode", "color", "seen"),
    [("L", 7, [255] * 3), ("RGB", (7, 8, 9), [255] * 3), ("1", 0, [255] * 3)],
)
def test_a_transparent_color_is_white(mode, color, seen):
    image = Image.new(mode, (1, 1), color)
    assert decoded(encoded(image, transparency=color))[:, 0, 0].tolist() == seen


def test_sixteen_bit_gray_keeps_its_high_byte():
    values = np.array([[0x0000, 0x12FF, 0xFF00]], np.uint16)
    for kind in ("PNG", "TIFF", "PPM"):
        data = encoded(Image.fromarray(values), kind)
        assert decoded(data, channels=1).tolist() == [[[0x00, 0x12, 0xFF]]], kind
        assert read_header(data, "test")[:3] == (1, 3, True)


def test_big_endian_sixteen_bit_gray_keeps_its_high_byte():
    image = Image.frombytes("I;16B", (2, 1), bytes([0x12, 0xFF, 0xAB, 0x00]))
    assert image_to_array(image, channels=1, size=None).tolist() == [[[0x12, 0xAB]]]


def test_bilevel_is_black_and_white():
    image = Image.new("1", (2, 1))
    image.putdata([0, 255])
    assert decoded(encoded(image), channels=1).tolist() == [[[0, 255]]]


def test_cmyk_goes_through_rgb():
    image = random_image("CMYK")
    pixels = decoded(encoded(image, "TIFF"))
    assert np.array_equal(pixels.transpose(1, 2, 0), np.asarray(image.convert("RGB")))


def test_lab_goes_through_rgb():
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = ImageCms.applyTransform(Image.new("RGB", (1, 1), (200, 60, 40)), to_lab)
    pixels = image_to_array(lab, channels=3, size=None)[:, 0, 0]
    assert np.abs(pixels.astype(int) - [200, 60, 40]).max() <= 3  # LAB has 8 bits per axis


@pytest.mark.parametrize("mode", ["I", "F"])
def test_images_of_unknown_range_are_refused(mode):
    data = encoded(Image.new(mode, (2, 2)), "TIFF")
    with pytest.raises(DataError, match=r"mode '[IF]', whose range is unknown"):
        decoded(data)


def test_the_first_frame_of_an_animation_counts():
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    for kind in ("GIF", "TIFF", "PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert decoded(data)[:, 0, 0].tolist() == [255, 0, 0], kind


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(kind, orientation):
    """The stored image has one bright corner; EXIF says where a viewer shows it."""
    image = Image.new("L", (32, 16))
    image.paste(255, (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(image.convert("RGB"), kind, exif=exif)
    pixels = decoded(data, channels=1)[0]
    # EXIF 2.32, tag Orientation: where the stored row 0 and column 0 are shown
    top = orientation in (1, 2, 5, 6)
    left = orientation in (1, 4, 5, 8)
    sideways = orientation >= 5
    assert pixels.shape == ((32, 16) if sideways else (16, 32))
    assert read_header(data, "test")[:2] == pixels.shape
    corner = pixels[2 if top else -3, 2 if left else -3]
    assert corner > 200
    assert (pixels > 128).mean() == pytest.approx(1 / 8, abs=0.05)


def striped(resize, *, upright=False):
    """A white square between black ones, three times as wide as high, brought to 10x10."""
    stripes = np.zeros((10, 30, 3), np.uint8)
    stripes[:, 10:20] = 255
    image = Image.fromarray(stripes.transpose(1, 0, 2) if upright else stripes)
    pixels = decode_image(encoded(image), "test", channels=1, size=(10, 10), resize=resize)
    assert pixels.shape == (1, 10, 10)
    return pixels[0].T if upright else pixels[0]


@pytest.mark.parametrize("upright", [False, True])
def test_cropping_keeps_the_middle(upright):
    assert (striped("crop", upright=upright) == 255).all()


@pytest.mark.parametrize("upright", [False, True])
def test_squashing_keeps_everything(upright):
    pixels = striped("squash", upright=upright)
    assert (pixels == pixels[0]).all()
    assert (pixels[0, [0, 1, 8, 9]] == 0).all()
    assert (pixels[0, 4:6] == 255).all()


@pytest.mark.parametrize("upright", [False, True])
def test_padding_keeps_everything_and_its_proportions(upright):
    pixels = striped("pad", upright=upright)
    inside, margin = pixels[3:6], np.delete(pixels, (3, 4, 5), 0)
    assert np.array_equal(inside, striped("squash", upright=upright)[3:6])
    rim = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
    assert set(margin.flat) == {round(rim.mean())}


def test_a_picture_that_fits_has_no_margin():
    image = Image.fromarray(np.arange(200, dtype=np.uint8).reshape(10, 20))
    found = [
        decode_image(encoded(image), "test", channels=1, size=(5, 10), resize=resize)
        for resize in ("pad", "squash", "crop")
    ]
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_resizing_keeps_the_mean_as_an_antialiased_filter_does():
    checks = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    pixels = decode_image(encoded(Image.fromarray(checks)), "test", channels=1, size=(8, 8))
    assert np.abs(pixels.astype(int) - 127).max() <= 8  # sampling single pixels gives 0 or 255


def test_an_image_of_the_wanted_size_is_left_alone():
    image = random_image()
    pixels = decode_image(encoded(image), "test", channels=3, size=(9, 13))
    assert np.array_equal(pixels.transpose(1, 2, 0), np.asarray(image))


@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_size_becomes_any_size(height, width, new_height, new_width):
    image = Image.new("RGB", (width, height), (9, 99, 199))
    pixels = image_to_array(image, channels=3, size=(new_height, new_width))
    assert pixels.shape == (3, new_height, new_width)
    assert (pixels.reshape(3, -1).T == [9, 99, 199]).all()


def test_a_large_jpeg_decodes_nearly_the_same_with_the_shortcut():
    gradient = np.linspace(0, 255, 900 * 1200).reshape(900, 1200).astype(np.uint8)
    data = encoded(Image.fromarray(gradient), "JPEG", quality=95)
    short = decode_image(data, "test", channels=1, size=(32, 32)).astype(int)
    whole = image_to_array(Image.open(io.BytesIO(data)), channels=1, size=(32, 32))
    assert np.abs(short - whole).max() <= 3


@pytest.mark.parametrize("side", [8, 31, 32, 63, 64, 100, 200])
def test_the_shortcut_leaves_twice_the_wanted_resolution(monkeypatch, side):
    sizes, draft = [], JpegImageFile.draft

    def recorded(image, mode, size):
        draft(image, mode, size)
        sizes.append(image.size)

    monkeypatch.setattr(JpegImageFile, "draft", recorded)
    data = encoded(Image.new("RGB", (640, 512)), "JPEG")
    decode_image(data, "test", channels=3, size=(side, side // 2))
    assert bool(sizes) is (side <= 100), "the shortcut is taken where it saves something"
    assert all(min(size) >= 2 * side for size in sizes)


def test_an_opened_image_gives_what_its_bytes_give(tmp_path):
    path = tmp_path / "picture.png"
    random_image("RGBA").save(path)
    with Image.open(path) as image:
        opened = image_to_array(image, channels=3, size=(5, 5))
        assert image.mode == "RGBA"
    assert np.array_equal(
        opened, decode_image(path.read_bytes(), "picture.png", channels=3, size=(5, 5))
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_file_is_an_error(kind):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    data = encoded(image, kind)
    with pytest.raises(DataError, match=r"cat/1.png: .*(damaged|truncated)"):
        decode_image(data[: len(data) // 2], "cat/1.png", channels=3, size=None)


def test_declared_pixels_are_bounded_before_decoding():
    side = 20_000
    png = bytearray(encoded(Image.new("L", (1, 1))))
    png[16:24] = side.to_bytes(4, "big") * 2
    png[29:33] = zlib.crc32(bytes(png[12:29])).to_bytes(4, "big")
    bmp = bytearray(encoded(Image.new("L", (1, 1)), "BMP"))
    bmp[18:26] = side.to_bytes(4, "little") * 2
    jpeg = bytearray(encoded(Image.new("L", (1, 1)), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = side.to_bytes(2, "big") * 2
    for data in (bytes(png), bytes(bmp), bytes(jpeg)):
        for read in (read_header, lambda d, n: decode_image(d, n, channels=1, size=None)):
            with pytest.raises(DataError, match=f"20000x20000 pixels, .*{LARGEST_PIXELS:,}"):
                read(data, "bomb")


def test_wrong_options_are_refused():
    data = encoded(random_image())
    with pytest.raises(UsageError, match="channels is 4"):
        decode_image(data, "test", channels=4, size=None)
    with pytest.raises(UsageError, match="0x5"):
        decode_image(data, "test", channels=3, size=(0, 5))


def test_control_characters_of_a_name_are_not_printed():
    with pytest.raises(DataError) as caught:
        read_header(b"", "cat\x1b[2J.png")
    assert "\x1b" not in str(caught.value)


SEEDS = [
    encoded(random_image(mode, 12, 10), kind, **options)
    for mode, kind, options in [
        ("RGB", "PNG", {}), ("RGBA", "PNG", {}), ("L", "PNG", {}), ("RGB", "JPEG", {}),
        ("L", "JPEG", {"progressive": True}), ("CMYK", "JPEG", {}), ("L", "GIF", {}),
        ("RGB", "BMP", {}), ("RGB", "TIFF", {}), ("RGB", "TIFF", {"compression": "tiff_lzw"}),
        ("CMYK", "TIFF", {"compression": "tiff_adobe_deflate"}), ("RGB", "WEBP", {}),
        ("RGBA", "WEBP", {"lossless": True}), ("RGB", "PPM", {}), ("L", "PPM", {}),
    ]
]  # fmt: skip


@given(st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_raise_only_our_errors(data):
    seed = bytearray(data.draw(st.sampled_from(SEEDS)))
    # most of a format's traps are in its header
    places = st.one_of(st.integers(0, min(80, len(seed) - 1)), st.integers(0, len(seed) - 1))
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=8)):
        seed[place] = value
    cut = data.draw(st.one_of(st.just(len(seed)), st.integers(0, len(seed))))
    sample = bytes(seed[:cut])
    for read in (
        lambda: read_header(sample, "fuzz"),
        lambda: decode_image(sample, "fuzz", channels=3, size=(8, 8)),
    ):
        try:
            read()
        except DataError:
            pass


@given(st.binary(max_size=64), st.sampled_from([seed[:16] for seed in SEEDS]))
@settings(max_examples=200, deadline=None)
def test_any_tail_after_a_magic_number_raises_only_our_errors(tail, start):
    for read in (read_header, lambda d, n: decode_image(d, n, channels=1, size=None)):
        try:
            read(start + tail, "fuzz")
        except DataError:
            pass
