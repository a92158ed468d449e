"""`tenfold serve` as a process: how it starts, what it says, and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from command_line import Tenfold
from engines import needs_kernels
from live_server import encoded, small_classifier
from tenfold.deployment import write_bundle
from tenfold.deployment.serving.running import listen
from tenfold.errors import UsageError

PNG = encoded(np.arange(64, dtype=np.uint8).reshape(1, 8, 8))

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals here")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    write_bundle(path, small_classifier().bundle)
    return path


@contextmanager
def serving(*arguments: object, first: str = "", **environment: str) -> Iterator[Any]:
    """A server on a free port, and the first line that it prints."""
    line = ["tenfold", "serve", *map(str, arguments), "--port", "0"]
    code = (
        f"import sys; {first}\nsys.argv = {line!r}\nfrom tenfold.__main__ import program\nprogram()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process, process.stdout.readline()
        finally:
            process.kill()


def address_in(line: str) -> str:
    return line.partition(" ")[0]


@needs_kernels
def test_it_starts_without_pytorch_and_stops_by_a_signal(model: Path) -> None:
    with serving(model, first="sys.modules['torch'] = None") as (process, line):
        address = address_in(line)
        assert line == f"{address} answers for {model} (mlp); stop it with Ctrl-C\n"
        headers = {"Content-Type": "image/png"}
        answer = requests.post(f"{address}predict", PNG, headers=headers, timeout=30)
        (guesses,) = small_classifier().top(PNG)
        assert answer.json()["predictions"][0]["top"] == [each.to_dict() for each in guesses]
        assert requests.get(f"{address}model", timeout=30).json()["name"] == "small.safetensors"
        process.send_signal(signal.SIGINT)
        assert process.communicate() == ("", "note: stopped\n")
    assert process.returncode == 0


def test_facts_as_json_a_note_on_the_run_and_the_token_of_the_environment(
    model: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    own = shutil.copy(model, run / "model.safetensors")
    (run / "run.json").write_text("nonsense")
    collected = tmp_path / "collected"
    line = (own, "--json", "--host", "0.0.0.0", "--collect", collected)
    with serving(*line, TENFOLD_TOKEN="a-long-token") as (process, first):
        facts = json.loads(first)
        url = f"{facts['address']}model"
        assert requests.get(url, timeout=30).status_code == 401
        headers = {"Authorization": "Bearer a-long-token"}
        assert requests.get(url, headers=headers, timeout=30).json()["name"] == "run"
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
    assert process.returncode == 0
    assert facts == {
        "schema": 1,
        "address": f"http://127.0.0.1:{facts['port']}/",
        "host": "0.0.0.0",
        "port": facts["port"],
        "run": str(own),
        "model": "mlp",
        "collect": str(collected),
    }
    assert err.startswith(f"note: {run / 'run.json'}: ")
    assert err.endswith("; the model file is used as it is\nnote: stopped\n")


class Client(threading.Thread):
    """Asks again and again on one connection, until it is told that this was the last time."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port, self.answers, self.lost = port, 0, 0

    def run(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        is_last = False
        while not is_last:
            try:
                connection.request("POST", "/predict", PNG, {"Content-Type": "image/png"})
                response = connection.getresponse()
                self.answers += bool(json.loads(response.read())["predictions"])
                is_last = response.headers.get("Connection") == "close"
            except (OSError, HTTPException, ValueError):
                self.lost += 1
                return


def test_under_load_everything_that_was_accepted_is_answered(model: Path) -> None:
    """And a request that is being sent when the signal comes may be completed."""
    with serving(model) as (process, line):
        port = int(address_in(line).rpartition(":")[2].strip("/"))
        slow = socket.create_connection(("127.0.0.1", port))
        head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        slow.sendall(head % len(PNG) + PNG[:30])
        clients = [Client(port) for _ in range(16)]
        for client in clients:
            client.start()
        while min(client.answers for client in clients) < 5:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        for client in clients:
            client.join()
        slow.sendall(PNG[30:])
        with slow, slow.makefile("rb") as file:
            answer = file.read()
        _, err = process.communicate()
    assert (process.returncode, err) == (0, "note: stopped\n")
    assert sum(client.lost for client in clients) == 0
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in answer


def test_connections_leave_files_for_others(model: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))"
    with serving(model, first=limit) as (process, line):
        address = address_in(line)
        port = int(address.rpartition(":")[2].strip("/"))
        opened = [socket.create_connection(("127.0.0.1", port)) for _ in range(25)]
        time.sleep(0.3)
        metrics = requests.get(f"{address}metrics", timeout=30).text
        assert "tenfold_connections 16.0\n" in metrics
        for each in opened:
            each.close()
        process.send_signal(signal.SIGTERM)
        assert process.communicate() == ("", "note: stopped\n")


