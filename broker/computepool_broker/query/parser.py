"""From a filter's text to its tree, in one pass without looking back. Pure.

    filter     = [ expression ]
    expression = factor { "AND" factor } | factor { "OR" factor }
    factor     = [ "NOT" | "-" ] ( comparison | "(" expression ")" )
    comparison = field operator value
    field      = name [ "." key ]
    operator   = "=" | "!=" | "<" | "<=" | ">" | ">=" | ":"
    value      = word | quoted

AIP-160 lets OR bind tighter than AND, which surprises whoever knows any other language. Here AND
and OR side by side need parentheses, so that what is accepted means the same under both rules.
"""

from __future__ import annotations

import re

from computepool_broker.errors import InvalidArgumentError
from computepool_broker.query.syntax import (
    BARE_KEY,
    OPERATORS,
    And,
    Comparison,
    Expression,
    Not,
    Or,
    Value,
)

MAX_TEXT = 1_024
MAX_TERMS = 50
MAX_DEPTH = 16

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_WORD = re.compile(r"""[^\s()"'\\,=<>!]+""")
_PLAIN = re.compile(r"""[^"'\\*]+""")
_ESCAPES = "\"'\\*"


class FilterError(InvalidArgumentError):
    """A filter that is not understood: where, and what was expected there."""

    def __init__(self, field: str, at: int, problem: str) -> None:
        super().__init__(field, f"at {at + 1}: {problem}")
        self.metadata["position"] = str(at + 1)


def parse(text: str, where: str = "filter") -> Expression | None:
    """The tree of a filter; None when it is empty.

    Args:
        text: The filter.
        where: The request's field that it stands in, for errors.

    Raises:
        InvalidArgumentError: Too long, or not of the grammar; names `where` and the position.
    """
    if len(text) > MAX_TEXT:
        raise InvalidArgumentError(where, f"longer than {MAX_TEXT} characters")
    if not text.isprintable():
        raise InvalidArgumentError(where, "has characters that do not print")
    if not text.strip(" "):
        return None
    parser = _Parser(text, where)
    expression = parser.expression(0)
    if parser.at < len(text):
        raise parser.error("expected AND, OR or the end")
    return expression


class _Parser:
    """Stands at one place in the text; each method reads one thing, and the blanks after it."""

    def __init__(self, text: str, where: str) -> None:
        self._text = text
        self._where = where
        self._terms = 0
        self.at = 0
        self._blanks()

    def error(self, problem: str, at: int | None = None) -> FilterError:
        return FilterError(self._where, self.at if at is None else at, problem)

    def expression(self, depth: int) -> Expression:
        parts = [self._factor(depth)]
        word = ""
        while True:
            began = self.at
            found = "AND" if self._keyword("AND") else "OR" if self._keyword("OR") else ""
            if not found:
                break
            if word and found != word:
                raise self.error("AND and OR side by side: put parentheses around one", began)
            word = found
            parts.append(self._factor(depth))
        if not word:
            return parts[0]
        return And(tuple(parts)) if word == "AND" else Or(tuple(parts))

    def _factor(self, depth: int) -> Expression:
        if self._take("-") or self._keyword("NOT"):
            return Not(self._simple(depth))
        return self._simple(depth)

    def _simple(self, depth: int) -> Expression:
        if not self._take("("):
            return self._comparison()
        if depth >= MAX_DEPTH:
            raise self.error(f"parentheses more than {MAX_DEPTH} deep", self.at - 1)
        inner = self.expression(depth + 1)
        if not self._take(")"):
            raise self.error("expected AND, OR or )")
        return inner

    def _comparison(self) -> Comparison:
        began = self.at
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise self.error(f"more than {MAX_TERMS} comparisons")
        name = self._match(_NAME)
        if not name or name in {"AND", "OR", "NOT"}:
            raise self.error("expected the name of a field", began)
        key = self._key() if self._text.startswith(".", self.at) else None
        self._blanks()
        operator = next((o for o in OPERATORS if self._take(o)), "")
        if not operator:
            raise self.error("expected one of " + " ".join(OPERATORS))
        value = self._value()
        self._blanks()
        return Comparison(name, key, operator, value, began)

    def _key(self) -> str:
        self.at += 1
        began = self.at
        if self._text[self.at : self.at + 1] in {'"', "'"}:
            text, head, tail = self._quoted()
            if not text or head or tail:
                raise self.error("expected a key", began)
            return text
        key = self._match(BARE_KEY)
        if not key:
            raise self.error("expected a key")
        return key

    def _value(self) -> Value:
        began = self.at
        if self._text[began : began + 1] in {'"', "'"}:
            text, head, tail = self._quoted()
            return Value(text, head, tail, began)
        if self._text.startswith("=", began):
            raise self.error("expected a value; equal is written =", began)
        word = self._match(_WORD)
        if not word or word in {"AND", "OR", "NOT"}:
            raise self.error("expected a value", began)
        head = word.startswith("*")
        word = word[head:]
        tail = word.endswith("*")
        word = word[: len(word) - tail]
        if "*" in word:
            raise self.error("a * stands at the beginning or the end of a value", began)
        return Value(word, head, tail, began)

    def _quoted(self) -> tuple[str, bool, bool]:
        """Text in quotes, and whether an unescaped * begins and ends it."""
        began = self.at
        quote = self._text[began]
        self.at += 1
        out: list[str] = []
        stars: list[int] = []
        length = 0
        while not self._text.startswith(quote, self.at):
            if self._text.startswith("*", self.at):
                self.at += 1
                stars.append(length)
                continue
            piece = self._piece(began)
            out.append(piece)
            length += len(piece)
        self.at += 1
        return self._wild("".join(out), stars, began)

    def _piece(self, began: int) -> str:
        """The next character in quotes, escaped or not, or a run of plain ones."""
        plain = self._match(_PLAIN)
        if plain:
            return plain
        if self.at >= len(self._text):
            raise self.error("these quotes do not end", began)
        if not self._text.startswith("\\", self.at):
            self.at += 1
            return self._text[self.at - 1]
        escaped = self._text[self.at + 1 : self.at + 2]
        if not escaped or escaped not in _ESCAPES:
            raise self.error("a \\ stands only before \" ' \\ and *")
        self.at += 2
        return escaped

    def _wild(self, text: str, stars: list[int], began: int) -> tuple[str, bool, bool]:
        head = bool(stars) and stars[0] == 0
        rest = stars[head:]
        tail = bool(rest) and rest[-1] == len(text)
        if rest[: len(rest) - tail]:
            raise self.error(
                "a * stands at the beginning or the end of a value; else write \\*", began
            )
        return text, head, tail

    def _blanks(self) -> None:
        while self._text.startswith(" ", self.at):
            self.at += 1

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self.at)
        if found is None:
            return ""
        self.at = found.end()
        return found.group()

    def _take(self, sign: str) -> bool:
        if not self._text.startswith(sign, self.at):
            return False
        self.at += len(sign)
        self._blanks()
        return True

    def _keyword(self, word: str) -> bool:
        """A word in capitals that ends there: what follows is a blank or a parenthesis."""
        after = self.at + len(word)
        follows = self._text[after : after + 1]
        if not self._text.startswith(word, self.at) or follows not in {"", " ", "(", "-"}:
            return False
        self.at = after
        self._blanks()
        return True
