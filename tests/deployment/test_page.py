"""The page of a served model, in a browser."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from page_server import STATIC, Served, serving
from PIL import Image
from selenium.webdriver.common.keys import Keys

import tenfold
from drawn_digits import drawing, on_paper, variants
from small_bundles import bundle_with
from tenfold.data.load import load_splits
from tenfold.deployment.classifier import Classifier
from tenfold.models import build
from tenfold.models.tracing import layer_list
from thoroughness import some
from visitor import Visitor, visiting

NAMES = ("café", "猫", "собака", "سلام", "a rather long name of a class of pictures", "<b>&amp;")


@pytest.fixture(scope="module")
def browser() -> Iterator[Visitor]:
    with visiting() as visitor:
        yield visitor


@pytest.fixture
def visitor(browser: Visitor, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """A visitor whose browser has nothing to complain about, but for refusals that are wanted."""
    browser.complaints()
    yield browser
    wanted = {str(status) for mark in request.node.iter_markers("refused") for status in mark.args}
    found = browser.complaints()
    others = [c for c in found if not any(f"status of {w}" in c or w in c for w in wanted)]
    assert others == []


@pytest.fixture(scope="module")
def digits_model(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    folder = tmp_path_factory.mktemp("models") / "digits"
    tenfold.train("digits", out=folder, quiet=True, report=False)
    return tenfold.load(folder)


@pytest.fixture(scope="module")
def mnist_model(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    folder = tmp_path_factory.mktemp("models") / "mnist"
    tenfold.train("mnist", model="lenet", epochs=1, out=folder, quiet=True, report=False)
    return tenfold.load(folder)


@pytest.fixture(scope="module")
def photos_model() -> Classifier:
    """For color pictures without a common background; it knows nothing and is always unsure."""
    network = build("softmax", (3, 24, 32), 12)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    return Classifier(
        bundle_with(
            network.state_dict(),
            model="softmax",
            input_shape=(3, 24, 32),
            classes=[*NAMES, *map(str, range(6))],
            layers=layer_list(network),
            data={"source": "photos"},
        )
    )


@contextmanager
def visited(visitor: Visitor, classifier: Classifier, **facts: object) -> Iterator[Served]:
    """A server that the visitor leaves before it ends."""
    with serving(classifier, **facts) as served:
        yield served
        visitor.leave()


@pytest.fixture(scope="module")
def server_of_digits(digits_model: Classifier) -> Iterator[Served]:
    with serving(digits_model) as served:
        yield served


@pytest.fixture(scope="module")
def server_of_photos(photos_model: Classifier) -> Iterator[Served]:
    with serving(photos_model) as served:
        yield served


@pytest.fixture
def digits(visitor: Visitor, server_of_digits: Served) -> Iterator[Served]:
    """One server for all tests that change nothing of it."""
    yield server_of_digits
    visitor.leave()


@pytest.fixture
def own_digits(visitor: Visitor, digits_model: Classifier) -> Iterator[Served]:
    """A server for one test alone."""
    with visited(visitor, digits_model) as served:
        yield served


@pytest.fixture
def photos(visitor: Visitor, server_of_photos: Served) -> Iterator[Served]:
    yield server_of_photos
    visitor.leave()


@pytest.fixture(scope="module")
def pictures(digits_model: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PNG of each digit that the model is sure of, and inverted ones: 3.png, 3-inverted.png."""
    folder = tmp_path_factory.mktemp("pictures")
    test = load_splits("digits").splits.test
    chances = digits_model.predict_proba(test)
    for digit in range(10):
        of_digit = np.where(np.asarray(test.labels) == digit, chances[:, digit], 0)
        pixels = test.image_array[int(of_digit.argmax()), 0]
        for name, array in ((f"{digit}", pixels), (f"{digit}-inverted", 255 - pixels)):
            Image.fromarray(array).resize((64, 64), Image.Resampling.NEAREST).save(
                folder / f"{name}.png"
            )
    (folder / "notes.txt").write_text("not a picture\n")
    return folder


