"""What every test module gets: checked shapes, one thread, and the place of the real data."""

from __future__ import annotations

import gc
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from ignored_signals import heed_ignored_signals

from checked_types import check_types_of
from command_line import Answer, Tenfold

check_types_of("tenfold")

hypothesis.settings.register_profile("without time limits", deadline=None)
hypothesis.settings.load_profile("without time limits")


def pytest_configure() -> None:
    import torch

    torch.set_num_threads(1)  # the tests run beside each other
    heed_ignored_signals()


def pytest_collection_finish() -> None:
    gc.freeze()  # the garbage collector need not look through the tests again and again


@pytest.fixture
def nothing_frozen() -> Iterator[None]:
    """The garbage collector looks through everything, as in a program that has not frozen it."""
    gc.unfreeze()
    yield
    gc.freeze()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets, in torchvision's layout; skips where there is none."""
    folder = Path(os.environ.get("TENFOLD_DATA", ""))
    if not os.environ.get("TENFOLD_DATA") or not folder.is_dir():
        pytest.skip("the real data sets are not here: set TENFOLD_DATA to their folder")
    return folder.resolve()


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs to compare, which tests must not change.

    Groups of softmax regressions (`slow`, 3 seeds; `fast`, 4 seeds), and of single ones of them
    with other settings: `single`, `wide`.
    """
    from small_groups import train_compared

    return train_compared(tmp_path_factory.mktemp("compared"))


_NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache, or that of another test.

    The folder is not created, since most tests have no use for it.
    """
    caches = tmp_path_factory.getbasetemp() / "caches"
    caches.mkdir(exist_ok=True)
    monkeypatch.setenv("TENFOLD_CACHE", str(caches / str(next(_NUMBERS))))


@pytest.fixture(autouse=True)
def _in_english(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts are English, whatever the locale of the tester."""
    monkeypatch.setenv("TENFOLD_LANG", "en")


@pytest.fixture(autouse=True)
def _no_report_fails_unnoticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults in a report fail the test; users only get a note, as for files that cannot be written.

    Only where training was imported already: elsewhere nothing is reported.
    """
    after = sys.modules.get("tenfold.reporting.after")
    if after is None:
        return
    as_it_is = after._try

    def strict(write: Callable[[], None], run: object, listener: object) -> None:
        def without_faults() -> None:
            from tenfold.errors import TenfoldError

            try:
                write()
            except (TenfoldError, OSError, MemoryError):
                raise
            except Exception as error:  # noqa: BLE001
                pytest.fail(f"the report failed: {error!r}")

        as_it_is(without_faults, run, listener)

    monkeypatch.setattr(after, "_try", strict)


@pytest.fixture
def tenfold(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Tenfold:
    """Runs a command line in this process, in a folder of its own."""
    from tenfold import cli

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["tenfold", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Answer(code, *capsys.readouterr())

    return run
