"""docs/teaching.md and docs/shapes.md: the minutes of a route add up, the shapes are the model's."""

import re

import pytest

from lorautils import ROOT, basemodel

PAGE = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
SHAPES = (ROOT / "docs" / "shapes.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text below a heading."""
    return PAGE.partition(f"## {title}")[2].partition("\n## ")[0]


@pytest.mark.parametrize("route", ["A workshop of half a day", "A day"])
def test_a_route_adds_up(route):
    for kind in ("minutes", "exercise_minutes"):
        *rows, together = (parts.split() for parts in re.findall(rf"<!-- {kind} (.+?) -->", section(route)))
        assert [part for row in rows for part in row] == together


def test_the_sheet_of_shapes_is_that_of_the_model():
    config = basemodel.load_config()
    hidden, width = config.hidden_size, config.intermediate_size
    narrow = config.num_key_value_heads * config.head_dim
    shapes = {
        **dict.fromkeys(("q_proj", "o_proj"), (hidden, hidden)),
        **dict.fromkeys(("k_proj", "v_proj"), (narrow, hidden)),
        **dict.fromkeys(("gate_proj", "up_proj"), (width, hidden)),
        "down_proj": (hidden, width),
    }
    r, layers = 8, config.num_hidden_layers
    table = SHAPES.partition("in each of")[2].partition("\n\n")[0]
    for name, (out, inputs) in shapes.items():
        (row,) = re.findall(rf"^\|.*`{name}`.*?\| (.+) \|$", table, re.MULTILINE)
        assert row == f"({out}, {inputs}) | ({r}, {inputs}) | ({out}, {r}) | {r * (out + inputs):,}", name
    (whole,) = re.findall(r"^\| all seven, .+$", SHAPES, re.MULTILINE)
    assert f"{layers} layers" in whole
    assert f"{layers * sum(out * inputs for out, inputs in shapes.values()):,} numbers" in whole
    assert f"{layers * sum(r * (out + inputs) for out, inputs in shapes.values()):,} |" in whole
