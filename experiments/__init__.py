"""The experiments whose recorded results the notebooks show: one script a question, `python -m experiments.NAME`."""
