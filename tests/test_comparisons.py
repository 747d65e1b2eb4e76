"""The page "The records, compared": each row is what experiments.records says, judged with its whole experiment.

The tests in a browser are skipped where there is no Chromium, unless LORAUTILS_REQUIRE_BROWSER=1 (CI) forbids it.
"""

import re

import pytest
from chromium import browser, opened, serious  # noqa: F401  (a fixture)
from test_live import ROOT, alone
from test_site import SIDEWAYS, served

from experiments import records
from tools import comparisons

FAMILIES = {family.title: family for family in comparisons.families()}
PAGE = comparisons.page()
ROW = r'data-word="(.+?)" data-measure="(.+?)"><td>(.+?)(?:, (\d+) seeds)?</td><td>.+?</td><td>(.+?) \((.+?) to (.+?)\)'


def rows(title: str) -> dict[tuple[str, str], tuple]:
    """Word, seeds, mean, low and high of each row of a table, by what is compared and measure."""
    table = PAGE.partition(f"## {title}")[2].partition("</table>")[0].replace("−", "-")
    return {
        (pair, measure): (word, int(seeds or 5), *map(float, numbers))
        for word, measure, pair, seeds, *numbers in re.findall(ROW, table)
    }


@pytest.mark.parametrize("title", FAMILIES)
def test_each_row_says_the_paired_difference_of_its_records(title):
    family, found = FAMILIES[title], rows(title)
    assert len(found) == len(family.pairs) * len(family.measures)
    for pair, (first, second) in family.pairs.items():
        for measure in family.measures:
            _, seeds, *shown = found[pair, measure]
            assert seeds == len(first)
            exact = 0.051 if measure.startswith("Test-") else 0.0051
            alone = records.compare({pair: records.differences(first, second, measure)})[pair]
            assert shown == pytest.approx(alone[:3], abs=exact), (pair, measure)


def test_a_word_is_that_of_its_whole_experiment():
    title = "Where to put it, at equal budget?"
    first, second = FAMILIES[title].pairs["MLP minus attention"]
    alone_seen = records.compare({"alone": records.differences(first, second)})["alone"].word
    assert alone_seen == "seen" and rows(title)["MLP minus attention", "Test-A"][0] == "hint"
    words = [word for title in FAMILIES for word, *_ in rows(title).values()]
    counted = re.match(r"(\d+) comparisons in (\d+) experiments: (\d+) \*seen\*, (\d+) \*hint\*, (\d+) \*not", PAGE)
    expected = [len(words), len(FAMILIES), *map(words.count, ("seen", "hint", "not seen"))]
    assert list(map(int, counted.groups())) == expected


def test_notebook_10s_methods_are_all_there():
    pairs = FAMILIES["Is another method better than LoRA?"].pairs
    assert len(pairs) == 15 and "full fine-tuning minus LoRA" in pairs


def test_an_interval_that_leaves_the_plot_has_an_arrow():
    inside = records.Comparison(1.0, -2.0, 4.0, 0.4, "not seen", 5.0)
    assert "beyond" not in comparisons.forest(inside, 25)
    assert comparisons.forest(inside._replace(low=-30.0, high=30.0), 25).count("beyond") == 2
    far = comparisons.forest(inside._replace(mean=-77.0, low=-81.0, high=-73.0), 25)
    assert far.count("beyond") == 1 and "circle" not in far


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The address of the page alone, without a theme."""
    folder = tmp_path_factory.mktemp("site")
    text = (ROOT / "docs" / "records.md").read_text(encoding="utf-8").replace("<!-- comparisons -->", PAGE)
    alone(folder, "records", text)
    with served(folder) as address:
        yield f"{address}/docs/records.html"


def test_a_filter_hides_rows_and_changes_no_word(browser, url):  # noqa: F811
    total = sum(len(rows(title)) for title in FAMILIES)
    with opened(browser) as (page, outside, errors):
        page.goto(url)
        shown = page.locator("table.compared tbody tr:visible")
        assert shown.count() == total
        before = page.locator("table.compared .word").all_text_contents()
        page.get_by_label("not seen").press("Space")
        page.get_by_label("English").uncheck()
        left = [word for title in FAMILIES for (_, m), (word, *_) in rows(title).items() if m != "English"]
        left = [word for word in left if word != "not seen"]
        assert shown.count() == len(left) < total
        assert f"Shown: {len(left)} of {total} comparisons" in page.get_by_role("status").inner_text()
        assert page.locator("table.compared .word").all_text_contents() == before
    assert outside == errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_tables_are_sound_without_a_script_too(browser, url, scheme):  # noqa: F811
    with opened(browser, color_scheme=scheme, viewport={"width": 390, "height": 800}) as (page, _, errors):
        page.goto(url)
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate(SIDEWAYS) <= 0
            assert serious(page, contrast=False) == []
    assert errors == []
    with opened(browser, java_script_enabled=False) as (page, _, _):
        page.goto(url)
        assert page.locator("table.compared tbody tr:visible").count() == sum(len(rows(title)) for title in FAMILIES)
        assert not page.locator("#records-filter").is_visible()
