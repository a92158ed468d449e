"""Files written whole, tensor files read back bit for bit, and damage of every kind refused."""

import hashlib
import json
import os
import socket
import stat
import struct
import tracemalloc

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenfold import storage
from tenfold.errors import FileRefusedError, StorageError, UsageError
from tenfold.storage import (
    LARGEST_HEADER,
    StoredTensor,
    destination,
    make_folder,
    remove_leftovers,
    write_bytes,
    write_json,
    write_text,
)
from tenfold.tensors import to_stored
from tensor_files import read_tensors, write_tensors

KIND = "tenfold-test"

any_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def write(path, tensors=None, header=None, kind=KIND, version=1):
    if tensors is None:
        tensors = {"weights": torch.arange(6.0).reshape(2, 3), "steps": torch.tensor(7)}
    if header is None:
        header = {"epoch": 3, "name": "ä"}
    write_tensors(path, tensors, kind=kind, version=version, header=header)
    return path


def read(path, version=1):
    return read_tensors(path, kind=KIND, version=version)


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).tolist()


# --- Plain files -----------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 5000])
def test_bytes_are_written_whole_and_nothing_else_is_left(tmp_path, data):
    path = tmp_path / "file.bin"
    write_bytes(path, b"what stood there before")
    write_bytes(path, data)
    assert path.read_bytes() == data
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.bin"]


def test_text_is_utf8_and_its_line_ends_stay(tmp_path):
    write_text(tmp_path / "a.txt", "größe\r\n猫\n")
    assert (tmp_path / "a.txt").read_bytes() == "größe\r\n猫\n".encode()


def test_json_is_for_people_too(tmp_path):
    write_json(tmp_path / "a.json", {"name": "猫", "n": [1, 2.5, None]})
    text = (tmp_path / "a.json").read_text("utf-8")
    assert json.loads(text) == {"name": "猫", "n": [1, 2.5, None]}
    assert "猫" in text
    assert text.endswith("}\n")


def test_numbers_that_json_cannot_hold_are_refused_before_writing(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_not_unicode_can_stand_in_json_and_in_headers(tmp_path):
    name = os.fsdecode(b"caf\xe9")  # a folder named on a machine with another encoding
    write_json(tmp_path / "a.json", {"classes": [name]})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"classes": [name]}
    assert read(write(tmp_path / "a.safetensors", header={"classes": [name]}))[0] == {
        "classes": [name]
    }


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"file\.bin: writing 1,000 bytes failed: No such"):
        write_bytes(tmp_path / "nowhere" / "file.bin", bytes(1000))


def test_a_folder_at_the_files_path_is_left_unchanged(tmp_path):
    (tmp_path / "file.bin").mkdir()
    with pytest.raises(StorageError, match="this is a folder, wanted a file"):
        write_bytes(tmp_path / "file.bin", b"x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.bin"]


@pytest.mark.skipif(os.name == "nt", reason="there are no sockets or pipes in folders")
def test_what_is_no_regular_file_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket has to be short
    here, there = tmp_path / "socket", tmp_path / "pipe"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(here.name)
        with pytest.raises(StorageError, match="socket: this is a device or a pipe, wanted a file"):
            write_bytes(here, b"x")
    os.mkfifo(there)
    with pytest.raises(StorageError, match="pipe: this is a device or a pipe, wanted a file"):
        destination(there)
    assert stat.S_ISSOCK(here.lstat().st_mode)
    assert stat.S_ISFIFO(there.lstat().st_mode)


@pytest.mark.skipif(os.name == "nt", reason="there are no pipes in folders")
def test_a_pipe_in_a_folder_of_tenfolds_own_is_replaced(tmp_path):
    os.mkfifo(tmp_path / "file")
    write_bytes(tmp_path / "file", b"x")
    assert (tmp_path / "file").read_bytes() == b"x"


def test_a_link_leads_to_the_destination(tmp_path):
    (tmp_path / "folder").mkdir()
    link, target = tmp_path / "link", tmp_path / "folder" / "file"
    link.symlink_to(target)
    for there in (False, True):
        assert target.exists() == there
        write_bytes(destination(link), b"x")
    assert (link.is_symlink(), target.read_bytes()) == (True, b"x")
    assert destination(target) == target
    assert destination(tmp_path / "new") == tmp_path / "new"
    write_bytes(link, b"y")
    assert (link.is_symlink(), target.read_bytes()) == (False, b"x")


