"""tools/notebooks.py: what `make notebooks` leaves in a notebook, in the record and in the README."""

import json
import os

import nbformat
import pytest
from nbformat import v4

from tools import notebooks as tool

ROW = {"title": "One", "minutes": 1.26, "peak_gib": 0.51, "machine": {}}
OLD = "| [Old](notebooks/00_old.ipynb) | what it teaches | 9 min | 9 GiB |"  # what it teaches is written by hand
README = f"# Course\n\n{tool.BEGIN}\n{OLD}\n{tool.END}\n\nThe end.\n"
# A child process of the kernel holds 256 MiB for a second.
CHILD = """import subprocess, sys
code = "import time; x = b'1' * 2**28; time.sleep(1)"
_ = subprocess.run([sys.executable, "-c", code])"""


@pytest.fixture
def course(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "README.md").write_text(README)
    monkeypatch.setattr(tool, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(tool, "RECORD", tmp_path / "notebooks.json")
    monkeypatch.setattr(tool, "README", tmp_path / "README.md")
    monkeypatch.setattr(tool.generated, "PAGES", [tmp_path / "page.md"])
    (tmp_path / "page.md").write_text("no places\n")
    return tmp_path


def write(folder, name, *sources):
    cells = [v4.new_markdown_cell(f"# About {name}", id="title")]
    cells += [v4.new_code_cell(source, id=f"cell-{i}", execution_count=9) for i, source in enumerate(sources)]
    path = folder / "notebooks" / f"{name}.ipynb"
    nb = v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "gone", "display_name": "My kernel"}})
    nbformat.write(nb, path)
    return path


def test_a_notebook_is_executed_cleaned_and_measured(course):
    slider = "import ipywidgets\nipywidgets.IntSlider(3)"
    path = write(course, "01_good", "print('a')\nprint('b')", slider, "import os\nprint(os.getcwd())", CHILD)
    first = tool.execute(path)
    stored = path.read_bytes()
    nb = nbformat.read(path, as_version=4)
    assert [cell.id for cell in nb.cells] == ["title", "cell-0", "cell-1", "cell-2", "cell-3"]
    assert [cell.execution_count for cell in nb.cells[1:]] == [1, 2, 3, 4]
    assert [output.text for output in nb.cells[1].outputs] == ["a\nb\n"]
    assert list(nb.cells[2].outputs[0].data) == ["text/plain"]
    assert nb.cells[3].outputs[0].text.strip() == str(path.parent)
    assert nb.metadata == tool.NOTEBOOK_METADATA
    assert not any(cell.metadata for cell in nb.cells)
    assert first["title"] == "About 01_good"
    assert 0.25 < first["peak_gib"] < 2
    assert 0 < first["minutes"] < 1
    tool.execute(path)
    assert path.read_bytes() == stored  # a second run leaves no diff


def test_cleaning_keeps_what_authors_write_and_drops_the_rest():
    everything = {
        "tags": ["a"],
        "tolerance": {"absolute": 4, "of": 40},
        "predict": {"question": "Why?"},
        "execution": {"busy": "2026"},
    }
    cells = [v4.new_code_cell("1"), v4.new_markdown_cell("Why?"), v4.new_raw_cell("raw")]
    for cell in cells:
        cell.metadata = nbformat.from_dict(everything)
    kept = [set(cell.metadata) for cell in tool.clean(v4.new_notebook(cells=cells)).cells]
    assert kept == [{"tags", "tolerance"}, {"tags", "predict"}, {"tags"}]
    assert cells[0].metadata.tolerance == everything["tolerance"]
    assert cells[1].metadata.predict == everything["predict"]


@pytest.mark.parametrize(("source", "told"), [("1 / 0", "ZeroDivisionError"), ("import os\nos._exit(3)", "died")])
def test_a_failing_notebook_stays_as_it_was(course, capfd, source, told):
    path = write(course, "02_bad", "x = 1", source, "x = 2")
    stored = path.read_bytes()
    assert tool.main(["02_bad"]) == 1
    assert path.read_bytes() == stored
    error = capfd.readouterr().err
    assert "02_bad FAILED" in error
    assert told in error
    assert source != "1 / 0" or "cell 'cell-1'" in error


def test_a_file_that_is_no_notebook_loses_no_minutes_of_the_others(course, capfd):
    write(course, "01_good", "x = 1")
    (course / "notebooks" / "02_conflict.ipynb").write_text("<<<<<<< HEAD\n")
    assert tool.main(["01_good", "02_conflict"]) == 1
    assert "02_conflict FAILED, its file is unchanged; it is no notebook" in capfd.readouterr().err
    assert "01_good" in json.loads(tool.RECORD.read_text())


def test_a_cell_that_hangs_is_reported(course, monkeypatch):
    monkeypatch.setattr(tool, "CELL_TIMEOUT", 2)
    assert "cell 'cell-0'" in tool.execute(write(course, "03_hangs", "import time\ntime.sleep(60)"))


def table_in(readme):
    return [line for line in readme.splitlines() if "](notebooks/" in line]


def test_rows_of_other_notebooks_stay_and_rows_of_lost_ones_go(course):
    write(course, "00_old")
    write(course, "01_new")
    tool.RECORD.write_text(json.dumps({"00_old": ROW, "09_lost": ROW}))
    tool.record({"01_new": ROW | {"title": "Two: a subtitle", "minutes": 2.0}})
    assert list(json.loads(tool.RECORD.read_text())) == ["00_old", "01_new"]
    assert table_in(tool.README.read_text()) == [
        "| [One](notebooks/00_old.ipynb) | what it teaches | 1.3\u00a0min | 0.5\u00a0GiB |",
        "| [Two](notebooks/01_new.ipynb) |  | 2.0\u00a0min | 0.5\u00a0GiB |",
    ]
    assert tool.README.read_text().startswith("# Course\n") and tool.README.read_text().endswith("\nThe end.\n")


def test_a_readme_without_a_place_for_the_table():
    with pytest.raises(ValueError, match="add the lines"):
        tool.with_table("# Course\n", {})


def test_an_unknown_name(course, capsys):
    write(course, "00_old")
    assert tool.main(["00_odl"]) == 2
    assert "00_odl" in capsys.readouterr().err


def test_idle_threads_sleep_in_the_kernels(course, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY")
    path = write(course, "04_policy", "import os\nprint(os.environ['OMP_WAIT_POLICY'])")
    assert tool.main(["04_policy"]) == 0
    assert nbformat.read(path, as_version=4).cells[1].outputs[0].text == "PASSIVE\n"
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
