"""Wildcards against a slow reference that follows the definition, and against patterns made to be slow."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kagitori_server.policy.globs import Glob, GlobSet, Wild
from kagitori_server.policy.matchers import ActionSet, ResourceSet

# Few letters, so that patterns and texts meet often; a newline and regular expression characters among them.
PATTERNS = st.text(alphabet="ab*?\n.", max_size=10)
TEXTS = st.text(alphabet="ab*?\n.", max_size=12)
PARTS = st.text(alphabet="ab*?/", min_size=1, max_size=4)


def _resources(pattern: str) -> ResourceSet:
    return ResourceSet.of([pattern], negated=False, variables=True, allows=True)


def slow_match(pattern: str, text: str) -> bool:
    """The definition, one row of the table per pattern character: which prefixes of the text are covered."""
    covered = [True] + [False] * len(text)
    for char in pattern:
        if char == "*":
            row, reached = [], False
            for before in covered:
                reached = reached or before
                row.append(reached)
        else:
            row = [False] + [
                before and char in ("?", text[place]) for place, before in enumerate(covered[:-1])
            ]
        covered = row
    return covered[-1]


@settings(deadline=None)
@given(PATTERNS, TEXTS)
@example("*a?*", "aab")
@example("a*a", "a")
@example("*?*", "")
@example("?*?", "a")
@example("*ab*ab", "ab")
def test_glob_is_the_definition(pattern: str, text: str) -> None:
    """Compiled and slow matching agree on every pattern and text."""
    expected = slow_match(pattern, text)
    assert Glob.of(pattern).matches(text) is expected
    assert GlobSet.of([pattern]).matches(text) is expected


@settings(deadline=None)
@given(st.lists(PATTERNS, max_size=5), st.lists(TEXTS, min_size=1, max_size=5), st.booleans())
def test_many_texts_at_once_are_each_of_them(patterns: list[str], texts: list[str], many: bool) -> None:
    """Whether they are tried one after the other or in a row."""
    texts *= 40 if many else 1
    expected = [any(slow_match(pattern, text) for pattern in patterns) for text in texts]
    assert list(GlobSet.of(patterns).each(tuple(texts))) == expected
    for pattern in patterns:
        assert Glob.of(pattern).matches_any(tuple(texts)) is any(map(Glob.of(pattern).matches, texts))


@settings(deadline=None, max_examples=50)
@given(PATTERNS, TEXTS, TEXTS)
def test_long_texts_are_matched_as_short_ones(pattern: str, before: str, after: str) -> None:
    """What is sought at all places at once is found where it is sought at one after the other."""
    filling = "ab" * 520
    text = before + filling + after
    assert Glob.of(pattern).matches(text) is slow_match(pattern, text)
    assert Glob.of(f"*{pattern}*{after}").matches(text) is slow_match(f"*{pattern}*{after}", text)


@settings(deadline=None)
@given(st.lists(st.sampled_from([*Wild, "*", "?", "a", "ab"]), max_size=6), TEXTS)
def test_literal_wildcards(tokens: list[str | Wild], text: str) -> None:
    """A star that is data matches a star: as the definition has it with another letter in its place."""
    swap = str.maketrans("*?", "xy")
    pattern = "".join(each.value if isinstance(each, Wild) else each.translate(swap) for each in tokens)
    expected = slow_match(pattern, text.translate(swap))
    assert Glob(tokens).matches(text) is expected
    assert GlobSet.of_tokens([tokens]).matches(text) is expected
    assert list(GlobSet.of_tokens([tokens]).each((text,) * 100)) == [expected] * 100


@settings(deadline=None)
@given(st.lists(PATTERNS, max_size=4), TEXTS, st.booleans())
def test_action_set_is_any_pattern(patterns: list[str], text: str, negated: bool) -> None:
    """A set matches when one of its patterns does, in any case of letters; negated, when none does."""
    expected = any(slow_match(pattern, text) for pattern in patterns) is not negated
    assert ActionSet.of([pattern.upper() for pattern in patterns], negated=negated).matches(text) is expected


@settings(deadline=None)
@given(
    st.lists(st.tuples(*[PARTS] * 4), min_size=1, max_size=3), st.tuples(*[PARTS] * 4), st.booleans()
)
def test_resource_set_matches_part_by_part(
    patterns: list[tuple[str, ...]], arn: tuple[str, ...], negated: bool
) -> None:
    """No wildcard reaches over one of the first five colons; in the last part a colon is a character."""

    def written(parts: tuple[str, ...]) -> str:
        service, region, account, resource = parts
        return f"arn:aws:{service}:{region}:{account}:{resource}:{resource}"

    expected = any(
        all(slow_match(wanted, part) for wanted, part in zip(pattern[:3], arn[:3], strict=True))
        and slow_match(f"{pattern[3]}:{pattern[3]}", f"{arn[3]}:{arn[3]}")
        for pattern in patterns
    )
    compiled = ResourceSet.of([written(pattern) for pattern in patterns], negated=negated, variables=True, allows=True)
    assert compiled.matches(written(arn), {}) is (expected is not negated)


@pytest.mark.parametrize("resource", ["", "x", "arn:aws:kms", "arn:aws:kms:us-east-1:1"])
def test_what_is_no_arn_is_matched_by_star_alone(resource: str) -> None:
    """A resource that has no six parts is never mistaken for one that has."""
    assert not _resources("arn:*:*:*:*:*").matches(resource, {})
    assert _resources("*").matches(resource, {})


@pytest.mark.parametrize(
    "pattern",
    ["", "x", "**", "arn:aws:kms:*", "a*:aws:kms:::x", "arn::kms:::x", "arn:aws:::1:x", "arn:aws:kms:::"],
)
def test_pattern_must_be_an_arn(pattern: str) -> None:
    """Patterns that could match nothing, or more than meant, don't compile."""
    with pytest.raises(ValueError, match="not an ARN"):
        _resources(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "*a" * 16_000 + "b",
        "*a?" * 10_000 + "b",
        "*" * 32_000 + "b",
        "a*" * 16_000,
        "?*" * 16_000,
        "a?" * 16_000 + "*b",
        "*" + "a?" * 500 + "b*",
        "*a*a?b*" * 4_000,
    ],
)
def test_no_pattern_is_slow(pattern: str) -> None:
    """As large as a policy can make them: compiling and matching a long ARN stay far below a second."""
    text = "a" * 2_048
    start = time.process_time()
    glob = Glob.of(pattern)
    for _ in range(10):
        glob.matches(text)
    assert time.process_time() - start < 1.0


def test_glob_shows_its_pattern() -> None:
    """For whoever debugs a policy."""
    assert repr(Glob.of("a*b")) == "Glob('a*b')"
