"""What clients cannot do to a server: fill it, stop it, or make it wait."""

from __future__ import annotations

import gc
import json
import socket
import struct
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import numpy as np
import pytest
import requests

from live_server import Live, encoded, response_on, served, small_classifier
from tenfold._lazy import something_is_frozen
from tenfold.deployment import Classifier
from tenfold.deployment.serving.bodies import Picture, parts_of
from tenfold.deployment.serving.limits import Limits
from tenfold.deployment.serving.page import PageFile
from tenfold.deployment.serving.pictures import is_quick
from tenfold.deployment.serving.refusals import RefusedError
from tenfold.errors import FileRefusedError

IMAGE = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
PNG = encoded(IMAGE)
FORM = "multipart/form-data; boundary=b"
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    """A server with little patience."""
    limits = Limits(
        body_bytes=4096,
        bodies_bytes=6000,
        head_bytes=4096,
        head_seconds=0.4,
        receive_seconds=0.4,
        answer_seconds=0.2,
        idle_seconds=0.4,
        connections=20,
    )
    with served(limits=limits) as running:
        yield running


def status_and_error(response: bytes) -> tuple[int, str]:
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"\r\ncontent-type: application/json\r\n" in head + b"\r\n"
    return int(head.split()[1]), json.loads(body)["error"]["message"]


def test_a_body_that_says_it_is_too_large(live: Live) -> None:
    answer = live.predict(PNG + bytes(4096))
    assert answer.status_code == 413
    assert answer.json()["error"] == {
        "message": "the body has more than 4,096 bytes",
        "remedy": "scale the images down, or send them in several requests",
    }
    assert live.service.bodies.held == 0


def test_a_body_that_turns_out_to_be_too_large(live: Live) -> None:
    answer = live.predict(iter([bytes(1000)] * 5))
    assert answer.status_code == 413
    assert live.service.bodies.held == 0


def test_a_body_in_pieces(live: Live) -> None:
    answer = live.predict(iter([PNG[:20], PNG[20:30], PNG[30:]]))
    assert answer.status_code == 200
    assert live.service.bodies.held == 0


def test_a_client_that_asks_first_is_refused_before_it_sends(live: Live) -> None:
    with live.raw(HEAD + b"Expect: 100-continue\r\nContent-Length: 99999\r\n\r\n") as opened:
        start = opened.recv(65536)
    assert start.startswith(b"HTTP/1.1 413 ")


def test_a_client_that_asks_first_is_told_to_continue(live: Live) -> None:
    head = b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(PNG)
    with live.raw(HEAD + head) as opened:
        assert opened.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        opened.sendall(PNG)
        assert response_on(opened).startswith(b"HTTP/1.1 200 ")


def test_bodies_of_several_clients_that_are_too_large_together(live: Live) -> None:
    with live.raw(HEAD + b"Content-Length: 4000\r\n\r\n" + bytes(3900)):
        wait_until(lambda: live.service.bodies.held == 3900)
        answer = live.predict(PNG + bytes(3000))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    wait_until(lambda: live.service.bodies.held == 0)
    assert live.predict(PNG).status_code == 200


def test_a_body_that_was_only_announced_takes_no_room(live: Live) -> None:
    silent = [live.raw(HEAD + b"Content-Length: 4000\r\n\r\n" + bytes(10)) for _ in range(3)]
    wait_until(lambda: live.service.bodies.held == 30)
    assert live.predict(PNG + bytes(3000)).status_code == 200
    for each in silent:
        each.close()


def test_slow_clients_are_not_waited_for(live: Live) -> None:
    unfinished = {
        "line": b"POST /predict HT",
        "head": HEAD,
        "body": HEAD + b"Content-Length: 100\r\n\r\n" + bytes(50),
        "chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
    }
    opened = {what: live.raw(sent) for what, sent in unfinished.items()}
    for what, connection in opened.items():
        with connection:
            found = status_and_error(response_on(connection))
        assert found == (408, "the request was not complete in time"), what
    wait_until(lambda: live.service.bodies.held == 0)


def test_a_client_that_sends_byte_by_byte_is_not_waited_for_either(live: Live) -> None:
    with live.raw() as opened:
        for byte in HEAD[:40]:
            try:
                opened.sendall(bytes([byte]))
            except OSError:  # closed by now
                break
            time.sleep(0.02)
        assert status_and_error(response_on(opened))[0] == 408