# Drawing


def recognized(visitor: Visitor, digits: str, kind: str = "mouse") -> str:
    """The answers to digits drawn one after the other."""
    found = ""
    for digit in digits:
        visitor.draw(drawing(digit), kind)
        visitor.settles()
        found += visitor.best()
        visitor.click("#clear")
    return found


def test_digits_drawn_with_a_mouse_are_recognized_by_a_model_for_mnist(visitor, mnist_model):
    with visited(visitor, mnist_model) as served:
        visitor.open(served.address)
        assert recognized(visitor, "159") == "159"


@pytest.mark.parametrize(("kind", "width"), [("touch", 390), ("pen", 1280)])
def test_digits_drawn_with_a_finger_or_pen_are_recognized(visitor, digits, kind, width):
    visitor.open(digits.address, width=width)
    assert recognized(visitor, "48", kind) == "48"


@pytest.mark.parametrize(("model", "least"), [("digits_model", 55), ("mnist_model", 58)])
def test_nearly_all_of_60_drawings_are_recognized(visitor, request, model, least):
    drawings = variants(60)
    with visited(visitor, request.getfixturevalue(model)) as served:
        visitor.open(served.address)
        found = visitor.run_async(
            "const {pictureOf} = await import('/static/picture.js');"
            "const {model, predict} = await import('/static/server.js');"
            "const facts = await model(), size = facts.input_shape.slice(1), found = [];"
            "for (const strokes of given[0]) {"
            "  const blob = pictureOf(strokes, size, facts.background);"
            "  found.push((await predict({blob, name: ''}, {})).top[0].class);"
            "}"
            "return found",
            [strokes for _, strokes in drawings],
        )
    right = [digit == answer for (digit, _), answer in zip(drawings, found, strict=True)]
    assert sum(right) >= least


def seen(visitor: Visitor) -> np.ndarray:
    """What the network got, 0..255."""
    data = visitor.one("img.seen").get_attribute("src").partition(",")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(float)


@pytest.mark.parametrize("place", some([0.7, 0.2]))
def test_a_drawing_is_centered_by_its_mass_in_a_box_of_the_extent(visitor, mnist_model, place):
    with visited(visitor, mnist_model) as served:
        visitor.open(served.address)
        visitor.draw([[(x / 4 + place, y / 4 + place) for x, y in s] for s in drawing("7")])
        visitor.settles()
        pixels = seen(visitor)
    rows, columns = np.nonzero(pixels >= 128)
    longer = max(np.ptp(rows), np.ptp(columns)) + 1
    assert longer == pytest.approx(20, abs=1)  # the box of MNIST
    where = np.indices(pixels.shape) + 0.5
    assert (where * pixels).sum((1, 2)) / pixels.sum() == pytest.approx([14, 14], abs=0.6)


def test_a_drawing_for_a_model_without_background_is_sent_as_it_is(visitor, photos):
    visitor.open(photos.address)
    visitor.draw([[(0.1, 0.1), (0.3, 0.1)]])
    visitor.settles()
    pixels = seen(visitor)
    assert pixels.shape == (24, 32, 3)
    assert pixels[:, 16:].min() == 255  # nothing was scaled or moved
    assert pixels[3, 4:9].max() < 128


def test_undo_and_clear_can_be_undone(visitor, digits):
    visitor.open(digits.address)
    assert not visitor.one("#undo").is_enabled()
    for stroke in drawing("4"):
        visitor.draw([stroke])
        visitor.settles()
    visitor.gets("4")
    visitor.press(Keys.CONTROL, "z")
    visitor.wait_for(lambda: visitor.best() not in ("4", ""))
    visitor.click("#undo")
    visitor.wait_for(lambda: not visitor.best())
    assert not visitor.one("#clear").is_enabled()
    visitor.draw(drawing("0"))
    visitor.gets("0")
    visitor.click("#clear")
    visitor.wait_for(lambda: not visitor.best())
    visitor.press(Keys.CONTROL, "z")
    visitor.gets("0")


