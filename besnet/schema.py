"""One schema for every file that is read: its types say what may be in it, and it is compared before it is used.

A schema is a TypedDict, a dataclass for what has behaviour, or a function, whose arguments are meant. Numbers are
finite and texts are texts: nothing is converted. Bounds stand beside the type, as Annotated[int, Within(1, 100)].
"""

import inspect
import math
import types
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from besnet.text import short

MOST_VALUES = 500_000  # that are looked at: classes, shards
DEEPEST = 24
LONGEST = 100_000  # characters of a text
LARGEST = 2**53


@dataclass(frozen=True)
class Within:
    """Both ends belong to the range."""

    low: float
    high: float


@dataclass(frozen=True)
class Length:
    """How many entries or characters there may be."""

    least: int
    most: int


@dataclass(frozen=True)
class Distinct:
    """No entry stands in a list twice."""


Count = Annotated[int, Within(0, LARGEST)]
Share = Annotated[float, Within(0, 1)]
Name = Annotated[str, Length(1, 500)]
Classes = Annotated[list[Name], Length(1, 100_000), Distinct()]
Hash = Annotated[str, Length(0, 128)]


def checked(value: Any, kind: Any, where: str) -> Any:
    """The value, if it fits the schema: of a TypedDict the fields that it knows, of a dataclass an instance.

    where: what the value is, for the ValueError that names the field and says what is expected there.
    """
    return _Check(where).fit(value, kind, "")


