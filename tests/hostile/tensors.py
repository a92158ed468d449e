"""Hostile tensor files: models, checkpoints, and weights of other programs."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import torch

from bad_inputs.makers.bundles import bundle, declared_header, framed
from bad_inputs.makers.files import Maker, file
from hostile.archives import many_members
from hostile.rows import Row

MODEL = "load('model.safetensors')"
WEIGHTS = "read_state_dict(Path('weights'))"
EIGHT_MB = 8 * 2**20

OF_HEADERS = 500
"""Memory in MiB for a header of up to 16 MiB of JSON, which Python turns into objects of 25 times
that size before they are found not to be ours."""


def f32(*shape: int, offsets: tuple[int, int]) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": offsets}


def start_of(entries: dict[str, object], kind: str = "tenfold-bundle") -> bytes:
    metadata = {"kind": kind, "version": "1", "header": "{}", "sha256": ""}
    return framed(json.dumps({"__metadata__": metadata, **entries}).encode())


def tensor_file(entries: dict[str, object], data: bytes = b"") -> Maker:
    return file("model.safetensors", start_of(entries) + data)


def sparse(name: str, start: bytes, size: int) -> Maker:
    """A file that has a size without taking it on the disk."""

    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("wb") as opened:
            opened.write(start)
            opened.truncate(size)

    return make


def twice(name: str, key: str) -> bytes:
    """A header with a key that is there twice."""
    text = json.dumps({key: 1})[:-1] + ", " + json.dumps({key: 2})[1:]
    return framed(text.replace(key, name).encode())


def state_dict(**tensors: torch.Tensor) -> Maker:
    return lambda folder: torch.save(tensors, folder / "weights")


def renamed(make: Maker, old: str, new: str) -> Maker:
    def making(folder: Path) -> None:
        make(folder)
        (folder / old).rename(folder / new)

    return making


HUGE = 100 * 2**30
ONE = {"w": f32(4, offsets=(0, 16))}
CHECKPOINTS = "read_newest(Path('checkpoints'))"
STEP = "checkpoints/step-000000001.safetensors"

ROWS = {
    "header of 100 MB": Row(declared_header(100 * 2**20, 2**31), MODEL),
    "header of 2 to 63 bytes": Row(file("model.safetensors", struct.pack("<Q", 2**63)), MODEL),
    "header of empty lists": Row(
        file("model.safetensors", framed(b'{"__metadata__":[' + b"[]," * 5_000_000 + b"1]}")),
        MODEL,
        OF_HEADERS,
    ),
    "header of tensors without numbers": Row(
        file(
            "model.safetensors",
            start_of({f"{n}": f32(0, offsets=(0, 0)) for n in range(50_000)}),
        ),
        MODEL,
        OF_HEADERS,
    ),
    "header of lists in lists": Row(
        file("model.safetensors", framed(b'{"__metadata__":' + b"[" * 10_000_000)),
        MODEL,
        OF_HEADERS,
    ),
    "header with a number of a million digits": Row(
        file("model.safetensors", framed(b'{"__metadata__":' + b"9" * 1_000_000 + b"}")), MODEL
    ),
    "header with a key twice": Row(
        file("model.safetensors", twice("__metadata__", "key")), MODEL, says="duplicate"
    ),
    "dimension of 2 to 60": Row(tensor_file({"w": f32(2**60, offsets=(0, 4))}, bytes(4)), MODEL),
    "size that overflows": Row(tensor_file({"w": f32(2**32, 2**30, offsets=(0, 0))}), MODEL),
    "negative size": Row(tensor_file({"w": f32(-4, offsets=(0, 16))}, bytes(16)), MODEL),
    "negative place": Row(tensor_file({"w": f32(4, offsets=(-16, 0))}, bytes(16)), MODEL),
    "places the wrong way round": Row(
        tensor_file({"w": f32(4, offsets=(16, 0))}, bytes(16)), MODEL
    ),
    "tensors that are all the same": Row(
        tensor_file(
            {f"w{n}": f32(EIGHT_MB // 4, offsets=(0, EIGHT_MB)) for n in range(500)},
            bytes(EIGHT_MB),
        ),
        MODEL,
    ),
    "tensors that overlap": Row(
        tensor_file(
            {f"w{n}": f32(EIGHT_MB // 4 - n, offsets=(4 * n, EIGHT_MB)) for n in range(500)},
            bytes(EIGHT_MB),
        ),
        MODEL,
    ),
    "model that has grown to 100 GB": Row(
        sparse("model.safetensors", start_of(ONE) + bytes(16), HUGE), MODEL, says="but it has 107,"
    ),
    "model that says and has 100 GB": Row(
        sparse(
            "model.safetensors",
            start := start_of({"w": f32(HUGE // 4, offsets=(0, HUGE))}),
            len(start) + HUGE,
        ),
        MODEL,
        says="more than there is memory for",
    ),
    "checkpoint that has grown to 100 GB": Row(
        sparse(STEP, start_of(ONE, "tenfold-checkpoint") + bytes(16), HUGE), CHECKPOINTS
    ),
    "weights that have grown to 100 GB": Row(
        sparse("weights", framed(json.dumps(ONE).encode()) + bytes(16), HUGE), WEIGHTS
    ),
    "model of a billion weights": Row(
        bundle(model="mlp", arguments={"hidden": [30_000, 30_000]}), MODEL
    ),
    "weights that repeat one number": Row(
        state_dict(w=torch.zeros(1).expand(2**28)), WEIGHTS, says="not all of it is plain"
    ),
    "weights that share their numbers": Row(
        state_dict(**dict.fromkeys(map(str, range(64)), torch.zeros(2**20))),
        WEIGHTS,
        says="far more memory",
    ),
    "weights of 1,100,000 members": Row(
        renamed(many_members(1_100_000), "photos.zip", "weights"), WEIGHTS, 300
    ),
}
"""By what is hostile about it."""
