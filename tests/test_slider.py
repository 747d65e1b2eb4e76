"""A slider over a picture: what its cell stores, without a browser; test_browser.py and test_site.py move it."""

import base64
import io
import json
import re
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from nbval.plugin import IPyNbCell
from PIL import Image
from sklearn.datasets import load_sample_image

from lorautils import plots
from lorautils.figures.slider import slider
from tools.pages import FRAMES, still
from tools.slides import pieces


def draw(rank, name):
    figure, axes = plt.subplots(figsize=(2, 1))
    axes.bar([0], [rank])
    axes.set_title(f"{name} </b> {rank}")
    return figure


@pytest.fixture
def shown():
    """What a cell with two sliders displays."""
    InteractiveShell.instance()
    with capture_output() as captured:
        slider(draw, {"rank": [1, 1024], "name": ["A", "B", "C"]}, rank=1024, name="A")
    (output,) = captured.outputs
    assert not plt.get_fignums()
    return output


def frames_of(page: str) -> list[tuple[Image.Image, str]]:
    frames = json.loads(re.search(r"\}\)\((\[\[.*?\]\]), \[\{", page, re.DOTALL)[1])
    return [(Image.open(io.BytesIO(base64.b64decode(src.partition(",")[2]))), alt) for src, alt in frames]


def test_every_combination_is_stored_sharp_and_in_words_in_the_order_of_the_sliders(shown):
    frames = frames_of(shown.data["text/html"])
    assert [alt.split(".")[0] for _, alt in frames] == [f"{name} </b> {rank}" for rank in (1, 1024) for name in "ABC"]
    assert {picture.size for picture, _ in frames} == {(400, 200)}  # 2 inches are shown 200 pixels wide
    assert "max-width: min(100%, 200px)" in shown.data["text/html"]


def test_without_its_script_it_is_the_picture_of_its_start(shown):
    page, number = re.subn("<script>.*?</script>", "", shown.data["text/html"], flags=re.DOTALL)
    assert number == 1 and page.count("<") == 3  # a div with one picture
    assert 'alt="A &lt;/b&gt; 1024.' in page
    assert shown.metadata["image/png"]["alt"].startswith("A </b> 1024.")
    assert base64.b64decode(shown.data["image/png"]).startswith(b"\x89PNG")


def test_the_text_that_is_compared_names_the_sliders(shown):
    assert shown.data["text/plain"] == "rank: a slider from 1 to 1,024\nname: a slider from A to C"


def test_frames_are_compared_no_more_than_other_pictures(shown):
    cell = SimpleNamespace(cell=nbformat.v4.new_code_cell())
    stored, fresh = shown.data["text/html"], f"{FRAMES}>drawn on another processor</div>"
    assert IPyNbCell.sanitize(cell, stored) == IPyNbCell.sanitize(cell, fresh)


def test_a_photograph_takes_the_place_that_a_photograph_takes():
    photo = load_sample_image("flower.jpg").mean(axis=2)
    InteractiveShell.instance()
    with capture_output() as captured:
        slider(lambda part: plots.pictures({"": photo[part:]}, columns=1), {"part": [0, 1]}, part=0)
    page = captured.outputs[0].data["text/html"]
    assert len(page) < 3 * 60_000  # two frames, and one where no script may run


def test_a_deck_shows_the_picture_of_the_start(shown):
    output = nbformat.v4.new_output("display_data", shown.data, metadata=shown.metadata)
    assert output.data["text/html"].startswith(FRAMES)
    cell = nbformat.v4.new_code_cell("slider()", outputs=[output])
    still(nbformat.v4.new_notebook(cells=[cell]))
    (_, _), (picture, _) = pieces(cell)
    assert set(picture.outputs[0].data) == {"image/png", "text/plain"}