class _Check:
    """One comparison; counts what it looks at, because a few bytes may stand for any number of values."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.seen = 0

    def fit(self, value: Any, kind: Any, field: str, depth: int = 0) -> Any:
        """The value as the type wants it."""
        self.seen += 1
        if self.seen > MOST_VALUES or depth > DEEPEST:
            raise self.wrong(field, "too many values, or nested too deeply")
        origin, arguments = get_origin(kind), get_args(kind)
        if kind is Any:
            return self._plain(value, field, depth)
        if origin is Annotated:
            found = self.fit(value, arguments[0], field, depth)
            for bound in arguments[1:]:
                self._bounded(found, bound, field)
            return found
        if origin in (NotRequired, Required):
            return self.fit(value, arguments[0], field, depth)
        if origin in (Union, types.UnionType):
            return self._one_of(value, arguments, field, depth)
        if origin is Literal:
            if not any(type(value) is type(choice) and value == choice for choice in arguments):
                raise self.wrong(field, f"{' or '.join(map(repr, arguments))} is expected, not {said(value)}")
            return value
        if origin in (list, tuple, Sequence):
            return self._entries(value, origin, arguments, field, depth)
        if origin is dict:
            entries = self._dictionary(value, field)
            return {key: self.fit(entry, arguments[1], _below(field, key), depth + 1) for key, entry in entries.items()}
        if is_typeddict(kind) or is_dataclass(kind) or inspect.isfunction(kind):
            return self._fields(value, kind, field, depth)
        return self._scalar(value, kind, field)

    def wrong(self, field: str, why: str) -> ValueError:
        return ValueError(f"{self.where}: {short(field, 80) + ': ' if field else ''}{why}")

    def _scalar(self, value: Any, kind: Any, field: str) -> Any:
        if kind is None or kind is types.NoneType:
            fits = value is None
        elif kind is float:
            fits = math.isfinite(value) if type(value) is float else type(value) is int and abs(value) <= LARGEST
        elif kind is int:
            fits = type(value) is int and abs(value) <= LARGEST
        elif kind is str:
            fits = isinstance(value, str) and len(value) <= LONGEST
        else:
            fits = isinstance(value, kind)
        if not fits:
            raise self.wrong(field, f"{_called(kind)} is expected, not {said(value)}")
        return value

    def _bounded(self, value: Any, bound: Any, field: str) -> None:
        if isinstance(bound, Within) and not bound.low <= value <= bound.high:
            raise self.wrong(field, f"{bound.low:g} to {bound.high:g} is expected, not {said(value)}")
        if isinstance(bound, Length) and not bound.least <= len(value) <= bound.most:
            what = "characters" if isinstance(value, str) else "entries"
            raise self.wrong(field, f"{len(value)} {what}: {bound.least} to {bound.most} are expected")
        if isinstance(bound, Distinct) and len(set(value)) < len(value):
            twice = next(entry for place, entry in enumerate(value) if entry in value[:place])
            raise self.wrong(field, f"{said(twice)} stands there twice")

    def _one_of(self, value: Any, kinds: tuple[Any, ...], field: str, depth: int) -> Any:
        problems = []
        for kind in kinds:
            try:
                return self.fit(value, kind, field, depth)
            except ValueError as error:
                if kind not in (None, types.NoneType):
                    problems.append(error)
        if len(problems) == 1:
            raise problems[0]
        expected = " or ".join(_called(kind) for kind in kinds)
        raise self.wrong(field, f"{expected} is expected, not {said(value)}")

    def _entries(self, value: Any, origin: Any, kinds: tuple[Any, ...], field: str, depth: int) -> Any:
        if not isinstance(value, list | tuple):
            raise self.wrong(field, f"a list is expected, not {said(value)}")
        each = origin is not tuple or kinds[-1] is Ellipsis
        if not each and len(value) != len(kinds):
            raise self.wrong(field, f"{len(kinds)} entries are expected, not {len(value)}")
        wanted = [kinds[0]] * len(value) if each else kinds
        found = [self.fit(v, k, f"{field}[{n}]", depth + 1) for n, (v, k) in enumerate(zip(value, wanted, strict=True))]
        return tuple(found) if origin is tuple else found

    def _dictionary(self, value: Any, field: str) -> dict[str, Any]:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise self.wrong(field, f"named values are expected, not {said(value)}")
        return value

    def _fields(self, value: Any, kind: Any, field: str, depth: int) -> Any:
        entries = self._dictionary(value, field)
        hints = get_type_hints(kind, include_extras=True)
        hints.pop("return", None)
        if is_typeddict(kind):
            needed = set(kind.__required_keys__)
        else:
            given = inspect.signature(kind).parameters
            needed = {name for name in hints if given[name].default is inspect.Parameter.empty}
            unknown = sorted(entries.keys() - hints.keys())
            if unknown:
                raise self.wrong(_below(field, unknown[0]), "there is no such setting in this version of besnet")
        lacking = sorted(needed - entries.keys())
        if lacking:
            raise self.wrong(_below(field, lacking[0]), "is missing")
        found = {
            name: self.fit(entries[name], hint, _below(field, name), depth + 1)
            for name, hint in hints.items()
            if name in entries
        }
        if not is_dataclass(kind):
            return found
        try:
            return kind(**found)  # type: ignore[operator]
        except ValueError as error:
            raise self.wrong(field, str(error)) from None

    def _plain(self, value: Any, field: str, depth: int) -> Any:
        """A value of which only is known that it is plain."""
        if isinstance(value, dict):
            return {
                key: self.fit(entry, Any, _below(field, key), depth + 1)
                for key, entry in self._dictionary(value, field).items()
            }
        if isinstance(value, list | tuple):
            return [self.fit(entry, Any, f"{field}[{number}]", depth + 1) for number, entry in enumerate(value)]
        return value if value is None or isinstance(value, bool) else self.fit(value, float | str, field, depth)


def said(value: Any) -> str:
    """A value in a message, short whatever it is."""
    if isinstance(value, dict | list | tuple):
        return f"{len(value)} {'named values' if isinstance(value, dict) else 'entries'}"
    if type(value) is int and abs(value) > LARGEST:
        return f"a whole number of {value.bit_length()} bits"
    if isinstance(value, str):
        return repr(short(value))
    return short(repr(value)) if value is None or isinstance(value, bool | int | float) else type(value).__name__


def _below(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name


def _called(kind: Any) -> str:
    names: dict[Any, str] = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    names |= {None: "null", types.NoneType: "null"}
    origin = get_origin(kind)
    if origin is Annotated:
        return _called(get_args(kind)[0])
    if origin in (list, tuple, Sequence):
        return "a list"
    if origin is dict or is_typeddict(kind) or is_dataclass(kind):
        return "named values"
    return names.get(kind) or str(getattr(kind, "__name__", kind))