def test_connections_without_requests_are_closed(live: Live) -> None:
    with live.raw() as new, live.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n") as used:
        assert response_on(new) == b""
        assert response_on(used).endswith(b'{"status":"ok"}')


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"a" * 9000,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9000,
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 2000,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1;x=yyyyyyy\r\na\r\n" * 1500,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n" + b"A: b\r\n" * 2000,
    ],
    ids=["address", "header", "headers", "chunks", "trailers"],
)
def test_heads_are_bounded(sent: bytes, live: Live) -> None:
    with live.raw(sent) as opened:
        status, message = status_and_error(response_on(opened))
    assert (status, message) == (431, "the head of the request is too large")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /health?" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 2000 + b"\r\n",
        HEAD + b"Content-Length: 9\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
    ],
    ids=["address", "header", "headers", "before a body"],
)
def test_heads_that_arrive_whole_are_bounded_too(sent: bytes, live: Live) -> None:
    refused = refusals(live)
    with live.raw(sent) as opened:
        answer = response_on(opened)
    assert status_and_error(answer) == (431, "the head of the request is too large")
    assert answer.count(b"HTTP/1.1") == 1
    assert refusals(live) == refused + 1


def refusals(live: Live) -> float:
    """The number of requests that were refused for their heads."""
    start = 'tenfold_requests_total{path="other",status="431"} '
    lines = live.get("/metrics").text.splitlines()
    return sum(float(line.removeprefix(start)) for line in lines if line.startswith(start))


def test_a_content_type_is_bounded(live: Live) -> None:
    answer = live.predict(form_of([PNG]), kind=f"{FORM}; x={'y' * 1024}")
    assert answer.status_code == 431
    message = "the header Content-Type has more than 1,024 bytes"
    assert answer.json()["error"]["message"] == message


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_other_protocols_are_not_spoken(protocol: bytes, live: Live) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: %b\r\n" % protocol
    with live.raw(HEAD + upgrade + b"Content-Length: %d\r\n\r\n" % len(PNG) + PNG) as opened:
        status, message = status_and_error(response_on(opened))
    assert status == 400
    assert message == "the request asks for another protocol than HTTP/1.1, and has a body"
    headers = {"Connection": "Upgrade", "Upgrade": protocol}
    assert live.get("/model", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Content-Length: -5\r\n\r\n",
    ],
    ids=["text", "version", "TLS", "two lengths", "length"],
)
def test_what_is_not_http_is_answered_in_json_too(sent: bytes, live: Live) -> None:
    with live.raw(sent) as opened:
        status, _ = status_and_error(response_on(opened))
    assert status == 400


