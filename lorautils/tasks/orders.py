"""The course's second task, an order in plain English -> JSON: examples, honest splits, a schema, and scoring.

Notebooks 11 and 12 use it where one base model carries two adapters. Answers are compared by value, as parsed:
"Deliver two pizzas to Ada." -> {"customer":"Ada","items":[{"name":"pizza","quantity":2}],"method":"delivery"}.
The words and sentences stand in grammar/orders.toml.
"""

import json
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from random import Random
from typing import NamedTuple

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from lorautils import ROOT
from lorautils.data import Pair

ADAPTER = ROOT / "adapters" / "orders"
ANSWER_TOKENS = 64  # for evaluate(): the longest answer takes 57

SIZES, METHODS = ["small", "medium", "large"], ["delivery", "pickup"]
WORDS = {"type": "string", "minLength": 1}
LINE = {"name": WORDS, "quantity": {"type": "integer", "minimum": 1}, "size": {"enum": SIZES}}
ITEM = {"type": "object", "properties": LINE, "required": ["name", "quantity"], "additionalProperties": False}
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "customer": WORDS,
        "items": {"type": "array", "minItems": 1, "items": ITEM},
        "method": {"enum": METHODS},
        "time": {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"},
    },
    "required": ["customer", "items", "method"],
    "additionalProperties": False,
}
_VALIDATOR = Draft202012Validator(SCHEMA)


class Example(NamedTuple):
    """One order: how it is said, and the JSON wanted, on one line and without spaces."""

    text: str
    json: str


# ------------------------------------------------------------------------------- words and sentences


def _words(text: str) -> list[str]:
    return " ".join(text.split()).split(", ")


def _plurals(names: str) -> dict[str, str]:
    """Map names to their plurals, which take an "s" or are given: "taco, peach/peaches"."""
    pairs = [name.split("/") for name in _words(names)]
    return {one: many[0] if many else one + "s" for one, *many in pairs}


_TEXT = resources.files("lorautils.tasks.grammar").joinpath("orders.toml").read_text(encoding="utf-8")
_KNOWN, _UNSEEN = tomllib.loads(_TEXT).values()
PRODUCTS, UNSEEN_PRODUCTS = (_plurals(part["products"]) for part in (_KNOWN, _UNSEEN))
CUSTOMERS, UNSEEN_CUSTOMERS = (_words(part["customers"]) for part in (_KNOWN, _UNSEEN))
TEMPLATES, UNSEEN_TEMPLATES = ({method: part[method] for method in METHODS} for part in (_KNOWN, _UNSEEN))
NUMBERS = _words("zero, one, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve")
QUANTITIES = [1, 1, 1, 1, *range(2, 13), 2, 2, 3, 4, 6]  # one is the commonest


def say_line(name: str, plural: str, quantity: int, size: str | None, rng: Random) -> str:
    """Say one line of an order: "a large pizza", "2 burgers", "half a dozen small bagels"."""
    thing = " ".join([*([size] if size else []), name if quantity == 1 else plural])
    ways = [NUMBERS[quantity], str(quantity)]
    if quantity == 1:
        ways += ["an" if thing[0] in "aeiou" else "a"] * 2
    ways += {2: ["a couple of"], 6: ["half a dozen"], 12: ["a dozen"]}.get(quantity, [])
    return f"{rng.choice(ways)} {thing}"


def say_time(hour: int, minute: int, rng: Random) -> str:
    """Say a time of day: "18:30", "6:30 pm", "6 pm", "noon"."""
    clock = f"{(hour - 1) % 12 + 1}:{minute:02}".removesuffix(":00")
    twelve = "noon" if (hour, minute) == (12, 0) else f"{clock} {'am' if hour < 12 else 'pm'}"
    return rng.choice([twelve, twelve, f"{hour:02}:{minute:02}"])


# ------------------------------------------------------------------------------- examples and splits


def kept_apart(name: str, quantity: int) -> bool:
    """Tell whether no training example orders this many of this known product: one in five combinations."""
    return (list(PRODUCTS).index(name) + quantity) % 5 == 0


def _order(rng: Random, templates: dict[str, list[str]], products: dict[str, str], customers: list[str], lines: list):
    """Draw one order from (name, quantity) lines: its text, and its value with the keys in the order of the schema."""
    method = rng.choice(METHODS)
    template, customer = rng.choice(templates[method]), rng.choice(customers)
    items, said = [], []
    for name, quantity in lines:
        size = rng.choice([None, None, None, *SIZES])
        items.append({"name": name, "quantity": quantity} | ({"size": size} if size else {}))
        said.append(say_line(name, products[name], quantity, size, rng))
    value = {"customer": customer, "items": items, "method": method}
    holes = {"customer": customer, "items": " and ".join(said), "at": ""}
    if "{time}" in template or rng.random() < 0.6:
        hour, minute = rng.randint(10, 20), rng.choice([0, 0, 15, 30, 30, 45])
        value["time"] = f"{hour:02}:{minute:02}"
        holes["time"] = say_time(hour, minute, rng)
        holes["at"] = f" {rng.choice(['at', 'at', 'by'])} {holes['time']}"
    text = template.format_map(holes)
    return Example(text[0].upper() + text[1:], json.dumps(value, separators=(",", ":")))


