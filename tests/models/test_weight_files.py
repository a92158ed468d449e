"""Weights of other programs: what is read, what is refused, and that no code is run."""

from __future__ import annotations

import io
import json
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from small_bundles import bundle_with
from tenfold.deployment.bundle import write_bundle
from tenfold.errors import FileRefusedError
from tenfold.models.weight_files import read_state_dict, read_weights
from tensor_files import write_tensors

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.0, -2.0])}


def saved(path: Path, value: object, **options: Any) -> Path:
    torch.save(value, path, **options)
    return path


def safetensors(path: Path, tensors: dict[str, Tensor], kinds: dict[str, str]) -> Path:
    """As the safetensors package writes it."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, tensor in tensors.items():
        raw = tensor.contiguous().view(torch.uint8).numpy().tobytes()
        place = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": kinds[name], "shape": list(tensor.shape), "data_offsets": place}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[n], wanted[n]) for n in wanted)


@pytest.mark.parametrize(
    "value",
    [
        WEIGHTS,
        OrderedDict(WEIGHTS),
        {"state_dict": WEIGHTS, "epoch": 3},
        {"model": {"state_dict": WEIGHTS}},
        {f"module.{name}": tensor for name, tensor in WEIGHTS.items()},
        {"state_dict": {f"model._orig_mod.{name}": t for name, t in WEIGHTS.items()}},
        {name: nn.Parameter(tensor) for name, tensor in WEIGHTS.items()},
    ],
    ids=["plain", "ordered", "wrapped", "wrapped twice", "prefix", "two prefixes", "parameters"],
)
@pytest.mark.parametrize("new_format", [True, False])
def test_what_torch_save_writes(tmp_path: Path, value: object, new_format: bool) -> None:
    path = saved(tmp_path / "w.pth", value, _use_new_zipfile_serialization=new_format)
    found = read_state_dict(path)
    assert same(found, WEIGHTS)
    assert not any(tensor.requires_grad for tensor in found.values())


def test_safetensors_of_any_program(tmp_path: Path) -> None:
    half = {name: tensor.to(torch.bfloat16) for name, tensor in WEIGHTS.items()}
    path = safetensors(tmp_path / "w.safetensors", half, dict.fromkeys(half, "BF16"))
    assert same(read_state_dict(path), half)
    path = safetensors(tmp_path / "w.safetensors", WEIGHTS, dict.fromkeys(WEIGHTS, "F32"))
    assert same(read_state_dict(path), WEIGHTS)


@pytest.mark.parametrize("size", [640, 19_280])
def test_a_header_whose_size_looks_like_another_format(tmp_path: Path, size: int) -> None:
    path = safetensors(tmp_path / "w", WEIGHTS, dict.fromkeys(WEIGHTS, "F32"))
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = raw[8 : 8 + length].ljust(size)
    path.write_bytes(struct.pack("<Q", size) + header + raw[8 + length :])
    assert path.read_bytes()[:2] in (b"PK", b"\x80\x02")
    assert same(read_state_dict(path), WEIGHTS)


def test_names_of_many_prefixes_are_read(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", {"module." * 2000 + "x": torch.ones(1)})
    assert len(read_state_dict(path)) == 1


def test_a_whole_state_dict_comes_back(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    path = saved(tmp_path / "w.pth", network.state_dict())
    assert same(read_state_dict(path), network.state_dict())


class Runs:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("it ran"),))


def compressed(path: Path) -> None:
    saved(path, WEIGHTS)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def cut(path: Path) -> None:
    saved(path, WEIGHTS)
    path.write_bytes(path.read_bytes()[:-400])


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"a": [1.0]}, protocol=2))


def of_tenfold(path: Path) -> None:
    header = {"model": "softmax", "input_shape": (1, 1, 3), "classes": ["x", "y"]}
    write_bundle(path, bundle_with({"a.weight": WEIGHTS["a.weight"]}, **header))


def nested_tensors(path: Path) -> None:
    with warnings.catch_warnings():  # of PyTorch, that they are a prototype
        warnings.simplefilter("ignore", UserWarning)
        saved(path, {"a": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])})


def of_a_run(path: Path) -> None:
    write_tensors(path, {}, kind="tenfold-checkpoint", version=1, header={})


def views_of(tensor: Tensor, n: int) -> dict[str, Tensor]:
    return {str(number): tensor.t() for number in range(n)}


def nested(path: Path) -> None:
    path.write_bytes(b"\x80\x02" + b"(" * 10**6 + b".")


def strange_metadata(path: Path) -> None:
    text = json.dumps({"__metadata__": {"kind": []}, "a": {"dtype": "F32"}}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)


REFUSED = {
    "missing": (lambda path: None, "no such file"),
    "empty": (lambda path: path.write_bytes(b""), "the file is damaged: 0 bytes"),
    "text": (
        lambda path: path.write_text("hello, world"),
        "this is neither a safetensors file nor a state dict",
    ),
    "code": (lambda path: saved(path, {"a": Runs()}), "it has other objects than tensors"),
    "old code": (
        lambda path: saved(path, {"a": Runs()}, _use_new_zipfile_serialization=False),
        "it has other objects than tensors, such as getattr, which could run code; save only",
    ),
    "a later protocol": (
        lambda path: saved(
            path, {"a": Runs()}, _use_new_zipfile_serialization=False, pickle_protocol=4
        ),
        "it has other objects than tensors",
    ),
    "a module": (lambda path: saved(path, nn.Linear(2, 2)), "other objects than tensors"),
    "a list": (lambda path: saved(path, [torch.ones(2)]), "it has no weights by name"),
    "nothing": (lambda path: saved(path, {}), "it has no weights by name"),
    "a number": (
        lambda path: saved(path, {**WEIGHTS, "epoch": 3}),
        "not all of it is plain weights: epoch; save only the weights",
    ),
    "sparse": (
        lambda path: saved(path, {"a": torch.eye(3).to_sparse()}),
        "not all of it is plain weights: a",
    ),
    "meta": (
        lambda path: saved(path, {"a": torch.empty(3, device="meta")}),
        "not all of it is plain weights: a",
    ),
    "another type": (
        lambda path: saved(path, {"a": torch.ones(3).to(torch.float8_e4m3fn)}),
        "not all of its weights are of a type that networks have: a; save them in single prec",
    ),
    "complex": (
        lambda path: saved(path, {"a": torch.ones(3, dtype=torch.complex64)}),
        "not all of its weights are of a type that networks have: a",
    ),
    "repeated": (
        lambda path: saved(path, {"a": torch.zeros(1).expand(10**14)}),
        "not all of it is plain weights: a",
    ),
    "nested tensors": (
        nested_tensors,
        "not all of it is plain weights: a",
    ),
    "negated when it is read": (
        lambda path: saved(path, {"a": torch.ones(3, dtype=torch.complex64).conj().imag}),
        "not all of it is plain weights: a",
    ),
    "many views of the same numbers": (
        lambda path: saved(path, views_of(torch.ones(300, 300), 40)),
        "its weights take far more memory than the file has; save only the weights",
    ),
    "a checkpoint": (of_a_run, "a checkpoint of a run; start from its run with --from RUN"),
    "too large for single precision": (
        lambda path: saved(path, {"a": torch.tensor([1e300], dtype=torch.float64)}),
        "not all of its weights are finite: a",
    ),
    "metadata": (strange_metadata, "the file is damaged"),
    "infinite": (
        lambda path: saved(path, {"a": torch.tensor([1.0, float("inf")]), **WEIGHTS}),
        "not all of its weights are finite: a",
    ),
    "compressed": (compressed, "it is compressed"),
    "cut": (cut, "it is damaged, or not a state dict"),
    "pickled": (pickled, "it is damaged, or not a state dict"),
    "nested": (nested, "it is damaged, or not a state dict"),
    "of tenfold": (
        of_tenfold,
        "a model such as a run's model.safetensors; start from it with --from",
    ),
    "a folder": (lambda path: path.mkdir(), "a folder, wanted a state dict"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make, message = REFUSED[name]
    path = tmp_path / "w.pth"
    make(path)
    with pytest.raises(FileRefusedError) as caught:
        read_state_dict(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "it ran").exists()


def test_any_damage_is_an_error_of_its_own(tmp_path: Path) -> None:
    """Bytes changed one at a time; what still reads has finite tensors."""
    buffer = io.BytesIO()
    torch.save(WEIGHTS, buffer)
    whole = buffer.getvalue()
    path = tmp_path / "w.pth"
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        try:
            found = read_state_dict(path)
        except FileRefusedError:
            continue
        assert all(tensor.isfinite().all() for tensor in found.values())


def test_pytorch_does_not_warn_about_a_file_of_another_protocol(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", WEIGHTS, pickle_protocol=3)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert same(read_state_dict(path), WEIGHTS)
    assert not said


def test_only_files_of_torch_save_keep_the_order(tmp_path: Path) -> None:
    assert read_weights(saved(tmp_path / "w.pth", WEIGHTS)).keeps_order
    assert read_weights(
        saved(tmp_path / "old.pth", WEIGHTS, _use_new_zipfile_serialization=False)
    ).keeps_order
    path = safetensors(tmp_path / "w.safetensors", WEIGHTS, dict.fromkeys(WEIGHTS, "F32"))
    assert not read_weights(path).keeps_order
