"""The page "Figures that move": what it says equals numpy's numbers, by keyboard and pointer, with JSXGraph or without.

Skipped where there is no Chromium, unless LORAUTILS_REQUIRE_BROWSER=1 (CI) makes that a failure; most need npm.
"""

import re
import shutil

import numpy as np
import pytest
from chromium import browser, opened, serious  # noqa: F401  (a fixture)
from test_live import ROOT, alone
from test_site import SIDEWAYS, served

from lorautils import linalg
from tools import live

FIGURES = ("ellipse", "shadow", "bricks", "factors", "hands")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A site of the page alone, without a theme and without JSXGraph."""
    folder = tmp_path_factory.mktemp("site")
    alone(folder, "figures", (ROOT / "docs" / "figures.md").read_text(encoding="utf-8"))
    return folder


@pytest.fixture
def bare(folder):
    """The address of the page, which has no JSXGraph."""
    (folder / "live" / "jsxgraph.js").unlink(missing_ok=True)
    with served(folder) as address:
        yield f"{address}/docs/figures.html"


@pytest.fixture(scope="module")
def jsxgraph(tmp_path_factory):
    """JSXGraph, as npm gives it."""
    if shutil.which("npm") is None:
        pytest.skip("no npm on this machine")
    folder = tmp_path_factory.mktemp("npm")
    (package,) = (package for package in live.PACKAGES if package.name.startswith("jsxgraph"))
    try:
        live.fetch(package, folder)
    except OSError as error:
        pytest.skip(str(error))
    return folder / "jsxgraph.js"


@pytest.fixture
def url(folder, jsxgraph):
    """The address of the whole page."""
    shutil.copy(jsxgraph, folder / "live")
    with served(folder) as address:
        yield f"{address}/docs/figures.html"


def said(page, name: str) -> str:
    return page.locator(f"#moving-{name} [role=status]").inner_text().replace("−", "-")


def found(page, name: str, pattern: str) -> list[float]:
    """The numbers of a figure's sentence, where a pattern has its groups."""
    match = re.search(pattern, said(page, name))
    assert match, said(page, name)
    return [float(number.replace(",", "")) for number in match.groups()]


def put(page, name: str, **values: float) -> None:
    for label, value in values.items():
        page.locator(f"#moving-{name}").get_by_label(label.replace("__", ", ").replace("_", " ")).fill(f"{value:g}")


def test_the_sentences_say_the_numbers_of_their_notebooks(browser, url):  # noqa: F811
    with opened(browser) as (page, outside, errors):
        page.goto(url)
        page.locator("#moving-hands svg").first.wait_for()
        assert "Singular values: 3.162 and 1.581. Rank 2." in said(page, "ellipse")
        assert "between them is 53.1°" in said(page, "ellipse")
        page.get_by_role("button", name="Turn by 45°").press("Enter")
        assert "K a is 3.162 long, K b 1.581, and the angle between them is 90.0°" in said(page, "ellipse")
        assert "t = 0.50. The foot is (2, 1)" in said(page, "shadow")
        assert "P = (0.8, 0.4; 0.4, 0.2). P² = P: yes." in said(page, "shadow")
        assert "Their sum: (2, 2, 0; 2, 0, -4; 3, 2, -2), rank 2." in said(page, "bricks")
        page.get_by_role("button", name="The brick of section 1").press("Enter")
        assert "Brick 1: (5, 0, -1; 10, 0, -2; 15, 0, -3), rank 1. Brick 2" in said(page, "bricks")
        assert "= 9,216: 2.8 % of it, fewer. Break-even is at r = 288.0." in said(page, "factors")
        assert "quarter turns -4.00" in said(page, "hands")
        assert "once round in 1,986.9 tokens" in page.locator("#moving-hands").inner_text()
    assert outside == errors == []


def test_the_ellipse_and_the_shadow_equal_numpy(browser, url):  # noqa: F811
    rng = np.random.default_rng(0)
    corners = ("row 1, column 1", "row 1, column 2", "row 2, column 1", "row 2, column 2")
    with opened(browser) as (page, _, errors):
        page.goto(url)
        for k in [*rng.integers(-8, 9, (5, 2, 2)) / 2, np.array([[2, 1], [4, 2]]), np.zeros((2, 2))]:
            turn = 5 * int(rng.integers(19))
            put(page, "ellipse", **dict(zip(corners, k.flat, strict=True)), turn=turn)
            pattern = r"values: ([\d.]+) and ([\d.]+). Rank (\d).+K a is ([\d.]+) long, K b ([\d.]+\d)"
            cosine, sine = np.cos(np.radians(turn)), np.sin(np.radians(turn))
            images = k @ [[cosine, -sine], [sine, cosine]]
            lengths = np.linalg.norm(images, axis=0)
            wanted = [*np.linalg.svd(k)[1], np.linalg.matrix_rank(k), *lengths]
            assert found(page, "ellipse", pattern) == pytest.approx(wanted, abs=6e-4)
            if lengths.all():
                angle = np.degrees(np.arccos(np.clip(images[:, 0] @ images[:, 1] / lengths.prod(), -1, 1)))
                assert found(page, "ellipse", r"them is ([\d.]+)°") == pytest.approx([angle], abs=0.06)
        for a, b in rng.integers(-8, 9, (6, 2, 2)) / 2:
            a[0] = a[0] or 1
            put(page, "shadow", a__first=a[0], a__second=a[1], b__first=b[0], b__second=b[1])
            p = np.outer(a, a) / (a @ a)
            one = r"(-?[\d.]+)"
            pattern = rf"foot is \({one}, {one}\), {one} long.+P = \({one}, {one}; {one}, {one}\). P² = P: yes"
            foot = p @ b
            wanted = [*foot, np.linalg.norm(foot), *p.flat]
            assert found(page, "shadow", pattern) == pytest.approx(wanted, abs=6e-4)
        put(page, "shadow", a__first=0, a__second=0)
        assert "no direction" in said(page, "shadow")
    assert errors == []


