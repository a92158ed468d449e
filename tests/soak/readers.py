"""Every reader of files, and small valid files for each, for `fuzz_readers.py`."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import pickle
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import tenfold
from tenfold.data.corrections import corrected, read_corrections
from tenfold.data.dataset import ImageDataset
from tenfold.data.files.cifar import read_cifar_binary, read_cifar_python
from tenfold.data.files.idx import idx_kind, read_idx_images, read_idx_labels
from tenfold.data.files.npz import read_npz
from tenfold.data.folders.folder import read_image_folder
from tenfold.data.folders.images import bits_of, decode_image, read_header
from tenfold.data.folders.labels import label_images
from tenfold.data.folders.layout import Images
from tenfold.data.folders.options import FolderOptions
from tenfold.deployment import read_bundle, write_bundle
from tenfold.deployment.bundle import KIND as BUNDLE
from tenfold.deployment.bundle import VERSION as BUNDLE_VERSION
from tenfold.deployment.bundle import Bundle, BundleHeader, PreprocessingHeader
from tenfold.errors import TenfoldError
from tenfold.listening import Listener
from tenfold.models import build
from tenfold.models.tracing import layer_list
from tenfold.models.weight_files import read_state_dict
from tenfold.recipes import load_recipe, recipe_names
from tenfold.recipes.text import recipe_text
from tenfold.runs import open_run
from tenfold.runs.folder import RunFolder
from tenfold.storage import read_tensors
from tenfold.storage.tensors import _digest, _tensors
from tenfold.tensors import to_stored
from tenfold.training.checkpoint import KIND as CHECKPOINT
from tenfold.training.checkpoint import VERSION as CHECKPOINT_VERSION
from tenfold.training.checkpoint import Checkpointer, read_newest
from tenfold.training.history import EpochMetrics
from tenfold.training.optimizers import build_optimizer
from tenfold.training.state import Best, TrainingState
from tenfold.types import WantedShape

DIGITS = "0123456789"


@dataclass(frozen=True)
class Reader:
    """How a kind of file is read.

    Attributes:
        name: of the file, in a folder of its own.
        uses: what is done with the file; each may refuse it.
        seeds: makes small valid inputs, and in the folder what else the uses need.
        made: makes the file from an input, such as by correcting its checksums.
        longest: maximum size of an input in bytes.
    """

    name: str
    uses: tuple[Callable[[Path], object], ...]
    seeds: Callable[[Path], Iterable[bytes]]
    made: Callable[[bytes], bytes] = bytes
    longest: int = 2**14


# --- Arrays -----------------------------------------------------------------------------------


def idx_seeds(_: Path) -> Iterator[bytes]:
    images = struct.pack(">4BIII", 0, 0, 8, 3, 2, 3, 4) + bytes(range(24))
    labels = struct.pack(">4BI", 0, 0, 8, 1, 2) + bytes([0, 1])
    for data in (images, labels):
        yield from (data, gzip.compress(data), gzip.compress(data) + gzip.compress(b""))


def cifar_seeds(_: Path) -> Iterator[bytes]:
    yield bytes([3, *[7] * 3072])
    yield bytes([3, 7, *[200] * 3072]) * 2


def cifar_pickles(_: Path) -> Iterator[bytes]:
    images = np.zeros((1, 3072), np.uint8)
    for protocol in range(6):
        yield pickle.dumps({b"data": images, b"labels": [3]}, protocol)
    labels = np.array([3])
    yield pickle.dumps({"data": np.asfortranarray(images), "fine_labels": labels}, 2)


def npz(arrays: dict[str, np.ndarray], *, compressed: bool = False) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def npz_seeds(_: Path) -> Iterator[bytes]:
    images, labels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.array([0, 1])
    names = np.array(["cat", "dog"])
    for compressed in (False, True):
        yield npz({"images": images, "labels": labels, "classes": names}, compressed=compressed)
        yield npz({"x_train": images[..., None], "y_train": labels[:, None]}, compressed=compressed)
        yield npz({"test_images": images.astype(float), "test_labels": labels.astype(np.uint8)})


NPZ_KEYS = ("images", "labels", "classes")


def npy_seeds(_: Path) -> Iterator[bytes]:
    for key, array in (
        ("images", np.arange(24, dtype=np.uint8).reshape(2, 3, 4)),
        ("images", np.asfortranarray(np.ones((2, 3, 4, 3), np.int64))),
        ("labels", np.array([0, 1], ">u8")),
        ("classes", np.array(["cat", "dog"])),
    ):
        buffer = io.BytesIO()
        np.save(buffer, array)
        yield bytes([NPZ_KEYS.index(key)]) + buffer.getvalue()


def npz_around(data: bytes) -> bytes:
    """A file of which the array that the first byte says has the other bytes."""
    key = NPZ_KEYS[data[0] % 3] if data else "images"
    buffer = io.BytesIO(npz({"images": np.zeros((2, 3, 4), np.uint8), "labels": np.array([0, 1])}))
    with zipfile.ZipFile(buffer) as sound, zipfile.ZipFile(whole := io.BytesIO(), "w") as archive:
        for name in sound.namelist():
            if name != f"{key}.npy":
                archive.writestr(name, sound.read(name))
        archive.writestr(f"{key}.npy", data[1:])
    return whole.getvalue()


# --- Images -----------------------------------------------------------------------------------


def as_it_is(path: Path) -> None:
    """Decode an image in its own size, which its header has to tell."""
    data = path.read_bytes()
    header = read_header(data, path.name)
    pixels = decode_image(data, path.name, channels=3, size=None)
    assert pixels.shape == (3, header.height, header.width), (pixels.shape, header)
    assert pixels.dtype == np.uint8


def small_and_gray(path: Path) -> None:
    data = path.read_bytes()
    assert decode_image(data, path.name, channels=1, size=(5, 4)).shape == (1, 5, 4)


def its_bits(path: Path) -> None:
    data = path.read_bytes()
    if read_header(data, path.name).has_sixteen_bits:
        assert 8 <= bits_of(data, path.name) <= 16


def picture(mode: str, size: tuple[int, int] = (9, 7)) -> Image.Image:
    values = np.arange(size[0] * size[1] * 4, dtype=np.uint32).reshape(size[1], size[0], 4) * 37
    if mode == "I;16":
        return Image.fromarray(values[..., 0].astype(np.uint16))
    if mode in ("F", "I"):
        return Image.fromarray(values[..., 0].astype(np.float32 if mode == "F" else np.int32))
    return Image.fromarray((values % 256).astype(np.uint8), "RGBA").convert(mode)


def saved(mode: str, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def pictures(kind: str, *variants: dict[str, Any]) -> Callable[[Path], Iterator[bytes]]:
    def seeds(_: Path) -> Iterator[bytes]:
        for options in variants:
            yield saved(kind=kind, **options)

    return seeds


def with_checksums(data: bytes) -> bytes:
    """A PNG file whose chunks have the right checksums."""
    fixed, place = bytearray(data), 8
    while place + 12 <= len(fixed):
        end = place + 8 + int.from_bytes(fixed[place : place + 4], "big")
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = struct.pack(">I", zlib.crc32(fixed[place + 4 : end]))
        place = end + 4
    return bytes(fixed)


def pnm_seeds(_: Path) -> Iterator[bytes]:
    yield b"P1\n# comment\n3 2\n1 0 1\n0 1 0\n"
    yield b"P2 3 2 15\n1 2 3 4 5 6\n"
    yield b"P3 2 1 65535\n1 2 3 40000 50000 60000\n"
    yield b"P4 9 2\n\xf0\x80\x0f\x00"
    yield b"P5 3 2 255\n" + bytes(range(6))
    yield b"P5 3 2 4095\n" + bytes(range(12))
    yield b"P6 2 1 65535\n" + bytes(range(12))


def image(name: str, seeds: Callable[[Path], Iterable[bytes]], **more: Any) -> Reader:
    return Reader(name, (as_it_is, small_and_gray, its_bits), seeds, **more)


IMAGES = {
    "png": image(
        "x.png",
        pictures(
            "PNG",
            *({"mode": mode} for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
            {"mode": "P", "transparency": b"\0\x80"},
            {"mode": "L", "transparency": 7},
            {"mode": "RGB", "exif": turned(6)},
        ),
        made=with_checksums,
    ),
    "jpeg": image(
        "x.jpg",
        pictures(
            "JPEG",
            *({"mode": mode} for mode in ("L", "RGB", "CMYK")),
            {"mode": "RGB", "progressive": True, "exif": turned(8)},
            {"mode": "L", "restart_marker_rows": 1, "comment": b"x"},
        ),
    ),
    "gif": image(
        "x.gif",
        pictures(
            "GIF",
            {"mode": "L"},
            {"mode": "P", "transparency": 3, "interlace": 1},
            {"mode": "RGB", "save_all": True, "append_images": [picture("RGB", (4, 4))]},
        ),
    ),
    "bmp": image("x.bmp", pictures("BMP", *({"mode": m} for m in ("1", "L", "P", "RGB", "RGBA")))),
    "tiff": image(
        "x.tif",
        pictures(
            "TIFF",
            *({"mode": m} for m in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "I;16")),
            *({"mode": mode} for mode in ("I", "F", "YCbCr")),
            {"mode": "RGB", "tiffinfo": {274: 6}},
            *(
                {"mode": "RGB", "compression": name}
                for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "lzma")
            ),
            {"mode": "1", "compression": "group4"},
            {"mode": "1", "compression": "group3"},
            {"mode": "L", "big_tiff": True},
        ),
    ),
    "webp": image(
        "x.webp",
        pictures(
            "WEBP",
            {"mode": "RGB"},
            {"mode": "RGBA", "lossless": True, "exif": turned(5)},
            {"mode": "RGB", "save_all": True, "append_images": [picture("RGB")]},
        ),
    ),
    "pnm": image("x.ppm", pnm_seeds),
    "jpeg2000": image(
        "x.jp2",
        pictures(
            "JPEG2000",
            *({"mode": mode} for mode in ("L", "LA", "RGB", "RGBA", "I;16")),
            {"mode": "RGB", "no_jp2": True},
        ),
    ),
    "avif": image(
        "x.avif",
        pictures("AVIF", {"mode": "RGB", "speed": 10}, {"mode": "RGBA", "exif": turned(6)}),
    ),
}


# --- Archives ---------------------------------------------------------------------------------

FILES = {
    "cat/1.png": saved("L", "PNG"),
    "cat/2.gif": saved("L", "GIF"),
    "dog/1.png": saved("RGB", "PNG"),
    "dog/é.bmp": saved("1", "BMP"),
    "__MACOSX/x": b"",
    "notes.txt": b"none",
}
BESIDE_A_TABLE = {
    "1.png": saved("L", "PNG"),
    "2.png": saved("RGB", "PNG"),
    "labels.csv": b"image,label\n1.png,cat\n2.png,dog\n",
}


def whole_folder(path: Path) -> None:
    options = FolderOptions(skip_bad=True)
    read_image_folder(path, WantedShape(size=(4, 4)), Listener(), options)


def zip_seeds(_: Path) -> Iterator[bytes]:
    for files in (FILES, BESIDE_A_TABLE):
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w", method) as archive:
                archive.mkdir("empty")
                for name, data in files.items():
                    archive.writestr(name, data)
            yield buffer.getvalue()


def tar(files: dict[str, bytes], form: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        link = tarfile.TarInfo("dog/" + 120 * "l" if form != tarfile.USTAR_FORMAT else "dog/l")
        link.type, link.linkname = tarfile.SYMTYPE, "1.png"
        archive.addfile(link)
    data = buffer.getvalue()
    blocks = -(-len(data.rstrip(b"\0")) // tarfile.BLOCKSIZE)
    return data[: (blocks + 2) * tarfile.BLOCKSIZE]  # with the mark of the end


def tar_seeds(_: Path) -> Iterator[bytes]:
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        for files in (FILES, BESIDE_A_TABLE):
            yield tar(files, form)


def packed_tar_seeds(folder: Path) -> Iterator[bytes]:
    for data in tar_seeds(folder):
        yield from (gzip.compress(data), bz2.compress(data), lzma.compress(data))


def with_header_sums(data: bytes) -> bytes:
    """A tar file whose headers have the right checksums, if none is longer than a block."""
    fixed, place = bytearray(data), 0
    while place + 512 <= len(fixed):
        block = fixed[place : place + 512]
        if block[257:262] == b"ustar":
            total = sum(block) - sum(block[148:156]) + 8 * 32
            fixed[place + 148 : place + 156] = b"%06o\0 " % total
        place += 512
    return bytes(fixed)


# --- Tables -----------------------------------------------------------------------------------

NAMES = [("1.png",), ("2.png",), ("a b.jpg",), ("sub", "é.png"), ("sub", "1.png")]


def labeled_by(options: FolderOptions) -> Callable[[Path], object]:
    def use(path: Path) -> None:
        tables = {"labels.csv": path.read_bytes()}
        label_images(Images(path, NAMES, set(), tables), options)

    return use


def table_seeds(_: Path) -> Iterator[bytes]:
    yield b"image,label,split,who\n1.png,cat,train,x\n2.png,dog,test,y\nsub/1.png,cat,val,x\n"
    yield 'id;class\r\n1;chat\r\n2;chien\r\nsub/é;"a;b"\r\n'.encode("cp1252")
    yield "\ufefffile\tlabel\n1.png\tcat\n./2.png\tdog\n".encode()
    yield "file\tlabel\n1.png\tcat\n".encode("utf-16")
    yield b"# a comment\n1.png cat\n2.png two words\n"
    yield b"image_id,cat,dog\n1,1,0\n2,0,1\nsub/1,1.0,0.0\n"
    yield "图像,label\n1.png,猫\n".encode("gbk")


def corrections_seeds(_: Path) -> Iterator[bytes]:
    columns = ("finding", "number", "image", "label", "action", "new_label", "text")
    rows = [
        ("wrong-label", 1, "train/0", "cat", "relabel", "dog", ""),
        ("duplicates", 2, "train/1", "dog", "delete", "", ""),
        ("duplicates", 2, "'=train/2", "dog", "keep", "", ""),
        ("across-splits", 3, "", "", "keep", "", "the test split has 3 images"),
    ]
    for separator in ",;\t":
        text = io.StringIO()
        csv.writer(text, delimiter=separator).writerows([columns, *rows])
        yield text.getvalue().encode()
    yield "\ufeffsep=;\r\nImage;Action;New label\r\n train/1 ;DELETE;\r\n".encode()


def correcting(path: Path) -> None:
    images = np.zeros((3, 1, 2, 2), np.uint8)
    data = ImageDataset(images, np.array([0, 1, 1]), classes=("cat", "dog"))
    corrected({"train": data}, read_corrections(path), Listener())


# --- Tensor files -----------------------------------------------------------------------------


def sealed(kind: str, version: int) -> Callable[[bytes], bytes]:
    """Makes a tensor file with the right digest from what `unsealed` returns."""

    def made(data: bytes) -> bytes:
        header, _, rest = data.partition(b"\n")
        entries, _, values = rest.partition(b"\n")
        text = header.decode(errors="replace")
        try:
            top = json.loads(entries)
            file = io.BufferedReader(io.BytesIO(values))
            tensors = _tensors(Path(), top, file, len(values))
        except (TenfoldError, ValueError, RecursionError, AttributeError):
            top, tensors = {}, {}
        metadata = {"kind": kind, "version": str(version), "header": text}
        metadata["sha256"] = _digest(tuple(metadata.values()), tensors)
        whole = json.dumps({"__metadata__": metadata, **top}).encode()
        return len(whole).to_bytes(8, "little") + whole + values

    return made


def unsealed(path: Path) -> bytes:
    """The header of a tensor file, the entries of its tensors, and their values."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    top = json.loads(data[8:end])
    header = top.pop("__metadata__")["header"]
    return b"\n".join([header.encode(), json.dumps(top).encode(), data[end:]])


