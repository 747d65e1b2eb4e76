"""The page "An adapter, live": what it knows without a model, what it says when a part is missing, the model itself.

Skipped where there is no Chromium or no npm, unless LORAUTILS_REQUIRE_BROWSER=1 (CI) makes the first a failure.
"""

import base64
import hashlib
import json
import re
import shutil
import tarfile
from datetime import datetime
from pathlib import Path
from random import Random
from statistics import median

import psutil
import pytest
from chromium import browser, opened, serious  # noqa: F401  (a fixture)
from croniter import croniter
from test_site import CUT, SIDEWAYS, served

from lorautils.tasks import cron
from tools import live

ROOT = Path(__file__).parent.parent
PHRASE = "every weekday at half past nine in the morning"


# What is built -------------------------------------------------------------------------------------------------------


def test_without_npm_the_parts_say_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert live.build(tmp_path / "live") == "npm was not found"
    assert json.loads((tmp_path / "live" / "manifest.json").read_text()) == {"missing": "npm was not found"}


def test_a_package_with_other_bytes_is_refused_and_its_files_get_their_names(tmp_path, monkeypatch):
    (tmp_path / "a.js").write_text("1")
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        archive.add(tmp_path / "a.js", "package/a.js")
    digest = base64.b64encode(hashlib.sha512((tmp_path / "a.tgz").read_bytes()).digest()).decode()
    npm = tmp_path / "npm"
    npm.write_text(f"#!/bin/sh\n{shutil.which('cp')} {tmp_path}/a.tgz .\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    live.fetch(live.Package("a@1", f"sha512-{digest}", {"a.js": "b.js"}), tmp_path)
    assert (tmp_path / "b.js").read_text() == "1"
    with pytest.raises(OSError, match="other bytes for a@1"):
        live.fetch(live.Package("a@1", f"sha512-{digest[::-1]}", {"a.js": "c.js"}), tmp_path)
    assert not (tmp_path / "c.js").exists()


def test_every_recorded_setting_and_every_guess_of_the_page_is_there():
    page = (ROOT / "docs" / "live.md").read_text()
    phrases = list(live.recorded()[0]["answers"])
    guesses = [json.loads(found) for found in re.findall(r"data-set='(.+?)'", page)]
    assert len(re.findall("<li>", page)) == 6 and len(guesses) == 7
    for guess in guesses:
        changes = {name: value for name, value in guess.items() if name != "phrase"}
        (row,) = (r for r in live.recorded() if all(r[n] == (live.TRAINED | changes)[n] for n in live.TRAINED))
        assert row["answers"][phrases[guess["phrase"]]]["text"]
    filled = live.filled(page)
    assert "<!-- right" not in filled and len(re.findall(r"\d of 50", filled)) >= 9
    with pytest.raises(ValueError):
        live.filled("<!-- right rank=3 -->")


def test_the_recorded_runs_beside_a_cut_are_those_of_notebook_09():
    trained = live.trained()
    assert trained["rank 1"]["percent"] > 80, "training at rank 1 works; the page says so beside the cut"
    assert trained["attention"]["r"] == 16 and trained["mlp"]["r"] == 10


# The page without its model ------------------------------------------------------------------------------------------

STUB = {"missing": "npm was not found"}


def alone(folder: Path, name: str, text: str) -> Path:
    """Write docs/NAME.html, a page of the site without a theme, from Markdown; return where its parts should lie."""
    shutil.copytree(ROOT / "docs" / "_static", folder / "_static")
    body = "".join(re.findall(r"```{raw} html\n(.+?)```", text, re.DOTALL))
    course = '<link rel="stylesheet" href="../_static/course.css"><script src="../_static/course.js" defer></script>'
    head = f'<head>\n<meta charset="utf-8"><title>{name}</title>{course}</head>'
    (folder / "docs").mkdir()
    page = folder / "docs" / f"{name}.html"
    page.write_text(f'<!doctype html><html lang="en">{head}<body><main><h1>{name}</h1>{body}</main></body></html>')
    live.seal(page)
    (folder / "live").mkdir()
    return folder / "live"


@pytest.fixture(scope="module")
def page_alone(tmp_path_factory):
    """The parts and the address of a site of the page alone; parts of the model are missing."""
    folder = tmp_path_factory.mktemp("site")
    parts = alone(folder, "live", live.filled((ROOT / "docs/live.md").read_text()))
    with served(folder) as address:
        yield parts, f"{address}/docs/live.html"


def tell(folder: Path, manifest: dict) -> None:
    (folder / "manifest.json").write_text(json.dumps(manifest))


def adapted(page) -> str:
    return page.locator("#live-adapted").inner_text()


def test_recorded_answers_follow_the_controls_by_keyboard(browser, page_alone):  # noqa: F811
    folder, url = page_alone
    tell(folder, STUB)
    rows = {row["rank"]: row for row in live.recorded() if row["strength"] == 1 and row["attention"] and row["mlp"]}
    with opened(browser) as (page, outside, errors):
        page.goto(url)
        fault = page.get_by_role("alert")
        fault.wait_for()
        assert "built without the model: npm was not found" in fault.inner_text()
        assert not page.locator("#live-load").is_visible()
        assert page.get_by_label("A schedule, in English").input_value() == PHRASE
        assert rows[8]["answers"][PHRASE]["text"] in adapted(page)
        page.get_by_label("8, whole").focus()
        for rank in (4, 2, 1):
            page.keyboard.press("ArrowDown")
            assert rows[rank]["answers"][PHRASE]["text"] in adapted(page)
            assert f"{rows[rank]['right']} of 50" in page.locator("#live-beside").inner_text()
            assert f"with {rank} of 8 components" in page.locator("#live-drawn").inner_text()
            assert page.locator("#live-drawing .a.on").count() == rank
        assert "Trained at rank 1" in page.locator("#live-beside").inner_text()
        page.get_by_label("attention (q, k, v, o)").press("Space")
        assert "Not recorded. Load the model" in adapted(page)
        page.get_by_role("button", name="As it was trained").press("Enter")
        slider = page.get_by_label("Strength")
        slider.focus()
        for _ in range(4):
            page.keyboard.press("ArrowLeft")
        base = page.locator("#live-base pre").inner_text()
        assert page.locator("#live-adapted pre").inner_text() == base != ""
        assert base[:20] in page.locator("#live-said").inner_text()
        assert page.locator("#live-drawing .a.on").count() == 0
    assert outside == errors == []


def test_a_guess_sets_the_page_up(browser, page_alone):  # noqa: F811
    folder, url = page_alone
    tell(folder, STUB)
    with opened(browser) as (page, _, errors):
        page.goto(url)
        page.get_by_role("button", name="Set it up: without MLP").click()
        assert not page.get_by_label("MLP (gate, up, down)").is_checked()
        assert "Trained in attention alone" in page.locator("#live-beside").inner_text()
        text = next(r for r in live.recorded() if not r["mlp"])["answers"]
        assert page.locator("#live-adapted pre").inner_text() == list(text.values())[1]["text"]
    assert errors == []


PARTS = {"base": ["base-1"], "bands": ["attention-1-1.gguf"]}
NO_WEBASSEMBLY = "delete globalThis.WebAssembly"
SMALL = {name: {"bytes": 3_000_000, "sha256": "0" * 64} for name in ("base-1", "attention-1-1.gguf", "wllama.wasm")}


@pytest.mark.parametrize(
    ("content", "script", "says"),
    [
        (None, "", "base-1 did not come (answer 404)"),
        ("abc", "", "base-1 has other bytes"),
        ("\0" * 3_000_000, "", "base-1 has other bytes"),
        ("abc", NO_WEBASSEMBLY, "has no WebAssembly"),
        ("\0" * 3_000_000, "crypto.subtle.digest = () => { throw new RangeError('allocation failed'); }", "memory"),
    ],
    ids=["missing", "short", "damaged", "no WebAssembly", "no memory"],
)
def test_what_fails_is_told_and_can_be_started_again(browser, page_alone, content, script, says):  # noqa: F811
    folder, url = page_alone
    tell(folder, PARTS | {"files": SMALL})
    for name in ("croner.js", "cronstrue.js"):
        (folder / name).write_text("export const Cron = null;")
    (folder / "base-1").unlink(missing_ok=True)
    if content:
        (folder / "base-1").write_text(content)
    with opened(browser) as (page, outside, _):
        page.add_init_script(script)
        page.goto(url)
        if script != NO_WEBASSEMBLY:  # that is told at once
            page.get_by_role("button", name="Load the model (").click()
        fault = page.get_by_role("alert")
        fault.wait_for()
        assert says in fault.inner_text()
        assert page.get_by_role("button", name="Start again").is_visible() == (script != NO_WEBASSEMBLY)
        assert "30 9 * * 1-5" in adapted(page), "the recorded answers stay"
    assert outside == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_sound_on_a_desk_and_on_a_telephone(browser, page_alone, scheme):  # noqa: F811
    folder, url = page_alone
    tell(folder, STUB)
    with opened(browser, color_scheme=scheme, viewport={"width": 390, "height": 800}) as (page, _, _):
        page.goto(url)
        page.get_by_role("alert").wait_for()
        page.get_by_label("Strength").fill("0.75")  # the longest factor in the drawing
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate(SIDEWAYS) <= 0
            assert page.evaluate(CUT) == []
            assert page.evaluate(LABELS) == []
            assert serious(page, contrast=False) == []


LABELS = """() => {
  const [draw, ...labels] = document.querySelectorAll("#live-drawing, #live-drawing text");
  const { left, right } = draw.getBoundingClientRect();
  return labels.filter((label) => {
    const box = label.getBoundingClientRect();
    return box.left < left || box.right > right || box.height < 13;
  }).map((label) => label.textContent);
}"""  # what leaves the drawing, or is smaller than about 11 pixels


# The page with a model that only pretends ---------------------------------------------------------------------------

PRETENDED = """export class Wllama {
  constructor() { globalThis.asked = []; }
  setCompat() {}
  async loadModel(blobs, options) { globalThis.loaded = [blobs.map((blob) => blob.size), options.lora_adapters]; }
  async createCompletion({ prompt, lora, logprobs, onData, cache_prompt }) {
    asked.push({ prompt, scales: lora.map(({ scale }) => scale), cache_prompt });
    if (prompt.includes("half a character") && logprobs) throw new Error("invalid UTF-8");
    if (prompt.includes("too much")) throw new WebAssembly.RuntimeError("memory access out of bounds");
    for (const token of ["0", " 9", " *", " *", " *", ""]) {
      const other = { token: "7", logprob: -3 };
      const content = [{ token, logprob: Math.log(0.9), top_logprobs: [{ token, logprob: Math.log(0.9) }, other] }];
      onData({ choices: [{ text: token, logprobs: logprobs ? { content } : null }] });
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
  async exit() { globalThis.ended = true; }
}"""
BANDS = [f"{group}-{cut}.gguf" for group in ("attention", "mlp") for cut in ("1-1", "2-2", "3-4", "5-8")]


@pytest.fixture
def pretended(page_alone):
    """The address of the page, with a pretended model that is whole to its last hash."""
    folder, url = page_alone
    names = ["base-1", "base-2", *BANDS, "wllama.wasm"]
    for name in names:
        (folder / name).write_text(name)
    facts = {n: {"bytes": len(n), "sha256": hashlib.sha256(n.encode()).hexdigest()} for n in names}
    tell(folder, {"base": names[:2], "bands": BANDS, "files": facts})
    (folder / "wllama.js").write_text(PRETENDED)
    (folder / "croner.js").write_text("export class Cron { nextRuns() { return []; } }")
    (folder / "cronstrue.js").write_text("globalThis.cronstrue = { toString: () => 'Sometimes' };")
    return url


def test_each_choice_becomes_scales_of_bands_and_nothing_is_loaded_twice(browser, pretended):  # noqa: F811
    with opened(browser) as (page, outside, errors):
        fetched = []
        page.on("request", lambda request: fetched.append(request.url.rpartition("/")[2].partition("?")[0]))
        for visit in range(2):
            page.goto(pretended)
            page.get_by_role("button", name="Load the model (").click()
            page.get_by_text("Change anything.").wait_for()
            assert fetched.count("base-1") == fetched.count(BANDS[0]) == 1, visit
        sizes, adapters = page.evaluate("loaded")
        assert sizes == [12, *map(len, BANDS)]
        assert adapters[7] == {"path": "models/model-00009-of-00009.gguf", "scale": 0}
        page.get_by_label("2", exact=True).check()
        page.get_by_label("attention (q, k, v, o)").uncheck()
        page.locator("#live-adapted").get_by_text("Computed here, just now.").wait_for()
        scales = [one["scales"] for one in page.evaluate("asked")]
        assert scales[:2] == [[1] * 8, [0] * 8] and scales[-1] == [0, 0, 0, 0, 1, 1, 0, 0]
        assert not any(one["cache_prompt"] for one in page.evaluate("asked"))
        page.get_by_text("How sure: 0.53, which is low").first.wait_for()
        assert "0 9 * * *" in page.locator("#live-said").inner_text()
        page.locator("#live-tokens button").first.focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.locator("#live-bars caption").inner_text() == "Place 2 of 6"
        assert page.locator("#live-tokens button[aria-pressed=true]").get_attribute("aria-label") == "token 2: 9"
        assert serious(page, contrast=False) == []
        page.get_by_role("button", name="Take it out of memory").click()
        page.get_by_text("The model is out of memory.").wait_for()
        assert page.evaluate("ended")
    assert outside == errors == []


def test_half_a_character_and_a_full_memory(browser, pretended):  # noqa: F811
    with opened(browser) as (page, _, _):
        page.goto(pretended)
        page.get_by_role("button", name="Load the model (").click()
        page.get_by_text("Change anything.").wait_for()
        phrase = page.get_by_label("A schedule, in English")
        phrase.fill("half a character")
        phrase.press("Enter")
        page.get_by_text("How sure it was is not known").first.wait_for()
        assert "0 9 * * *" in adapted(page)
        phrase.fill("too much")
        phrase.press("Enter")
        page.get_by_role("alert").wait_for()
        assert "memory of this tab ran out" in page.get_by_role("alert").inner_text()
        page.get_by_role("button", name="at 6 in the evening").click()
        assert "0 18 1 * *" in adapted(page), "the recorded answers stay"
        page.get_by_role("button", name="Start again").click()
        page.get_by_text("Change anything.").wait_for()
        assert "0 9 * * *" in adapted(page)
        assert not page.get_by_role("alert").is_visible()


# With the parts that npm and the model give --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole_page(page_alone):
    """The address of the page with all its parts, built once for all runs of the tests."""
    if shutil.which("npm") is None:
        pytest.skip("no npm on this machine")
    folder, url = page_alone
    if missing := live.build(live.PARTS):
        pytest.skip(missing)
    shutil.rmtree(folder)
    folder.symlink_to(live.PARTS)
    yield url
    folder.unlink()
    folder.mkdir()


def plain(said: str) -> str:
    """A description without what the two libraries say differently of whole hours: cron-descriptor ends them at :59."""
    said = re.sub(r"^(at 0 minutes past the hour|every hour), ", "", said.lower())
    return re.sub(r"\b(and|through) (\d\d):59", r"\1 \2:00", said).removeprefix("at ")


READ = """async (expressions) => {
  const { reader } = await import("../_static/live/cron.js");
  const read = await reader(), after = new Date(Date.UTC(2026, 1, 3, 4, 5));
  return expressions.map(read).map((found) => found &&
    [found.meaning, ...found.next(3, after).map((date) => date.toISOString().slice(0, 16))]);
}"""


def test_the_reader_of_the_page_agrees_on_200_expressions(browser, whole_page):  # noqa: F811
    """With croniter on the times; with cron-descriptor on the words, but for windows of whole hours."""
    rng, start = Random(5), datetime(2026, 2, 3, 4, 5)
    drawn = sorted({cron.random_schedule(rng)[0] for _ in range(400)})
    expressions = rng.sample(drawn, 200)
    wrong = ["none", "* * * *", "60 * * * *", "0 0 L * *", "0 0 * * MON#2", "@daily", "* * * * * *", "0 9 ? * *"]
    with opened(browser, timezone_id="UTC") as (page, outside, errors):
        page.goto(whole_page)
        found = page.evaluate(READ, expressions + wrong)
    assert found[200:] == [None] * len(wrong)
    for expression, (meaning, *times) in zip(expressions, found, strict=False):
        coming = croniter(expression, start)
        assert times == [coming.get_next(datetime).isoformat()[:16] for _ in range(3)], expression
        assert plain(meaning) == plain(cron.describe(expression)), expression
    assert outside == errors == []


HALF = "15 minutes before midnight, every single day, cash up the till"  # at 1.5 an alternative is half a character
ASK = """async (questions) => {
  const { load, scales } = await import("../_static/live/model.js");
  const model = await load(() => {});
  const said = [];
  for (const [phrase, setting] of questions) said.push(await model.ask(phrase, setting));
  await model.end();
  return said.map(({ text, probability, tokens }) => [text, probability, tokens.map((one) => one.top_logprobs.length)]);
}"""


@pytest.mark.long("90 s; the model is loaded twice in a browser and answers fifteen times")
def test_the_model_answers_as_peft_does_there_and_back(browser, whole_page):  # noqa: F811
    """Five phrases as trained and cut to rank 4, which PEFT answered in the same way; off, and back again."""
    five = list(live.recorded()[0]["answers"])[:5]
    questions = [(phrase, live.TRAINED | change) for change in ({}, {"rank": 4}) for phrase in five]
    questions += [(PHRASE, live.TRAINED | {"strength": 0}), (PHRASE, live.TRAINED)]
    asked = [*questions, (HALF, live.TRAINED | {"strength": 1.5})]
    with opened(browser) as (page, outside, errors):
        page.goto(whole_page)
        page.set_default_timeout(400_000)
        *found, half = page.evaluate(ASK, asked)
        for (phrase, setting), (text, probability, alternatives) in zip(questions, found, strict=True):
            (row,) = (r for r in live.recorded() if all(r[name] == setting[name] for name in setting))
            peft = row["answers"][phrase]
            assert text == peft["text"], (phrase, setting)
            assert probability == pytest.approx(peft["probability"], abs=0.05), (phrase, setting)
            assert set(alternatives) == {5}
        assert found[-1] == found[five.index(PHRASE)], "back at 1, the answer is the same"
        assert half[0], "it answers, with its alternatives or without"
        page.get_by_role("button", name="Load the model (").click()
        page.get_by_text("Computed here, just now.").first.wait_for()
        assert "At 09:30 AM, Monday through Friday" in adapted(page)
        page.locator("#live-tokens button").nth(1).click()
        assert page.locator("#live-bars tbody tr").count() == 5
        page.get_by_text("The model is loaded. Change anything.").wait_for()
        assert serious(page, contrast=False) == []
    assert outside == errors == []


TIMED = """async (phrases) => {
  const { load } = await import("../_static/live/model.js");
  const start = performance.now(), model = await load(() => {});
  const seconds = { loading: (performance.now() - start) / 1000, answers: [], tokens: [] };
  for (const phrase of phrases) {
    const asked = performance.now(), said = await model.ask(phrase, SETTING);
    seconds.answers.push((performance.now() - asked) / 1000);
    seconds.tokens.push(said.tokens.length);
  }
  window.model = model; // it stays in memory while the tab is measured
  return seconds;
}"""


def tab_megabytes() -> int:
    """The largest of this process's renderers, in MB: what is its own, and its share of what several use."""
    below = psutil.Process().children(recursive=True)
    return max(p.memory_full_info().pss for p in below if "--type=renderer" in p.cmdline()) // 10**6


@pytest.mark.long("60 s on idle cores; the model is loaded three times in a browser")
def test_the_tab_stays_below_400_megabytes_and_says_its_seconds(browser, whole_page):  # noqa: F811
    """Loaded anew, then twice from the browser's store; run with `-s`, on idle cores, for what docs/live.md tells."""
    five = list(live.recorded()[0]["answers"])[:5]
    script = TIMED.replace("SETTING", json.dumps(live.TRAINED))
    with opened(browser) as (page, _, errors):
        page.set_default_timeout(400_000)
        for _ in range(3):
            page.goto(whole_page)
            seconds = page.evaluate(script, five)
            each = [answer / tokens for answer, tokens in zip(seconds["answers"], seconds["tokens"], strict=True)]
            loaded = tab_megabytes()
            page.request_gc()  # the parts as they came, which the browser throws away within seconds
            page.wait_for_timeout(1000)
            megabytes = tab_megabytes()
            print(f"loading {seconds['loading']:.1f} s, an answer {median(seconds['answers']):.1f} s,", end=" ")
            print(f"a token of it {median(each):.2f} s, {seconds['tokens']} tokens, the tab {loaded}, {megabytes} MB")
            assert megabytes < 400
    assert errors == []
