"""Atomic file writes, tensor files with a JSON header, and the user's cache folder."""

from tenfold.storage.checked import Facts as Facts
from tenfold.storage.checked import checked as checked
from tenfold.storage.checked import require_readable as require_readable
from tenfold.storage.files import absolute as absolute
from tenfold.storage.files import append_text as append_text
from tenfold.storage.files import expanded as expanded
from tenfold.storage.files import make_folder as make_folder
from tenfold.storage.files import open_regular as open_regular
from tenfold.storage.files import read_regular_file as read_regular_file
from tenfold.storage.files import read_text as read_text
from tenfold.storage.files import remove_file as remove_file
from tenfold.storage.files import remove_leftovers as remove_leftovers
from tenfold.storage.files import set_aside as set_aside
from tenfold.storage.files import write_bytes as write_bytes
from tenfold.storage.files import write_json as write_json
from tenfold.storage.files import write_text as write_text
from tenfold.storage.tensors import LARGEST_HEADER as LARGEST_HEADER
from tenfold.storage.tensors import StoredTensor as StoredTensor
from tenfold.storage.tensors import TensorFile as TensorFile
from tenfold.storage.tensors import kind_of as kind_of
from tenfold.storage.tensors import read_safetensors as read_safetensors
from tenfold.storage.tensors import read_tensors as read_tensors
from tenfold.storage.tensors import write_tensors as write_tensors
from tenfold.storage.user_cache import cache_folder as cache_folder
from tenfold.storage.user_cache import mark_used as mark_used
from tenfold.storage.user_cache import room_for as room_for
