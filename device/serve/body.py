"""A request's JSON body, read as hostile: bounded in bytes and depth, each field checked by type and range."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, NoReturn

from duomem.device.serve.api_error import ApiError, wrong

MOST_BYTES = 2 << 20
_DEEPEST = 16


def parse_body(data: bytes) -> dict[str, Any]:
    """The JSON object that `data` is. Raises ApiError if it is none, too deep, or holds what is no text."""
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_no_number)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError) as e:
        raise ApiError(400, f"the body is not valid JSON ({e})", code="invalid_json") from None
    if not isinstance(value, dict):
        raise ApiError(400, "the body is not a JSON object", code="invalid_json")
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        level = [inner for item in level for inner in _inside(item)]
    if level:
        raise ApiError(400, f"the body is nested deeper than {_DEEPEST} levels", code="invalid_json")
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _inside(value: Any) -> Collection[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


class Fields:
    """Typed access to a JSON object of a request; every mismatch is an ApiError that names the field.

    A field that is null counts as missing, as OpenAI's clients send it.
    """

    def __init__(self, value: dict[str, Any], path: str = "") -> None:
        self._value, self._path = value, path

    def wrong(self, name: str, why: str) -> ApiError:
        """The error to raise for the field `name`."""
        return wrong(f"{self._path}{name}", why)

    def only(self, known: Collection[str]) -> None:
        """Raises ApiError for a field that is none of `known`: what it asks for would not be done."""
        for name in self._value:
            if name not in known:
                raise self.wrong(name[:80], "this server does not know this field: leave it out")

    def has(self, name: str) -> bool:
        """Whether the field is there."""
        return self._value.get(name) is not None

    def text(self, name: str, longest: int = MOST_BYTES) -> str | None:
        """A text of at most `longest` characters, None if missing."""
        value = self._value.get(name)
        if value is not None and (not isinstance(value, str) or len(value) > longest):
            raise self.wrong(name, f"is not a text of at most {longest} characters")
        return value

    def flag(self, name: str) -> bool:
        """true or false; false if missing."""
        value = self._value.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(name, "is neither true nor false")
        return bool(value)

    def integer(self, name: str, least: int, most: int) -> int | None:
        """A whole number, None if missing."""
        value = self._value.get(name)
        if value is not None and (type(value) is not int or not least <= value <= most):
            raise self.wrong(name, f"is not a whole number from {least} to {most}")
        return value

    def number(self, name: str, least: float, most: float, default: float) -> float:
        """A number, `default` if missing."""
        value = self._value.get(name)
        if value is None:
            return default
        if type(value) not in (int, float) or not least <= value <= most:
            raise self.wrong(name, f"is not a number from {least:g} to {most:g}")
        return float(value)

    def texts(self, name: str, most: int, longest: int, least: int = 1) -> tuple[str, ...] | None:
        """A list of 1 to `most` texts of `least` to `longest` characters, None if missing."""
        value = self._value.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not 1 <= len(value) <= most:
            raise self.wrong(name, f"is not a list of 1 to {most} texts")
        if not all(isinstance(item, str) and least <= len(item) <= longest for item in value):
            raise self.wrong(name, f"holds what is no text of {least} to {longest} characters")
        return tuple(value)

    def object(self, name: str) -> Fields:
        """An object, an empty one if missing."""
        value = self._value.get(name)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(name, "is not an object")
        return Fields(value or {}, f"{self._path}{name}.")

    def objects(self, name: str, most: int) -> list[Fields]:
        """A list of 1 to `most` objects."""
        value = self._value.get(name)
        if not isinstance(value, list) or not 1 <= len(value) <= most:
            raise self.wrong(name, f"is not a list of 1 to {most} objects")
        if not all(isinstance(item, dict) for item in value):
            raise self.wrong(name, "holds what is no object")
        return [Fields(item, f"{self._path}{name}[{i}].") for i, item in enumerate(value)]

    def raw(self, name: str) -> Any:
        """The field as it is, None if missing."""
        return self._value.get(name)
