"""The HTML report in Chromium: click, search, filter, keys. `make browser` installs what drives it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from autoinit import initialize, verify
from autoinit.html import write_html

sync_api = pytest.importorskip("playwright.sync_api", reason="`make browser` installs playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"), pytest.mark.slow]

RULES = [dict(type="Xavier", layer="Linear"), dict(type="Constant", name="**.linear2", val=0)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """A page about an encoder of three layers, one weight of which is wrong."""
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    model = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    report = initialize(model, RULES, seed=0)
    nn.init.normal_(model.layers[1].linear1.weight, std=2)
    yield from opened(browser, write_html(tmp_path / "a.html", report, model=model, verdict=verify(model, RULES)))


def opened(browser: Any, path: Path) -> Iterator[Any]:
    """The file in a new tab; any error of its script, and any request, fails the test."""
    errors: list[str] = []
    requests: list[str] = []
    tab = browser.new_page(viewport={"width": 1100, "height": 700})
    tab.set_default_timeout(5000)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(path.as_uri())
    yield tab
    tab.close()
    assert errors == []
    assert [url for url in requests if not url.startswith(path.as_uri())] == []


def names(page: Any) -> list[str]:
    return [text.strip() for text in page.locator(".row .name").all_inner_texts()]


def test_click_opens_modules_and_shows_a_parameter(page: Any) -> None:
    assert names(page) == ["layers", "0", "1", "2"]
    page.get_by_text("1", exact=True).click()
    page.locator(".row .name", has_text="linear2").click()
    page.locator(".row .name", has_text="weight").last.click()
    text = page.locator("#detail").inner_text()
    assert "layers.1.linear2.weight" in text and "Constant(value=0)" in text and "init_cfg[0]: Xavier()" in text


def test_search_narrows_and_escape_ends_it(page: Any) -> None:
    page.keyboard.press("/")
    page.keyboard.type("layers.2 norm1 weight")
    assert names(page) == ["layers", "2", "norm1", "weight"]
    page.keyboard.press("Escape")
    assert names(page) == ["layers", "0", "1", "2"]


def test_a_filter_shows_what_failed_with_its_histogram(page: Any) -> None:
    page.locator("[data-filter=failed]").click()
    assert names(page) == ["layers", "1", "linear1", "weight"]
    page.locator(".row .name", has_text="weight").click()
    assert "not 0.144338" in page.locator("#detail .bad").first.inner_text()
    assert page.locator("#detail rect.bar").count() == 48
    assert page.locator("#detail polyline.asked").count() == 1


def test_the_keyboard_reaches_every_parameter(page: Any) -> None:
    page.locator("#tree").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowDown", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    assert page.locator(".row[aria-selected=true] .name").inner_text() == "in_proj_weight"
    assert "layers.0.self_attn.in_proj_weight" in page.locator("#detail h2").inner_text()
    assert page.url.endswith("#layers.0.self_attn.in_proj_weight")


def test_std_by_depth_leads_to_the_parameter(page: Any) -> None:
    dot = page.locator("svg .dot", has=page.locator("title", has_text="layers.1.linear1.weight"))
    dot.click()
    assert page.locator("#detail h2").inner_text() == "layers.1.linear1.weight"


def test_light_and_dark(page: Any) -> None:
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_names_are_text(browser: Any, tmp_path: Path) -> None:
    model = nn.Module()
    model.add_module("<img src=x onerror=alert(1)>", nn.Linear(2, 2))
    for tab in opened(browser, write_html(tmp_path / "a.html", initialize(model, RULES[0]), model=model)):
        assert names(tab)[0] == "<img src=x onerror=alert(1)>"
        assert tab.locator("img").count() == 0


def test_ten_thousand_parameters_scroll(browser: Any, tmp_path: Path) -> None:
    model = nn.ModuleList(nn.ModuleList(nn.Linear(1, 1) for _ in range(50)) for _ in range(100))
    for tab in opened(browser, write_html(tmp_path / "a.html", initialize(model, RULES[0]), model=model)):
        tab.fill("#search", "weight")
        tab.evaluate("document.getElementById('tree').scrollTop = 1e9")
        tab.locator(".row .name", has_text="weight").last.click()
        assert tab.locator("#detail h2").inner_text() == "99.49.weight"
        assert tab.locator(".row").count() < 100
