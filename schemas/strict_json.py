"""One strict JSON object from one line, or the exact reason it is none.

The standard library's parser answers quickly for the good; only for the bad, and for the few
things it lets pass, a slow walker goes over the line and names the first fault.
"""

import json
import re
from typing import Any, Final

DEPTH_MAX: Final = 64
_GOT_LENGTH: Final = 40
_ESCAPE_LENGTH: Final = 6
_BYTE_ORDER_MARKS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_NUMBER_START: Final = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][+-]?)?)?\Z")
_NOT_FINITE: Final = re.compile(r"-?(?:NaN|Infinity)|[+-]?(?:nan|inf(?:inity)?)\b", re.IGNORECASE)
_PLAIN_TEXT: Final = re.compile(r'[^"\\\x00-\x1f]*')
_ESCAPE: Final = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')
_NUMBER_ENDS: Final = frozenset(",]} \t\r")
_LITERALS: Final[dict[str, Any]] = {"true": True, "false": False, "null": None}
_HIGH_SURROGATES: Final = range(0xD800, 0xDC00)
_LOW_SURROGATES: Final = range(0xDC00, 0xE000)


class Number(str):
    """A number as it was spelled: nothing is rounded before somebody asks."""

    __slots__ = ()


class Fault(Exception):  # noqa: N818 bad input is data, not an error of ours
    """Why a line is refused.

    Parameters
    ----------
    reason
        A code from ``schemas.reasons``.
    expected, got
        The two halves of the sentence people read.
    path
        Of the field; callers put their own part before it on the way out.
    """

    def __init__(self, reason: str, expected: str, got: str, path: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.expected = expected
        self.got = got
        self.path = path


def shorten(text: str) -> str:
    """Quote a piece of input in one line of bounded length."""
    cut = text if len(text) <= _GOT_LENGTH else text[:_GOT_LENGTH] + "…"
    return json.dumps(cut, ensure_ascii=False)


def parse_object(line: bytes) -> dict[str, Any]:
    """Parse one line that must be one JSON object.

    Parameters
    ----------
    line
        Without its line feed.

    Returns
    -------
    dict
        Of str, ``Number``, bool, None, list and dict; keys in the order they stand.

    Raises
    ------
    Fault
        Naming the first thing wrong.
    """
    text = _decode(line)
    if b"\\u" not in line and line.count(b"{") + line.count(b"[") <= DEPTH_MAX:
        try:
            value = _FAST.decode(text)
        except ValueError:
            value = None
        if isinstance(value, dict):
            return value
    return _Walker(text).read_line()


def _decode(line: bytes) -> str:
    """Check what can be said of the bytes as a whole."""
    if line.startswith(_BYTE_ORDER_MARKS):
        raise Fault("byte_order_mark", "plain UTF-8 without a byte order mark", "one")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        got = f"byte 0x{line[error.start]:02x} at byte {error.start}"
        raise Fault("bad_utf8", "UTF-8", got) from None
    if not text.strip(" \t\r\n"):
        raise Fault("blank_line", "one JSON object", "a blank line")
    return text


def _refuse_constant(text: str) -> Any:
    raise ValueError(text)


def _pairs_to_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that stands twice; the walker will say where."""
    built = dict(pairs)
    if len(built) != len(pairs):
        raise ValueError
    return built


_FAST: Final = json.JSONDecoder(
    object_pairs_hook=_pairs_to_dict,
    parse_float=Number,
    parse_int=Number,
    parse_constant=_refuse_constant,
)


class _Walker:
    """Reads JSON by its grammar (RFC 8259), left to right, stopping at the first fault."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._place: list[str] = []  # keys and indexes on the way here; joined only for a fault

    def read_line(self) -> dict[str, Any]:
        """Read the whole line."""
        self._skip_space()
        value = self._read_value(1)
        self._skip_space()
        if self._at < len(self._text):
            raise Fault("trailing_data", "the end of the line after the object", self._rest())
        if not isinstance(value, dict):
            raise Fault("not_an_object", "a JSON object", describe(value))
        return value

    def _path(self) -> str:
        return "$" + "".join(self._place)

    def _skip_space(self) -> None:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _rest(self) -> str:
        return f"{shorten(self._text[self._at :])} at character {self._at}"

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _malformed(self, expected: str) -> Fault:
        """Tell a line that ends too early from one that goes on wrongly."""
        if self._at >= len(self._text):
            return Fault("truncated_json", expected, "the end of the line")
        return Fault("malformed_json", expected, self._rest())

    def _read_value(self, depth: int) -> Any:
        first = self._peek()
        if first in {"{", "["} and depth > DEPTH_MAX:
            raise Fault("too_deep", f"at most {DEPTH_MAX} levels", "one more", self._path())
        if first == "{":
            return self._read_object(depth)
        if first == "[":
            return self._read_array(depth)
        if first == '"':
            return self._read_string()
        return self._read_bare()

    def _read_bare(self) -> Any:
        """Read a number or a literal."""
        text, at = self._text, self._at
        match = _NUMBER.match(text, at)
        if match and text[match.end() : match.end() + 1] in _NUMBER_ENDS:
            self._at = match.end()
            return Number(match.group())
        if _NOT_FINITE.match(text, at):
            raise Fault("not_finite", "a number", self._rest(), self._path())
        for literal, value in _LITERALS.items():
            if text.startswith(literal, at):
                self._at += len(literal)
                return value
            if 0 < len(text) - at < len(literal) and literal.startswith(text[at:]):
                raise Fault("truncated_json", literal, "the end of the line", self._path())
        if at < len(text) and _NUMBER_START.match(text, at) and not _NUMBER.fullmatch(text, at):
            raise Fault(
                "truncated_json", "the rest of a number", "the end of the line", self._path()
            )
        if match is None:
            raise self._malformed("a JSON value")
        self._at = match.end()
        return Number(match.group())

    def _read_object(self, depth: int) -> dict[str, Any]:
        built: dict[str, Any] = {}
        self._at += 1
        self._skip_space()
        if self._peek() == "}":
            self._at += 1
            return built
        while True:
            if self._peek() != '"':
                raise self._malformed("a key in double quotes")
            key = self._read_string()
            self._place.append(f".{key}")
            if key in built:
                got = f"{shorten(key)} again"
                raise Fault("duplicate_key", "each key once", got, self._path())
            self._skip_space()
            if self._peek() != ":":
                raise self._malformed("a colon after the key")
            self._at += 1
            self._skip_space()
            built[key] = self._read_value(depth + 1)
            self._place.pop()
            if self._at_end_of_list("}"):
                return built

    def _read_array(self, depth: int) -> list[Any]:
        built: list[Any] = []
        self._at += 1
        self._skip_space()
        if self._peek() == "]":
            self._at += 1
            return built
        while True:
            self._place.append(f"[{len(built)}]")
            built.append(self._read_value(depth + 1))
            self._place.pop()
            if self._at_end_of_list("]"):
                return built

    def _at_end_of_list(self, closer: str) -> bool:
        """Step over a comma (False) or the closing bracket (True)."""
        self._skip_space()
        first = self._peek()
        if first not in {",", closer} or not first:
            raise self._malformed(f"a comma or {closer}")
        self._at += 1
        if first == ",":
            self._skip_space()
        return first == closer

    def _read_string(self) -> str:
        pieces = []
        start = self._at
        self._at += 1
        while True:
            match = _PLAIN_TEXT.match(self._text, self._at)
            if match:
                pieces.append(match.group())
                self._at = match.end()
            first = self._peek()
            if first == '"':
                self._at += 1
                return "".join(pieces)
            if not first:
                got = f"{shorten(self._text[start:])} up to the end of the line"
                raise Fault("truncated_json", "a closing quote", got, self._path())
            if first != "\\":
                got = f"U+{ord(first):04X} at character {self._at}"
                raise Fault("control_character", "control characters escaped", got, self._path())
            pieces.append(self._read_escape())

    def _read_escape(self) -> str:
        match = _ESCAPE.match(self._text, self._at)
        if match is None:
            rest = self._text[self._at : self._at + _ESCAPE_LENGTH]
            if re.fullmatch(r"\\(?:u[0-9a-fA-F]{0,3})?", rest):
                raise Fault(
                    "truncated_json", "the rest of an escape", "the end of the line", self._path()
                )
            raise Fault("bad_escape", "an escape JSON knows", shorten(rest), self._path())
        spelled = match.group()
        self._at = match.end()
        code = int(spelled.removeprefix("\\u"), 16) if spelled.startswith("\\u") else -1
        if code in _HIGH_SURROGATES:
            low = _ESCAPE.match(self._text, self._at)
            second = low.group() if low else ""
            if second.startswith("\\u") and int(second.removeprefix("\\u"), 16) in _LOW_SURROGATES:
                self._at += len(second)
                return str(json.loads(f'"{spelled}{second}"'))
        if code in _HIGH_SURROGATES or code in _LOW_SURROGATES:
            raise Fault(
                "bad_escape", "both halves of a surrogate pair", shorten(spelled), self._path()
            )
        return str(json.loads(f'"{spelled}"'))


def describe(value: Any) -> str:
    """Name a JSON value's type in plain words."""
    if isinstance(value, Number):
        return f"the number {value[:_GOT_LENGTH]}"
    if isinstance(value, str):
        return f"the text {shorten(value)}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    return "a list" if isinstance(value, list) else "an object"
