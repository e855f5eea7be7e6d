"""The closed list of reasons a line is refused for. Documented, tested, never free text."""

from typing import Final

REASONS: Final[dict[str, str]] = {
    "blank_line": "The line is empty or holds only white space.",
    "line_too_long": "The line is longer than 1 MiB.",
    "bad_utf8": "The bytes are not UTF-8.",
    "byte_order_mark": "The line starts with a byte order mark.",
    "control_character": "A control character stands unescaped inside a string.",
    "malformed_json": "The line is not one JSON value.",
    "truncated_json": "The line ends before its JSON object does.",
    "trailing_data": "Something stands after the object: two objects on one line, or rubbish.",
    "not_an_object": "The line is JSON, but not an object.",
    "too_deep": "More than 64 levels of nesting.",
    "not_finite": "NaN or Infinity, which JSON does not have.",
    "bad_escape": "An escape JSON does not know, or half of a surrogate pair.",
    "duplicate_key": "A key stands twice in one object.",
    "missing_field": "A required field is absent or null.",
    "unknown_kind": "The kind is not one of ours.",
    "wrong_type": "A field has a value of another JSON type.",
    "not_a_choice": "The value is not among the field's choices.",
    "too_short": "The text is empty.",
    "too_long": "The text is longer than the field allows.",
    "not_printable": "The text holds control characters.",
    "bad_format": "The text does not have the field's form.",
    "out_of_range": "The number is outside the field's range.",
    "bad_decimal": "Money or quantity is not a plain decimal.",
    "too_many_decimals": "Money or quantity has more than 8 decimals.",
    "money_out_of_range": "Money or quantity is beyond 92,233,720,368.",
    "quantity_not_positive": "The quantity of an order or fill is zero or negative.",
    "missing_price": "An order that is not a market order has no price.",
    "bad_record": "A record of another format that its adapter cannot read.",
    "bad_arrow": "A message is not one whole, uncompressed Arrow IPC stream.",
    "bad_column": "A column of an Arrow message has a type whose values would not be exact.",
    "batch_too_large": "An Arrow message has more rows, columns or text than is taken at once.",
    "torn_record": "The last record of a file ends before its last column.",
}


def as_markdown() -> str:
    """Return the reference page; ``docs/reference/reasons.md`` holds it."""
    head = [
        "# Why a line is refused",
        "",
        "A refused line becomes a dead letter with one of these reasons, the field's path, what",
        "was expected and what was there. Its neighbours are processed. Written by",
        "`python -m schemas.reasons`.",
        "",
        "| reason | meaning |",
        "|---|---|",
    ]
    rows = [f"| `{code}` | {meaning} |" for code, meaning in REASONS.items()]
    return "\n".join([*head, *rows]) + "\n\n" + _NOTES


_NOTES: Final = """## What counts as money

A JSON number or a decimal string: plain digits, optional sign, point, exponent. What counts is
the value, not the spelling: it is taken if it is a whole multiple of 10^-8 and at most
92,233,720,368 either way. So `1.5e3` and `0.100000000000` are taken, `1e-9` is
`too_many_decimals`. Nothing is rounded, and nothing passes through a float.

## When an order needs a price

`order.new` without a price is `missing_price` unless its `order_type` is `market`, `stop` (it
becomes a market order) or `pegged` (its price follows the book). No `order_type` counts as a
limit order.

## What is not an error

Fields we do not know are allowed and counted by name; `null` means absent; white space, key
order, CRLF line ends and a last line without line feed do not matter.
"""

if __name__ == "__main__":
    print(as_markdown(), end="")  # noqa: T201 printing it is what the module is run for