def test_a_late_answer_does_not_replace_a_newer_one(visitor, own_digits):
    own_digits.delays = [0, 0.5]
    visitor.open(own_digits.address)
    visitor.draw(drawing("3"))
    visitor.wait_for(lambda: not own_digits.delays[1:])  # the first request is under way
    visitor.click("#clear")
    visitor.draw(drawing("0"))
    visitor.gets("0")
    visitor.wait_for(lambda: own_digits.answered >= 2)
    assert visitor.best() == "0"
    assert len(visitor.all("#entries li")) == 1


# Files


@pytest.mark.parametrize("way", ["choose", "drop", "paste"])
def test_a_picture_is_classified(visitor, digits, pictures, way):
    visitor.open(digits.address)
    getattr(visitor, way)(pictures / "5.png")
    visitor.gets("5")
    visitor.sees("5.png")
    assert not visitor.all(".changes.note")
    assert visitor.text("#announcement").startswith("5, ")


def test_a_dark_digit_on_light_is_inverted_which_can_be_switched_off(visitor, digits, pictures):
    visitor.open(digits.address)
    visitor.choose(pictures / "3-inverted.png")
    visitor.gets("3")
    assert "so it was inverted" in visitor.text(".note p")
    assert visitor.text("#announcement").endswith("after inverting")
    assert visitor.one("#inverted").is_selected()
    assert seen(visitor)[:, 0].max() < 64
    visitor.click("#inverted")
    visitor.wait_for(lambda: "may well be wrong" in visitor.text(".note p"))
    assert seen(visitor)[:, 0].min() > 191
    visitor.click("#inverted")
    visitor.wait_for(lambda: "so it was inverted" in visitor.text(".note p"))
    assert visitor.best() == "3"


def choose_photograph_of_3(visitor: Visitor, digits: Served, folder: Path) -> None:
    """Of a small one, off-center, on paper."""
    strokes = [[(x / 2 + 0.4, y / 2 + 0.1) for x, y in stroke] for stroke in drawing("3")]
    on_paper(strokes, 0).save(folder / "photograph.jpg")
    visitor.open(digits.address)
    visitor.choose(folder / "photograph.jpg")
    visitor.gets("3")


def test_a_photograph_of_a_digit_is_cropped_which_can_be_switched_off(visitor, digits, tmp_path):
    choose_photograph_of_3(visitor, digits, tmp_path)
    (cropped,) = visitor.texts(".note p")
    assert "so this picture was cropped" in cropped
    assert visitor.text("#announcement").endswith("after cropping")
    assert visitor.one("#cropped").is_selected()
    assert not visitor.one("#inverted").is_selected()
    assert seen(visitor).max() == 255
    assert seen(visitor)[:, 0].max() < 64
    visitor.click("#cropped")
    visitor.wait_for(lambda: "may well be wrong" in visitor.texts(".note p")[-1])
    inverted, _ = visitor.texts(".note p")
    assert "so it was inverted" in inverted
    assert visitor.one("#inverted").is_selected()
    assert seen(visitor).min() > 0
    visitor.click("#cropped")
    visitor.wait_for(lambda: "so this picture was cropped" in visitor.texts(".note p")[-1])
    assert visitor.best() == "3"
    visitor.click("#inverted")
    visitor.wait_for(lambda: "may well be wrong" in visitor.texts(".note p")[0])
    assert seen(visitor)[:, 0].min() > 191


def test_an_empty_sheet_is_said_to_be_empty(visitor, digits, tmp_path):
    Image.new("L", (300, 200), 250).save(tmp_path / "sheet.png")
    visitor.open(digits.address)
    visitor.choose(tmp_path / "sheet.png")
    visitor.wait_for(lambda: visitor.all(".note p"))
    assert "so the answer means little" in visitor.texts(".note p")[-1]


