"""Reading gzip files in large pieces: the same as the standard library's reader."""

from __future__ import annotations

import gzip
import io
import zlib

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from tenfold.data.files import reading
from tenfold.data.files.reading import fill, unzipped

MEMBERS = st.lists(st.binary(max_size=300), min_size=1, max_size=4)


def file_of(members: list[bytes], padding: int = 0) -> bytes:
    return b"".join(map(gzip.compress, members)) + bytes(padding)


@given(
    members=MEMBERS,
    padding=st.integers(0, 20),
    sizes=st.lists(st.integers(1, 200), min_size=1),
    chunk=st.integers(1, 40),
)
def test_any_reads_give_the_content(
    members: list[bytes], padding: int, sizes: list[int], chunk: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "CHUNK", chunk)
        file = unzipped(io.BytesIO(file_of(members, padding)))
        found = b"".join(iter(lambda: file.read(sizes[len(members) % len(sizes)]), b""))
    assert found == b"".join(members)


def test_a_large_array_is_filled() -> None:
    content = np.random.default_rng(0).integers(0, 4, 40_000_000, dtype=np.uint8)
    array = np.empty_like(content)
    file = unzipped(io.BytesIO(gzip.compress(content.tobytes(), 1)))
    assert fill(file, array) == len(array)
    assert np.array_equal(array, content)
    assert file.read(1) == b""


def test_zeros_do_not_exhaust_the_memory() -> None:
    """What a small file unpacks to is never held in whole."""
    file = unzipped(io.BytesIO(gzip.compress(bytes(2**24))))
    assert file.read(10) == bytes(10)
    assert file.read(2**20) == bytes(2**20)


@given(members=MEMBERS, cut=st.integers(1, 400))
def test_a_file_that_is_cut_off_is_refused(members: list[bytes], cut: int) -> None:
    whole = file_of(members)
    starts = {sum(len(gzip.compress(each)) for each in members[:n]) for n in range(len(members))}
    left = max(2, len(whole) - cut)
    file = unzipped(io.BytesIO(whole[:left]))
    if left in starts:  # a file of fewer members
        assert b"".join(members).startswith(file.read())
    else:
        with pytest.raises((EOFError, zlib.error)):
            file.read()


@given(content=st.binary(min_size=1, max_size=300), place=st.integers(0, 10_000))
def test_a_damaged_file_is_never_read_as_something_else(content: bytes, place: int) -> None:
    whole = bytearray(gzip.compress(content, mtime=0))
    whole[10 + place % (len(whole) - 10)] ^= 1 + place % 255
    try:
        found = unzipped(io.BytesIO(bytes(whole))).read()
    except (EOFError, zlib.error):
        return
    assert found == content


def test_rubbish_after_the_end_is_refused() -> None:
    with pytest.raises(zlib.error):
        unzipped(io.BytesIO(gzip.compress(b"one") + b"two")).read()
