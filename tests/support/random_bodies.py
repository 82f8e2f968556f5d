"""Bodies nobody would send: AWS JSON made from botocore's model of an operation, whole, and wrong at any member."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st


@dataclass(frozen=True)
class Raw:
    """JSON that `json.dumps` wouldn't write."""

    text: str


WRONG: Mapping[str, Sequence[Any]] = {
    "null": (None,),
    "truth": (True, False),
    "number": (
        0, -1, 2**31, 2**63, -(2**63) - 1, 1.5, 1e308, Raw("1e999"), Raw("-0"), Raw("9" * 4_000), Raw("9" * 5_000),
        Raw("NaN"), Raw("-Infinity"), Raw("1E400"), Raw("0x10"), Raw("01"),
    ),
    "text": (
        "", " ", "x", "x" * 300, "x" * 70_000, "\x00", "\u202e", "\U0010ffff", "true", "1", "arn:aws:kms:::key/",
        "alias/", "arn:" * 500, "%s{0}", "../../etc/passwd", Raw('"\\ud800"'), Raw('"\\udc00\\ud800"'),
        Raw('"\\ud800x"'), Raw('"\x01"'), Raw('"\\x"'), Raw("'x'"), Raw('"open'),
    ),
    "blob": ("=", "a", "aGk", "aGk=\n", " aGk=", "aGk=aGk=", "__==", "aGl=", "A" * 20_000, "AA==" * 2),
    "time": (
        -1, 1e18, 253_402_300_800, 0.0005, "2026-01-01", "2026-13-01T00:00:00Z", "2026-01-01T00:00:60Z",
        "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2026-01-01T00:00:00+14:00", "Thu, 01 Jan 2026 00:00:00 GMT",
    ),
    "list": ([], [None], [[]], [{}], [1], ["x"] * 1_001, Raw("[" * 900 + "]" * 900), Raw("[" * 30_000), Raw("[1,]")),
    "object": (
        {}, {"": ""}, {"a": None}, {"a": 1}, {"a": {"b": []}}, {"__type": "KMSInternalException"}, {"a": "\x00"},
        {str(number): "v" for number in range(1_200)}, {"x" * 9_000: "y" * 9_000}, Raw('{"a":1,"a":2}'),
        Raw('{"a":' * 900 + "1" + "}" * 900), Raw('{"\\ud800":"x"}'), Raw('{"a" "b"}'), Raw("{1:2}"),
    ),
}
"""Kind -> JSON values that are wrong, or at least odd, for about any member."""

_EVERYWHERE: tuple[Any, ...] = (
    None, True, -1, 2**63, 1.5, Raw("1e999"), Raw("NaN"), "", "\x00", Raw('"\\ud800"'), [], [None], {}, {"a": None},
    Raw('{"a":1,"a":2}'), Raw("[" * 900 + "]" * 900),
)
_Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Pool:
    """What exists, so that requests get past the first checks."""

    members: Mapping[str, Sequence[Any]]
    """Member name, or `Operation.Member` -> values that make sense."""
    texts: Sequence[str]
    """Any that mean something somewhere."""

    def sensible(self, operation: str, name: str, shape: Any) -> Sequence[Any]:
        """Values of a member; Raw("") for leaving it out."""
        found = self.members.get(f"{operation}.{name}", self.members.get(name))
        return _of_shape(shape) if found is None else found


LEFT_OUT = Raw("")


def _of_shape(shape: Any) -> Sequence[Any]:
    """A value of a shape that the model allows, at its limits where there are some."""
    least, most = shape.metadata.get("min", 0), shape.metadata.get("max")
    if getattr(shape, "enum", None):
        return [*shape.enum]
    if shape.type_name == "structure":
        return [{name: _of_shape(inner)[0] for name, inner in shape.members.items()}]
    if shape.type_name == "list":
        return [[_of_shape(shape.member)[0]] * max(1, least)]
    if shape.type_name == "map":
        return [{"a": _of_shape(shape.value)[0]}]
    if shape.type_name == "blob":
        return [_blob(size) for size in {max(1, least), min(most or 32, 8_192)}]
    return {
        "string": ["x" * max(1, least), "x" * min(most or 20, 9_000)], "boolean": [False, True],
        "integer": [max(1, least), most or 5], "timestamp": [1_800_000_000, "2027-01-01T00:00:00.5Z"],
    }[shape.type_name]