FAILING_ONCE = """
const original = window.fetch;
window.fetch = (address, options) => {
  if (String(address).includes("invert=true")) {
    window.fetch = original;
    return Promise.reject(new TypeError("gone"));
  }
  return original(address, options);
};
"""


def test_after_a_request_that_failed_the_picture_is_inverted_all_the_same(
    visitor, digits, pictures
):
    visitor.open(digits.address)
    visitor.run(FAILING_ONCE)
    visitor.choose(pictures / "3-inverted.png")
    visitor.sees("The server cannot be reached.")
    visitor.click("#files [role=alert] button")
    visitor.gets("3")
    assert "so it was inverted" in visitor.text(".note p")


def test_two_switches_one_after_the_other_are_both_switched(visitor, digits, tmp_path):
    """Even if the server has not answered the first."""
    choose_photograph_of_3(visitor, digits, tmp_path)
    visitor.run(
        "document.querySelector('#inverted').click(); document.querySelector('#cropped').click()"
    )
    visitor.wait_for(lambda: not visitor.one("#cropped").is_selected())
    visitor.settles()
    assert visitor.one("#inverted").is_selected()


@pytest.mark.refused(400)
@pytest.mark.parametrize("way", ["choose", "drop"])
def test_a_file_that_is_no_picture_is_refused_beside_the_drop_zone(visitor, digits, pictures, way):
    visitor.open(digits.address)
    getattr(visitor, way)(pictures / "notes.txt")
    visitor.sees("This picture could not be classified.")
    problem = visitor.text("#files [role=alert]")
    assert "notes.txt" in problem
    assert "Try again" not in problem
    visitor.choose(pictures / "5.png")
    visitor.gets("5")
    assert not visitor.all("[role=alert] *")


def test_pasting_what_is_no_picture_is_answered(visitor, digits):
    visitor.open(digits.address)
    visitor.paste()
    visitor.sees("There is no picture on the clipboard.")


def test_a_file_that_is_too_large_is_not_sent(visitor, digits_model, tmp_path):
    large = tmp_path / "large.png"
    large.write_bytes(bytes(2**21))
    with visited(visitor, digits_model, body_bytes=2**20) as served:
        visitor.open(served.address)
        visitor.choose(large)
        visitor.sees("large.png has 2 MB; the server accepts at most 1 MB.")
        assert "POST /predict" not in served.asked


@pytest.mark.refused(400)
def test_several_pictures_become_a_list(visitor, digits, pictures):
    visitor.open(digits.address)
    visitor.drop(pictures / "1.png", pictures / "notes.txt", pictures / "8-inverted.png")
    visitor.wait_for(lambda: len(visitor.all("#several .entry")) == 2)
    visitor.wait_for(lambda: visitor.all("#several .refused"))
    assert visitor.texts("#several li strong") == ["1", "8"]
    assert visitor.text("#several .refused").startswith("not an image")
    visitor.all("#several .entry")[1].click()
    visitor.gets("8")
    visitor.click("#several p button")
    assert not visitor.all("#several *")


@pytest.mark.refused(503)
def test_several_pictures_are_asked_for_once_more_and_not_twice(visitor, own_digits, pictures):
    """If a failed one is asked for again while others are still asked for."""
    visitor.open(own_digits.address)
    own_digits.failing, own_digits.delays = [503], [0.5] * 40
    visitor.drop(*(pictures / f"{digit}.png" for digit in range(8)))
    visitor.wait_for(lambda: visitor.all("#several .refused"))
    visitor.click("#several p button")
    visitor.wait_for(lambda: len(visitor.all("#several .entry")) == 8)
    under_way = 1 + 3  # the one that failed, and three at once
    assert own_digits.asked["POST /predict"] <= under_way + 8


# The answer


