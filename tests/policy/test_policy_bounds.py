"""Reading and deciding take a number of steps that the sizes of document and request bound, whatever is in them.

Counted are lines of Python and calls into C, never time. A step may be a search through a text, or arithmetic on as
many bits as the texts that are asked about have characters; that these are bounded is asserted on their sizes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from benchmarks.hostile import PRINCIPALS, SHAPES, allow, compiles, decide, document, hostile_context
from hypothesis import given, settings
from hypothesis import strategies as st

from kagitori_server.policy import parse_key_policy
from kagitori_server.policy.effort import Effort, Size, static_steps
from kagitori_server.policy.globs import GlobSet
from kagitori_server.policy.places import Places
from kagitori_server.policy.strict_json import MAX_NESTING, PolicyJsonError, read_json

STEPS_PER_BYTE = 120
"""Of reading and compiling. Most is needed by short patterns, and by single characters between stars."""
STEPS = 3_000
"""Of any document, however small."""
STEPS_OF_EFFORT = 25
"""For each step of the effort that was known before, which is half a microsecond."""
STEPS_OF_CHARACTER = 15
"""Of a request: where each stands is written down once, when it is asked about by patterns."""
STEPS_OF_CONDITION = 30
"""Of deciding, for each condition in the document and each character that it is held against."""


def steps(work: Callable[[], object]) -> int:
    """How many lines of Python run and how many calls into C are made."""
    count = 0

    def traced(_frame: FrameType, _event: str, _argument: Any) -> Any:
        nonlocal count
        count += 1
        return traced

    def called(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event == "c_call"

    before = sys.gettrace(), sys.getprofile()
    sys.settrace(traced)
    sys.setprofile(called)
    try:
        work()
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
    return count


def _is_bounded(text: str, characters: int) -> None:
    size = len(text.encode("utf-8", "surrogatepass"))
    accepted: list[bool] = []
    assert steps(lambda: accepted.append(compiles(text))) <= STEPS + STEPS_PER_BYTE * size
    if accepted[0]:
        question = decide(text, hostile_context(characters))
        conditions = sum(len(each.get("Condition", {})) for each in json.loads(text)["Statement"])
        assert steps(question) <= STEPS + STEPS_PER_BYTE * size + STEPS_OF_CONDITION * conditions * (characters + 1)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_the_worst_that_fits_is_bounded(shape: Callable[[int], str]) -> None:
    """The shapes of the benchmark, at the full size of a key policy and an eighth of the longest context."""
    _is_bounded(shape(32_768), 1_024)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(list(SHAPES.values())), st.integers(400, 6_000), st.integers(0, 600))
def test_steps_grow_with_sizes_alone(shape: Callable[[int], str], size: int, characters: int) -> None:
    _is_bounded(shape(size), characters)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(list(SHAPES.values())), st.integers(400, 32_768), st.integers(0, 2_000))
def test_effort_is_known_before(shape: Callable[[int], str], size: int, characters: int) -> None:
    """What a decision was going to take at most, by the sizes of policy and request, bounds what it takes."""
    text = shape(size)
    if not compiles(text):
        return
    context = hostile_context(characters)
    lists = [value for value in context.values() if isinstance(value, tuple)]
    said = Size(max(map(len, lists), default=0), sum(len("".join(value)) for value in context.values()))
    known = Effort.of([parse_key_policy(text, PRINCIPALS.get)]).steps(said) + static_steps(len(text))
    assert steps(decide(text, context)) <= STEPS + STEPS_OF_EFFORT * known + STEPS_OF_CHARACTER * said.characters


PATTERNS = st.text(alphabet="aab*?*?", min_size=1, max_size=120)
OPERATORS = st.sampled_from(["StringLike", "StringNotLike", "StringEquals", "ForAnyValue:StringLike"])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(OPERATORS, st.lists(PATTERNS, min_size=1, max_size=12)), min_size=1, max_size=8),
    st.lists(PATTERNS.map(lambda pattern: f"arn:aws:kms:*:*:{pattern}"), min_size=1, max_size=12),
    st.integers(0, 600),
)
def test_any_patterns_are_bounded(
    conditions: list[tuple[str, list[str]]], resources: list[str], characters: int
) -> None:
    """Wildcards in any arrangement, against texts of the very letter that they look for."""
    _is_bounded(
        document(*(
            allow(Resource=resources, Condition={operator: {"kms:EncryptionContext:a": values}})
            for operator, values in conditions
        )),
        characters,
    )


@settings(deadline=None)
@given(st.lists(PATTERNS, min_size=1, max_size=20))
def test_texts_take_a_bit_for_each_character(patterns: list[str]) -> None:
    """The texts in a row are no wider than their characters, with two bits more for each."""
    assert Places(tuple(patterns))._size <= sum(map(len, patterns)) + 2 * len(patterns)
    compiled = GlobSet.of(patterns)
    assert len(compiled.exact) + len(compiled.prefixes) + len(compiled.globs) <= len(patterns)


@settings(deadline=None)
@given(st.recursive(st.none(), lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner,
       max_size=2), max_leaves=30), st.integers(0, 200))
def test_no_document_is_deeper_than_the_limit(value: object, more: int) -> None:
    """Whatever comes out is shallow, so nothing that walks it recurses deeply."""
    text = "[" * more + json.dumps(value) + "]" * more
    try:
        found = read_json(text)
    except PolicyJsonError:
        assert _depth(value) + more > MAX_NESTING
    else:
        assert _depth(found) == _depth(value) + more <= MAX_NESTING


def _depth(value: object) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def test_the_principals_of_the_shapes_exist() -> None:
    """Else documents would be refused for another reason than theirs."""
    accepted = {name for name, shape in SHAPES.items() if compiles(shape(2_000))}
    assert SHAPES.keys() - accepted == {
        "deep nesting", "deep nesting, closed", "long numbers", "escapes"
    }, "too much of it is too much at the full size only"
