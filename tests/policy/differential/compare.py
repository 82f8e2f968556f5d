"""Holds our decisions against those of another implementation, on random policies and requests.

Not part of the test run, as it needs Node.js and a package from the npm registry; README.md says how to run it.
Encryption context keys are left out, since the other side doesn't know their rules, and so are root users.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from kagitori_server.model.errors import KmsError
from kagitori_server.policy import (
    Caller,
    CallerKind,
    IdentityKind,
    Limits,
    Query,
    decide_key,
    make_context,
    parse_identity_policy,
    parse_key_policy,
)

A, B = "111122223333", "444455556666"
KEY = f"arn:aws:kms:us-east-1:{A}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
USER, OTHER, ROLE = f"arn:aws:iam::{A}:user/P", f"arn:aws:iam::{A}:user/Q", f"arn:aws:iam::{A}:role/R"
SESSION, FOREIGN = f"arn:aws:sts::{A}:assumed-role/R/s1", f"arn:aws:iam::{B}:user/PB"
PRINCIPALS = {A: A, B: B, USER: "AIDAP", OTHER: "AIDAQ", ROLE: "AROAR", SESSION: "AROAR:s1", FOREIGN: "AIDAPB"}
PRINCIPALS |= {f"arn:aws:iam::{account}:root": account for account in (A, B)}
CALLERS = [
    Caller(A, CallerKind.USER, USER, "AIDAP"),
    Caller(A, CallerKind.ASSUMED_ROLE, SESSION, "AROAR:s1", "AROAR", ROLE),
    Caller(B, CallerKind.USER, FOREIGN, "AIDAPB"),
]

# Condition keys of each type: values of requests, values of policies.
Values = tuple[list[str], list[str]]
KEYS: dict[str, dict[str, Values]] = {
    "String": {
        "kms:ViaService": (["s3.us-east-1.amazonaws.com", "rds.us-east-1.amazonaws.com"],
                           ["s3.us-east-1.amazonaws.com", "s3.*", "S3.US-EAST-1.amazonaws.com", "*", "r?s.*"]),
        "kms:CallerAccount": ([A, B], [A, B, "1111*", "${aws:PrincipalAccount}", "${aws:username}"]),
        "kms:KeySpec": (["SYMMETRIC_DEFAULT"], ["SYMMETRIC_DEFAULT", "symmetric_default", "RSA_*", "*_DEFAULT"]),
        "kms:RequestAlias": (["alias/x", "alias/a*b"],
                             ["alias/x", "alias/*", "alias/${aws:username, 'x'}", "alias/a${*}b"]),
        "aws:username": (["x", "P", "*"], ["x", "P", "p", "?", "${aws:PrincipalTag/team}", "${*}"]),
        "aws:PrincipalTag/team": (["red", "x"], ["red", "RED", "r*", "${aws:username}"]),
    },
    "Arn": {
        "aws:PrincipalArn": ([USER, ROLE, FOREIGN], [USER, ROLE, "arn:aws:iam::*:user/*", f"arn:aws:iam::{A}:*",
                             "arn:*:iam::1111?2223333:role/R"]),
    },
    "Numeric": {"aws:MultiFactorAuthAge": (["0", "300", "3600"], ["300", "301", "3600", "0"])},
    "Date": {"aws:CurrentTime": (["2026-05-06T07:08:09Z", "2027-01-01T00:00:00Z"],
                                 ["2026-05-06T07:08:09Z", "2026-12-31", "2027-01-01T01:00:00+01:00"])},
    "Bool": {"aws:SecureTransport": (["true", "false"], ["true", "false", "TRUE"]),
             "aws:MultiFactorAuthPresent": (["true", "false"], ["true", "false"])},
    "Ip": {"aws:SourceIp": (["203.0.113.7", "198.51.100.1"],
                            ["203.0.113.0/24", "203.0.113.7", "203.0.0.0/9"])},
    "List": {"aws:CalledVia": (["athena.amazonaws.com", "glue.amazonaws.com"],
                               ["athena.amazonaws.com", "*.amazonaws.com", "glue*"])},
}  # fmt: skip
STRINGS = [f"String{negation}{name}" for negation in ("", "Not") for name in ("Equals", "EqualsIgnoreCase", "Like")]
ORDER = ("Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals")
OPERATORS = {
    "String": STRINGS,
    "Arn": ["ArnEquals", "ArnNotEquals", "ArnLike", "ArnNotLike"],
    "Numeric": [f"Numeric{name}" for name in ORDER],
    "Date": [f"Date{name}" for name in ORDER],
    "Bool": ["Bool"],
    "Ip": ["IpAddress", "NotIpAddress"],
    "List": [f"{which}:{name}" for which in ("ForAllValues", "ForAnyValue") for name in STRINGS],
}


def _comparable(operator: str, value: str) -> bool:
    """Whether both sides read the value alike; README.md lists what they don't."""
    if "${*}" in value:
        return "StringLike" in operator
    return "${" not in value or "Not" not in operator


