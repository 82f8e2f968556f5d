"""The decision table of `decisions.json`, and the sentences that refusals are told in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kagitori_server.policy import (
    Basis,
    Caller,
    CallerKind,
    ConstraintKind,
    Decision,
    Grant,
    GrantConstraint,
    IdentityKind,
    KeyPolicy,
    Limits,
    NamedPolicies,
    Query,
    decide_identity,
    decide_key,
    decide_retire_grant,
    make_context,
    parse_identity_policy,
    parse_key_policy,
)

A, B = "111122223333", "444455556666"
KEY = f"arn:aws:kms:us-east-1:{A}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
NAMES = {
    "<A>": A,
    "<B>": B,
    "<K>": KEY,
    "<K2>": f"arn:aws:kms:us-east-1:{A}:key/0987dcba-09fe-87dc-65ba-ab0987654321",
    "<ALIAS>": f"arn:aws:kms:us-east-1:{A}:alias/app",
    "<REGION>": f"arn:aws:kms:us-east-1:{A}:*",
}
PRINCIPALS = {
    A: A,
    B: B,
    f"arn:aws:iam::{A}:root": A,
    f"arn:aws:iam::{B}:root": B,
    f"arn:aws:iam::{A}:user/P": "AIDAP",
    f"arn:aws:iam::{A}:user/Q": "AIDAQ",
    f"arn:aws:iam::{A}:role/team/R": "AROAR",
    f"arn:aws:sts::{A}:assumed-role/R/s1": "AROAR:s1",
    f"arn:aws:sts::{A}:federated-user/fed": f"{A}:fed",
    f"arn:aws:iam::{B}:user/PB": "AIDAPB",
    f"arn:aws:iam::{B}:role/RB": "AROARB",
}


def _session(account: str, role: str, role_id: str, path: str, name: str) -> Caller:
    return Caller(
        account,
        CallerKind.ASSUMED_ROLE,
        f"arn:aws:sts::{account}:assumed-role/{role}/{name}",
        f"{role_id}:{name}",
        role_id,
        f"arn:aws:iam::{account}:role/{path}{role}",
    )


CALLERS = {
    "P": Caller(A, CallerKind.USER, f"arn:aws:iam::{A}:user/P", "AIDAP"),
    "Q": Caller(A, CallerKind.USER, f"arn:aws:iam::{A}:user/Q", "AIDAQ"),
    "PB": Caller(B, CallerKind.USER, f"arn:aws:iam::{B}:user/PB", "AIDAPB"),
    "root A": Caller(A, CallerKind.ROOT, f"arn:aws:iam::{A}:root", A),
    "root B": Caller(B, CallerKind.ROOT, f"arn:aws:iam::{B}:root", B),
    "R/s1": _session(A, "R", "AROAR", "team/", "s1"),
    "R/s2": _session(A, "R", "AROAR", "team/", "s2"),
    "RB/s": _session(B, "RB", "AROARB", "", "s"),
    "fed": Caller(A, CallerKind.FEDERATED, f"arn:aws:sts::{A}:federated-user/fed", f"{A}:fed"),
}


def _load() -> dict[str, Any]:
    text = (Path(__file__).parent / "decisions.json").read_text(encoding="utf-8")
    for name, value in NAMES.items():
        text = text.replace(name, value)
    table: dict[str, Any] = json.loads(text)
    return table


TABLE = _load()


def _document(kind: str, names: list[str]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [TABLE[kind][name] for name in names]})


def _key_policy(names: list[str]) -> KeyPolicy:
    return parse_key_policy(_document("key_statements", names), PRINCIPALS.get)


def _policies(case: dict[str, Any], layer: str) -> NamedPolicies:
    return [
        (name, parse_identity_policy(_document("identity_statements", statements), IdentityKind.ROLE))
        for name, statements in case.get(layer, {}).items()
    ]


def _grant(name: str) -> Grant:
    row = TABLE["grants"][name]
    constraint = None
    if "constraint" in row:
        kind, pairs = row["constraint"]
        constraint = GrantConstraint(ConstraintKind(kind), pairs)
    operations = frozenset(row["operations"])
    return Grant(name, row["grantee"], operations, constraint, row.get("retiring"), row.get("issuing"))


def _query(case: dict[str, Any]) -> Query:
    context = make_context(
        (name, tuple(value) if isinstance(value, list) else value)
        for name, value in case.get("context", {}).items()
    )
    return Query(
        CALLERS[case.get("caller", "P")],
        case.get("action", "kms:Decrypt"),
        case.get("resource", KEY),
        A,
        context,
        case.get("encryption", {}),
    )


def _decide(case: dict[str, Any]) -> Decision:
    query, identity = _query(case), _policies(case, "identity")
    limits = Limits(_policies(case, "boundary"), _policies(case, "session"))
    if case["key"] is None:
        return decide_identity(query, identity, limits=limits)
    key_policy = _key_policy(case["key"])
    if "retire" in case:
        return decide_retire_grant(query, key_policy, identity, _grant(case["retire"]), limits=limits)
    return decide_key(
        query,
        key_policy,
        identity,
        cross_account_capable=case.get("cross", False),
        limits=limits,
        grants=[_grant(name) for name in case.get("grants", ())],
    )


@pytest.mark.parametrize("case", TABLE["cases"], ids=lambda case: case["name"])
def test_decision(case: dict[str, Any]) -> None:
    """Every row of the table: what is decided, why, and by which statement or grant."""
    decision = _decide(case)
    index = None if decision.statement is None else decision.statement.index
    grant = [] if decision.grant is None else [decision.grant]
    assert [decision.basis.name, decision.policy, index, *grant] == case["expect"]


def test_every_worked_case_is_there() -> None:
    """All 38 worked cases of the documentation have a row."""
    numbers = {case["name"].split()[0] for case in TABLE["cases"] if case["name"].startswith("AWS-")}
    assert numbers == {f"AWS-{number}" for number in range(1, 39)}


def test_case_names_are_unique() -> None:
    """A row that shadows another would hide it in reports."""
    names = [case["name"] for case in TABLE["cases"]]
    assert len(names) == len(set(names))


def test_every_statement_of_the_table_is_used() -> None:
    """Statements nobody asks about prove nothing."""
    used = {name for case in TABLE["cases"] for name in case["key"] or ()}
    for layer in ("identity", "boundary", "session"):
        used |= {name for case in TABLE["cases"] for names in case.get(layer, {}).values() for name in names}
    used |= {name for case in TABLE["cases"] for name in [*case.get("grants", ()), case.get("retire")]} - {None}
    # P_CREATE_KEY belongs to an action on which no key policy is asked; the test below uses it.
    tables = ("key_statements", "identity_statements", "grants")
    assert used | {"P_CREATE_KEY"} == {name for table in tables for name in TABLE[table]}


def test_every_basis_occurs() -> None:
    """The table reaches every answer there is."""
    assert {case["expect"][0] for case in TABLE["cases"]} == set(Basis.__members__)


def test_actions_without_resource_are_inert_in_key_policies() -> None:
    """CreateKey allowed by a key policy helps nobody: it is asked about with `decide_identity`."""
    _key_policy(["P_CREATE_KEY"])
    query = Query(CALLERS["P"], "kms:CreateKey", NAMES["<REGION>"], A)
    assert not decide_identity(query, []).allowed


@pytest.mark.parametrize(
    ("case", "end"),
    [
        ({"key": ["USER_Q"]}, "because no resource-based policy allows the kms:Decrypt action"),
        ({"key": ["ROOT"]}, "because no identity-based policy allows the kms:Decrypt action"),
        ({"key": ["DENY_P"]}, "with an explicit deny in a resource-based policy"),
        (
            {"key": ["ROOT"], "identity": {"p": ["DENY_DECRYPT"]}},
            "with an explicit deny in an identity-based policy",
        ),
        (
            {"key": ["ROOT"], "identity": {"p": ["KMS_ALL"]}, "boundary": {"b": ["S3_ALL"]}},
            "because no permissions boundary allows the kms:Decrypt action",
        ),
        (
            {"key": ["ROOT"], "identity": {"p": ["KMS_ALL"]}, "session": {"s": ["S3_ALL"]}},
            "because no session policy allows the kms:Decrypt action",
        ),
        (
            {"key": ["USER_P"], "boundary": {"b": ["DENY_DECRYPT"]}},
            "with an explicit deny in a permissions boundary",
        ),
        ({"key": ["USER_P"], "session": {"s": ["DENY_DECRYPT"]}}, "with an explicit deny in a session policy"),
    ],
)
def test_denial_text(case: dict[str, Any], end: str) -> None:
    """Refusals are told in AWS's sentences, which tools search for."""
    caller = CALLERS["P"]
    text = _decide(case).denial_text(caller.arn, "kms:Decrypt", KEY)
    assert text == f"User: {caller.arn} is not authorized to perform: kms:Decrypt on resource: {KEY} {end}"


