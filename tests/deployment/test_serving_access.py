"""Who may ask a server: by token, or by being on the same computer and the same site."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from live_server import Live, encoded, served
from tenfold.deployment.serving.guarding import Access, is_loopback
from tenfold.deployment.serving.refusals import RefusedError

PNG = encoded(np.zeros((1, 8, 8), np.uint8))
TOKEN = "correct-horse"


@pytest.fixture(scope="module")
def guarded() -> Iterator[Live]:
    with served(access=Access(TOKEN)) as running:
        yield running


@pytest.fixture(scope="module")
def local() -> Iterator[Live]:
    with served() as running:
        yield running


@pytest.mark.parametrize("path", ["/model", "/metrics", "/openapi.json", "/nothing"])
def test_a_token_is_needed(path: str, guarded: Live) -> None:
    answer = guarded.get(path)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert answer.json()["error"] == {
        "message": "this server needs a token",
        "remedy": "send the header Authorization: Bearer TOKEN",
    }
    answer = guarded.get(path, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == (404 if path == "/nothing" else 200)


@pytest.mark.parametrize("path", ["/", "/static/nothing.js", "/health", "/ready"])
def test_what_says_nothing_of_the_model_is_open(path: str, guarded: Live) -> None:
    assert guarded.get(path).status_code in (200, 404)


_SEND = "send the header Authorization: Bearer TOKEN"
_ASK = "ask whoever started the server for the token"


@pytest.mark.parametrize(
    ("header", "remedy"),
    [
        ("Bearer", _SEND),
        (f"Basic {TOKEN}", _SEND),
        (TOKEN, _SEND),
        ("Bearer wrong", _ASK),
        (f"Bearer {TOKEN}x", _ASK),
        ("Bearer \xff", _ASK),
    ],
)
def test_a_wrong_token(header: str, remedy: str, guarded: Live) -> None:
    answer = guarded.post("/predict", PNG, headers={"Authorization": header.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.json()["error"]["remedy"] == remedy


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_the_right_token_is_enough_from_anywhere(scheme: str, guarded: Live) -> None:
    headers = {
        "Authorization": f"{scheme} {TOKEN}",
        "Host": "example.org",
        "Origin": "https://elsewhere.example",
        "Content-Type": "image/png",
    }
    assert guarded.post("/predict", PNG, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8000", "127.9.9.9"],
)
def test_this_computer_by_its_own_names(host: str, local: Live) -> None:
    assert local.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.168.0.1",
        "[",
        "a@localhost",
        "localhost/x",
    ],
)
def test_another_name_is_refused(host: str, local: Live) -> None:
    for path in ("/", "/model"):
        answer = local.get(path, headers={"Host": host})
        assert answer.status_code == 421
        error = answer.json()["error"]
        assert error["message"].endswith("; it answers to localhost only")
        assert error["remedy"] == "open it as localhost or 127.0.0.1"


def test_a_request_without_a_name_is_no_browsers(local: Live) -> None:
    with local.raw(b"GET /health HTTP/1.0\r\n\r\n") as opened:
        assert opened.recv(20).startswith(b"HTTP/1.1 200 ")


def test_a_page_of_another_site_cannot_send(local: Live) -> None:
    own = f"127.0.0.1:{local.port}"
    kind = {"Content-Type": "image/png"}
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://localhost:{local.port}"},  # another site than 127.0.0.1
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": f"http://{own}", "Sec-Fetch-Site": "cross-site"},
    ):
        answer = local.post("/predict", PNG, headers=kind | headers)
        assert answer.status_code == 403
        assert "another site" in answer.json()["error"]["message"]
    for headers in ({"Origin": f"http://{own}"}, {"Sec-Fetch-Site": "same-origin"}):
        assert local.post("/predict", PNG, headers=kind | headers).status_code == 200


def test_an_open_server_takes_any_name_but_no_other_sites() -> None:
    access = Access(host="0.0.0.0", is_loopback=False)
    access.require("GET", "/model", {b"host": b"classes.example"})
    access.require("POST", "/predict", {b"host": b"a.example", b"origin": b"https://a.example"})
    with pytest.raises(RefusedError, match="another site"):
        access.require("POST", "/predict", {b"host": b"a.example", b"origin": b"https://b.example"})


@pytest.mark.parametrize(
    ("address", "is_local"),
    [("127.0.0.1", True), ("::1", True), ("0.0.0.0", False), ("::", False), ("x", False)],
)
def test_addresses_of_this_computer(address: str, is_local: bool) -> None:
    assert is_loopback(address) == is_local
