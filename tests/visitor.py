"""A visitor of the page, with a real browser: draws, drops, clicks and looks."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from drawn_digits import Drawing
from needed_tools import need

T = TypeVar("T")

AXE = Path(__file__).parent / "assets" / "axe" / "axe.min.js"

FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--lang=en")

PHONE = 500
"""Widths below are those of phones, with a finger in place of a mouse."""


@contextmanager
def visiting() -> Iterator[Visitor]:
    """A visitor with a browser of their own, until the block ends."""
    options = webdriver.ChromeOptions()
    options.binary_location = need("chromium")
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(need("chromedriver")))
    try:
        yield Visitor(driver)
    finally:
        driver.quit()


class Visitor:
    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    # The page

    def open(self, address: str, *, width: int = 1280, scheme: str = "light") -> None:
        """Come to a page for the first time: nothing of an earlier visit is kept."""
        driver = self.driver
        self.show(width=width, scheme=scheme)
        everything = {"origin": address.rstrip("/"), "storageTypes": "all"}
        driver.execute_cdp_cmd("Storage.clearDataForOrigin", everything)
        driver.get(address)
        self.wait_for(lambda: self.all("#main:not([hidden]), #token-form:not([hidden])"))

    def show(self, *, width: int, scheme: str) -> None:
        """Look through a window of this width, with light or dark colors."""
        driver, is_phone = self.driver, width < PHONE
        size = {"width": width, "height": 844 if is_phone else 900}
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {**size, "deviceScaleFactor": 1, "mobile": is_phone},
        )
        driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": is_phone})
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})

    def leave(self) -> None:
        """Leave the page, so that it asks its server for nothing more."""
        self.driver.get("about:blank")

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def run_async(self, script: str, *arguments: Any) -> Any:
        """Run the body of an asynchronous function, whose arguments are `given`."""
        wrapped = (
            "const done = arguments[arguments.length - 1], given = [...arguments].slice(0, -1);"
            f"(async () => {{ {script} }})().then((value) => done({{value}}),"
            "(error) => done({error: String(error)}));"
        )
        answer = self.driver.execute_async_script(wrapped, *arguments)
        assert "error" not in answer, answer
        return answer["value"]

    def wait_for(self, condition: Callable[[], T]) -> T:
        """Until a condition holds; a page that is being drawn anew is looked at again."""
        ignored = [NoSuchElementException, StaleElementReferenceException]
        wait = WebDriverWait(self.driver, 120, 0.02, ignored)
        return wait.until(lambda _: condition())

    def complaints(self) -> list[str]:
        """What the browser has complained about since the last call, such as policy violations."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    # Looking

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """The visible text of the first such element."""
        return " ".join(self.wait_for(lambda: self.texts(selector))[0].split())

    def texts(self, selector: str) -> list[str]:
        return self.run(
            "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText.trim())",
            selector,
        )

    def sees(self, text: str) -> None:
        """Wait for a text anywhere on the page."""
        self.wait_for(lambda: text in self.run("return document.body.innerText"))

    def best(self) -> str:
        """The best class of the answer that is shown; empty if there is none."""
        return "".join(self.texts("#answer .best strong"))

    def gets(self, answer: str) -> None:
        """Wait for an answer."""
        self.wait_for(lambda: self.best() == answer)

    def settles(self) -> None:
        """Wait for the answer to what was drawn last."""
        self.wait_for(lambda: self.all("#answer[aria-busy=false] .best"))

    def screenshot(self, path: Path) -> None:
        """The whole page, as a PNG file."""
        shot = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True}
        )
        path.write_bytes(base64.b64decode(shot["data"]))

    def faults(self) -> list[str]:
        """Serious and critical violations that axe-core finds."""
        self.run(AXE.read_text("utf-8"))
        found = self.run_async("return (await axe.run(document)).violations")
        return [
            f"{v['id']}: {v['help']}: {[node['html'][:200] for node in v['nodes']]}"
            for v in found
            if v["impact"] in ("serious", "critical")
        ]

    # Doing

    def click(self, selector: str) -> None:
        """Click the first such element, as soon as it is there."""
        self.wait_for(lambda: self.one(selector).click() is None)

    def press(self, *keys: str) -> None:
        """Press keys together: the last one while the others are held."""
        builder = ActionBuilder(self.driver)
        for key in keys:
            builder.key_action.key_down(key)
        for key in reversed(keys):
            builder.key_action.key_up(key)
        builder.perform()

    def tab_stops(self) -> Iterator[dict[str, Any]]:
        """What the tabulator reaches from the top of the page on, until its end."""
        self.run("document.activeElement.blur(); scrollTo(0, 0)")
        for _ in range(100):
            self.press(Keys.TAB)
            stop = self.run(
                "const e = document.activeElement; if (e === document.body) return null;"
                "const shown = e.matches('input[type=file]') ? e.nextElementSibling : e;"
                "const style = getComputedStyle(shown);"
                "return {id: e.id, text: (e.ariaLabel || e.innerText || '').trim(),"
                " outline: style.outlineStyle === 'none' ? 0 : parseFloat(style.outlineWidth)}"
            )
            if stop is None:
                return
            yield stop

    def draw(self, drawing: Drawing, kind: str = "mouse") -> None:
        """Draw on the pad with a `mouse`, `touch` or `pen`."""
        left, top, width = self.run(
            "const pad = document.getElementById('pad'); pad.scrollIntoView({block: 'center'});"
            "const box = pad.getBoundingClientRect(); return [box.left, box.top, box.width]"
        )
        for stroke in drawing:
            some = [*stroke[:-1:3], stroke[-1]]  # the browser takes its time for each
            points = [(round(left + x * width), round(top + y * width)) for x, y in some]
            builder = ActionBuilder(self.driver, mouse=PointerInput(kind, kind), duration=0)
            builder.pointer_action.move_to_location(*points[0]).pointer_down()
            for point in points[1:]:
                builder.pointer_action.move_to_location(*point)
            builder.pointer_action.pointer_up()
            builder.perform()

    def choose(self, *paths: Path) -> None:
        self.one("#choose").send_keys("\n".join(map(str, paths)))

    def drop(self, *files: Path) -> None:
        self._transfer("new DragEvent('drop', {...options, dataTransfer: transfer})", files)

    def paste(self, *files: Path) -> None:
        self._transfer("new ClipboardEvent('paste', {...options, clipboardData: transfer})", files)

    def _transfer(self, event: str, files: Sequence[Path]) -> None:
        encoded = [(file.name, base64.b64encode(file.read_bytes()).decode()) for file in files]
        self.run(
            "const transfer = new DataTransfer();"
            "for (const [name, data] of arguments[0]) {"
            "  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));"
            "  transfer.items.add(new File([bytes], name));"
            "}"
            "const options = {bubbles: true, cancelable: true};"
            f"document.body.dispatchEvent({event});",
            encoded,
        )