def test_all_of_few_classes_are_shown_in_their_order(visitor, digits, pictures):
    visitor.open(digits.address)
    visitor.choose(pictures / "7.png")
    visitor.gets("7")
    assert visitor.texts(".bars .name") == list("0123456789")
    assert visitor.texts(".bars .first .name") == ["7"]
    widths = visitor.run(
        "return [...document.querySelectorAll('.bars li')].map((bar) =>"
        " bar.querySelector('.filled').offsetWidth / bar.querySelector('.track').offsetWidth)"
    )
    assert max(widths) == widths[7] > 0.5


def test_an_answer_that_is_unsure_says_so_with_class_names_of_any_script(visitor, photos, pictures):
    visitor.open(photos.address, width=390)
    visitor.choose(pictures / "7.png")
    visitor.gets("café")
    assert visitor.text(".best .unsure") == "unsure"
    assert visitor.text("#announcement") == "Unsure: café, 8.3%, or 猫, 8.3%"
    assert visitor.texts(".bars .name") == [*NAMES, *map(str, range(4))]
    assert visitor.text("#bars-title") == "The 10 most probable of 12 classes"
    assert visitor.text("#entries .name") == "café?"


def test_the_reasons_are_laid_over_what_the_network_sees_and_can_be_hidden(
    visitor, digits, pictures
):
    visitor.open(digits.address)
    visitor.choose(pictures / "4.png")
    visitor.wait_for(lambda: len(visitor.all(".stack img")) == 2)
    boxes = [image.rect for image in visitor.all(".stack img")]
    assert boxes[0] == boxes[1]
    assert visitor.texts(".legend li") == ["Blue: speaks for 4", "Orange: speaks against it"]
    visitor.click("#explain")
    visitor.wait_for(lambda: len(visitor.all(".stack img")) == 1)
    assert not visitor.all(".legend li")
    assert visitor.run("return document.activeElement.id") == "explain"  # not lost
    assert visitor.one("img.seen").get_attribute("alt") == "What the network sees: 8 × 8 pixels"


def test_earlier_answers_can_be_seen_again_removed_and_got_back(visitor, digits, pictures):
    visitor.open(digits.address)
    visitor.draw(drawing("0"))
    visitor.gets("0")
    visitor.choose(pictures / "5.png")
    visitor.gets("5")
    assert visitor.texts("#entries .name") == ["5", "0"]
    visitor.all("#entries .entry")[1].click()
    visitor.gets("0")
    assert visitor.one("#clear").is_enabled()  # its strokes are on the pad again
    visitor.draw([[(0.1, 0.1), (0.2, 0.1)]])
    visitor.settles()
    assert len(visitor.all("#entries li")) == 2  # it is the same drawing
    visitor.all("#entries .remove")[1].click()
    visitor.wait_for(lambda: len(visitor.all("#entries li")) == 1)
    assert visitor.run("return document.activeElement.id") == "restore"
    visitor.click("#restore")
    visitor.wait_for(lambda: visitor.texts("#entries .name")[1:] == ["5"])
    assert not visitor.one("#restore").is_displayed()


# Collecting


def test_a_wrong_answer_is_collected_with_its_right_label_and_taken_back(
    visitor, digits_model, pictures
):
    with visited(visitor, digits_model, collects=True) as served:
        visitor.open(served.address)
        visitor.choose(pictures / "3-inverted.png")
        visitor.gets("3")
        visitor.click("#wrong summary")
        visitor.one("#right").send_keys("8")
        assert visitor.text("#saves") == "What is saved is the inverted picture."
        for saved in ("the picture as it is", "the inverted picture"):
            visitor.click("#inverted")
            visitor.sees(f"What is saved is {saved}.")
        visitor.click("#wrong [type=submit]")
        visitor.sees("Saved as 8, to train with.")
        ((path, data),) = served.collected.items()
        assert path.startswith("8/")
        (answer,) = (digits_model.predict(data),)
        assert answer == ["3"]  # saved as the model got it, light on dark
        visitor.press(Keys.ENTER)  # on the button that takes it back
        visitor.wait_for(lambda: not served.collected)
        visitor.sees("Wrong?")