def test_denial_text_of_a_permission_is_an_error() -> None:
    """A sentence of refusal for what was allowed can only mislead."""
    with pytest.raises(ValueError, match="to allow"):
        _decide({"key": ["USER_P"]}).denial_text("arn", "kms:Decrypt", KEY)


def test_decision_names_the_statement() -> None:
    """The statement is reported with the Sid its author gave it."""
    decision = _decide({"key": ["ROOT", "DENY_P"]})
    assert (decision.allowed, decision.explicit_deny, decision.policy) == (False, True, None)
    assert decision.statement is not None
    assert (decision.statement.index, decision.statement.sid) == (1, "NotP")


def test_principal_made_anew_does_not_match() -> None:
    """A user deleted and created again under the old name has another unique id and inherits nothing."""
    policy = _key_policy(["USER_P"])
    heir = Caller(A, CallerKind.USER, f"arn:aws:iam::{A}:user/P", "AIDANEW")
    assert not decide_key(Query(heir, "kms:Decrypt", KEY, A), policy, [], cross_account_capable=False).allowed


@pytest.mark.parametrize(
    "arguments",
    [
        (A, CallerKind.USER, "arn", "AIDAP", "AROAR", None),
        (A, CallerKind.USER, "arn", "AIDAP", "AROAR", "arn"),
        (A, CallerKind.USER, "arn", A),
        (A, CallerKind.USER, "arn", ""),
        (A, CallerKind.ROOT, "arn", "AIDAP"),
        (A, CallerKind.ASSUMED_ROLE, "arn", "AROAR:s"),
        (A, CallerKind.ASSUMED_ROLE, "arn", "AROAR:s", "AROAR", None),
        (A, CallerKind.ASSUMED_ROLE, "arn", "AROAR:s", None, "arn"),
        ("1", CallerKind.USER, "arn", "AIDAP"),
        ("", CallerKind.ROOT, "arn", ""),
    ],
)
def test_caller_of_two_minds_is_refused(arguments: tuple[Any, ...]) -> None:
    """A caller whose parts contradict each other could match what it should not."""
    with pytest.raises(ValueError, match=r"account|role|caller"):
        Caller(*arguments)
