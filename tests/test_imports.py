"""Imports point one way: leaves, then what stands on them, then the wings; and the light modules stay light."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "lorautils"
LEAVES = {"linalg", "llama", "lora", "measure", "audit", "data", "plots", "results"}
MIDDLE = {"basemodel", "training"}
CORE = LEAVES | MIDDLE | {"evaluation"}
WINGS = {"tasks", "texts", "figures", "formats", "scaling", "exercises", "export", "cli"}
MAY_IMPORT = {  # the names in __init__ are the package's own, and may be imported by all
    **{leaf: set() for leaf in LEAVES},
    **{module: LEAVES for module in MIDDLE},
    "evaluation": LEAVES | MIDDLE,
    **{wing: CORE | {"tasks", "figures"} for wing in WINGS},
    "exercises": CORE | {"tasks"},
    "cli": CORE | WINGS,
    "__init__": {"figures"},
    "__main__": {"cli"},
}
HEAVY = ("torch", "transformers", "peft", "croniter", "matplotlib", "lorautils.scaling")


def room(path: Path) -> str:
    """The module of the core, or the wing, that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(source: str) -> set[str]:
    """The modules of the core and the wings that a source imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("lorautils.")}
    return found & (CORE | WINGS)


def test_the_rooms_are_those_of_the_plan():
    assert {room(path) for path in PACKAGE.rglob("*.py")} == CORE | WINGS | {"__init__", "__main__"}


def named_in_contributing() -> set[str]:
    """The modules of the core, and the wings, that the map in CONTRIBUTING.md names."""
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = text.partition("    lorautils/ ")[2].partition("\n    my/")[0]
    return set(re.findall(r"^ {6}(\w+)(?:\.py|/) ", block, re.MULTILINE))


def test_contributing_names_every_room():
    assert named_in_contributing() == CORE | WINGS | {"__init__", "__main__"}


def test_where_do_i_leads_to_files_that_exist():
    table = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Where do I")[2]
    rows = re.findall(r"^\| ([^|]+) \| (.+) \|$", table.partition("\n## ")[0], re.MULTILINE)[1:]
    paths = [
        path for _, where in rows for path in re.findall(r"`((?:lorautils|tests|experiments|tools)/[\w/.]*)`", where)
    ]
    assert len(rows) >= 12 and len(paths) >= len(rows) - 1
    assert not [path for path in paths if not (PACKAGE.parent / path).exists()]


def test_imports_point_one_way():
    for path in PACKAGE.rglob("*.py"):
        more = imported(path.read_text(encoding="utf-8")) - MAY_IMPORT[room(path)] - ({room(path)} & WINGS)
        assert not more, f"{path.relative_to(PACKAGE)} imports {sorted(more)}"


def test_the_package_itself_imports_figures_only_when_a_notebook_is_set_up():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    at_the_top = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not any("lorautils" in line for line in at_the_top)


def test_the_reader_of_imports_sees_every_way_to_write_one():
    assert imported("import lorautils.scaling.fused\nfrom lorautils import tasks, setup") == {"scaling", "tasks"}
    assert imported("def f():\n    from lorautils.training import train\n    import torch") == {"training"}
    assert imported("from lorautils.tasks import cron") == {"tasks"}


@pytest.mark.parametrize(
    ("modules", "brings"),
    [
        ("lorautils, lorautils.cli, lorautils.data, lorautils.results, lorautils.texts", set()),
        ("lorautils.formats.rows, lorautils.tasks.orders, lorautils.basemodel", set()),
        ("lorautils.tasks.cron", {"croniter"}),
        ("lorautils.training, lorautils.evaluation", {"torch", "transformers", "peft"}),
    ],
)
def test_modules_bring_no_more_than_they_need(modules, brings):
    code = f"import sys, {modules}; print(*[name for name in {HEAVY} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(found.split()) <= brings
