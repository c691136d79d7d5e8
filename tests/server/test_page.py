"""The page of the server: what it may load, and, where there is a browser, what it does."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from seqgen.server import app
from tests.helpers.random_models import Models
from tests.helpers.server import Served, serving

PAGE = Path(app.__file__).with_name("page.html").read_text("utf-8")


@pytest.fixture(scope="module")
def served(zoo: dict[str, Path], models: Models) -> Iterator[Served]:
    with serving([models("char"), *(zoo[task] for task in ("dialogue", "music", "classify", "forecast"))]) as found:
        yield found


def test_page_loads_nothing_and_runs_its_own_script_only(served: Served) -> None:
    answer = served.ask("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.body.decode() == PAGE
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    for name in ("script", "style"):
        (part,) = re.findall(rf"<{name}>(.*?)</{name}>", PAGE, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    addresses = set(re.findall(r"https?://[^\s\"'`]+", PAGE))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of SVG, which is not fetched


def test_page_has_every_word_in_both_languages() -> None:
    words = re.findall(r"^  (en|zh): \{(.*?)\},?$", PAGE, re.DOTALL | re.MULTILINE)
    keys = {language: set(re.findall(r"(\w+): \"", text)) for language, text in words}
    assert keys["en"] == keys["zh"]
    assert set(re.findall(r'data-say="(\w+)"', PAGE)) <= keys["en"]


def test_page_may_be_left_out(models: Models) -> None:
    with serving([models("char")], page=False) as served:
        assert served.ask("/").status == 404
        assert served.ask("/v1/models").status == 200


def test_page_in_a_browser(served: Served, zoo: dict[str, Path]) -> None:
    """Every task once, by hand as it were."""
    browsers = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    names = {model.checkpoint.task: model.name for model in served.state.models.all()}
    table = next(path for path in zoo["forecast"].parent.iterdir() if path.suffix == ".csv")
    said: list[str] = []
    with browsers.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(locale="en-US")
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"http://127.0.0.1:{served.port}/")
        page.select_option("#model", names["text"])
        page.fill("#prompt", "The ")
        page.fill("#length", "40")
        page.click("#write")
        page.wait_for_selector(".token")
        assert len(page.inner_text("#written")) >= 40
        page.click(".token >> nth=5")
        page.click("#choices button >> nth=1")
        page.wait_for_selector(".token")
        page.select_option("#model", names["dialogue"])
        page.fill("#words", "Hello")
        page.press("#words", "Enter")
        page.wait_for_function("document.querySelectorAll('.turn').length == 2")
        page.select_option("#model", names["music"])
        page.fill("#bars", "2")
        page.click("#compose")
        page.wait_for_selector("#midi:not([hidden])")
        page.select_option("#model", names["classify"])
        page.fill("#judged", "It was good. It was bad.")
        page.click("#judge")
        page.wait_for_selector(".bar")
        page.wait_for_selector("#sentences > span > span:nth-child(3)")  # words of the sentence that adds most
        assert page.text_content("#sentences") == "It was good. It was bad."
        long = "It was good " * 9000  # in one sentence: without each of its words it would be more than a body may have
        page.fill("#judged", long)
        page.click("#judge")
        page.wait_for_selector("#judge:not([disabled])")
        assert (page.text_content("#sentences"), page.inner_text("#note")) == (long, "")
        page.select_option("#model", names["forecast"])
        page.set_input_files("#file", str(table))
        page.wait_for_selector("svg")
        page.click("#language")
        assert page.inner_text("#write", timeout=1000) is not None
        assert (page.inner_text("#note"), said) == ("", [])
        phone = browser.new_page(viewport={"width": 380, "height": 700})
        phone.goto(f"http://127.0.0.1:{served.port}/")
        assert phone.evaluate("document.documentElement.scrollWidth") <= 380
        browser.close()