def _examples(n: int, seed: int, templates, products, customers, lines: Iterable[tuple[str, int]]) -> list[Example]:
    """Draw n orders of one or two lines (of different products) with distinct texts."""
    rng, lines, examples = Random(seed), list(lines), {}
    while len(examples) < n:
        chosen = rng.sample(lines, rng.choice([1, 1, 2]))
        if len({name for name, _ in chosen}) == len(chosen):
            example = _order(rng, templates, products, customers, chosen)
            examples.setdefault(example.text.lower(), example)
    return list(examples.values())


def train_examples(n: int, seed: int = 0) -> list[Example]:
    """Make n training examples with distinct texts; the same arguments give the same examples.

    None has a template, product, customer, or combination of product and quantity that `held_out` keeps for the tests.
    """
    lines = [(name, q) for name in PRODUCTS for q in QUANTITIES if not kept_apart(name, q)]
    return _examples(n, seed, TEMPLATES, PRODUCTS, CUSTOMERS, lines)


def held_out(n: int = 100) -> dict[str, list[Example]]:
    """Make the four tests, n cases each; each says what training never showed.

    "combinations": known products in numbers that training never orders of them; "templates": sentences;
    "words": products and customers; "all": sentences, products and customers.
    """
    known = [(name, q) for name in PRODUCTS for q in QUANTITIES]
    new = [(name, q) for name in UNSEEN_PRODUCTS for q in QUANTITIES]
    old_words, new_words = (PRODUCTS, CUSTOMERS), (UNSEEN_PRODUCTS, UNSEEN_CUSTOMERS)
    return {
        "combinations": _examples(n, 1, TEMPLATES, *old_words, [line for line in known if kept_apart(*line)]),
        "templates": _examples(n, 2, UNSEEN_TEMPLATES, *old_words, [line for line in known if not kept_apart(*line)]),
        "words": _examples(n, 3, TEMPLATES, *new_words, new),
        "all": _examples(n, 4, UNSEEN_TEMPLATES, *new_words, new),
    }


def order_prompt(text: str, shots: Iterable[Example] = ()) -> str:
    """Return the prompt, in the base model's chat format, that asks for an order's JSON, after solved `shots`.

    Example:
        >>> order_prompt("two large pizzas")
        '<|im_start|>user\\nOrder: two large pizzas<|im_end|>\\n<|im_start|>assistant\\n'
    """
    solved = "".join(f"{order_prompt(shot.text)}{shot.json}<|im_end|>\n" for shot in shots)
    return f"{solved}<|im_start|>user\nOrder: {text}<|im_end|>\n<|im_start|>assistant\n"


def order_pairs(examples: Iterable[Example]) -> list[Pair]:
    """Turn orders into training pairs."""
    return [Pair(order_prompt(example.text), example.json) for example in examples]


# ------------------------------------------------------------------------------- checking and scoring


def problem(answer: str) -> str | None:
    """Say in words why an answer is not an order as SCHEMA wants it; None if it is one.

    Example:
        >>> problem('{"items": []}')
        "valid JSON, but the order: 'customer' is a required property"
    """
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    if error := best_match(_VALIDATOR.iter_errors(value)):
        return f"valid JSON, but {'.'.join(map(str, error.absolute_path)) or 'the order'}: {error.message}"
    return None


class Score(NamedTuple):
    """Of n answers: how many are exactly right and how many valid, and the share of fields that are right."""

    n: int
    exact: int
    valid: int
    fields: float


def score(answers: Sequence[str], examples: Sequence[Example]) -> Score:
    """Compare answers with the JSON wanted, by value: spaces and the order of keys do not count, that of items does.

    Fields are the leaves, such as the second item's quantity; one that is missing, wrong or too many counts against.
    ValueError if there is not one answer for each example.
    """
    if len(answers) != len(examples):
        raise ValueError(f"got {len(answers)} answers for {len(examples)} examples: give one for each, in order")
    exact = valid = right = fields = 0
    for answer, example in zip(answers, examples, strict=True):
        wanted, given = _leaves(example.json), _leaves(answer)
        is_valid = problem(answer) is None
        valid += is_valid
        exact += is_valid and given == wanted
        right += len(given.items() & wanted.items())
        fields += len(given.keys() | wanted.keys())
    return Score(len(answers), exact, valid, right / fields if fields else 0.0)


def _leaves(text: str) -> dict[tuple, tuple[bool, object]]:
    """Map the path of each plain value in a JSON text to it; nothing if the text is not JSON.

    Whether the value is a truth value goes with it, since True == 1 in Python.
    """
    try:
        return dict(_walk(json.loads(text.strip()), ()))
    except (ValueError, RecursionError):
        return {}


def _walk(value: object, path: tuple) -> Iterator[tuple[tuple, tuple[bool, object]]]:
    if isinstance(value, dict | list):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _walk(child, (*path, key))
    else:
        yield path, (isinstance(value, bool), value)