SMALL = {
    "softmax": {},
    "mlp": {"hidden": [3], "dropout": 0.5},
    "resnet-small": {"widths": [2], "blocks": 1},
}


def write_bundles(folder: Path) -> Iterator[Path]:
    for number, (model, arguments) in enumerate(SMALL.items()):
        network = build(model, (1, 4, 4), 2, **arguments)
        header = BundleHeader(
            model=model,
            arguments=arguments,
            input_shape=(1, 4, 4),
            classes=["cat", "dog"],
            preprocessing=PreprocessingHeader(mean=[0.5], std=[0.25]),
            layers=layer_list(network),
            data={},
            figures={"epochs": 1},
        )
        path = folder / f"seed-{number}"
        write_bundle(path, Bundle(header, to_stored(network.state_dict())))
        yield path


def tensor_files(folder: Path) -> Iterator[bytes]:
    for path in write_bundles(folder):
        yield path.read_bytes()
    weight = {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}
    bias = {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]}
    header = json.dumps({"fc.weight": weight, "fc.bias": bias}).encode()
    yield struct.pack("<Q", len(header)) + header + bytes(12)  # of another program


def bundle_seeds(folder: Path) -> Iterator[bytes]:
    yield from map(unsealed, write_bundles(folder))


def small_state() -> TrainingState:
    model = build("softmax", (1, 2, 2), 2)
    return TrainingState(model, build_optimizer("adam", model.parameters(), lr=0.1))


