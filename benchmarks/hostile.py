"""The worst policies and requests that fit the limits: what reading, compiling and deciding takes of time and memory.

    python -m benchmarks.hostile

Each is printed as a multiple of the default key policy's, measured in the same run; and per byte of the document, which
says whether it's more than its length that costs. A document that is refused has no decision. `make bench` runs this
too.
"""

from __future__ import annotations

import json
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from kagitori_server.model.errors import (
    InvalidArnException,
    LimitExceededException,
    MalformedPolicyDocumentException,
)
from kagitori_server.policy import Caller, CallerKind, Context, Query, decide_key, make_context, parse_key_policy
from kagitori_server.policy.strict_json import PolicyJsonError, read_json

ACCOUNT = "111122223333"
USER = f"arn:aws:iam::{ACCOUNT}:user/P"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
PRINCIPALS = {ACCOUNT: ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root": ACCOUNT, USER: "AIDAP"}
CALLER = Caller(ACCOUNT, CallerKind.USER, USER, "AIDAP")
REFUSALS = (MalformedPolicyDocumentException, InvalidArnException, LimitExceededException)
POLICY_BYTES = 32_768
LONG_ARN = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/" + "a" * 1_900
CONTEXT_CHARACTERS = 8_192
"""What an encryption context may hold."""
CHARACTERS_PER_PAIR = 9
"""Of the least pair, with the lengths that count too."""

_STAR_CONTEXT = "kms:EncryptionContext:a"


def document(*statements: Mapping[str, object]) -> str:
    """A policy of these statements, as short as JSON writes it."""
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"), ensure_ascii=False)


def allow(**members: object) -> dict[str, object]:
    """A statement that allows the caller everything, but for `members`."""
    return {"Effect": "Allow", "Principal": {"AWS": USER}, "Action": "kms:*", "Resource": "*"} | members


PLAIN = document({"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "kms:*", "Resource": "*"})


def _repeated(make: Callable[[int], str], unit: int) -> Callable[[int], str]:
    """A document of nearly `size` bytes: what `make` gives for a number; `unit` is the length of one repetition."""

    def shape(size: int) -> str:
        number = max(1, size // unit)
        while number > 1 and len(make(number).encode()) > size:
            number -= max(1, number // 50)
        return make(number)

    return shape


def _deny(n: int) -> dict[str, object]:
    return allow(Effect="Deny", Condition={"StringEquals": {_STAR_CONTEXT: f"v{n}"}})


def _like(patterns: Iterable[str], **members: object) -> dict[str, object]:
    return allow(Condition={"StringLike": {_STAR_CONTEXT: list(patterns)}}, **members)


_SMALLEST = {"Effect": "Deny", "Principal": "*", "Action": "a:b"}

SHAPES: Mapping[str, Callable[[int], str]] = {
    "thousands of statements": _repeated(lambda n: document(*[_SMALLEST] * n), 48),
    "statements with conditions": _repeated(lambda n: document(*map(_deny, range(n))), 145),
    "stars against a long ARN": _repeated(
        lambda n: document(allow(Resource=[f"arn:*:*:*:*:{'*a' * 900}b{i}*c" for i in range(n)])), 1_820
    ),
    "stars against a long context": _repeated(
        lambda n: document(_like(f"{'*a' * 4_000}b{i}*c" for i in range(n))), 8_010
    ),
    "stars and question marks": _repeated(lambda n: document(_like(["*a?" * n + "b"])), 3),
    "many patterns": _repeated(
        lambda n: document(allow(Condition={"StringNotLike": {_STAR_CONTEXT: [f"*a?{i}*b" for i in range(n)]}})),
        12,
    ),
    "many patterns against a list": _repeated(
        lambda n: document(allow(
            Effect="Deny", Condition={"ForAnyValue:StringLike": {"kms:EncryptionContextKeys": [
                f"*{i:x}?b" for i in range(n)
            ]}},
        )), 9,
    ),
    "many dates against a list": _repeated(
        lambda n: document(*[
            allow(Effect="Deny", Condition={"ForAnyValue:DateEquals": {"kms:EncryptionContextKeys": "2020"}})
        ] * n), 180,
    ),
    "literals in patterns": _repeated(
        lambda n: document(_like(f"*{'a' * 48}b{i}{'a' * 45}*" for i in range(n))), 105,
    ),
    "different patterns of variables": _repeated(
        lambda n: document(_like(f"*${{kms:EncryptionContext:b}}?x{i}" for i in range(n))), 36,
    ),
    "variables in patterns": _repeated(lambda n: document(_like(["*${kms:EncryptionContext:b}?"] * n)), 31),
    "statements with costly patterns": _repeated(
        lambda n: document(*(_like([f"*{'?a' * 17}{i}*"], Effect="Deny") for i in range(n))), 180
    ),
    "many actions": _repeated(lambda n: document(allow(Action=[f"a:{i}?*" for i in range(n)])), 10),
    "many principals": _repeated(lambda n: document(allow(Principal={"AWS": [USER] * n})), 36),
    "deep nesting": lambda size: '{"Statement":' + "[" * min(10_000, size - 13),
    "deep nesting, closed": lambda size: "[" * min(10_000, size // 2) + "]" * min(10_000, size // 2),
    "unicode": lambda size: document(allow(Sid="鍵" * (size // 3 - 60))),
    "unicode, too much of it": lambda size: document(allow(Sid="鍵" * (size * 4 // 3))),
    "long numbers": lambda size: '{"Version":' + "9" * (size - 12) + "}",
    "escapes": lambda size: '"' + '\\"' * (size // 2 - 1),
}
"""By what is bad about them: the document for a size in bytes. The last ones are refused, whatever the size."""


def hostile_context(characters: int = CONTEXT_CHARACTERS) -> Context:
    """The condition keys of requests that make the patterns above work longest, all of them at once."""
    return make_context([
        (_STAR_CONTEXT, "a" * characters),
        ("kms:EncryptionContext:b", "a" * (characters // 2)),
        ("kms:EncryptionContextKeys", tuple(f"{n:x}k" for n in range(characters // CHARACTERS_PER_PAIR))),
        ("aws:PrincipalArn", USER),
    ])


@dataclass(frozen=True)
class Cost:
    """Seconds, and bytes at the peak."""

    seconds: float
    peak: int


def measured(work: Callable[[], object], times: int) -> Cost:
    """The median time of `work`, and what it needs at most beside what is there already, taken apart from the time."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return Cost(statistics.median(taken), peak)


def _read(text: str) -> None:
    try:
        read_json(text)
    except PolicyJsonError:
        return


def compiles(text: str) -> bool:
    """Whether the document is a policy; else it was refused by one of the named errors."""
    try:
        parse_key_policy(text, PRINCIPALS.get)
    except REFUSALS:
        return False
    return True


def decide(text: str, context: Context) -> Callable[[], object]:
    """The question whether the caller may decrypt with a key of a long ARN by that policy."""
    policy = parse_key_policy(text, PRINCIPALS.get)
    query = Query(CALLER, "kms:Decrypt", LONG_ARN, ACCOUNT, context)
    return lambda: decide_key(query, policy, [], cross_account_capable=False)


def report(times: int = 5) -> None:
    """Prints a line for each shape."""
    context = hostile_context()
    plain = {
        "read": measured(lambda: _read(PLAIN), 200), "read and compiled": measured(lambda: compiles(PLAIN), 200),
        "decided": measured(decide(PLAIN, {}), 200),
    }
    print(f"hostile policies, as multiples of the default key policy ({len(PLAIN)} bytes), time / peak memory")
    for name, shape in SHAPES.items():
        text = shape(POLICY_BYTES)
        size, accepted = len(text.encode()), compiles(text)
        costs = {
            "read": measured(partial(_read, text), times),
            "read and compiled": measured(partial(compiles, text), times),
        }
        if accepted:
            costs["decided"] = measured(decide(text, context), times)
        columns = [
            f"{step} {cost.seconds / plain[step].seconds:6.0f} x / {cost.peak / plain[step].peak:5.0f} x"
            for step, cost in costs.items()
        ]
        per_byte = costs["read and compiled"].seconds / size / (plain["read and compiled"].seconds / len(PLAIN))
        most = max(cost.seconds for cost in costs.values()) * 1e3
        peak = max(cost.peak for cost in costs.values()) / 2**20
        print(
            f"{name:29} {size:6} bytes: {', '.join(columns)}{'' if accepted else ', refused'};"
            f" per byte {per_byte:.1f} x; at most {most:.1f} ms, {peak:.1f} MiB"
        )


if __name__ == "__main__":
    report()