def test_a_picture_that_only_the_server_can_decode_is_saved_as_the_model_got_it(
    visitor, digits_model, pictures, tmp_path
):
    tiff = tmp_path / "3.tiff"
    Image.open(pictures / "3-inverted.png").save(tiff)
    with visited(visitor, digits_model, collects=True) as served:
        visitor.open(served.address)
        visitor.choose(tiff)
        visitor.gets("3")
        mark_wrong(visitor, "8")
        visitor.sees("Saved as 8, to train with.")
        (data,) = served.collected.values()
    with Image.open(io.BytesIO(data)) as saved, Image.open(pictures / "3.png") as upright:
        assert saved.tobytes() == upright.tobytes()


def test_an_inverted_picture_is_saved_that_is_close_to_the_largest_body(
    visitor, digits_model, pictures, tmp_path
):
    """As a PNG, its pixels would not fit."""
    photo = tmp_path / "3.jpg"
    with Image.open(pictures / "3-inverted.png") as small:
        large = np.asarray(small.resize((400, 400)))
    noise = np.random.default_rng(0).integers(-20, 20, large.shape)
    Image.fromarray((large + noise).clip(0, 255).astype(np.uint8)).save(photo)
    body_bytes = photo.stat().st_size + 1000
    with visited(visitor, digits_model, collects=True, body_bytes=body_bytes) as served:
        visitor.open(served.address)
        visitor.choose(photo)
        visitor.gets("3")
        mark_wrong(visitor, "8")
        visitor.sees("Saved as 8, to train with.")
        assert len(served.collected) == 1


def test_a_picture_is_saved_and_taken_back_once_however_often_that_is_asked(
    visitor, digits_model, pictures
):
    with visited(visitor, digits_model, collects=True) as served:
        visitor.open(served.address)
        visitor.choose(pictures / "3.png")
        visitor.gets("3")
        mark_wrong(visitor, "8", times=3)
        visitor.sees("Saved as 8, to train with.")
        assert served.asked["POST /collect"] == len(served.collected) == 1
        ((path, _),) = served.collected.items()
        visitor.run("for (let i = 0; i < 3; i++) document.getElementById('take-back').click()")
        visitor.sees("Wrong?")
        assert served.asked[f"DELETE /collect/{path}"] == 1
        assert not visitor.all("[role=alert] *")


@pytest.mark.refused(404)
def test_a_picture_that_cannot_be_taken_back(visitor, digits_model, pictures):
    with visited(visitor, digits_model, collects=True) as served:
        visitor.open(served.address)
        visitor.choose(pictures / "3.png")
        visitor.gets("3")
        mark_wrong(visitor, "8")
        visitor.sees("Saved as 8, to train with.")
        (path,) = served.collected
        visitor.run_async(f"await fetch('/collect/{path}', {{method: 'DELETE'}})")
        visitor.click("#take-back")
        visitor.sees("The saved picture could not be removed.")
        assert "No picture of this name was collected" in visitor.text("#answer-problem")


def mark_wrong(visitor: Visitor, right: str, times: int = 1) -> None:
    """Submit the right answer."""
    visitor.click("#wrong summary")
    visitor.one("#right").send_keys(right)
    visitor.run(
        "const form = document.querySelector('#wrong form');"
        "for (let i = 0; i < arguments[0]; i++) form.requestSubmit()",
        times,
    )


def test_nothing_is_collected_unless_the_server_does(visitor, digits, pictures):
    visitor.open(digits.address)
    visitor.choose(pictures / "3.png")
    visitor.gets("3")
    assert not visitor.all("#wrong")


# Access and failures