def test_a_client_that_takes_no_answers_is_cut_off(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks for more than the system buffers, and reads nothing."""
    large = PageFile(bytes(5_000_000), "text/html", "")
    monkeypatch.setattr(live.service, "files", {"index.html": large})
    with live.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50) as opened:
        wait_until(lambda: live.service.connections() == 1)
        wait_until(lambda: live.service.connections() == 0)
        opened.settimeout(30)
        with pytest.raises(ConnectionError):
            opened.sendall(bytes(10_000_000))


@pytest.mark.parametrize("sent", [HEAD, HEAD + b"Content-Length: 100\r\n\r\nabc"])
def test_a_client_that_goes_away_leaves_nothing_behind(sent: bytes, live: Live) -> None:
    for _ in range(3):
        opened = live.raw(sent)
        # Closing sends a reset, not only an end.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        opened.close()
    wait_until(lambda: live.service.connections() == 0)
    wait_until(lambda: live.service.bodies.held == 0)
    assert live.predict(PNG).status_code == 200
    assert live.told == []


def test_too_many_connections() -> None:
    """That do something: those which only wait make room."""
    with served(limits=Limits(connections=3)) as live:
        sending = HEAD + b"Content-Length: 100\r\n\r\n" + bytes(50)
        opened = [live.raw(sending) for _ in range(3)]
        wait_until(lambda: live.service.bodies.held == 150)
        answer = live.get("/health")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json()["error"]["message"] == "too many connections are open"
        for each in opened:
            each.close()
        wait_until(lambda: live.service.connections() == 0)
        assert live.get("/health").status_code == 200


@pytest.mark.parametrize("sent", [b"", b"GET /health HT", HEAD])
def test_connections_that_wait_make_room(sent: bytes) -> None:
    with served(limits=Limits(connections=3)) as live:
        opened = [live.raw(sent) for _ in range(10)]
        assert live.get("/health").status_code == 200
        wait_until(lambda: live.service.connections() < 4)
        for each in opened:
            each.close()


def test_bodies_that_never_come_make_room_after_a_while() -> None:
    announced = HEAD + b"Content-Length: 100\r\n\r\n"
    with served(limits=Limits(connections=3, head_seconds=1.5)) as live:
        opened = [live.raw(announced) for _ in range(3)]
        wait_until(lambda: live.service.connections() == 3)
        assert live.get("/health").status_code == 503
        time.sleep(1.6)
        for _ in range(2):
            assert live.get("/health").status_code == 200
            opened.append(live.raw(announced))
        assert response_on_reset(opened[0]) == b""  # the one that has waited longest
        for each in opened:
            each.close()


def test_a_head_has_less_time_than_a_body() -> None:
    with (
        served(limits=Limits(head_seconds=0.2)) as live,
        live.raw(HEAD) as head,
        live.raw(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(PNG)) as body,
    ):
        assert status_and_error(response_on(head))[0] == 408
        body.sendall(PNG)
        assert response_on(body).startswith(b"HTTP/1.1 200 ")


LOCAL = b" HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize("rest", [b"zz\r\n", b"5\r\nabc"], ids=["malformed", "slow"])
def test_one_request_gets_one_answer(rest: bytes, live: Live) -> None:
    """Even if its body is wrong after it was answered."""
    with live.raw(b"POST /predict?top=0" + LOCAL + b"Transfer-Encoding: chunked\r\n\r\n") as opened:
        first = opened.recv(20)
        opened.sendall(rest)
        answer = first + response_on(opened)
    assert answer.startswith(b"HTTP/1.1 422 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert b"\r\nconnection: close\r\n" in answer


def complete(path: bytes = b"/predict", picture: bytes = PNG) -> bytes:
    return b"POST %b%bContent-Length: %d\r\n\r\n%b" % (path, LOCAL, len(picture), picture)


LARGE = encoded(np.zeros((1, 300, 300), np.uint8), "JPEG")
"""An image that another thread decodes."""


def test_requests_before_garbage_are_answered(patient: Live) -> None:
    with patient.raw(complete(picture=LARGE) * 2 + b"GARBAGE\r\n\r\n") as opened:
        answers = response_on(opened)
    assert answers.count(b"HTTP/1.1 200 ") == answers.count(b"HTTP/1.1 ") == 2


def test_requests_before_a_malformed_body_are_answered(patient: Live) -> None:
    chunked = b"POST /predict" + LOCAL + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"
    with patient.raw(complete(picture=LARGE) + chunked) as opened:
        answers = response_on(opened)
    assert [part[:4] for part in answers.split(b"HTTP/1.1 ")] == [b"", b"200 ", b"400 "]


def test_a_client_that_sends_no_more_is_answered(patient: Live) -> None:
    for picture in (PNG, LARGE):
        with patient.raw(complete(picture=picture) * 2) as opened:
            opened.shutdown(socket.SHUT_WR)
            assert response_on(opened).count(b"HTTP/1.1 200 ") == 2
    with patient.raw(complete()[:-5]) as opened:
        opened.shutdown(socket.SHUT_WR)
        assert response_on(opened) == b""


def test_what_nobody_reads_is_not_received_for_ever(live: Live) -> None:
    """A client that was refused may go on sending for a moment, and no longer."""
    with live.raw(b"POST /nothing" + LOCAL + b"Transfer-Encoding: chunked\r\n\r\n") as opened:
        answer = response_on(opened)
        assert status_and_error(answer)[0] == 404
        assert b"\r\nconnection: close\r\n" in answer
        with pytest.raises(ConnectionError):
            send_for_ever(opened, b"400\r\n" + bytes(1024) + b"\r\n")


def send_for_ever(opened: socket.socket, data: bytes) -> None:
    while True:
        opened.sendall(data)


def test_a_client_that_takes_no_answers_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = PageFile(bytes(5_000_000), "text/html", "")
    with served(limits=Limits(stop_seconds=0.1)) as live:
        monkeypatch.setattr(live.service, "files", {"index.html": page})
        opened = live.raw((b"GET /" + LOCAL + b"\r\n") * 5)
        opened.recv(1000)
    # Here, the server has ended.
    with opened:
        assert len(response_on_reset(opened)) < 5 * len(page.data)


def response_on_reset(opened: socket.socket) -> bytes:
    """All that arrives until a connection is cut."""
    parts = []
    with suppress(ConnectionError):
        while part := opened.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_a_slow_reader_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    page = PageFile(bytes(20_000_000), "text/html", "")
    with served(limits=Limits(idle_seconds=0.5)) as live:
        monkeypatch.setattr(live.service, "files", {"index.html": page})
        client = HTTPConnection("127.0.0.1", live.port, timeout=30)
        client.request("GET", "/")
        time.sleep(1.3)
        assert len(client.getresponse().read()) == len(page.data)
        client.auto_open = 0
        client.request("GET", "/health")
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (200, b'{"status":"ok"}')
        client.close()


def test_requests_that_were_received_are_answered_when_the_server_stops(
    patient: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient.service.state, "stopped", time.monotonic())
    with patient.raw(complete(picture=LARGE) * 5) as opened:
        answers = response_on(opened)
    assert answers.count(b"HTTP/1.1 200 ") == 5
    assert answers.count(b"connection: close") == 1


@pytest.mark.parametrize("head", [b"", b"Host: a\r\nHost: localhost\r\n"])
def test_a_request_needs_one_host(head: bytes, live: Live) -> None:
    with live.raw(b"GET /health HTTP/1.1\r\n%b\r\n" % head) as opened:
        found = status_and_error(response_on(opened))
    assert found == (400, "the request needs one header Host")


def test_clients_that_left_and_connections_that_were_refused_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blocked = Blocked(monkeypatch)
    with served(blocked.classifier) as live:
        opened = live.raw(complete())
        blocked.asked.acquire()
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        opened.close()
        wait_until(lambda: live.service.connections() == 0)
        blocked.may_answer.set()
        with live.raw(b"hello\r\n\r\n") as refused:
            response_on(refused)
        text = live.get("/metrics").text
        assert "tenfold_left_requests_total 1.0\n" in text
        assert 'tenfold_requests_total{path="other",status="400"} 1.0\n' in text
        assert 'path="/predict"' not in text
        assert 'tenfold_request_seconds_count{path="other"}' not in text


def test_a_client_that_left_is_noticed_for_all_its_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with served() as live:
        decoding = Decoding(monkeypatch)
        opened = live.raw(
            b"POST /predict%bContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
            % (LOCAL, FORM.encode(), len(form_of([PNG] * 5)), form_of([PNG] * 5))
            + complete() * 2
        )
        decoding.begun.acquire()
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        opened.close()
        wait_until(lambda: live.service.connections() == 0)
        decoding.may_go_on.set()
        wait_until(lambda: live.service.bodies.held == 0)
        text = live.get("/metrics").text
    assert decoding.images == 1
    assert "tenfold_left_requests_total 3.0\n" in text
    assert 'path="/predict"' not in text


class Blocked:
    """A classifier that answers only when it may."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_answer, self.asked = threading.Event(), threading.Semaphore(0)
        self.batches: list[int] = []
        self.classifier = small_classifier()
        logits = Classifier.logits

        def blocked(own: Classifier, images: np.ndarray) -> np.ndarray:
            if own is self.classifier and images.any():  # not when it warms up
                self.batches.append(len(images))
                self.asked.release()
                self.may_answer.wait(30)
            return logits(own, images)

        monkeypatch.setattr(Classifier, "logits", blocked)


def test_a_full_queue_is_refused_and_what_was_accepted_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blocked = Blocked(monkeypatch)
    limits = Limits(queue=5, batch=4)
    with served(blocked.classifier, limits=limits) as live, ThreadPoolExecutor(9) as clients:
        answers = [clients.submit(live.predict, PNG)]
        blocked.asked.acquire()
        answers += [clients.submit(live.predict, PNG) for _ in range(5)]
        wait_until(lambda: live.service.answering.batcher.waiting == 5)
        refused = live.predict(PNG)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert "waiting to be classified" in refused.json()["error"]["message"]
        assert live.get("/health").status_code == 200
        blocked.may_answer.set()
        assert [answer.result().status_code for answer in answers] == [200] * 6
    assert blocked.batches == [1, 4, 1]


def test_images_that_waited_too_long_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = Blocked(monkeypatch)
    with (
        served(blocked.classifier, limits=Limits(answer_seconds=0.2)) as live,
        ThreadPoolExecutor(2) as clients,
    ):
        first = clients.submit(live.predict, PNG)
        blocked.asked.acquire()
        late = clients.submit(live.predict, PNG)
        wait_until(lambda: live.service.answering.batcher.waiting == 1)
        time.sleep(0.25)
        blocked.may_answer.set()
        assert first.result().status_code == 200
        assert late.result().status_code == 503
        assert "waited for too long" in late.result().json()["error"]["message"]
    assert blocked.batches == [1]


def test_an_image_that_fails_takes_no_others_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = Classifier.logits
    bad = IMAGE.copy()
    bad[0, 0, 0] = 77

    def failing(own: Classifier, images: np.ndarray) -> np.ndarray:
        if (images[:, 0, 0, 0] == 77).any():
            raise FileRefusedError("predict: its outputs are not finite")
        return logits(own, images)

    monkeypatch.setattr(Classifier, "logits", failing)
    pictures = [encoded(bad), PNG, encoded(bad), PNG]
    with (
        served(limits=Limits(delay=20.0, batch=len(pictures))) as live,
        ThreadPoolExecutor(len(pictures)) as clients,
    ):
        statuses = [answer.status_code for answer in clients.map(live.predict, pictures)]
        assert statuses == [500, 200, 500, 200]
        assert live.told == ["POST /predict: predict: its outputs are not finite"]


def test_images_wait_for_others_up_to_the_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = Blocked(monkeypatch)
    blocked.may_answer.set()
    with (
        served(blocked.classifier, limits=Limits(delay=20.0, batch=3)) as live,
        ThreadPoolExecutor(3) as clients,
    ):
        answers = [clients.submit(live.predict, PNG) for _ in range(3)]
        assert {answer.result().status_code for answer in answers} == {200}
    assert blocked.batches == [3]


def test_too_many_explanations(monkeypatch: pytest.MonkeyPatch) -> None:
    from tenfold.deployment.serving import answering

    begun, may_end = threading.Semaphore(0), threading.Event()

    def slow(*_: object) -> np.ndarray:
        begun.release()
        may_end.wait(30)
        return np.ones((8, 8), np.float32)

    monkeypatch.setattr(answering, "occlusion_map", slow)
    with served(limits=Limits(explanations=2)) as live, ThreadPoolExecutor(2) as clients:
        waiting = [clients.submit(live.predict, PNG, "?explain=true") for _ in range(2)]
        begun.acquire()
        wait_until(lambda: live.service.answering.explanations == 2)
        refused = live.predict(PNG, "?explain=true")
        assert refused.status_code == 503
        assert live.predict(PNG).status_code == 200  # which explanations do not keep from it
        may_end.set()
        assert [each.result().status_code for each in waiting] == [200, 200]


@pytest.fixture(scope="module")
def patient() -> Iterator[Live]:
    """A server with the usual limits."""
    with served() as running:
        yield running


def test_an_error_of_the_server_shows_nothing_of_its_inside(
    patient: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a secret")

    told = patient.told
    told.clear()
    monkeypatch.setattr(Classifier, "guesses", broken)
    monkeypatch.setattr(patient.service, "metrics", None)
    for answer in (patient.predict(PNG), patient.get("/metrics")):
        assert answer.status_code == 500
        assert answer.json() == {
            "error": {"message": "the server failed", "remedy": "see the server's own output"}
        }
    wait_until(lambda: len(told) == 2)  # the second is told after the answer
    assert told[0].startswith("POST /predict: RuntimeError: a secret (")
    assert told[1].startswith("GET /metrics: AttributeError: ")


def test_a_model_that_fails_is_reported_to_whoever_runs_the_server(
    patient: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    def infinite(*_: object) -> None:
        raise FileRefusedError("predict: its outputs are not finite", remedy="retrain it")

    patient.told.clear()
    monkeypatch.setattr(Classifier, "guesses", infinite)
    answer = patient.predict(PNG)
    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "the model could not answer"
    assert patient.told == ["POST /predict: predict: its outputs are not finite; retrain it"]


def test_a_server_that_stops_is_not_ready_and_closes_connections(
    patient: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    with requests.Session() as session:
        assert "Connection" not in session.get(f"{patient.url}/ready", timeout=30).headers
        monkeypatch.setattr(patient.service.state, "stopped", 0.0)
        answer = session.get(f"{patient.url}/ready", timeout=30)
        assert (answer.status_code, answer.headers["Connection"]) == (503, "close")
        assert patient.get("/health").status_code == 200


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def form_of(pictures: Sequence[bytes]) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
    return b"".join(head + picture + b"\r\n" for picture in pictures) + b"--b--\r\n"


class Decoding:
    """Images that are decoded one by one, when they may."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.may_go_on, self.images = threading.Semaphore(0), threading.Event(), 0
        pixels = Classifier.pixels

        def blocked(own: Classifier, images: Any, **options: Any) -> np.ndarray:
            if not isinstance(images, np.ndarray):
                self.images += 1
                self.begun.release()
                self.may_go_on.wait(30)
            return pixels(own, images, **options)

        monkeypatch.setattr(Classifier, "pixels", blocked)


def test_images_with_too_many_pixels_together_are_not_decoded() -> None:
    large = encoded(np.zeros((1, 10, 100), np.uint8))
    with served(limits=Limits(pixels=3500)) as live:
        assert live.predict(form_of([large] * 3), kind=FORM).status_code == 200
        answer = live.predict(form_of([large] * 4), kind=FORM)
    assert answer.status_code == 413
    assert answer.json()["error"]["message"] == "the images have more than 3,500 pixels together"


def test_several_images_to_explain_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    with served() as live:
        decoding = Decoding(monkeypatch)
        decoding.may_go_on.set()
        assert live.predict(form_of([PNG] * 2), "?explain=true", FORM).status_code == 422
    assert decoding.images == 0


def test_images_that_wait_too_long_for_a_decoder_are_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with served(limits=Limits(answer_seconds=0.2)) as live, ThreadPoolExecutor(1) as client:
        decoding = Decoding(monkeypatch)
        answer = client.submit(live.predict, form_of([PNG] * 5), "", FORM)
        decoding.begun.acquire()
        time.sleep(0.25)
        decoding.may_go_on.set()
        assert answer.result().status_code == 503
        assert answer.result().json()["error"]["message"] == "the request waited for too long"
    assert decoding.images == 1


def test_a_server_that_stops_does_not_decode_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(stop_seconds=0.1)
    with served(limits=limits) as live, ThreadPoolExecutor(1) as client:
        decoding = Decoding(monkeypatch)
        answer = client.submit(live.predict, form_of([PNG] * 5), "", FORM)
        decoding.begun.acquire()
        monkeypatch.setattr(live.service.state, "stopped", time.monotonic() - 0.2)
        decoding.may_go_on.set()
        assert answer.result().status_code == 503
    assert decoding.images == 1


def test_a_form_full_of_boundaries_is_read_at_once() -> None:
    """Or of what looks like one."""
    limits = Limits()
    start = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
    parts = parts_of(start + b"\r\n--c" * 2**20 + b"\r\n--b--\r\n", FORM, limits)
    assert [(part.field, len(part.data)) for part in parts] == [("file", 5 * 2**20)]
    for boundaries in (b"\r\n--b", b"\r\n--bX", b"\r\n--b\r\n\r\n"):
        with pytest.raises(RefusedError):
            parts_of(start + boundaries * 2**20 + b"\r\n--b--\r\n", FORM, limits)


def test_a_body_is_not_kept_while_its_images_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = Blocked(monkeypatch)
    pictures: list[weakref.ref[Picture]] = []

    @dataclass(frozen=True)
    class Noticed(Picture):
        def __post_init__(self) -> None:
            pictures.append(weakref.ref(self))

    monkeypatch.setattr("tenfold.deployment.serving.bodies.Picture", Noticed)
    with served(blocked.classifier) as live, ThreadPoolExecutor(1) as client:
        answer = client.submit(live.predict, form_of([PNG]), "", FORM)
        blocked.asked.acquire()
        gc.collect()
        assert [picture() for picture in pictures] == [None]
        assert live.service.bodies.held == 0
        blocked.may_answer.set()
        assert answer.result().status_code == 200


@pytest.mark.usefixtures("nothing_frozen")
def test_the_garbage_collector_looks_through_what_it_did_before() -> None:
    for before in (gc.unfreeze, gc.freeze):
        before()
        was_frozen = something_is_frozen()
        with served() as live:
            assert live.predict(PNG).status_code == 200
            assert something_is_frozen()
        assert something_is_frozen() == was_frozen == (before is gc.freeze)


def test_no_large_image_is_taken_for_a_quick_one() -> None:
    """Pillow reads a second header, and one that is not the first chunk."""
    start, end = PNG[:8], PNG[33:]
    small, large = (chunk(b"IHDR", struct.pack(">IIBBBBB", n, n, 8, 0, 0, 0, 0)) for n in (8, 7000))
    assert is_quick(PNG)
    assert is_quick(start + small + end)
    for first in (chunk(b"tEXt", bytes(8)), small, b""):
        assert not is_quick(start + first + large + end)


def wait_until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        time.sleep(0.01)
