"""The page as a browser takes it: whole, safe, and nothing fetched."""

import base64
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from kidneyseg.errors import CorrectableError
from kidneyseg.search.report.chapters import Material
from kidneyseg.search.report.page import build_page, check_place, write_page
from kidneyseg.search.study_record import StudyRecord
from tests.machine import BROWSERS, find_program
from tests.search.chromium import browser

from .conftest import HOSTILE, OWN, WIDE, complete, failed, pruned

BuildRecord = Callable[..., StudyRecord]
AsMaterial = Callable[..., Material]
FOUR = {name: WIDE[name] for name in ("learning_rate", "beta", "dropout", "sampling")}


class Elements(HTMLParser):
    """Every element of a page with its attributes and, of scripts and titles, what they hold."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.held: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] in ("script", "style"):
            if data.strip():
                self.held.append((self.found[-1][1].get("type") or self.found[-1][0], data))
        else:
            self.text += data

    def count(self, name: str) -> int:
        return sum(1 for tag, _ in self.found if tag == name)


@pytest.fixture
def material(build_record: BuildRecord, as_material: AsMaterial) -> Material:
    """A study with hostile words wherever words come from files."""
    space = {
        "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
        "sampling": {"type": "categorical", "choices": ["uniform", "balanced"]},
    }
    params = {"learning_rate": 0.001, "sampling": "uniform"}
    of_case = {f"{HOSTILE}{k}": 0.8 + k / 100 for k in range(4)}
    trials = [complete(k, 0.8 + k / 100, params=params, dice_of_case=of_case) for k in range(12)]
    record = build_record(
        [*trials, pruned(12, 0.3, params=params), failed(13, f"failed: {HOSTILE}")],
        space=space,
        name=f"tiny{HOSTILE}",
    )
    return as_material(record)


def test_words_from_files_stay_words(material: Material) -> None:
    page = Elements(build_page(material))
    assert page.count("img") == 0
    assert page.text.count(HOSTILE) >= 4  # title, heading, reason, worst cases
    data = [held for kind, held in page.held if kind == "application/json"]
    assert not any(character in held for held in data for character in "<>&")
    drawings = [json.loads(held) for held in data]
    assert len(drawings) == sum(1 for _, given in page.found if given.get("class") == "drawing")
    assert not any("<img" in json.dumps(each) for each in drawings)


def test_nothing_is_fetched_and_only_its_own_scripts_run(material: Material) -> None:
    page = Elements(build_page(material))
    for _, given in page.found:
        for key in ("src", "href", "action", "data", "srcset"):
            assert (given.get(key) or "#").startswith(("#", "data:image/png;base64,"))
    policy = next(
        given["content"] or ""
        for _, given in page.found
        if given.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy
    scripts = [held for kind, held in page.held if kind == "script"]
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_no_style_loads_anything(material: Material) -> None:
    styles = [held for kind, held in Elements(build_page(material)).held if kind == "style"]
    assert styles
    assert not any("url(" in style or "@import" in style for style in styles)


def test_figures_are_numbered_and_each_has_its_caption(material: Material) -> None:
    page = Elements(build_page(material))
    numbers = re.findall(r"Figure (\d+)\. ", page.text)
    assert numbers == [str(n) for n in range(1, 10)]
    assert page.count("figure") == page.count("figcaption") == 9


def test_links_lead_to_its_sections(material: Material) -> None:
    page = Elements(build_page(material))
    anchors = {given["id"] for tag, given in page.found if tag == "section"}
    links = {(given["href"] or "")[1:] for tag, given in page.found if tag == "a"}
    assert links == anchors


def test_it_fits_a_phone_and_paper(material: Material) -> None:
    page = build_page(material)
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert "@media print" in page


def test_it_says_the_answer_with_numbers(
    build_record: BuildRecord, as_material: AsMaterial
) -> None:
    record = build_record([complete(0, 0.8, params=OWN), complete(1, 0.85), complete(2, 0.85)])
    text = " ".join(Elements(build_page(as_material(record))).text.split())
    assert (
        "Trial 1, the best of 3 finished trials, reached a Dice of 0.8500 (95 % interval 0.8402 to "
        "0.8598 over 5 cases), in epoch 2, with learning_rate = 0.002 and beta = 0.5. That is "
        "0.0500 more than the report's own values gave (trial 0: 0.8000); on the same cases the "
        "difference has a 95 % interval 0.0500 to 0.0500, without zero. 1 of the 2 other complete "
        "trials cannot be told from it on these cases" in text
    )


@pytest.mark.parametrize("before", ["", "a letter to somebody", "<html><body>mine</body></html>"])
def test_only_its_own_page_or_an_empty_file_is_replaced(
    before: str, material: Material, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(before, encoding="utf-8")
    if before:
        with pytest.raises(CorrectableError, match=r"report\.html: holds something else"):
            write_page(material, path)
        assert path.read_text(encoding="utf-8") == before
        return
    size = write_page(material, path)
    assert path.stat().st_size == size == write_page(material, path)


def test_a_folder_is_no_place_for_it(tmp_path: Path) -> None:
    with pytest.raises(CorrectableError, match="is a folder; expected the name of a file"):
        check_place(tmp_path)


def test_a_place_that_cannot_be_is_told(material: Material, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CorrectableError, match="cannot be written"):
        write_page(material, tmp_path / "file" / "report.html")


def test_broken_off_it_leaves_what_was_there(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    write_page(material, path)
    before = path.read_bytes()

    def no_room(_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(CorrectableError, match="No space left"):
        write_page(material, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_a_browser_draws_every_figure_under_the_policy(material: Material, tmp_path: Path) -> None:
    browser = find_program(*BROWSERS)
    path = tmp_path / "report.html"
    write_page(material, path)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr"]
    command = [browser, *options, "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=120)
    page = Elements(done.stdout)
    assert ("html", {"lang": "en", "data-drawn": "yes"}) in page.found
    drawings = [given for _, given in page.found if "drawing" in (given.get("class") or "").split()]
    drawn = [given for given in drawings if "js-plotly-plot" in (given["class"] or "")]
    assert len(drawn) == len(drawings) > 6
    assert "Content Security Policy" not in done.stderr
    assert page.count("img") == 0


@pytest.mark.slow
def test_on_a_phone_no_column_of_the_trials_is_cut(
    build_record: BuildRecord, as_material: AsMaterial, tmp_path: Path
) -> None:
    params = {"learning_rate": 0.001234, "beta": 0.5, "dropout": 0.25, "sampling": "balanced"}
    trials = [complete(k, 0.8 + k / 100, params=params) for k in range(3)]
    path = tmp_path / "report.html"
    write_page(as_material(build_record([*trials, failed(3, "failed: x")], space=FOUR)), path)
    with browser(find_program(*BROWSERS), tmp_path) as page:
        phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
        page.tell("Emulation.setDeviceMetricsOverride", **phone)
        page.go(path.as_uri())
        page.wait_for("document.documentElement.dataset.drawn == 'yes'")
        rights = page.evaluate(
            "[...document.querySelectorAll('table.many td')]"
            ".map(cell => cell.getBoundingClientRect().right)"
        )
    assert len(rights) > 12
    assert max(rights) <= 390