def _blob(size: int) -> str:
    return base64.b64encode(bytes(size)).decode()


def first_body(operation: str, shape: Any, pool: Pool) -> dict[str, Any]:
    """The first sensible value of each member that has one."""
    chosen = {name: pool.sensible(operation, name, inner)[0] for name, inner in shape.members.items()}
    return {name: value for name, value in chosen.items() if value is not LEFT_OUT}


def wrong_bodies(operation: str, shape: Any, pool: Pool) -> Iterator[str]:
    """Requests that are sensible but for one member, which has a wrong type or size; each member in turn."""
    body = first_body(operation, shape, pool)
    for path, inner in _paths(shape):
        for value in itertools.chain(_EVERYWHERE, _beyond(inner)):
            yield written(_changed(body, path, value))


def bodies(operation: str, shape: Any, pool: Pool) -> st.SearchStrategy[str]:
    """Requests of which most members make sense, several or none don't, and some aren't JSON."""
    members = {
        name: st.sampled_from([*pool.sensible(operation, name, inner)]) for name, inner in shape.members.items()
    }
    whole = st.fixed_dictionaries(members).map(
        lambda values: {name: value for name, value in values.items() if value is not LEFT_OUT}
    )
    if not members:
        return st.sampled_from(['{}', '{"Other":[]}', "[]", ""])
    paths = dict(_paths(shape))
    anything = st.sampled_from([value for values in WRONG.values() for value in values])
    odd = st.sampled_from([*paths]).flatmap(
        lambda path: st.tuples(
            st.just(path),
            st.one_of(anything, st.sampled_from(pool.texts), st.sampled_from([*_beyond(paths[path]), None])),
        )
    )
    changed = st.builds(_several, whole, st.lists(odd, max_size=3))
    return st.one_of(changed, changed, changed, st.builds(_torn, changed, st.floats(0, 1), st.text(max_size=3)))


def written(body: Any) -> str:
    """JSON, with what is Raw as it is. Characters stay themselves, so that UTF-8 is met, too."""
    if isinstance(body, Raw):
        return body.text
    if isinstance(body, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{written(value)}" for name, value in body.items()) + "}"
    if isinstance(body, list):
        return "[" + ",".join(map(written, body)) + "]"
    return json.dumps(body, ensure_ascii=False)


def _several(body: dict[str, Any], changes: list[tuple[_Path, Any]]) -> str:
    for path, value in changes:
        body = _changed(body, path, value)
    return written(body)


def _torn(text: str, place: float, inserted: str) -> str:
    at = int(place * len(text))
    return text[:at] + inserted + text[at + 1:]


def _paths(shape: Any, above: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    """Every place of a request, however deep."""
    for name, member in shape.members.items():
        here: _Path = (*above, name)
        inner = member
        yield here, inner
        while inner.type_name in ("list", "map"):
            here = (*here, 0 if inner.type_name == "list" else "a")
            inner = inner.member if inner.type_name == "list" else inner.value
            yield here, inner
        if inner.type_name == "structure":
            yield from _paths(inner, here)


def _beyond(shape: Any) -> Iterator[Any]:
    """Values beside what the model allows."""
    least, most = shape.metadata.get("min", 0), shape.metadata.get("max")
    if shape.type_name == "blob":
        yield from ("=", "aGk", "aGl=", "aGk=\n", _blob((most or 6_144) + 1))
    elif shape.type_name == "string":
        yield from ("x" * ((most or 70_000) + 1), "y" * max(0, least - 1), "é" * max(1, least))
    elif shape.type_name == "integer":
        yield from (least - 1, (most or 2**31) + 1, Raw("5.0"), "5")
    elif shape.type_name == "timestamp":
        yield from WRONG["time"]
    elif shape.type_name == "list":
        yield [_of_shape(shape.member)[0]] * ((most or 1_000) + 1)
    elif shape.type_name == "map":
        yield {str(number): "v" for number in range(5_000)}


def _changed(body: Any, path: _Path, value: Any) -> Any:
    """A copy with something else at one place, and what is needed on the way there."""
    if not path:
        return value
    head, *rest = path
    if isinstance(head, int):
        items = list(body) if isinstance(body, list) and body else [None]
        return [_changed(items[0], tuple(rest), value), *items[1:]]
    members = dict(body) if isinstance(body, dict) else {}
    members[head] = _changed(members.get(head), tuple(rest), value)
    return members
