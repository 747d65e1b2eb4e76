"""Files as people have them: every format in every kind of file gives the same examples, and what is bad is named."""

import csv
import io
import json
import random

import pytest

from lorautils.data import Pair
from lorautils.formats import files, rows
from lorautils.formats.rows import Chat, Text

ASKED, ANSWERED = 'Um neun Uhr früh? 现在几点？ "Now", he said;\n🙂', "Halb zehn, 九点半。 👩‍🚀"
USER, ASSISTANT = {"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}
SYSTEM = {"role": "system", "content": "Be brief."}
CHAT = Chat([USER, ASSISTANT])
FROM_VALUE = [{"from": "human", "value": ASKED}, {"from": "gpt", "value": ANSWERED}]
ROWS = {  # a row of each format, and the example that it is
    "pair": ({"prompt": ASKED, "completion": ANSWERED}, Pair(ASKED, ANSWERED)),
    "pair of turns": ({"prompt": [SYSTEM, USER], "completion": [ASSISTANT]}, Chat([SYSTEM, USER, ASSISTANT], 2)),
    "messages": ({"messages": [SYSTEM, USER, ASSISTANT] * 2}, Chat([SYSTEM, USER, ASSISTANT] * 2)),
    "instruction": ({"instruction": ASKED, "output": ANSWERED}, CHAT),
    "instruction and no input": ({"instruction": ASKED, "input": "", "output": ANSWERED}, CHAT),
    "instruction and input": (
        {"instruction": "Translate.", "input": ASKED, "output": ANSWERED},
        Chat([{"role": "user", "content": f"Translate.\n\n{ASKED}"}, ASSISTANT]),
    ),
    "conversations": ({"conversations": FROM_VALUE, "system": "Be brief."}, Chat([SYSTEM, USER, ASSISTANT])),
    "conversations of roles": ({"conversations": [USER, ASSISTANT]}, CHAT),
    "text": ({"text": ASKED}, Text(ASKED)),
    "extra fields": ({"id": 7, "text": ASKED, "source": "x"}, Text(ASKED)),
}


def jsonl(table, newline="\n"):
    return "".join(json.dumps(row, ensure_ascii=False) + newline for row in table)


def table(given, delimiter=",", indent=None):
    """CSV as a spreadsheet writes it; a list of turns is JSON in its cell."""

    def cell(value):
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=indent)

    flat = [{name: cell(value) for name, value in row.items()} for row in given]
    written = io.StringIO(newline="")
    writer = csv.DictWriter(written, flat[0], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(flat)
    return written.getvalue()


def parquet(given):
    import pyarrow
    from pyarrow import parquet

    written = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(given), written)
    return written.getvalue()


KINDS = {  # how a file is written: its ending, and its bytes
    "JSONL": ("jsonl", lambda given: jsonl(given).encode()),
    "JSONL in ASCII": ("jsonl", lambda given: "\n".join(map(json.dumps, given)).encode()),
    "JSONL of Windows": ("jsonl", lambda given: jsonl(given, "\r\n").encode("utf-8-sig")),
    "JSONL in UTF-16": ("jsonl", lambda given: jsonl(given, "\r\n").encode("utf-16")),
    "JSONL named json": ("json", lambda given: ("\n" + jsonl(given)).encode()),
    "array": ("json", lambda given: json.dumps(given).encode()),
    "pretty array named jsonl": ("jsonl", lambda given: json.dumps(given, indent=2).encode("utf-8-sig")),
    "CSV": ("csv", lambda given: table(given).encode()),
    "CSV of pretty turns": ("csv", lambda given: table(given, indent=2).encode()),
    "CSV of Excel": ("CSV", lambda given: table(given, ";").encode("utf-8-sig")),
    "TSV in UTF-16": ("tsv", lambda given: table(given, "\t").encode("utf-16")),
    "Parquet": ("parquet", parquet),
}


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ROWS)
def test_every_format_is_read_from_every_kind_of_file(tmp_path, name, kind):
    row, example = ROWS[name]
    ending, written = KINDS[kind]
    data = rows.read([write(tmp_path / f"mine.{ending}", written([row] * 3))])
    assert [given.example for given in data.rows] == [example] * 3
    assert sum(data.formats.values()) == 3 and not data.refused
    assert set(data.ignored) == {"id", "source"} & row.keys()