def checkpoint_seeds(folder: Path) -> Iterator[bytes]:
    state = small_state()
    for step in (1, 2):
        state.model(torch.ones(2, 1, 2, 2)).sum().backward()
        state.optimizer.step()
        state.epoch, state.step = step - 1, 9
        state.history = [
            EpochMetrics(
                epoch=1, train_loss=0.5, train_acc=0.5, val_loss=0.5, val_acc=0.5, lr=0.1, seconds=1
            )
        ] * state.epoch
        if state.epoch:
            state.best = Best(1, 0.5, state.copy_of_final_weights())
        yield unsealed(Checkpointer(folder / "seeds", {"who": "me"}).save(state))


def restoring(path: Path) -> None:
    checkpoint = read_newest(path.parent)
    assert checkpoint is not None
    small_state().restore(checkpoint.header, checkpoint.tensors)


def torch_seeds(folder: Path) -> Iterator[bytes]:
    weights = build("softmax", (1, 2, 2), 2).state_dict()
    for found in (weights, {"state_dict": {f"module.{k}": v for k, v in weights.items()}}):
        for is_zip in (True, False):
            buffer = io.BytesIO()
            torch.save(found, buffer, _use_new_zipfile_serialization=is_zip)
            yield buffer.getvalue()


def torch_pickles(folder: Path) -> Iterator[bytes]:
    for data in torch_seeds(folder):
        if data.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                yield archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))


