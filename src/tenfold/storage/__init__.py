"""The one way a file is written, and a tensor file with its JSON header."""

from tenfold.storage.checked import checked
from tenfold.storage.files import (
    make_folder,
    read_regular_file,
    remove_file,
    remove_leftovers,
    set_aside,
    write_bytes,
    write_json,
    write_text,
)
from tenfold.storage.tensors import (
    LARGEST_HEADER,
    StoredTensor,
    TensorFile,
    read_tensors,
    sha256_of_tensors,
    write_tensors,
)

__all__ = [
    "LARGEST_HEADER",
    "StoredTensor",
    "TensorFile",
    "checked",
    "make_folder",
    "read_regular_file",
    "read_tensors",
    "remove_file",
    "remove_leftovers",
    "set_aside",
    "sha256_of_tensors",
    "write_bytes",
    "write_json",
    "write_tensors",
    "write_text",
]