def test_several_files_are_read_in_order_and_each_row_knows_its_place(tmp_path):
    one = write(tmp_path / "1.jsonl", "\n" + jsonl([ROWS["text"][0]]))
    two = write(tmp_path / "2.csv", table([ROWS["pair"][0]] * 2))
    three = write(tmp_path / "3.parquet", parquet([ROWS["messages"][0]]))
    four = write(tmp_path / "4.json", json.dumps([ROWS["instruction"][0]]))
    data = rows.read([one, two, three, four])
    assert [row.where for row in data.rows] == [
        f"{one}, line 2",
        f"{two}, line 3",  # a cell holds a newline: the row ends there
        f"{two}, line 5",
        f"{three}, row 1",
        f"{four}, item 1",
    ]
    assert data.formats == {"text": 1, "prompt and completion": 2, "messages": 1, "instruction and output": 1}
    assert files.files(f"{tmp_path}/*.jsonl, {two}") == [str(one), str(two)]
    assert files.files(f"{tmp_path}/nowhere.jsonl") == [f"{tmp_path}/nowhere.jsonl"]


def test_strings_become_turns_where_a_chat_is_asked_for(tmp_path):
    path = write(tmp_path / "mine.csv", table([ROWS["pair"][0], ROWS["pair"][0]]))
    assert rows.read([path], chat=True).rows[1].example == CHAT


# --- what is not known ----------------------------------------------------------------------------------------------

UNKNOWN = [  # the fields of a row, what is said of it, and whether the way that is named works
    ({"question": "a", "answer": "b"}, "--rename question=prompt,answer=completion"),
    ({"input": "a", "output": "b"}, "--rename input=prompt,output=completion"),
    ({"Prompt": "a", "Response": "b"}, "--rename Prompt=prompt,Response=completion"),
    ({"instruction": "a", "response": "b"}, "--rename instruction=prompt,response=completion"),
    ({"prompt": "a", "chosen": "b", "rejected": "c"}, "--rename chosen=completion"),
    ({"dialogue": [USER, ASSISTANT]}, "--rename dialogue=messages"),
    ({"content": "a"}, "--rename content=text"),
]


@pytest.mark.parametrize(("fields", "way"), UNKNOWN, ids=[way for _, way in UNKNOWN])
def test_an_unknown_format_is_told_its_fields_and_a_way_that_works(tmp_path, fields, way):
    path = write(tmp_path / "mine.jsonl", jsonl([fields]))
    with pytest.raises(ValueError) as refused:
        rows.read([path])
    said = str(refused.value)
    assert all(f"'{name}'" in said for name in fields) and '"messages"' in said and said.endswith(way), said
    renames = dict(pair.split("=") for pair in way.removeprefix("--rename ").split(","))
    assert len(rows.read([path], renames).rows) == 1


def test_two_fields_are_not_given_one_name(tmp_path):
    path = write(tmp_path / "mine.jsonl", jsonl([{"prompt": "a", "question": "b", "completion": "c"}]))
    with pytest.raises(ValueError, match="line 1: rename gives two fields one name; the fields are 'prompt'"):
        rows.read([path], {"question": "prompt"})