def test_a_second_signal_ends_it_at_once(model: Path) -> None:
    with serving(model) as (process, line):
        port = int(address_in(line).rpartition(":")[2].strip("/"))
        with socket.create_connection(("127.0.0.1", port)) as opened:
            opened.sendall(
                b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
            )
            time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            time.sleep(1.1)  # signals within a second mean the same
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert err == "tenfold: stopped at once; requests were not answered\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--host 0.0.0.0", "set TENFOLD_TOKEN or --token, or allow everybody with --no-token"),
        ("--host ::", "--host ::: other computers may reach this address"),
        ("--host=", "--host is empty, wanted an address"),
        ("--host 192.0.2.1 --no-token", "of 192.0.2.1: Cannot assign requested address; choose"),
        ("--token short", "the token in --token is too short"),
        ("--token naïve-token", "the token in --token is too short"),
        ("--token long-enough --no-token", "--token and --no-token exclude each other"),
        ("--host 192.0.2.1 --no-token", "choose an address of this computer with --host"),
        ("--host no-such-host.invalid", "choose an address of this computer with --host"),
        ("--port 99999", "--port is '99999', wanted at most 65,535"),
    ],
)
def test_what_is_not_served(options: str, words: str, model: Path, tenfold: Tenfold) -> None:
    answer = tenfold("serve", str(model), "--port", "0", *options.split())
    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err


def test_a_short_token_in_the_environment(
    model: Path, tenfold: Tenfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENFOLD_TOKEN", "short")
    answer = tenfold("serve", str(model), "--port", "0")
    assert answer.code == 2
    assert answer.err.startswith("tenfold: the token in TENFOLD_TOKEN is too short")
    answer = tenfold("serve", str(model), "--port", "0", "--no-token")
    assert answer.code == 2
    assert answer.err == "tenfold: TENFOLD_TOKEN and --no-token exclude each other; choose one\n"


def test_a_server_that_does_not_start_makes_no_folder(
    model: Path, tenfold: Tenfold, tmp_path: Path
) -> None:
    options = ("--port", "0", "--host", "0.0.0.0", "--collect", str(tmp_path / "new"))
    assert tenfold("serve", str(model), *options).code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this computer has no IPv6")
def test_an_address_of_one_network_is_listened_to_there() -> None:
    """Without its network, such an address is an invalid argument."""
    _, network = socket.if_nameindex()[0]
    with pytest.raises(UsageError, match="Cannot assign requested address"):
        listen(f"fe80::1234%{network}", 0)


def test_a_port_in_use(model: Path, tenfold: Tenfold) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        answer = tenfold("serve", str(model), "--port", str(port))
    remedy = "choose another one with --port, or any that is free with --port 0"
    assert answer == (
        2,
        "",
        f"tenfold: port {port} of 127.0.0.1 is in use by another program; {remedy}\n",
    )


def test_a_missing_package(model: Path, tenfold: Tenfold, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenfold.cli.serving._PACKAGES", ("nosuch", "json"))
    answer = tenfold("serve", str(model))
    assert answer.code == 2
    assert answer.err == (
        "tenfold: serve needs packages that are not installed: nosuch; install them with: "
        "pip install 'tenfold[serve]'\n"
    )


def test_a_model_that_does_not_exist(tenfold: Tenfold) -> None:
    assert tenfold("serve", "nothing").code == 4


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1"), ("localhost", ""), ("::1", "[::1]"), ("0.0.0.0", "127.0.0.1")],
)
def test_the_address_to_open(host: str, address: str) -> None:
    try:
        listening = listen(host, 0)
    except UsageError:
        if host != "::1":
            raise
        pytest.skip("this computer has no IPv6")
    with listening.socket:
        assert listening.is_loopback == (host != "0.0.0.0")
        assert listening.port > 0
        if address:
            assert listening.address == f"http://{address}:{listening.port}/"
