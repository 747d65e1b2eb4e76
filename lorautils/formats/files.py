"""Files as people have them -> rows: JSONL, a JSON array, CSV or TSV, Parquet, each row with the place it came from.

Used by `lorautils data`, `train` and `evaluate`. What cannot be a row is named with its place, and never left out.
Text is UTF-8, or UTF-16 with its mark; pyarrow reads Parquet, and Python's own json and csv the rest.
"""

import codecs
import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path
from typing import NamedTuple

from lorautils.data import why_not_json

NOT_UTF8 = "not UTF-8 text; save the file with UTF-8 encoding"
ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
UNPACKED = 10**9  # bytes of a Parquet file's rows: kilobytes can hold more, when a text repeats


class Record(NamedTuple):
    """One row of a file: where it stands, its fields, and why it is none, if so."""

    where: str
    fields: dict
    problem: str = ""


def files(names: str) -> list[str]:
    """Return the files of a setting: names separated by commas, in which * stands for any letters."""
    if os.path.exists(names):  # False, not an error, for many names, which are too long for one
        return [names]
    found = []
    for name in filter(None, map(str.strip, names.split(","))):
        found += [name] if os.path.exists(name) else sorted(glob(name)) or [name]
    return found


def records(paths: Sequence[str | Path]) -> Iterator[Record]:
    """Yield the rows of one or several files, in order; ValueError and OSError name a file that cannot be read."""
    for path in map(Path, paths):
        ending = path.suffix.lower()
        if ending not in ENDINGS:
            raise ValueError(f"{path} is no file of a kind that is read; the kinds are {', '.join(ENDINGS)}")
        if path.stat().st_size == 0:
            raise ValueError(f"{path} is empty: it has 0 bytes, expected one example a row")
        read = {".csv": _csv, ".tsv": _csv, ".parquet": _parquet}.get(ending, _json)
        try:
            yield from read(path)
        except UnicodeError as error:
            where = f"{path}, line {_bad_line(path)}" if error.encoding == "utf-8" else path
            raise ValueError(f"{where}: {NOT_UTF8}") from None


def _open(path: Path, errors: str = "strict"):
    """Open a text file; newlines of Windows become \\n, and the mark at the start of the file is not read as text."""
    with path.open("rb") as file:
        start = file.read(1000)
    utf16 = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if not utf16 and b"\0" in start:
        raise ValueError(f"{path} is not text, or UTF-16 without its mark: save it again with UTF-8 encoding")
    return path.open(encoding="utf-16") if utf16 else path.open(encoding="utf-8-sig", errors=errors)


def _bad_line(path: Path) -> int:
    """Return the number of the first line that is not UTF-8."""
    lines = path.read_bytes().split(b"\n")
    return next(n for n, line in enumerate(lines, start=1) if line.decode(errors="ignore").encode() != line)


def _json(path: Path) -> Iterator[Record]:
    """A JSON array of objects, or one object a line; a file that is one object in many lines is one row."""
    with _open(path, errors="surrogateescape") as file:  # a line that is not UTF-8 is a row that cannot be used
        first = next((line.lstrip() for line in file if line.strip()), "")
        file.seek(0)
        if first.startswith("["):
            yield from _array(path, file.read())
            return
        if first.strip() == "{":
            yield _line(file.read(), str(path))
            return
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _line(line, f"{path}, line {number}")


def _array(path: Path, text: str) -> Iterator[Record]:
    text.encode()  # or what is not UTF-8 is named by its line
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = f"not JSON ({why_not_json(error)})"
        raise ValueError(f"{path}: {why}; it begins as an array, so it must be one to its end") from None
    for number, row in enumerate(rows, start=1):
        where = f"{path}, item {number}"
        yield Record(where, row) if isinstance(row, dict) else Record(where, {}, _no_object(row))


def _line(line: str, where: str) -> Record:
    try:
        line.encode()
        row = json.loads(line)
    except UnicodeError:
        return Record(where, {}, NOT_UTF8)
    except (ValueError, RecursionError) as error:
        return Record(
            where, {}, f"not JSON ({why_not_json(error)}); one object a line was expected, or one array of objects"
        )
    return Record(where, row) if isinstance(row, dict) else Record(where, {}, _no_object(row))


def _no_object(row: object) -> str:
    return f"a JSON object was expected, got {type(row).__name__}"


def _csv(path: Path) -> Iterator[Record]:
    """A table with a header; fields are separated by commas, semicolons or tabs, as its first line shows."""
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with _open(path) as file:
        header = file.readline()
        separator = max(",;\t", key=header.count)
        file.seek(0)
        table = csv.DictReader(file, delimiter=separator, strict=True)
        try:
            columns = [name for name in table.fieldnames or () if name]
            if len({*columns}) < len(columns):
                raise ValueError(f"{path}: two columns have one name in {header.strip()[:200]!r}: rename one of them")
            for row in table:
                where = f"{path}, line {table.line_num}"
                more, fewer = row.pop(None, []), [name for name, value in row.items() if value is None]
                if more or fewer:
                    named = len(table.fieldnames)
                    found = f"{named + len(more) - len(fewer)} fields, expected {named} as in the first line"
                    yield Record(where, {}, f"{found}; quote texts that hold {separator!r}")
                else:
                    yield Record(where, row)
        except csv.Error as error:
            raise ValueError(
                f"{path}, after line {table.line_num}: {error}; is there a quotation mark too many? Correct it"
            ) from None


def _parquet(path: Path) -> Iterator[Record]:
    size = 0
    for number, row in enumerate(_unpacked(path), start=1):
        size += 100 + len(str(row))  # a row without a text takes memory, too
        if size > UNPACKED:
            raise ValueError(f"{path} holds more than {UNPACKED:,} bytes, unpacked: save it in parts")
        yield Record(f"{path}, row {number}", row)


def _unpacked(path: Path) -> Iterator[dict]:
    """Unpack one row at a time: a thousand can repeat one large text, which the file holds once."""
    import pyarrow
    from pyarrow import parquet

    try:
        for batch in parquet.ParquetFile(path).iter_batches(1000):
            yield from (scalar.as_py() for scalar in batch.to_struct_array())
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:  # the file can hold anything
        why = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is not Parquet, or is damaged ({why}): save it again") from None