@pytest.mark.skipif(os.name == "nt", reason="there are no pipes in folders")
def test_a_link_to_what_is_no_regular_file_is_no_destination(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to-pipe").symlink_to(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for name, said in (("to-pipe", "device or a pipe"), ("circle", "cannot be written")):
        with pytest.raises(StorageError, match=said):
            destination(tmp_path / name)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.bin"
    write_bytes(path, b"old")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device; free some space"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.bin"]


def test_folders_are_created_with_their_parents_and_may_exist(tmp_path):
    make_folder(tmp_path / "a" / "b" / "c")
    make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be synced here")
def test_each_new_folder_is_synced_in_its_parent(tmp_path, monkeypatch):
    real, synced = os.fsync, []

    def recorded(descriptor):
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    make_folder(tmp_path / "a" / "b" / "c")
    parents = (tmp_path, tmp_path / "a", tmp_path / "a" / "b")
    assert synced == [parent.stat().st_ino for parent in parents]


def test_a_file_at_a_folders_path_is_named(tmp_path):
    (tmp_path / "a").write_text("")
    for folder in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(StorageError, match=r"wanted a folder|cannot create"):
            make_folder(folder)


def test_only_our_own_leftovers_are_removed(tmp_path, monkeypatch):
    theirs = {".notes.tmp", "upload.tmp", ".a.b.c.tmp", ".bashrc"}
    for name in theirs:
        (tmp_path / name).write_text("")
    with monkeypatch.context() as killed:
        killed.setattr(os, "replace", _die)
        killed.setattr("pathlib.Path.unlink", lambda *arguments, **named: None)
        with pytest.raises(KeyboardInterrupt):
            write_bytes(tmp_path / "model.safetensors", b"half")
    assert len(list(tmp_path.iterdir())) == len(theirs) + 1
    remove_leftovers(tmp_path)
    assert {entry.name for entry in tmp_path.iterdir()} == theirs


def _die(*arguments):
    raise KeyboardInterrupt


# --- Tensor files ----------------------------------------------------------------------------

DTYPES = [
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.bool,
]


@st.composite
def any_tensor(draw):
    """Any bits, dtype, shape and memory layout; NaN and -0.0 included."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    seed = draw(st.integers(0, 2**32))
    raw = torch.randint(
        0,
        2 if dtype == torch.bool else 256,
        (int(torch.tensor(shape).prod()) * dtype.itemsize,),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(seed),
    )
    tensor = raw.view(dtype).reshape(shape)
    form = draw(st.sampled_from(["plain", "transposed", "part", "expanded", "parameter"]))
    if form == "transposed" and tensor.ndim > 1:
        return tensor.transpose(0, -1)
    if form == "part" and tensor.ndim:
        return tensor[1:]
    if form == "expanded":
        return tensor.expand(2, *tensor.shape)
    if form == "parameter" and dtype.is_floating_point:
        return torch.nn.Parameter(tensor)
    return tensor


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
names = st.text(min_size=1, max_size=20).filter(lambda name: name != "__metadata__")


@any_folder
@given(
    tensors=st.dictionaries(names, any_tensor(), max_size=4),
    header=st.dictionaries(st.text(), json_values, max_size=4),
)
def test_what_is_written_is_read_bit_for_bit(tmp_path, tensors, header):
    path = write(tmp_path / "file.safetensors", tensors, header)
    found_header, found = read(path)
    assert found_header == header
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert bits(found[name]) == bits(tensor.detach())


def test_tensors_may_share_memory(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    tensors = {"whole": whole, "same": whole, "row": whole[1], "turned": whole.t()}
    _, found = read(write(tmp_path / "file.safetensors", tensors))
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    assert found["same"].data_ptr() != found["whole"].data_ptr()
    assert torch.equal(whole, torch.arange(12.0).reshape(3, 4))


def test_the_file_is_plain_safetensors_of_the_documented_format(tmp_path):
    """The safetensors library can read it; a change of the format would orphan old files."""
    path = write(tmp_path / "file.safetensors")
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
        assert torch.equal(file.get_tensor("weights"), torch.arange(6.0).reshape(2, 3))
    assert metadata.keys() == {"kind", "version", "header", "sha256"}
    assert (metadata["kind"], metadata["version"]) == (KIND, "1")
    assert json.loads(metadata["header"]) == {"epoch": 3, "name": "ä"}
    assert metadata["sha256"] == digest(metadata["header"], TENSORS)


def test_every_tensor_is_aligned_to_its_items(tmp_path):
    """So that readers can use the file's memory as it is."""
    types = (torch.uint8, torch.float64, torch.int16, torch.float32)
    tensors = {f"{each}": torch.zeros(1, dtype=each) for each in types}
    data = write(tmp_path / "a.safetensors", tensors).read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    entries = json.loads(data[8:start])
    for name, tensor in tensors.items():
        assert (start + entries[name]["data_offsets"][0]) % tensor.itemsize == 0, name


