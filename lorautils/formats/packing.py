"""Several short sequences in one row, so that little is padded: for `lorautils train --packing true`.

TRL chooses what goes together, the longest first, each where least room is left. Positions begin anew with each
sequence, and no first token is predicted from the sequence before it.
"""

from collections.abc import Sequence

import torch
from torch import nn

from lorautils.data import IGNORED, collate

Feature = dict[str, list[int]]  # input_ids, labels and, in a packed row, position_ids


def packed(features: Sequence[Feature], length: int) -> list[Feature]:
    """Return rows of at most `length` tokens, which hold all features, each whole."""
    import datasets
    from trl import pack_dataset

    datasets.disable_progress_bars()
    rows = pack_dataset(datasets.Dataset.from_list(list(features)), length)
    return [_row(row) for row in rows]


def _row(row: dict) -> Feature:
    positions = [place for length in row["seq_lengths"] for place in range(length)]
    pairs = zip(row["labels"], positions, strict=True)
    labels = [label if place else IGNORED for label, place in pairs]
    return {"input_ids": row["input_ids"], "labels": labels, "position_ids": positions}


def unpacked(row: Feature) -> list[Feature]:
    """Return the sequences of a packed row."""
    starts = [place for place, position in enumerate(row["position_ids"]) if position == 0]
    ends = [*starts[1:], len(row["labels"])]
    names = ("input_ids", "labels")
    return [{name: row[name][start:end] for name in names} for start, end in zip(starts, ends, strict=True)]


def check(model: nn.Module, rows: Sequence[Feature], pad_token_id: int) -> None:
    """Raise ValueError where a model does not keep packed sequences apart: their loss is then not what it is alone."""
    from lorautils.training import held_out_loss

    row = max(rows, key=lambda row: row["position_ids"].count(0))
    together = held_out_loss(model, [collate([row], pad_token_id)])
    alone = held_out_loss(model, [collate(unpacked(row), pad_token_id)])
    if abs(together - alone) > (0.01 if next(model.parameters()).dtype == torch.bfloat16 else 1e-4) * alone:
        raise ValueError(
            f"packing: this model does not keep packed examples apart, their loss is {together:.3f} together and "
            f"{alone:.3f} alone: leave packing out"
        )