class Generator:
    """Random questions; the same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def some(self, values: list[Any], most: int = 2) -> Any:
        """One value, or a list of a few."""
        if self.random.random() < 0.6:
            return self.random.choice(values)
        return self.random.sample(values, self.random.randint(1, min(most, len(values))))

    def condition(self) -> dict[str, Any]:
        """A Condition element."""
        element: dict[str, Any] = {}
        for _ in range(self.random.choice([0, 0, 1, 1, 2, 3])):
            kind = self.random.choice(list(KEYS))
            key = self.random.choice(list(KEYS[kind]))
            if self.random.random() < 0.15:
                element.setdefault("Null", {})[key] = self.random.choice(["true", "false"])
                continue
            operator = self.random.choice(OPERATORS[kind])
            if self.random.random() < 0.2 and not operator.startswith("ForAnyValue"):
                operator += "IfExists"
            values = [value for value in KEYS[kind][key][1] if _comparable(operator, value)]
            element.setdefault(operator, {})[key] = self.some(values, 3)
        return {"Condition": element} if element else {}

    def statement(self) -> dict[str, Any]:
        """A statement of an identity policy."""
        actions = ["kms:Decrypt", "kms:*", "kms:Encrypt", "KMS:de*", "kms:?ecrypt", "*"]
        resources = ["*", KEY, "arn:aws:kms:*:*:key/*", f"arn:aws:kms:us-east-1:{A}:alias/x", KEY[:-1] + "?"]
        resource = self.random.choice(["Resource", "Resource", "Resource", "NotResource"])
        if resource == "Resource":
            resources.append(f"arn:aws:kms:us-east-1:{A}:key/${{aws:username}}*")
        return {
            "Effect": self.random.choice(["Allow", "Allow", "Allow", "Deny"]),
            self.random.choice(["Action", "Action", "Action", "NotAction"]): self.some(actions),
            resource: self.some(resources),
            **self.condition(),
        }

    def key_statement(self) -> dict[str, Any]:
        """A statement of the key policy."""
        named = {"AWS": self.some(list(PRINCIPALS), 3)}
        return {**self.statement(), "Principal": self.random.choice(["*", {"AWS": "*"}, *[named] * 4])}

    def role_statement(self) -> dict[str, Any]:
        """A statement of the key policy that names neither sessions nor everybody."""
        names = [name for name in PRINCIPALS if name != SESSION]
        return {**self.statement(), "Principal": {"AWS": self.some(names, 3)}}

    def policy(self, make: Any, most: int) -> dict[str, Any]:
        """A document."""
        statements = [make() for _ in range(self.random.randint(1, most))]
        old = self.random.random() < 0.1 and "${" not in json.dumps(statements)
        return {"Version": "2008-10-17" if old else "2012-10-17", "Statement": statements}

    def case(self) -> dict[str, Any]:
        """A question in the form that the simulator reads."""
        caller = self.random.choice(CALLERS)
        context: dict[str, Any] = {
            "aws:PrincipalArn": caller.role_arn or caller.arn,
            "aws:PrincipalAccount": caller.account,
        }
        for kind, keys in KEYS.items():
            for key, (values, _) in keys.items():
                if key not in context and self.random.random() < 0.6:
                    sample = self.random.sample(values, self.random.randint(1, 2)) if kind == "List" else None
                    context[key] = sample or self.random.choice(values)
        case: dict[str, Any] = {
            "request": {
                "principal": caller.arn,
                "action": "kms:Decrypt",
                "resource": {"resource": KEY, "accountId": A},
                "contextVariables": context,
            },
            "identityPolicies": [{"name": "p", "policy": self.policy(self.statement, 3)}],
            "serviceControlPolicies": [],
            "resourceControlPolicies": [],
            "resourcePolicy": self.policy(self.key_statement, 3),
        }
        if self.random.random() < 0.25:
            boundary = {"name": "b", "policy": self.policy(self.statement, 2)}
            case["permissionBoundaryPolicies"] = [boundary]
        if caller.role_id and self.random.random() < 0.3:
            case["sessionPolicy"] = self.policy(self.statement, 2)
            case["resourcePolicy"] = self.policy(self.role_statement, 3)
        return case


def ours(case: dict[str, Any]) -> str:
    """Our answer in the simulator's words."""
    request = case["request"]
    caller = next(each for each in CALLERS if each.arn == request["principal"])
    context = make_context(
        (name, tuple(value) if isinstance(value, list) else value)
        for name, value in request["contextVariables"].items()
    )
    query = Query(caller, request["action"], KEY, A, context)

    def parse(policy: Any) -> Any:
        return parse_identity_policy(json.dumps(policy), IdentityKind.ROLE)

    boundary = [(each["name"], parse(each["policy"])) for each in case.get("permissionBoundaryPolicies", ())]
    session = [("s", parse(case["sessionPolicy"]))] if "sessionPolicy" in case else []
    decision = decide_key(
        query,
        parse_key_policy(json.dumps(case["resourcePolicy"]), PRINCIPALS.get),
        [(each["name"], parse(each["policy"])) for each in case["identityPolicies"]],
        cross_account_capable=True,
        limits=Limits(boundary, session),
    )
    if decision.allowed:
        return "Allowed"
    return "ExplicitlyDenied" if decision.explicit_deny else "ImplicitlyDenied"