@any_folder
@given(tensors=st.dictionaries(names, any_tensor(), max_size=4))
def test_the_library_of_the_format_reads_what_is_written(tmp_path, tensors):
    path = write(tmp_path / "file.safetensors", tensors)
    with safetensors.safe_open(path, "pt") as file:
        assert set(file.keys()) == tensors.keys()
        for name, tensor in tensors.items():
            assert file.get_tensor(name).dtype == tensor.dtype
            assert file.get_tensor(name).shape == tensor.shape
            assert bits(file.get_tensor(name)) == bits(tensor.detach())


@any_folder
@given(tensors=st.dictionaries(names, any_tensor(), max_size=4))
def test_what_the_library_of_the_format_writes_is_read(tmp_path, tensors):
    plain = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {"kind": KIND, "version": "1", "header": "{}", "sha256": digest("{}", plain)}
    safetensors.torch.save_file(plain, tmp_path / "file.safetensors", metadata)
    _, found = read(tmp_path / "file.safetensors")
    assert found.keys() == plain.keys()
    for name, tensor in plain.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert bits(found[name]) == bits(tensor)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(3, dtype=">i4"),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(5)[::-1],
        np.array(3.0, ">f8"),
        np.zeros((0, 3), ">f4"),
        np.broadcast_to(np.arange(3), (2, 3)),
    ],
    ids=["big-endian", "by columns", "backwards", "scalar", "empty", "repeated"],
)
def test_arrays_of_any_memory_layout_come_back(tmp_path, array):
    path = tmp_path / "file.safetensors"
    storage.write_tensors(path, {"x": StoredTensor.of(array)}, kind=KIND, version=1, header={})
    found = storage.read_tensors(path, kind=KIND, version=1).tensors["x"].array()
    assert found.dtype == array.dtype.newbyteorder("=")
    assert found.shape == array.shape
    assert np.array_equal(found, array)


@pytest.mark.parametrize("dtype", [torch.complex128, torch.float8_e8m0fnu])
def test_an_unsupported_dtype_is_named(dtype):
    with pytest.raises(UsageError, match=f"{str(dtype).removeprefix('torch.')}, which cannot be"):
        to_stored({"x": torch.zeros(1).to(dtype)})


TENSORS = {"steps": torch.tensor(7), "weights": torch.arange(6.0).reshape(2, 3)}


def digest(header, tensors, kind=KIND, version="1"):
    """The file's digest, implemented a second time."""
    whole = hashlib.sha256()

    def add(text):
        whole.update(struct.pack(">Q", len(text.encode())) + text.encode())

    for text in (kind, version, header):
        add(text)
    for name in sorted(tensors):
        add(f"{name} {tensors[name].dtype} {list(tensors[name].shape)}")
        whole.update(bytes(bits(tensors[name])))
    return whole.hexdigest()


def test_an_older_version_is_read_and_a_newer_one_is_not(tmp_path):
    path = write(tmp_path / "file.safetensors", version=3)
    assert read(path, version=3)[0] == read(path, version=4)[0]
    with pytest.raises(FileRefusedError, match=r"version 3, .* up to 2; install a newer tenfold"):
        read(path, version=2)


def test_another_kind_is_refused_by_name(tmp_path):
    path = write(tmp_path / "file.safetensors", kind="tenfold-other")
    with pytest.raises(
        FileRefusedError,
        match="this is a file of kind 'tenfold-other', wanted a file of kind 'tenfold-test'",
    ):
        read(path)


def written_digest(folder, tensors):
    return write_tensors(folder / "any.safetensors", tensors, kind=KIND, version=1, header={})


