"""Pickles: plain data is read, and nothing is executed."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest

from tenfold.data.files.pickles import read_pickled_dict
from tenfold.errors import DataError
from written_files import placed


class Attack:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Attack(__import__("os").system, "true"), r"(posix|nt)\.system"),
        (Attack(eval, "1"), r"builtins\.eval|__builtin__\.eval"),
        (Attack(getattr, "", "join"), "getattr"),
        (Attack(np.load, "x"), r"numpy\.load"),
        (np.float64(1), "scalar"),
        (np.array(["x"], dtype=object), "type 'O8'"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_globals_other_than_arrays_are_refused(tmp_path, value, named, protocol):
    data = pickle.dumps({"data": value, "labels": []}, protocol)
    with pytest.raises(DataError, match=named):
        read_pickled_dict(placed(tmp_path, data))


def array_state(shape: bytes) -> bytes:
    """A pickle of {"data": array} whose array has these opcodes as its shape, and 4 bytes."""
    return (
        b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b"
        b"\x87R(K\x01" + shape + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R\x89U\x04abcdtbs."
    )


def nested_tuples(depth: int) -> bytes:
    again = b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(depth))
    return b"\x80\x02}K\x00\x85q\x000" + again + b"K\x01s."


def nested_lists(depth: int) -> bytes:
    """A list of one list twice, nested: 2**depth words when printed."""
    starts = b"".join(b"]q%c(" % i for i in range(1, depth + 1))
    return starts + b"]e" + b"".join(b"h%ce" % i for i in range(depth, 1, -1))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "damaged or truncated"),
        (b"garbage", "damaged or truncated"),
        (b"\x80\x04K\x01.", "it contains an int, wanted a dict"),
        (b"\x80\x04}.m", "the pickle's end is followed by 1 byte"),
        (b"\x80\x04}.more", "the pickle's end is followed by 4 bytes"),
        (array_state(b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86"), "but 4 bytes of data"),
        (array_state(b"J\xff\xff\xff\xffK\xfc\x86"), "but 4 bytes of data"),
        (array_state(b"\x8a\x09\0\0\0\0\0\0\0\0\x01K\x00\x86"), "but 4 bytes of data"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", "uses memo slot 2,147,483,647"),
        (b"\x80\x04\x96" + b"\xff" * 7 + b"\x7f.", "damaged or truncated|BYTEARRAY8"),
        (b"\x80\x04\x8d" + b"\xff" * 7 + b"\x0f.", "damaged or truncated"),
        (b"\x80\x02\x8b\xff\xff\xff\x7f.", "damaged or truncated"),
        (b"\x80\x04\x8e" + b"\x00" * 6 + b"\x01\x00.", "damaged or truncated"),
        (b"I" + b"9" * 10_000 + b"\n.", "damaged or truncated"),
        (nested_tuples(60), "the opcode POP|a tuple twice"),
        (b"\x80\x02}K\x00\x85q\x00\x95\x00\0\0\0\0\0\0\0q\x01h\x01h\x01\x86K\x01s.", "twice"),
        (b"(i__main__\nX\n.", "the opcode INST"),
        (b"\x80\x02P1\n.", "the opcode PERSID|damaged"),
        (b"\x80\x02cnumpy\ndtype\n}b.", "changes a global that it may only call"),
        (b"(" * 100_000 + b"l" * 100_000 + b".", "over 10,000 containers"),
        (b"\x80\x02(" + b"]" * 2_000_000 + b"d.", "over 10,000 containers"),
        (b"\x80\x02(" + b"(d" * 2_000_000 + b"l.", "over 10,000 containers"),
        (array_state(b"(" + nested_lists(40) + b"t"), r"of shape (a list) and dtype uint8"),
        (b"\x80\x02cnumpy\ndtype\n(" + nested_lists(40) + b"tR.", "an array of dtype 'a list'"),
    ],
)  # fmt: skip
def test_hostile_pickles_are_refused_without_taking_memory(tmp_path, data, message):
    path = placed(tmp_path, data)
    tracemalloc.start()
    with pytest.raises(DataError) as caught:
        read_pickled_dict(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert any(part in str(caught.value) for part in message.split("|"))
    assert peak < 50_000_000


@pytest.mark.parametrize(
    ("limit", "opcode", "message"),
    [("_MOST_VALUES", b"N", "over 1,000 values"), ("_LARGEST_MEMO", b"N\x94", "memo slot 1,001")],
)
def test_the_values_in_a_pickle_are_counted(tmp_path, monkeypatch, limit, opcode, message):
    monkeypatch.setattr(f"tenfold.data.files.pickles.{limit}", 1000)
    with pytest.raises(DataError, match=message):
        read_pickled_dict(placed(tmp_path, b"\x80\x04(" + opcode * 1002 + b"l."))


def test_the_size_of_a_pickle_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("tenfold.data.files.pickles.LARGEST_PICKLE", 1000)
    with pytest.raises(DataError, match="larger than 1,000 bytes"):
        read_pickled_dict(placed(tmp_path, bytes(1001)))
