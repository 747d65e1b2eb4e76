"""A slider over a picture that needs no kernel: the output of its cell holds all frames, drawn beforehand.

So it follows the hand, in JupyterLab and on a page. Where no script may run, as in a notebook that was not run yet, the
picture of its start stands still.
"""

import html
import io
import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from itertools import product

import matplotlib.pyplot as plt
from IPython.core.pylabtools import print_figure
from IPython.display import display
from matplotlib.figure import Figure

from lorautils.figures.words import alt_text

DPI = 100  # a figure of 6 inches is shown 600 pixels wide, where there is room

# No wider than it was drawn, and low enough that the sliders stay in sight.
BOX = (
    '<div class="frames"><img src="{src}" alt="{alt}" style="width: auto; height: auto; '
    'max-width: min(100%, {width:.0f}px); max-height: 60vh"><script>({script})({frames}, {options})</script></div>'
)
SCRIPT = """(frames, options) => {
  const box = document.currentScript.parentNode, picture = box.querySelector("img"), inputs = [];
  const show = () => {
    let frame = 0;
    inputs.forEach((input, i) => {
      const value = options[i].values[input.value];
      frame = frame * options[i].values.length + input.valueAsNumber;
      input.setAttribute("aria-valuetext", value);
      input.nextSibling.textContent = value;
    });
    [picture.src, picture.alt] = frames[frame];
  };
  const bar = document.createElement("div");
  bar.onkeydown = (event) => {  // JupyterLab would take these keys for its own
    if (/^(Arrow|Page|Home|End)/.test(event.key)) event.stopPropagation();
  };
  bar.style.cssText = "display: flex; flex-wrap: wrap; gap: 0 2em";
  for (const { name, values, start } of options) {
    const label = document.createElement("label"), input = document.createElement("input");
    const shown = document.createElement("span");
    label.style.cssText = "display: flex; align-items: center; gap: 0.6em; max-width: 100%";
    Object.assign(input, { type: "range", min: 0, max: values.length - 1, value: start, oninput: show });
    input.style.cssText = "width: 16em; height: 2em; min-width: 0";
    input.setAttribute("aria-label", name);
    shown.style.minWidth = Math.max(...values.map((value) => value.length)) + "ch";
    label.append(name, input, shown);
    bar.append(label);
    inputs.push(input);
  }
  box.prepend(bar);
  show();
}"""


def slider(draw: Callable[..., Figure], options: Mapping[str, Sequence], **start) -> None:
    """Show a slider for each name in `options`, over the figure of `draw(choice, ...)`.

    `start` says by name where each stands at first. Every combination of choices is drawn and stored: keep them few.
    """
    frames = [_frame(draw(*choices)) for choices in product(*options.values())]
    first = draw(*(start[name] for name in options))
    told = [
        {"name": name, "values": [_said(c) for c in choices], "start": list(choices).index(start[name])}
        for name, choices in options.items()
    ]
    data = {
        "text/html": _page(frames, told, width=DPI * first.get_figwidth()),
        "text/plain": "\n".join(f"{o['name']}: a slider from {o['values'][0]} to {o['values'][-1]}" for o in told),
        "image/png": b64encode(print_figure(first)).decode(),
    }
    plt.close(first)
    display(data, raw=True, metadata={"image/png": {"alt": alt_text(first)}})


def _frame(figure: Figure) -> tuple[str, str]:
    """Return a figure, twice as sharp as it is shown, as the address of an image, and its words.

    Only photographs lose what nobody sees: they would be five times as large.
    """
    exact, buffer = not any(axes.get_images() for axes in figure.axes), io.BytesIO()
    figure.savefig(buffer, format="webp", dpi=2 * DPI, pil_kwargs={"lossless": exact, "quality": 85})
    plt.close(figure)
    return f"data:image/webp;base64,{b64encode(buffer.getvalue()).decode()}", " ".join(alt_text(figure).split())


def _page(frames: list[tuple[str, str]], options: list[dict], width: float) -> str:
    """Return the picture of the start, and the script that puts the sliders over it."""
    place = 0
    for option in options:
        place = place * len(option["values"]) + option["start"]
    src, alt = frames[place]
    in_script = [json.dumps(part).replace("</", r"<\/") for part in (frames, options)]
    return BOX.format(
        src=src, alt=html.escape(alt), width=width, script=SCRIPT, frames=in_script[0], options=in_script[1]
    )


def _said(choice: object) -> str:
    """Return a choice as the reader sees it: 2,048 and 0.00025."""
    return choice if isinstance(choice, str) else f"{choice:,g}"