@pytest.mark.refused(401)
def test_a_token_is_asked_for_and_kept_for_the_session(visitor, digits_model, pictures):
    with visited(visitor, digits_model, token="right") as served:
        visitor.open(served.address)
        visitor.sees("This server asks for a token")
        assert not visitor.one("#main").is_displayed()
        for token in ("wrong", served.token):
            visitor.wait_for(lambda: visitor.run("return document.activeElement.id") == "token")
            visitor.one("#token").send_keys(token, Keys.ENTER)
            if token == "wrong":
                visitor.sees("The server did not accept this token.")
        visitor.wait_for(lambda: visitor.one("#main").is_displayed())
        assert not visitor.one("#token-form").is_displayed()
        visitor.choose(pictures / "3.png")
        visitor.gets("3")
        visitor.driver.refresh()
        visitor.wait_for(lambda: visitor.one("#main").is_displayed())


@pytest.mark.refused(503)
def test_a_busy_server_can_be_asked_again(visitor, own_digits):
    visitor.open(own_digits.address)
    visitor.draw(drawing("7"))  # the answer to the same strokes is known
    visitor.settles()
    own_digits.failing = [503] * 100  # the reasons for the first answer may be asked for, too
    visitor.click("#clear")
    visitor.draw(drawing("3"))
    visitor.sees("The server is busy.")
    assert not visitor.best()  # no earlier answer is taken for that to this drawing
    assert visitor.one("#clear").is_enabled()
    own_digits.failing = []
    visitor.click("#answer-problem button")
    visitor.gets("3")
    assert not visitor.all("#answer-problem *")


@pytest.mark.refused("ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET")
def test_a_lost_connection_can_be_tried_again(visitor, digits_model, pictures):
    with serving(digits_model) as served:
        visitor.open(served.address)
        visitor.sees("Use pictures")
        port = int(served.address.rpartition(":")[2].strip("/"))
    visitor.choose(pictures / "6.png")
    visitor.sees("The server cannot be reached.")
    with visited(visitor, digits_model, port=port):
        visitor.click("#files-problem button")
        visitor.gets("6")


# Languages


def test_the_page_speaks_chinese_and_keeps_to_it(visitor, digits, pictures):
    visitor.open(digits.address)
    visitor.choose(pictures / "3-inverted.png")
    visitor.gets("3")
    visitor.click("#language")
    visitor.sees("识别结果")
    assert visitor.run("return document.documentElement.lang") == "zh-CN"
    assert "已自动反色" in visitor.text(".note p")
    assert visitor.best() == "3"
    visitor.driver.refresh()
    visitor.sees("识别结果")
    visitor.click("#language")
    visitor.sees("Use pictures")
    assert visitor.run("return document.documentElement.lang") == "en"


def test_the_browser_says_which_language_comes_first(visitor, digits):
    visitor.driver.execute_cdp_cmd(
        "Emulation.setUserAgentOverride", {"userAgent": "test", "acceptLanguage": "zh-TW,en"}
    )
    try:
        visitor.open(digits.address)
        visitor.sees("画板")
    finally:
        visitor.driver.execute_cdp_cmd(
            "Emulation.setUserAgentOverride", {"userAgent": "test", "acceptLanguage": "en"}
        )


def placeholders(text: str | list[str]) -> list[str]:
    """What is filled into a text, or several."""
    return sorted(set(re.findall(r"{\w+}", "".join(text))))


def test_both_languages_say_the_same_things(visitor, digits):
    visitor.open(digits.address)
    words = visitor.run_async("return (await import('/static/words.js')).WORDS")
    values = {
        language: {key: placeholders(text) for key, text in texts.items()}
        for language, texts in words.items()
    }
    # Chinese repeats the class where English has "it", and does not count what is left out.
    own = {"speaksAgainst", "more"}
    assert values["en"].keys() == values["zh"].keys()
    differing = {key for key in values["en"] if values["en"][key] != values["zh"][key]}
    assert differing == own
    sources = "".join(p.read_text("utf-8") for p in STATIC.glob("*.*") if p.name != "words.js")
    composed = {f"{kind}{shade}" for kind in ("inverted", "straight") for shade in SHADES}
    said = {key for key in words["en"] if f'"{key}"' in sources} | composed
    assert said | {"language"} == words["en"].keys()


SHADES = ("Dark", "Light")


# For everybody