def torch_zip(data: bytes) -> bytes:
    """A file as `torch.save` writes it, with this pickle, and the bytes of two tensors."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", "little")
        for number, size in enumerate((32, 8)):
            archive.writestr(f"archive/data/{number}", bytes(size))
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


# --- Recipes and runs -------------------------------------------------------------------------


def recipe_seeds(_: Path) -> Iterator[bytes]:
    for name in recipe_names():
        yield recipe_text(name).encode()


def using_recipe(path: Path) -> None:
    recipe = load_recipe(path)
    path.with_name("again.toml").write_text(recipe.to_toml())
    assert load_recipe(path.with_name("again.toml")) == recipe
    build(recipe.model, (3, 32, 32), 10, device="meta", **recipe.model_args)


def run_seeds(name: str) -> Callable[[Path], Iterator[bytes]]:
    def seeds(folder: Path) -> Iterator[bytes]:
        arrays = {"images": np.zeros((16, 4, 4), np.uint8), "labels": np.arange(16) % 2}
        (folder / "data.npz").write_bytes(npz(arrays))
        (folder / "small.toml").write_text('model = "softmax"\nval = 0.25\nbatch_size = 4\n')
        shutil.rmtree(folder / "run", ignore_errors=True)
        run = tenfold.train(
            folder / "data.npz",
            recipe=folder / "small.toml",
            epochs=2,
            threads=1,
            out=folder / "run",
        )
        yield (folder / "run" / name).read_bytes()
        # Without the digests, any history is read.
        RunFolder(run.folder).write_facts(run.facts.updated(digests={}, status="running"))
        yield (folder / "run" / name).read_bytes()

    return seeds


def using_run(path: Path) -> None:
    run = open_run(path.parent)
    json.dumps(run.to_dict())
    repr(run)


READERS: dict[str, Reader] = {
    "idx": Reader("x", (read_idx_images, read_idx_labels, idx_kind), idx_seeds),
    "cifar-binary": Reader(
        "x.bin",
        (
            lambda path: read_cifar_binary([path], DIGITS, label_bytes=1),
            lambda path: read_cifar_binary([path], DIGITS, label_bytes=2),
        ),
        cifar_seeds,
    ),
    "cifar-pickle": Reader(
        "x",
        (
            lambda path: read_cifar_python([path], DIGITS, label_key="labels"),
            lambda path: read_cifar_python([path], DIGITS, label_key="fine_labels"),
        ),
        cifar_pickles,
        longest=2**15,
    ),
    "npz": Reader("x.npz", (read_npz,), npz_seeds),
    "npy": Reader("x.npz", (read_npz,), npy_seeds, made=npz_around),
    "zip": Reader("x.zip", (whole_folder,), zip_seeds),
    "tar": Reader("x.tar", (whole_folder,), tar_seeds, made=with_header_sums),
    "tar-packed": Reader("x.tar.gz", (whole_folder,), packed_tar_seeds),
    **IMAGES,
    "table": Reader(
        "labels.csv",
        (
            labeled_by(FolderOptions()),
            labeled_by(FolderOptions(labels="labels.csv:label")),
            labeled_by(FolderOptions(labels="labels.csv", group_by="who")),
        ),
        table_seeds,
    ),
    "corrections": Reader("findings.csv", (correcting,), corrections_seeds),
    "tensors": Reader(
        "x.safetensors",
        (lambda path: read_tensors(path, kind=BUNDLE, version=BUNDLE_VERSION), read_state_dict),
        tensor_files,
    ),
    "bundle": Reader(
        "model.safetensors",
        (lambda path: read_bundle(path).module(),),
        bundle_seeds,
        made=sealed(BUNDLE, BUNDLE_VERSION),
    ),
    "checkpoint": Reader(
        "checkpoints/step-000000009.safetensors",
        (restoring,),
        checkpoint_seeds,
        made=sealed(CHECKPOINT, CHECKPOINT_VERSION),
    ),
    "torch-file": Reader("x.pt", (read_state_dict,), torch_seeds),
    "torch-pickle": Reader("x.pt", (read_state_dict,), torch_pickles, made=torch_zip),
    "recipe": Reader("own.toml", (using_recipe,), recipe_seeds),
    "run.json": Reader("run/run.json", (using_run,), run_seeds("run.json")),
    "metrics.jsonl": Reader("run/metrics.jsonl", (using_run,), run_seeds("metrics.jsonl")),
}
"""By name: how a kind of file is read."""
