"""How the program ends: at once, but after all that has to be done before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

PROGRAM = "from tenfold.__main__ import program\nprogram()\n"

SLOW = """
import time
import tenfold.cli
def main():
    print("begun", flush=True)
    time.sleep(60)
tenfold.cli.main = main
"""


def ended(before: str, line: str = "recipes") -> subprocess.CompletedProcess[str]:
    """What became of a process that runs some code, and then a command."""
    code = f"import sys\nsys.argv = {['tenfold', *line.split()]!r}\n{before}{PROGRAM}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_nothing_is_torn_down() -> None:
    left = (
        "class Left:\n    def __del__(self): print('torn down', file=sys.stderr)\nleft = Left()\n"
    )
    assert ended(left).stderr == ""


@pytest.mark.parametrize(
    ("line", "code"), [("recipes", 0), ("recipes --nonsense", 2), ("predict nothing", 4)]
)
def test_the_exit_code_is_kept(line: str, code: int) -> None:
    assert ended("", line).returncode == code


def test_registered_functions_run_first_and_once() -> None:
    before = "import atexit\nfor each in (2, 1): atexit.register(print, each, file=sys.stderr)\n"
    assert ended(before).stderr == "1\n2\n"


def test_other_threads_end_first() -> None:
    before = (
        "import threading, time\n"
        "def work():\n"
        "    time.sleep(0.3)\n"
        "    print('worked', file=sys.stderr)\n"
        "threading.Thread(target=work).start()\n"
    )
    assert ended(before).stderr == "worked\n"


@pytest.mark.parametrize("tool", ["trace", "profile"])
def test_tools_that_look_on_can_save_what_they_found(tool: str, tmp_path: Path) -> None:
    module = {"trace": ["trace", "--count", f"--coverdir={tmp_path}"], "profile": ["cProfile"]}
    line = [*module[tool], "-m" if tool == "profile" else "--module", "tenfold", "--version"]
    found = subprocess.run([sys.executable, "-m", *line], capture_output=True, text=True)
    assert found.returncode == 0
    if tool == "profile":
        assert "function calls" in found.stdout
    else:
        assert (tmp_path / "tenfold.cli.__init__.cover").exists()


HOSTS = {
    "a function": f"def started():\n    exec({PROGRAM!r}, {{}})\n",
    "runpy": "import runpy\ndef started(): runpy.run_module('tenfold', run_name='__main__')\n",
}


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
def test_a_program_that_started_it_goes_on(host: str) -> None:
    code = f"import sys\nsys.argv = ['tenfold', 'recipes']\n{host}"
    code += "try: started()\nexcept SystemExit as ending: print(ending.code, file=sys.stderr)\n"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "None\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_still_an_error() -> None:
    code = f"import sys\nsys.argv = ['tenfold', 'predict', 'nothing']\n{PROGRAM}"  # prints nothing
    code = f"import sys\nsys.stdout.write('buffered')\n{code}"
    with Path("/dev/full").open("w") as full:
        found = subprocess.run(
            [sys.executable, "-c", code],
            env={key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert found.returncode == 120  # the interpreter's own code for that
    assert "No space left on device" in found.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="preexec_fn needs a fork")
def test_without_standard_output_the_result_is_lost() -> None:
    code = f"import sys\nsys.argv = ['tenfold', 'recipes']\n{PROGRAM}"
    found = subprocess.run(
        [sys.executable, "-c", code],
        preexec_fn=lambda: os.close(1),
        stderr=subprocess.PIPE,
        text=True,
    )
    lost = "tenfold: the result cannot be written to standard output: it is closed\n"
    assert (found.returncode, found.stderr) == (1, lost)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals and pipes as on Unix")
@pytest.mark.parametrize("times", [1, 5])
def test_ctrl_c_ends_it_though_nobody_reads_what_it_says(times: int) -> None:
    """The pipe is full; further signals do not keep it from ending."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    with subprocess.Popen(
        [sys.executable, "-c", f"{SLOW}{PROGRAM}"], stdout=subprocess.PIPE, stderr=writer, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(times):
            process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    os.close(reader)
    os.close(writer)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals as on Unix")
def test_several_ctrl_c_are_one_line() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", f"{SLOW}{PROGRAM}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(20):
            process.send_signal(signal.SIGINT)
            time.sleep(0.0005)
        _, err = process.communicate()
    assert err == "tenfold: interrupted\n"
    assert process.returncode == 130


def test_too_little_memory_is_one_line() -> None:
    found = ended(
        "import tenfold.cli\ndef refuse(*_, **__): raise MemoryError\ntenfold.cli.app = refuse\n"
    )
    assert (found.returncode, found.stderr) == (
        1,
        "tenfold: there is not enough memory; end other programs\n",
    )