BAD = [  # a row, and what is said of it
    ({"prompt": "a"}, 'add "completion"'),
    ({"prompt": "a", "completion": None}, 'add "completion"'),
    ({"prompt": "", "completion": "b"}, '"prompt" must be a non-empty string'),
    ({"prompt": "a", "completion": 3}, "got 3"),
    ({"prompt": "a", "completion": [ASSISTANT]}, "must both be strings, or both be lists of turns"),
    ({"text": "\ud800"}, "half a character"),
    ({"data": [{"text": "a"}]}, 'the list in "data"'),
    ({"colour": "red"}, "give two of the fields these names"),
    ({"messages": []}, "its JSON, got []"),
    ({"messages": "hello"}, "in a table its JSON, got 'hello'"),
    ({"messages": [USER]}, "no turn of the assistant"),
    ({"messages": [ASSISTANT, USER, ASSISTANT]}, "the assistant speaks first"),
    ({"messages": [USER, {"role": "alien", "content": "x"}]}, "turn 2 of messages has the role 'alien'"),
    ({"messages": [USER, {"role": "assistant", "content": ""}]}, "turn 2 of messages must be a non-empty string"),
    ({"messages": [USER, {**ASSISTANT, "tool_calls": [{}]}]}, "calls tools"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, ASSISTANT]}, "parts of the kind image_url"),
    ({"prompt": [USER, ASSISTANT], "completion": [USER]}, "no turn of the assistant"),
    (["a", "b"], "a JSON object was expected, got list"),
]


@pytest.mark.parametrize(("row", "message"), BAD, ids=[message for _, message in BAD])
def test_a_bad_row_is_named_with_its_place_and_the_others_are_kept(tmp_path, row, message):
    good = ROWS["messages"][0]
    lines = "\n".join(map(json.dumps, [good, row, good]))
    for ending, content in [("jsonl", lines), ("json", json.dumps([good, row]))]:
        path = write(tmp_path / f"mine.{ending}", content)
        data = rows.read([path])
        assert len(data.rows) == content.count("system") // 2
        (said,) = data.refused
        assert said.startswith(f"{path}, {'line' if ending == 'jsonl' else 'item'} 2: ") and message in said, said
        with pytest.raises(ValueError, match="2: "):
            data.whole()


def test_json_that_is_no_turns_stays_a_string(tmp_path):
    row = {"prompt": "Ann is 9.", "completion": '[{"name": "Ann", "age": 9}]'}
    assert rows.read([write(tmp_path / "mine.csv", table([row]))]).rows[0].example == Pair(**row)


def test_parts_of_text_and_an_empty_system_prompt_are_as_other_programs_write_them(tmp_path):
    parts = [{"type": "text", "text": ASKED[:5]}, {"type": "text", "text": ASKED[5:]}]
    turns = [{"role": "system", "content": ""}, {"role": "user", "content": parts}, ASSISTANT]
    data = rows.read([write(tmp_path / "mine.jsonl", jsonl([{"messages": turns}]))])
    assert data.rows[0].example == Chat([{"role": "system", "content": ""}, USER, ASSISTANT])


def ten_thousand(kind, bad):
    """A file of 10,000 rows in bytes, of which row 7,000 is bad, and the place that must be named."""
    good = {"prompt": "Wann? 何时?", "completion": "Bald."}
    ending, written = KINDS[kind]
    given = [*[good] * 6999, bad, *[good] * 3000]
    place = {"jsonl": "line 7000", "json": "item 7000", "csv": "line 7001", "parquet": "row 7000"}[ending]
    return ending, written(given), place


@pytest.mark.parametrize("kind", ["JSONL", "array", "CSV", "Parquet"])
def test_one_bad_row_of_ten_thousand_is_named(tmp_path, kind):
    ending, content, place = ten_thousand(kind, {"prompt": "Wann?", "completion": ""})
    path = write(tmp_path / f"mine.{ending}", content)
    data = rows.read([path])
    assert len(data.rows) == 9999
    assert [said.partition(": ")[0] for said in data.refused] == [f"{path}, {place}"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b'{"prompt": "caf\xe9", "completion": "b"}', "line 7000: not UTF-8"),
        (b'{"prompt": "a", "completion": ', "line 7000: not JSON"),
        (b'"a, b', "line 7000: not JSON"),
    ],
)
def test_a_line_that_is_not_utf8_or_not_json_is_named(tmp_path, bad, message):
    good = b'{"prompt": "a", "completion": "b"}\n'
    path = write(tmp_path / "mine.jsonl", good * 6999 + bad + b"\n" + good * 3000)
    with pytest.raises(ValueError, match=message):
        rows.read([path]).whole()


