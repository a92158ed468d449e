"""What a server answers: the same as the classifier in Python, for every kind of body."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from live_server import CLASSES, Live, encoded, served, small_classifier
from tenfold.data import load_splits
from tenfold.deployment import Classifier, Guess
from tenfold.deployment.background import Background
from tenfold.deployment.explaining import occlusion_map
from tenfold.deployment.looks import Look, looks_of
from tenfold.deployment.serving.bodies import most_json, pixels_in
from tenfold.deployment.serving.limits import Limits
from tenfold.deployment.serving.page import page_files
from tenfold.deployment.serving.refusals import Answer
from tenfold.types import ImageShape

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with served() as running:
        yield running


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return small_classifier()


def facts_of(guesses: Sequence[Guess]) -> list[dict[str, object]]:
    return [guess.to_dict() for guess in guesses]


def predictions(answer: requests.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    found = answer.json()
    assert found["schema"] == 1
    return found["predictions"]


def best(classifier: Classifier, images: Any, k: int = 3) -> list[tuple[Guess, ...]]:
    """The guesses, without warnings of images that are unlike a training image."""
    return classifier.guesses(classifier.logits(images), k)


def look_of(classifier: Classifier, data: bytes) -> Look:
    (look,) = looks_of(classifier.pixels(data), classifier.bundle.header.background)
    return look


def picture_in(address: str) -> Image.Image:
    start, _, data = address.partition(",")
    assert start == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP"])
def test_an_image_as_the_body(kind: str, live: Live, classifier: Classifier) -> None:
    data = encoded(IMAGES[0], kind)
    (found,) = predictions(live.predict(data, kind=f"image/{kind.lower()}"))
    (guesses,) = best(classifier, data)
    assert found == {
        "image": "image 0",
        "top": facts_of(guesses),
        "inverted": look_of(classifier, data).is_inverted,
        "uncentered": False,
    }
    assert predictions(live.predict(data, kind="application/octet-stream")) == [found]


def test_an_image_without_a_type(live: Live, classifier: Classifier) -> None:
    connection = live.raw()
    data = encoded(IMAGES[0])
    connection.sendall(
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(data), data)
    )
    with connection, connection.makefile("rb") as file:
        head, _, body = file.read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert json.loads(body)["predictions"][0]["top"] == facts_of(best(classifier, data)[0])


def test_a_large_image_of_another_mode(live: Live, classifier: Classifier) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 300, 400), dtype=np.uint8)
    data = encoded(pixels)
    (found,) = predictions(live.predict(data))
    assert found["top"] == facts_of(best(classifier, data)[0])


def test_forms_with_one_image_and_with_several(live: Live, classifier: Classifier) -> None:
    files = [encoded(image) for image in IMAGES[:3]]
    names = ["a.png", "ünïcode 数.png", "../../c.png"]
    form = [("file", pair) for pair in zip(names, files, strict=True)]
    found = predictions(live.post("/predict", files=form))
    assert [each["image"] for each in found] == names
    assert [each["top"] for each in found] == [facts_of(each) for each in best(classifier, files)]
    assert predictions(live.post("/predict", files=form[:1])) == found[:1]


def test_a_form_whose_image_has_no_file_name(live: Live) -> None:
    data = encoded(IMAGES[0])
    form = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + data + b"\r\n--x--\r\n"
    (found,) = predictions(live.predict(form, kind="multipart/form-data; boundary=x"))
    assert found["image"] == "image 0"


def test_pixels_as_json(live: Live, classifier: Classifier) -> None:
    expected = [facts_of(each) for each in best(classifier, IMAGES)]
    for image in (IMAGES[0, 0], IMAGES[0]):
        (found,) = predictions(live.post("/predict", json={"pixels": image.tolist()}))
        assert found["top"] == expected[0]
    found = predictions(live.post("/predict", json={"images": IMAGES.tolist()}))
    assert [each["top"] for each in found] == expected
    assert [each["image"] for each in found] == [f"image {n}" for n in range(len(IMAGES))]


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 1, 3), (1, 3, 1), (1, 1, 1)])
def test_pixels_as_json_for_other_shapes(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    for pixels in (image, image[0]) if shape[0] == 1 else (image,):
        data = json.dumps({"pixels": pixels.tolist()}).encode()
        assert (pixels_in(data, ImageShape(*shape), Limits()) == image).all()


@pytest.mark.parametrize("top", [1, 2, 3, 1000])
def test_the_number_of_guesses(top: int, live: Live, classifier: Classifier) -> None:
    data = encoded(IMAGES[0])
    (found,) = predictions(live.predict(data, f"?top={top}"))
    assert found["top"] == facts_of(best(classifier, data, top)[0])
    assert len(found["top"]) == min(top, len(CLASSES))


def test_an_inverted_image_is_noticed_and_can_be_inverted(
    live: Live, classifier: Classifier
) -> None:
    dark = np.zeros((1, 1, 8, 8), np.uint8)
    dark[:, :, 2:6, 3:5] = 200
    light = 255 - dark
    (found,) = predictions(live.predict(encoded(light[0])))
    assert found["inverted"]
    assert found["top"] == facts_of(best(classifier, light)[0])
    (found,) = predictions(live.predict(encoded(light[0]), "?invert=true&seen=true"))
    assert not found["inverted"]
    assert found["top"] == facts_of(best(classifier, dark)[0])
    assert (np.asarray(picture_in(found["seen"])) == dark[0, 0]).all()


def test_a_small_subject_is_noticed_and_can_be_cropped_to(classifier: Classifier) -> None:
    background = Background(shade="dark", extent=0.5, least_extent=0.4, most_offset=0.1)
    header = classifier.bundle.header.model_copy(update={"background": background})
    knowing = Classifier(replace(classifier.bundle, header=header), threads=1)
    small = np.full((1, 40, 40), 255, np.uint8)
    small[:, 2:8, 30:34] = 40
    with served(knowing) as live:
        (found,) = predictions(live.predict(encoded(small), "?invert=true&seen=true"))
        assert (found["inverted"], found["uncentered"]) == (False, True)
        data = encoded(small)
        (found,) = predictions(live.predict(data, "?center=true&seen=true"))
        assert (found["inverted"], found["uncentered"]) == (False, False)
        wanted = knowing.pixels(data, center=True)
        assert found["top"] == facts_of(knowing.guesses(knowing.logits(wanted))[0])
        assert (np.asarray(picture_in(found["seen"])) == wanted[0, 0]).all()
        form = {"file": data}
        assert predictions(live.post("/predict?center=true", files=form))[0]["top"] == found["top"]
        pixels = np.zeros((8, 8), int)
        pixels[1:3, 0] = 255
        answer = live.post("/predict?center=true&seen=true", json={"pixels": pixels.tolist()})
        (found,) = predictions(answer)
        wanted = knowing.pixels(pixels.astype(np.uint8), center=True)
        assert (np.asarray(picture_in(found["seen"])) == wanted[0, 0]).all()


def test_what_the_network_saw(live: Live, classifier: Classifier) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (3, 20, 10), dtype=np.uint8)
    data = encoded(pixels)
    (found,) = predictions(live.predict(data, "?seen=true"))
    assert (np.asarray(picture_in(found["seen"])) == classifier.pixels(data)[0, 0]).all()


def test_what_speaks_for_the_answer(live: Live, classifier: Classifier) -> None:
    (found,) = predictions(live.predict(encoded(IMAGES[0]), "?explain=true"))
    assert "seen" not in found
    strengths = occlusion_map(classifier, IMAGES[:1], found["top"][0]["label"])
    picture = picture_in(found["explanation"])
    assert (picture.mode, picture.size) == ("RGBA", (8, 8))
    colors = np.asarray(picture)
    strongest = np.unravel_index(np.abs(strengths).argmax(), strengths.shape)
    assert colors[..., 3].max() == colors[strongest][3] == 200
    is_blue = colors[..., 2] > colors[..., 0]
    assert (is_blue == (strengths > 0)).all()
    assert is_blue.any()
    assert not is_blue.all()


def test_many_clients_at_once(live: Live, classifier: Classifier) -> None:
    expected = [facts_of(each) for each in best(classifier, IMAGES)]

    def ask(client: int) -> None:
        with requests.Session() as session:
            for n in range(client, len(IMAGES), 2):
                answer = session.post(
                    f"{live.url}/predict",
                    encoded(IMAGES[n]),
                    headers={"Content-Type": "image/png"},
                    timeout=30,
                )
                assert predictions(answer)[0]["top"] == expected[n]

    with ThreadPoolExecutor(6) as clients:
        list(clients.map(ask, range(6)))
    assert live.told == []


@pytest.mark.real_data
def test_all_test_images_of_mnist(real_data: Path) -> None:
    test = load_splits("mnist", data_root=real_data).splits.test
    assert test is not None
    classifier = small_classifier((1, 28, 28), test.classes)
    expected = [facts_of(each) for each in best(classifier, test)]
    found = []
    with served(classifier) as live, requests.Session() as session:
        for start in range(0, len(test), 64):
            images = test.image_array[start : start + 64].tolist()
            answer = session.post(f"{live.url}/predict", json={"images": images}, timeout=30)
            found += [each["top"] for each in predictions(answer)]
    assert found == expected


PNG = encoded(IMAGES[0])
FORM = "multipart/form-data; boundary=x"


def part(name: str, data: bytes = PNG) -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (
        name.encode(),
        data,
    )


WRONG = {
    "text": (b"hello", "image/png", "", 400, "not an image: it is text that starts with 'hello'"),
    "nothing": (b"", "image/png", "", 400, "not an image: the file is empty"),
    "half an image": (PNG[:60], "image/png", "", 400, "damaged or truncated"),
    "a page": (b"<html>", "text/html", "", 415, "the body is of type 'text/html'"),
    "curl's type": (PNG, "application/x-www-form-urlencoded", "", 415, "x-www-form-urlencoded"),
    "no boundary": (part("file"), "multipart/form-data", "", 400, "no boundary"),
    "no end": (part("file"), FORM, "", 400, "the end of the form is missing"),
    "no form": (b"hello", FORM, "", 400, "the form cannot be read"),
    "no images": (b"--x--\r\n", FORM, "", 422, "the form has no images"),
    "a field": (part("fil") + b"--x--\r\n", FORM, "", 422, "did you mean 'file'?"),
    "a text in a form": (part("file", b"abc") + b"--x--\r\n", FORM, "", 400, "image 0: not an"),
    "no head": (b"--x\r\nabc\r\n--x--\r\n", FORM, "", 400, "a part of it has no head"),
    "too many": (part("file", b"") * 65 + b"--x--\r\n", FORM, "", 422, "more than 64 images"),
    "too many parts": (part("a", b"") * 90 + b"--x--\r\n", FORM, "", 422, "more than 72 parts"),
    "two to explain": (part("file") * 2 + b"--x--\r\n", FORM, "?explain=true", 422, "one image"),
    "bad JSON": (b"{", "application/json", "", 400, "not valid JSON"),
    "deep JSON": (b"[" * 100_000, "application/json", "", 400, "nested too deeply"),
    "not a number": (b'{"pixels": [[NaN]]}', "application/json", "", 400, "NaN is not JSON"),
    "not UTF-8": (b'{"pixels\xff": 1}', "application/json", "", 400, "not valid JSON"),
    "a list": (b"[]", "application/json", "", 422, "not a JSON object"),
    "another key": (b'{"pixel": []}', "application/json", "", 422, "the keys ['pixel']"),
    "a long number": (b"9" * 5000, "application/json", "", 400, "a number in it is too long"),
    "two keys": (
        b'{"pixels": [], "images": []}',
        "application/json",
        "",
        422,
        "wanted pixels or images alone",
    ),
    "no list": (b'{"images": 1}', "application/json", "", 422, "not a list of one or more"),
    "many": (b'{"images": [%b1]}' % (b"1," * 64), "application/json", "", 422, "more than 64"),
    "wrong shape": (b'{"pixels": [[1]]}', "application/json", "", 422, "wanted 8 x 8 numbers"),
    "top 0": (PNG, "image/png", "?top=0", 422, "top is '0', wanted a whole number, 1..1,000"),
    "top 1001": (PNG, "image/png", "?top=1001", 422, "top is '1001'"),
    "top ²": (PNG, "image/png", "?top=²", 422, "top is '²'"),
    "invert": (PNG, "image/png", "?invert=yes", 422, "invert is 'yes', wanted true or false"),
    "unknown": (PNG, "image/png", "?tops=1", 422, "did you mean 'top'?"),
    "twice": (PNG, "image/png", "?top=1&top=2", 422, "twice"),
    "parameters": (PNG, "image/png", "?" + "top=1&" * 20, 422, "more than 16 parameters"),
}


@pytest.mark.parametrize(("data", "kind", "query", "status", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(
    data: bytes, kind: str, query: str, status: int, words: str, live: Live
) -> None:
    answer = live.predict(data, query, kind)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "remedy"}
    assert words in f"{error['message']}; {error['remedy']}"
    assert live.told == []


@pytest.mark.parametrize("case", ["no end", "no boundary", "no form", "no head", "bad JSON"])
def test_only_what_is_incomplete_is_to_be_sent_again(case: str, live: Live) -> None:
    data, kind, *_ = WRONG[case]
    remedy = live.predict(data, kind=kind).json()["error"]["remedy"]
    assert (remedy == "send it again") == (case == "no end")


@pytest.mark.parametrize("value", ["256", "-1", "1.5", "true", '"1"', "null", "[1]", "1e400"])
def test_a_pixel_is_a_whole_number(value: str, live: Live) -> None:
    rows = json.dumps(IMAGES[0, 0].tolist()).replace(str(IMAGES[0, 0, 0, 0]), value, 1)
    answer = live.predict(b'{"pixels": %b}' % rows.encode(), kind="application/json")
    assert answer.status_code == 422
    assert "image 0: " in answer.json()["error"]["message"]


def test_pixels_may_be_written_with_a_point(live: Live, classifier: Classifier) -> None:
    pixels = IMAGES[0, 0].astype(float).tolist()
    (found,) = predictions(live.post("/predict", json={"pixels": pixels}))
    assert found["top"] == facts_of(best(classifier, IMAGES[:1])[0])


def test_a_long_json_is_refused_too(live: Live) -> None:
    answer = live.predict(b'{"pixels": [%b0]}' % (b"0," * 20_000), kind="application/json")
    assert answer.status_code == 422
    most = most_json(ImageShape(1, 8, 8), Limits())
    indented = json.dumps({"images": [[IMAGES[0].tolist()]] * 64}, indent=1)
    assert len(indented) < most < 2**18
    assert live.predict(b" " * (most + 1), kind="application/json").status_code == 413


def test_the_model(live: Live) -> None:
    assert live.get("/model").json() == {
        "schema": 1,
        "name": "small",
        "model": "mlp",
        "classes": list(CLASSES),
        "input_shape": [1, 8, 8],
        "background": {
            "shade": "dark",
            "extent": 0.7,
            "least_extent": None,
            "most_offset": None,
            "strength": None,
            "fullest": None,
            "thickest": None,
            "has_strokes": False,
        },
        "temperature": 2.0,
        "data": {"source": "pictures", "fingerprint": "ab"},
        "figures": {},
        "sha256": "",
        "collect": False,
        "version": "0.1.0",
        "limits": {"body_bytes": 16 * 2**20, "images": 64},
    }


@pytest.mark.parametrize(("top", "is_long"), [(1000, True), (3, False)])
def test_long_answers_are_written_by_another_thread(
    top: int, is_long: bool, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers = []
    render = Answer.render

    def noticed(own: Answer, content: object) -> bytes:
        writers.append(threading.current_thread().name)
        return render(own, content)

    monkeypatch.setattr(Answer, "render", noticed)
    files = [("file", ("x.png", PNG))] * 3
    assert live.post(f"/predict?top={top}", files=files).status_code == 200
    assert [each.startswith("tenfold-images") for each in writers] == [is_long]


def test_the_head_of_an_answer_alone(live: Live) -> None:
    for path in ("/", "/health", "/model"):
        answer = requests.head(f"{live.url}{path}", timeout=30)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["Content-Length"] == str(len(live.get(path).content))
    assert requests.head(f"{live.url}/predict", timeout=30).status_code == 405


def test_health(live: Live) -> None:
    assert live.get("/health").json() == {"status": "ok"}
    assert live.get("/ready").json() == {"status": "ready"}


def samples(live: Live) -> Counter[tuple[str, ...]]:
    """The values of metrics, by name and labels."""
    answer = live.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Counter(
        {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }
    )


def test_metrics_count_what_happens(live: Live) -> None:
    before = samples(live)
    live.post("/predict", json={"images": IMAGES[:5].tolist()})
    live.predict(b"hello")
    live.get("/secret")
    after = samples(live)
    new = after - before
    assert new["tenfold_requests_total", "/predict", "200"] == 1
    assert new["tenfold_requests_total", "/predict", "400"] == 1
    assert new["tenfold_requests_total", "404", "other"] == 1
    assert new["tenfold_images_total",] == 5
    assert new["tenfold_batch_images_count",] == 1
    assert new["tenfold_request_seconds_count", "/predict"] == 2
    assert after["tenfold_queue_images",] == 0
    assert after["tenfold_connections",] >= 1


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/nothing", 404, "there is nothing at /nothing"),
        ("GET", "/model/", 404, "there is nothing at /model/"),
        ("POST", "/collect", 404, "start the server with --collect FOLDER"),
        ("DELETE", "/collect/3/1.png", 404, "start the server with --collect FOLDER"),
        ("GET", "/docs", 404, "nothing"),
        ("GET", "/predict", 405, "use POST"),
        ("PUT", "/predict", 405, "/predict does not take PUT"),
        ("POST", "/model", 405, "use GET"),
        ("GET", "/%00%1b", 404, "/\\x00\\x1b"),
    ],
)
def test_other_addresses(method: str, path: str, status: int, words: str, live: Live) -> None:
    answer = requests.request(method, f"{live.url}{path}", timeout=30)
    assert answer.status_code == status
    assert words in " ".join(answer.json()["error"].values())


def test_the_page(live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("index.html", "page.js", "page.css", "secret.py"):
        (tmp_path / name).write_text(f"this is {name}")
    monkeypatch.setattr(live.service, "files", page_files(tmp_path))
    page = live.get("/")
    assert page.text == "this is index.html"
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    script = live.get("/static/page.js")
    assert (script.text, script.headers["Content-Type"]) == (
        "this is page.js",
        "text/javascript; charset=utf-8",
    )
    unchanged = live.get("/static/page.js", headers={"If-None-Match": script.headers["ETag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    for path in ("/static/secret.py", "/static/%2e%2e/secret.py", "/static/..%2fsecret.py"):
        assert live.get(path).status_code == 404


def test_a_server_without_its_page_says_so(
    live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live.service, "files", page_files(tmp_path / "nowhere"))
    answer = live.get("/")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "the page has no file 'index.html'"
