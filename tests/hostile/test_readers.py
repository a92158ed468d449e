"""What fuzzing begins with: small valid files of every kind, which are read."""

from __future__ import annotations

from pathlib import Path

import pytest
from readers import READERS

from tenfold.errors import TenfoldError


@pytest.mark.parametrize("name", READERS)
def test_what_fuzzing_begins_with_is_read(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    file = tmp_path / reader.name
    read = [0] * len(reader.uses)
    for seed in reader.seeds(tmp_path):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(reader.made(seed))
        for place, use in enumerate(reader.uses):
            try:
                use(file)
            except TenfoldError:  # not every use is for every seed
                continue
            read[place] += 1
    assert all(read), f"read by each use: {read}, wanted at least once"
