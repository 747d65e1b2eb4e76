"""The map of LoraConfig knows every field, and the page and the notebook show it as it is."""

import nbformat
import pytest

from tools import config_map


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(config_map.NOTEBOOK, as_version=4)


def test_a_new_field_is_found():
    with pytest.raises(ValueError, match=r"use_magic: in LoraConfig and in no group"):
        config_map.grouped([*config_map.field_names(), "use_magic"])


def test_a_field_that_has_gone_is_found():
    with pytest.raises(ValueError, match=r"lora_alpha: in GROUPS and no longer in LoraConfig"):
        config_map.grouped([name for name in config_map.field_names() if name != "lora_alpha"])


def test_the_page_is_up_to_date():
    assert config_map.PAGE.read_text(encoding="utf-8") == config_map.page(), "run python -m tools.config_map"


def test_the_notebook_shows_the_map(notebook):
    assert config_map.map_cell(notebook).source.endswith(config_map.short_map()), "run python -m tools.config_map"


def test_writing_again_changes_nothing(tmp_path, monkeypatch, notebook):
    for name in ("PAGE", "NOTEBOOK"):
        copy = tmp_path / getattr(config_map, name).name
        copy.write_bytes(getattr(config_map, name).read_bytes())
        monkeypatch.setattr(config_map, name, copy)
    config_map.PAGE.write_text("old")
    config_map.main()
    assert config_map.PAGE.read_text(encoding="utf-8") == config_map.page()
    assert nbformat.read(config_map.NOTEBOOK, as_version=4) == notebook