@pytest.mark.parametrize("line", ["a,b,c", "a", '"a""b'], ids=["more", "fewer", "a quotation mark"])
def test_a_row_of_a_table_with_too_many_or_too_few_fields_is_named(tmp_path, line):
    path = write(tmp_path / "mine.csv", f"prompt,completion\nx,y\n{line}\nx,y\n")
    with pytest.raises(ValueError, match=r"mine\.csv, (line 3|after line 2): "):
        rows.read([path]).whole()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("mine.jsonl", b"", "is empty"),
        ("mine.csv", b"\xef\xbb\xbf", "no rows are in it"),
        ("mine.jsonl", b"\n\n", "no rows are in it"),
        ("mine.json", b"[]", "no rows are in it"),
        ("mine.csv", b"prompt,completion\n", "no rows are in it"),
        ("mine.csv", b"text,text,,\na,b,,\n", "two columns have one name"),
        ("mine.csv", "text\n\ufffd\n".encode() + b"caf\xe9\n", "line 3: not UTF-8"),
        ("mine.json", b'[{"text": "a"},\n {"text": }]', "at line 2, column 11"),
        ("mine.json", b'[{"text": "a"}, {"text": ', "it begins as an array"),
        ("mine.json", b'{\n "data": [{"text": "a"}]\n}', 'the list in "data"'),
        ("mine.jsonl", '{"text": "a"}'.encode("utf-16-le"), "UTF-16 without its mark"),
        ("mine.parquet", b"PAR1 and no more", "is not Parquet"),
        ("mine.docx", b"PK", "the kinds are .jsonl"),
    ],
)
def test_a_file_that_holds_nothing_is_answered(tmp_path, name, content, message):
    with pytest.raises(ValueError) as refused:
        rows.read([write(tmp_path / name, content)])
    assert message in str(refused.value) and name in str(refused.value)


def test_the_files_of_a_setting_are_those_of_these_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [f"{place}-{'n' * 20}.jsonl" for place in range(20)]  # together longer than a name can be
    for name in (*names, "a1.jsonl", "a[1].jsonl", "b, c.jsonl"):
        write(tmp_path / name, b"x")
    assert files.files(",".join(names)) == names
    assert files.files("a[1].jsonl, none.jsonl") == ["a[1].jsonl", "none.jsonl"]
    assert files.files("b, c.jsonl") == ["b, c.jsonl"] and files.files("a*") == ["a1.jsonl", "a[1].jsonl"]


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path):
    for name in ("nowhere.jsonl", "folder.csv"):
        (tmp_path / "folder.csv").mkdir(exist_ok=True)
        with pytest.raises(OSError):
            rows.read([tmp_path / name])


@pytest.mark.parametrize("kind", ["JSONL", "array", "CSV", "TSV in UTF-16", "Parquet"])
def test_a_mutated_file_is_read_or_refused_in_words(tmp_path, kind):
    ending, written = KINDS[kind]
    good, rng, refused = written([ROWS["messages"][0], ROWS["messages"][0]]), random.Random(0), 0
    for _ in range(150):
        content = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        try:
            refused += bool(rows.read([write(tmp_path / f"mine.{ending}", bytes(content))]).refused)
        except (ValueError, OSError) as error:
            refused += bool(str(error))
    assert refused > 10


@pytest.mark.long("30 s; ten thousand rows of every kind are read in each run")
@pytest.mark.parametrize("kind", ["JSONL", "JSONL in UTF-16", "CSV", "Parquet"])
def test_two_hundred_megabytes_are_read_whole(tmp_path, kind):
    ending, written = KINDS[kind]
    given = [{"prompt": f"{number} " + ASKED * 10, "completion": ANSWERED * 40} for number in range(80_000)]
    path = write(tmp_path / f"mine.{ending}", written(given))
    assert kind == "Parquet" or path.stat().st_size > 150e6
    data = rows.read([path])
    assert [row.example for row in data.rows] == [Pair(row["prompt"], row["completion"]) for row in given]