def test_the_digest_of_tensors_is_of_their_bits_alone(tmp_path):
    plain = {"a": torch.arange(6).reshape(2, 3), "b": torch.zeros(2)}
    _, found = read(write(tmp_path / "file.safetensors", plain))
    turned = {"b": torch.zeros(2, 2)[:, 0], "a": torch.arange(6).reshape(2, 3).t().contiguous().t()}
    first, *others = (written_digest(tmp_path, tensors) for tensors in (plain, found, turned))
    assert others == [first, first]


@pytest.mark.parametrize(
    "other",
    [
        {"a": torch.tensor([0.0, -0.0])},
        {"a": torch.tensor([0.0, 0.0], dtype=torch.float64)},
        {"a": torch.tensor([0, 0], dtype=torch.int32)},
        {"a": torch.tensor([[0.0, 0.0]])},
        {"b": torch.tensor([0.0, 0.0])},
        {"a": torch.tensor([0.0]), "b": torch.tensor([0.0])},
        {},
    ],
    ids=["sign", "float64", "int32", "shape", "name", "two", "none"],
)
def test_the_digest_tells_names_types_shapes_and_bits_apart(tmp_path, other):
    one = {"a": torch.tensor([0.0, 0.0])}
    assert written_digest(tmp_path, other) != written_digest(tmp_path, one)


# --- Damage ----------------------------------------------------------------------------------


def test_a_flipped_bit_in_any_byte_is_found(tmp_path):
    path = write(tmp_path / "file.safetensors")
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(FileRefusedError):
            read(path)


def test_every_truncation_is_found(tmp_path):
    path = write(tmp_path / "file.safetensors")
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(FileRefusedError):
            read(path)


@pytest.mark.parametrize("more", [b"\0", b"\0" * 4096, b"more"])
def test_bytes_after_the_end_are_found(tmp_path, more):
    path = write(tmp_path / "file.safetensors")
    path.write_bytes(path.read_bytes() + more)
    with pytest.raises(FileRefusedError, match="damaged"):
        read(path)


def test_a_hole_of_zeros_is_found_anywhere(tmp_path):
    tensors = {"weights": torch.arange(1, 5001, dtype=torch.float32)}
    path = write(tmp_path / "file.safetensors", tensors)
    whole = path.read_bytes()
    for start in range(0, len(whole), 512):
        hole = min(512, len(whole) - start)
        path.write_bytes(whole[:start] + bytes(hole) + whole[start + hole :])
        with pytest.raises(FileRefusedError):
            read(path)


def test_the_tensors_of_another_file_are_found(tmp_path):
    first = write(tmp_path / "a.safetensors", {"x": torch.zeros(64)}).read_bytes()
    second = write(tmp_path / "b.safetensors", {"x": torch.ones(64)}).read_bytes()
    assert len(first) == len(second)
    mixed = tmp_path / "c.safetensors"
    mixed.write_bytes(first[:-256] + second[-256:])
    with pytest.raises(FileRefusedError, match="digest"):
        read(mixed)


@any_folder
@given(data=st.binary(max_size=300), framed=st.booleans())
def test_any_bytes_are_refused(tmp_path, data, framed):
    path = tmp_path / "file.safetensors"
    path.write_bytes(struct.pack("<Q", len(data)) + data if framed else data)
    with pytest.raises(FileRefusedError):
        read(path)


def test_what_is_not_a_file_is_refused(tmp_path):
    with pytest.raises(FileRefusedError, match="no such file"):
        read(tmp_path / "missing.safetensors")
    with pytest.raises(FileRefusedError, match="directory"):
        read(tmp_path)
    (tmp_path / "empty.safetensors").touch()
    with pytest.raises(FileRefusedError, match="0 bytes, too few"):
        read(tmp_path / "empty.safetensors")


def test_a_foreign_file_is_reported_as_such(tmp_path):
    path = tmp_path / "other.safetensors"
    for metadata in (None, {"format": "pt"}, {"kind": KIND}):
        safetensors.torch.save_file({"x": torch.zeros(3)}, path, metadata)
        with pytest.raises(FileRefusedError, match="not a file that tenfold wrote"):
            read(path)


# --- Malicious files -------------------------------------------------------------------------


