"""Figures that one notebook draws, one module a notebook, on the rules of lorautils.plots; and a kit of schematics."""
