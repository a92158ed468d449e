"""The one way a file is written, tensor files with a JSON header, and the user's cache folder."""

from tenfold.storage.checked import Facts, checked
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
from tenfold.storage.user_cache import cache_folder

__all__ = [
    "LARGEST_HEADER",
    "Facts",
    "StoredTensor",
    "TensorFile",
    "cache_folder",
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