def forge(path, *, tensors=None, header="{}", data=b"", **metadata):
    """A file with a correct digest and arbitrary contents."""
    whole = {"kind": KIND, "version": "1", "header": header}
    if "sha256" not in metadata:
        metadata["sha256"] = digest(header, {})
    entries = {"__metadata__": {**whole, **metadata}, **(tensors or {})}
    text = json.dumps({key: value for key, value in entries.items() if value is not None}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_a_forged_file_can_be_read_at_all(tmp_path):
    assert read(forge(tmp_path / "x.safetensors")) == ({}, {})


def test_a_folder_that_is_refused_leaves_nothing_open(tmp_path):
    free = os.dup(0)
    os.close(free)
    with pytest.raises(FileRefusedError, match="directory"):
        read(tmp_path)
    again = os.dup(0)
    os.close(again)
    assert again == free


@pytest.mark.parametrize("header", ["", "[]", "3", "null", '"text"', "{", "[" * 100_000])
def test_a_header_that_is_not_an_object_is_refused(tmp_path, header):
    with pytest.raises(FileRefusedError, match="header is not"):
        read(forge(tmp_path / "x.safetensors", header=header))


@pytest.mark.parametrize("version", ["", "-1", "1.0", " 1", "one", "\x1b[2J", "9" * 5000])
def test_a_version_that_is_not_a_number_is_refused(tmp_path, version):
    forged = forge(
        tmp_path / "x.safetensors", version=version, sha256=digest("{}", {}, version=version)
    )
    with pytest.raises(FileRefusedError, match="version") as raised:
        read(forged)
    assert "\x1b" not in str(raised.value)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("value", [None, 1, ["tenfold-test"], {}])
@pytest.mark.parametrize("key", ["kind", "version", "header", "sha256"])
def test_metadata_that_is_not_text_is_refused(tmp_path, key, value):
    path = tmp_path / "x.safetensors"
    forge(path)
    size = struct.unpack("<Q", path.read_bytes()[:8])[0]
    entries = json.loads(path.read_bytes()[8 : 8 + size])
    entries["__metadata__"][key] = value
    text = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(FileRefusedError):
        read(path)


def test_deeply_nested_entries_are_refused(tmp_path):
    text = b'{"__metadata__":' + b"[" * 200_000
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(FileRefusedError):
        read(path)


@pytest.mark.parametrize("declared", [2**20, 2**40, 2**63, 2**64 - 1])
def test_a_declared_header_takes_no_memory(tmp_path, declared):
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", declared) + b"{}")
    said = "too few" if declared <= LARGEST_HEADER else "not a file that tenfold wrote"
    with pytest.raises(FileRefusedError, match=said):
        read(path)


def test_a_header_that_is_too_long_is_refused_unread(tmp_path):
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", LARGEST_HEADER + 1))
        file.truncate(2**33)  # no bytes on disk, but 8 GiB when read
    tracemalloc.start()
    with pytest.raises(FileRefusedError, match="not a file that tenfold wrote"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]},
        {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [10**4000] * 32, "data_offsets": [0, 4]},  # no longer printable
        {"dtype": "U8", "shape": [4], "data_offsets": [False, 4]},
        {"dtype": "U8", "shape": [True, 4], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "X32", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32"},
        [],
        None,
    ],
)
def test_false_claims_about_tensors_are_refused(tmp_path, entry):
    path = forge(tmp_path / "x.safetensors", tensors={"x": entry} if entry else {}, data=bytes(4))
    with pytest.raises(FileRefusedError):
        read(path)


@pytest.mark.parametrize("shape", [(0, 2**62, 4), (2**40, 2**40, 0), (0, 2**63)])
def test_an_empty_tensor_of_an_impossible_shape_is_refused(tmp_path, shape):
    """It has no bytes, but NumPy and PyTorch cannot create it."""
    stored = StoredTensor("float32", shape, memoryview(b""))
    path = tmp_path / "x.safetensors"
    storage.write_tensors(path, {"x": stored}, kind=KIND, version=1, header={})
    with pytest.raises(FileRefusedError, match="'x' is F32 of shape"):
        read(path)


EMPTY = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}


@pytest.mark.parametrize("changes", [{"header": '"\ud800"'}, {"tensors": {"\ud800": EMPTY}}])
def test_lone_surrogates_are_refused(tmp_path, changes):
    """JSON can write it, UTF-8 cannot."""
    with pytest.raises(FileRefusedError, match="damaged"):
        read(forge(tmp_path / "x.safetensors", **changes, sha256="0" * 64))


def test_names_from_outside_cannot_reach_the_terminal(tmp_path):
    path = forge(tmp_path / "\x1b[31mred.safetensors", kind="\x1b[2J" + "x" * 10_000)
    with pytest.raises(FileRefusedError) as raised:
        read(path)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1000