def test_bricks_ranks_and_counts_equal_numpy(browser, url):  # noqa: F811
    rng = np.random.default_rng(1)
    with opened(browser) as (page, _, errors):
        page.goto(url)
        page.get_by_role("button", name="Two bricks, one direction").click()
        assert said(page, "bricks").endswith("rank 1.")
        for u, v, w, x in [*rng.integers(-10, 11, (3, 4, 3)) / 2, np.zeros((4, 3))]:
            for kind, values in {"1, column": u, "1, row": v, "2, column": w, "2, row": x}.items():
                for i, value in enumerate(values):
                    field = page.get_by_label(f"brick {kind}, number {i + 1}")
                    field.fill(str(value))
                    field.press("Tab")
            numbers = re.findall(r"-?[\d.]+(?=[,;)])", said(page, "bricks").partition("sum: ")[2])
            total = np.outer(u, v) + np.outer(w, x)
            assert [float(number) for number in numbers] == pytest.approx(list(total.flat))
            assert said(page, "bricks").endswith(f"rank {np.linalg.matrix_rank(total)}.")
        for name, (m, n) in {"q_proj": (576, 576), "k_proj": (192, 576), "gate_proj": (1536, 576)}.items():
            page.get_by_label(name).check()
            for r in (1, 144, 192):
                put(page, "factors", rank_r=r)
                held, share, even = found(page, "factors", r"= ([\d,]+): ([\d.]+) %.+at r = ([\d.]+)\.$")
                assert held == r * (m + n) and share == pytest.approx(100 * held / (m * n), abs=0.051)
                assert even == pytest.approx(linalg.break_even_rank(m, n), abs=0.051)
                assert ("not fewer" in said(page, "factors")) == (held >= m * n)
    assert errors == []


def test_the_hands_keep_their_angle_when_only_the_start_moves(browser, url):  # noqa: F811
    speeds = {"quarter turns": np.pi / 2, **{f"pair {i}": 100_000 ** (-2 * i / 64) for i in (0, 8, 16, 31)}}
    with opened(browser) as (page, _, errors):
        page.goto(url)
        for distance in (0, 1, 7):
            put(page, "hands", distance=distance)
            angles = page.locator(".moving-clocks p:last-child").all_inner_texts()
            for start in (0, 500, 1000):
                put(page, "hands", start=start)
                for name, speed in speeds.items():
                    cosine, sine = np.cos(distance * speed), np.sin(distance * speed)
                    query = np.array([[cosine, -sine], [sine, cosine]]) @ [2, 0]
                    assert found(page, "hands", rf"{name} (-?[\d.]+)[,.]") == pytest.approx([query @ [2, 1]], abs=6e-3)
                assert page.locator(".moving-clocks p:last-child").all_inner_texts() == angles
            assert "no angle has changed" in said(page, "hands")
        slider = page.get_by_label("start, where the key stands")
        slider.press("ArrowLeft")
        assert slider.get_attribute("aria-valuetext") == "999"
    assert errors == []


def test_the_pointer_drags_what_the_sliders_move(browser, url):  # noqa: F811
    with opened(browser) as (page, _, errors):
        page.goto(url)
        board = page.locator("#moving-ellipse .moving-board")
        board.scroll_into_view_if_needed()
        box = board.bounding_box()
        unit = box["width"] / 10

        def place(x: float, y: float) -> tuple[float, float]:
            return box["x"] + unit * (5 + x), box["y"] + unit * (5 - y)

        page.mouse.move(*place(2, 1.5))
        page.mouse.down()
        page.mouse.move(*place(3, 0.6), steps=5)
        page.mouse.up()
        assert page.get_by_label("row 1, column 1").input_value() == "3"
        assert page.get_by_label("row 2, column 1").input_value() == "0.5"
        assert said(page, "ellipse").startswith("K = (3, 0; 0.5, 2.5)")
    assert errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_sound_on_a_desk_a_telephone_and_paper(browser, url, scheme):  # noqa: F811
    with opened(browser, color_scheme=scheme, viewport={"width": 390, "height": 800}) as (page, outside, errors):
        page.goto(url)
        for width in (390, 1280, 390):
            page.set_viewport_size({"width": width, "height": 800})
            for name in FIGURES:
                page.locator(f"#moving-{name}").scroll_into_view_if_needed()
            page.wait_for_function(FITS)
            assert page.evaluate(SIDEWAYS) <= 0
            assert serious(page, contrast=False) == []
        page.emulate_media(media="print")
        assert not page.get_by_label("rank r").is_visible()
        assert page.locator("#moving-factors svg").is_visible()
    assert outside == errors == []


FITS = """() => [...document.querySelectorAll(".moving-board")].every((board) =>
  Math.abs(board.querySelector("svg").getBoundingClientRect().width - board.clientWidth) < 2)"""


def test_without_jsxgraph_the_page_says_so_and_counts_on(browser, bare):  # noqa: F811
    with opened(browser) as (page, outside, _):
        page.goto(bare)
        assert "built without JSXGraph" in page.get_by_role("alert").inner_text()
        put(page, "shadow", a__first=2, a__second=1)
        assert "t = 1.00. The foot is (2, 1)" in said(page, "shadow")
        assert serious(page, contrast=False) == []
    assert outside == []