def main() -> int:
    """Compare as many cases as asked for, print those that differ, and how often each pair of answers came."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=10, help="differing cases to print")
    parser.add_argument("--simulator", type=Path, default=Path(__file__).parent, help="folder with node_modules")
    arguments = parser.parse_args()
    generator = Generator(arguments.seed)
    cases = [generator.case() for _ in range(arguments.cases)]
    answers = subprocess.run(
        ["node", "simulate.mjs"],
        cwd=arguments.simulator,
        input="".join(json.dumps(case) + "\n" for case in cases),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    pairs: Counter[tuple[str, str]] = Counter()
    shown = 0
    for case, answer in zip(cases, answers, strict=True):
        theirs = json.loads(answer)
        try:
            mine = ours(case)
        except KmsError as error:
            mine = f"refused: {error.message}"
        pairs[mine, theirs if isinstance(theirs, str) else f"refused: {theirs['message']}"] += 1
        if mine != theirs and shown < arguments.show:
            shown += 1
            print(f"ours {mine}, theirs {answer}\n{json.dumps(case, indent=1)}")
    for (mine, theirs), count in pairs.most_common():
        print(f"{count:6} ours {mine}, theirs {theirs}")
    return int(any(mine != theirs for mine, theirs in pairs))


if __name__ == "__main__":
    sys.exit(main())
