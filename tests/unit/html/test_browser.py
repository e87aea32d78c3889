"""The HTML report in Chromium: click, search, filter, keys. `make browser` installs what drives it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torch import nn

from autoinit import autoinit, initialize, plan, verify
from autoinit.html import write_html
from autoinit.tracing import diff, trace

sync_api = pytest.importorskip("playwright.sync_api", reason="`make browser` installs playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"), pytest.mark.slow]

IMAGES = Path(__file__).parents[3] / "docs" / "images"
RULES = [dict(type="Xavier", layer="Linear"), dict(type="Constant", name="**.linear2", val=0)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    return nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """A page about an encoder of three layers, one weight of which is wrong."""
    model = encoder()
    report = initialize(model, RULES, seed=0)
    nn.init.normal_(model.layers[1].linear1.weight, std=2)
    yield from opened(browser, write_html(tmp_path / "a.html", report, model=model, verdict=verify(model, RULES)))


def opened(browser: Any, path: Path, **options: Any) -> Iterator[Any]:
    """The file in a new tab; any error of its script, and any request, fails the test."""
    errors: list[str] = []
    requests: list[str] = []
    tab = browser.new_page(**{"viewport": {"width": 1100, "height": 700}} | options)
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
    page.locator("#tree").get_by_text("1", exact=True).click()
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


def test_calls_with_their_lines(browser: Any, tmp_path: Path) -> None:
    with trace() as traced:
        model = nn.Sequential(nn.MultiheadAttention(8, 2), nn.Linear(8, 8))
    for tab in opened(browser, write_html(tmp_path / "a.html", traced.traces[0], model=model)):
        tab.fill("#search", "xavier_uniform_")
        tab.locator(".row .name", has_text="in_proj_weight").click()
        assert "torch/nn/modules/activation.py" in tab.locator("#detail li .where").first.inner_text()
        assert tab.locator("#detail pre").first.inner_text() == "xavier_uniform_(self.in_proj_weight)"
        tab.locator("[data-filter=overwritten]").click()
        assert tab.locator(".empty").inner_text() == "No parameter matches."


def test_a_difference_and_a_plan(browser: Any, tmp_path: Path) -> None:
    model = encoder()
    first, second = plan(model, RULES), plan(model, RULES[:1])
    for tab in opened(browser, write_html(tmp_path / "a.html", diff(first, second))):
        tab.fill("#search", "layers.2 linear2.weight")
        tab.locator(".row .name", has_text="weight").click()
        assert "Constant(value=0)\n→ Normal(mean=0, std=0.144338)" in tab.locator("#detail dd").inner_text()
    for tab in opened(browser, write_html(tmp_path / "a.html", first)):
        tab.fill("#search", "layers.2 linear1.weight")
        tab.locator(".row .name", has_text="weight").click()
        assert tab.locator("#detail h3").inner_text() == "The density that is asked for"
        assert tab.locator("#detail polyline.asked").count() == 1 and tab.locator("rect.bar").count() == 0


def test_pictures_of_the_docs(browser: Any, tmp_path: Path) -> None:
    """Written to docs/images if AUTOINIT_PICTURES says so: they change with every font."""
    folder = IMAGES if os.environ.get("AUTOINIT_PICTURES") == "write" else tmp_path
    with trace() as traced, autoinit(RULES, seed=0) as run:
        model = encoder()
    nn.init.normal_(model.layers[1].linear1.weight, std=0.2)
    verdict = verify(model, run.report)
    path = write_html(tmp_path / "a.html", run.report, model=model, trace=traced.traces[0], verdict=verdict)
    for scheme, selected in (("light", "layers.1.linear1.weight"), ("dark", "layers")):
        for tab in opened(browser, path, color_scheme=scheme, viewport={"width": 1000, "height": 760}):
            tab.goto(f"{path.as_uri()}#{selected}")
            tab.reload()
            tab.screenshot(path=tmp_path / "picture.png")
            picture = Image.open(tmp_path / "picture.png").convert("RGB").quantize(256)
            assert len(picture.getcolors()) > 32
            picture.save(folder / f"html-report-{scheme}.png", optimize=True)
            assert (folder / f"html-report-{scheme}.png").stat().st_size < 100_000
