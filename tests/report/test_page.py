import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from mask2former.report.page import Html, Section, bars, figure, marked, page, table

VOID = {"meta", "img", "br"}


class Balanced(HTMLParser):
    """Raises where a tag is not closed, and gathers the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(document: str) -> str:
    parser = Balanced()
    parser.feed(document)
    assert parser.open == []
    return " ".join(parser.text)


def test_page_escapes_what_people_wrote_and_closes_its_tags() -> None:
    name = "<script>alert('x')</script> & \"co\""
    body = [name, table([{name: name}]), bars({name: 1}), marked(name, "fault")]
    picture = figure(np.zeros((4, 4, 3), np.uint8), name)
    document = page(name, [Section(name, [*body, picture])], name)
    assert "<script" not in document
    assert read(document).count(name) == 10  # as the title of the window, too


def test_page_asks_for_nothing_else() -> None:
    document = page("a", [Section("b", [figure(np.zeros((4, 4), np.uint8), "c")])])
    assert re.findall(r"(?:src|href)=\"(?!data:)", document) == []
    assert "http" not in document
    assert "url(" not in document


def test_sections_without_a_body_are_left_out() -> None:
    assert "empty" not in page("a", [Section("empty", [])])


def test_table_shows_numbers_to_the_right_and_nan_as_a_dash() -> None:
    text = table([{"a": 1234567, "b": float("nan"), "c": "x"}, {"a": 2, "b": 0.5, "c": "y"}])
    assert '<td class="number">1,234,567</td><td class="number">-</td><td>x</td>' in text
    assert table([]) == ""


def test_bars_are_as_long_as_their_values() -> None:
    widths = [float(w) for w in re.findall(r"width:([\d.]+)%", bars({"a": 4, "b": 1, "c": 0}))]
    assert widths == [100, 25, 0]
    assert re.findall(r"width:([\d.]+)%", bars({"a": 0})) == ["0.00"]


@pytest.mark.parametrize("shape", [(30, 40, 3), (30, 40)])
def test_figure_holds_its_picture(shape: tuple[int, ...]) -> None:
    pixels = np.full(shape, 90, np.uint8)
    found = re.search(r"base64,([^\"]+)", figure(pixels, "caption"))
    assert found is not None
    with Image.open(io.BytesIO(base64.b64decode(found[1]))) as image:
        assert image.size == (40, 30)
        assert np.abs(np.asarray(image.convert("L"), int) - 90).max() <= 2


def test_wide_pictures_are_reduced() -> None:
    text = figure(Image.new("RGB", (4000, 100)), "wide")
    assert 'width="1280" height="32"' in text


def test_html_is_not_escaped_twice() -> None:
    assert "<b>x</b>" in table([{"a": Html("<b>x</b>")}])
