"""Figures that one notebook draws: one module a notebook, on the colours and rules of lorautils.plots."""