@pytest.mark.parametrize(
    ("width", "scheme"), some([(1280, "light"), (390, "dark"), (1280, "dark"), (390, "light")], 2)
)
def test_nothing_is_cut_off_and_axe_finds_no_serious_fault(
    visitor, digits_model, pictures, width, scheme
):
    with visited(visitor, digits_model, collects=True) as served:
        visitor.open(served.address, width=width, scheme=scheme)
        if scheme == "dark":
            visitor.click("#language")
        assert visitor.faults() == []
        visitor.draw(drawing("4"), "touch" if width == 390 else "mouse")
        visitor.choose(pictures / "3-inverted.png")
        visitor.gets("3")
        visitor.drop(pictures / "1.png", pictures / "8-inverted.png")
        visitor.wait_for(lambda: len(visitor.all("#several .entry")) == 2)
        visitor.wait_for(lambda: len(visitor.all(".stack img")) == 2)
        for closed in visitor.all("summary"):
            closed.click()
        visitor.paste()
        visitor.wait_for(lambda: visitor.all("[role=alert] button"))
        assert visitor.faults() == []
    wide = visitor.run(
        "return [...document.querySelectorAll('body *')].filter((e) => {"
        "  const box = e.getBoundingClientRect();"
        "  return !e.closest('.hidden') && box.width && (box.left < 0 || box.right > innerWidth);"
        "}).map((e) => e.outerHTML.slice(0, 100))"
    )
    assert wide == []
    assert visitor.run("return document.documentElement.scrollWidth <= innerWidth")


def test_everything_can_be_reached_and_done_by_keyboard(visitor, digits_model, pictures):
    with visited(visitor, digits_model, collects=True) as served:
        visitor.open(served.address)
        visitor.choose(pictures / "3-inverted.png")
        visitor.wait_for(lambda: len(visitor.all(".stack img")) == 2)
        stops = list(visitor.tab_stops())
    assert [stop["id"] or stop["text"] for stop in stops] == [
        "language",
        "inverted",
        "cropped",
        "explain",
        "Wrong?",
        "choose",
        "3, > 99.9%: show again",
        "Remove 3",
        "How to read the answers",
    ]
    assert min(stop["outline"] for stop in stops) >= 2  # focus can be seen everywhere


def test_the_page_has_headings_landmarks_and_names(visitor, digits):
    visitor.open(digits.address)
    visitor.sees("Use pictures")
    assert visitor.texts("h1") == ["Try the model"]
    assert visitor.texts("main h2") == ["Draw", "Answer", "Use pictures", "Last answers"]
    assert "finger or pen" in visitor.one("#pad").get_attribute("aria-label")
    assert visitor.driver.title.startswith("digits-")
    assert len(visitor.all("main, header, footer")) == 3


def test_nothing_moves_for_those_who_do_not_want_it(visitor, digits, pictures):
    visitor.open(digits.address)
    visitor.choose(pictures / "3.png")
    visitor.gets("3")
    duration = "return getComputedStyle(document.querySelector('.filled')).transitionDuration"
    assert visitor.run(duration) == "0.15s"
    feature = {"name": "prefers-reduced-motion", "value": "reduce"}
    visitor.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    assert visitor.run(duration) == "0s"


def test_pictures_come_first_for_a_model_of_pictures(visitor, photos):
    visitor.open(photos.address)
    visitor.sees("Use pictures")
    order = visitor.run("return [...document.querySelectorAll('main > section')].map((s) => s.id)")
    assert order == ["files", "answer", "drawing", "history"]
    tops = {name: visitor.one(f"#{name}").rect["y"] for name in order}
    assert tops["files"] < tops["drawing"]


def test_the_page_has_no_inline_script_or_style_and_nothing_from_outside():
    page = (STATIC / "index.html").read_text("utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*src=)", page)
    for path in STATIC.iterdir():
        addresses = re.findall(r"https?://[^\s\"']+", path.read_text("utf-8"))
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, path.name
