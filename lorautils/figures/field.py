"""A field to type in, below a cell: what stands in it is handed to a function, and what that prints appears below.

It needs a running kernel. Where there is none, as on a page, a line of text says so.
"""

from collections.abc import Callable

import ipywidgets


class _Field(ipywidgets.VBox):
    """A field with its output; as text it says what it is, whatever stands in it."""

    def __repr__(self) -> str:
        return "(a field to type in, where this notebook runs)"


def field(label: str, answer: Callable[[str], None]) -> ipywidgets.VBox:
    """Return a text field with a label; Enter calls `answer` with what stands in it and shows what that prints."""
    text = ipywidgets.Text(description=label, continuous_update=False, style={"description_width": "initial"})
    text.layout.width = "100%"
    printed = ipywidgets.Output()

    def typed(change: dict) -> None:
        printed.clear_output(wait=True)
        with printed:
            if phrase := change["new"].strip():
                print(phrase)
                answer(phrase)

    text.observe(typed, names="value")
    return _Field([text, printed])
