"""`kagitori policy simulate`: what a change would have meant for the calls that were made."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from kagitori.kms.v1.decisions_pb2 import (
    Decision,
    ProposedGrantRevocation,
    ProposedIdentityPolicy,
    ProposedKeyDisabling,
    ProposedKeyPolicy,
    SimulatePolicyRequest,
    SimulationFinding,
    SimulationProgress,
    SimulationUndecided,
)
from kagitori_client.cli.arguments import point_in_time, principal_arn
from kagitori_client.cli.decisions import place
from kagitori_client.cli.failures import UsageError, WouldRefuse
from kagitori_client.cli.files import read_document
from kagitori_client.cli.session import Session, command
from kagitori_client.cli.text import Plain, plain
from kagitori_client.errors import ConnectionFailed

_COLUMNS = [
    "principal_arn", "action", "resource_arn", "before", "after", "calls", "last_seen", "event_id", "decided_by"
]
_Group = tuple[str, str, str, int, int]
_Show = Callable[[SimulationProgress], None]


def register(app: typer.Typer) -> None:
    """Adds the command to `kagitori policy`."""
    command(
        app, "simulate",
        epilog="Example: kagitori policy simulate --key alias/app --policy-file new.json --from 30d",
    )(simulate)


def simulate(
    session: Session,
    key: Annotated[
        str | None, typer.Option(help="Key id, ARN or alias of the key that would change.", metavar="KEY")
    ] = None,
    principal: Annotated[
        str | None,
        typer.Option(help="ARN, or user/NAME, role/NAME, group/NAME whose policy would change.", metavar="PRINCIPAL"),
    ] = None,
    policy_name: Annotated[
        str | None, typer.Option(help="Name of the principal's inline policy.", metavar="NAME")
    ] = None,
    policy_file: Annotated[
        str | None, typer.Option(help="The policy to try out, JSON, - for stdin.", metavar="FILE")
    ] = None,
    remove_policy: Annotated[
        bool, typer.Option("--remove-policy", help="Try out to do without the principal's policy.")
    ] = False,
    grant: Annotated[
        str | None, typer.Option(help="Id of a grant on the key to do without.", metavar="GRANT-ID")
    ] = None,
    disable_key: Annotated[bool, typer.Option("--disable-key", help="Try out the key disabled.")] = False,
    since: Annotated[
        str | None,
        typer.Option("--from", help="Calls from then on: a time, or how long ago such as 30d; 90d by default.",
                     metavar="TIME"),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="Calls before then, likewise; now by default.", metavar="TIME")
    ] = None,
) -> None:
    """Replay recorded calls against a change that is not made; exit code 5 if calls would now be refused."""
    request = SimulatePolicyRequest()
    if key is not None and principal is None and policy_name is None and not remove_policy:
        _change_key(session, request, key, policy_file, grant, disable=disable_key)
    elif principal is not None and policy_name is not None and (key, grant, disable_key) == (None, None, False):
        _change_principal(session, request, principal, policy_name, policy_file, remove=remove_policy)
    else:
        raise _unclear()
    for text, into in ((since, request.start_time), (until, request.end_time)):
        if text is not None:
            into.CopyFrom(point_in_time(text))
    result = _Result()
    with _shown_progress() as show:
        for message in session.client.admin.SimulatePolicy(request):
            result.add(message.finding if message.HasField("finding") else None)
            if message.HasField("undecided"):
                result.undecided.append(message.undecided)
            if message.HasField("progress"):
                result.progress = message.progress
                show(message.progress)
    if not result.progress.finished:
        raise ConnectionFailed("the simulation ended before everything had been read")
    _print(session, result)
    if refused := sum(found.calls for found in result.findings if found.after != Decision.DECISION_ALLOWED):
        raise WouldRefuse(f"{refused} of the recorded calls would be refused")


@dataclass
class _Result:
    """What came so far; findings of the same group are put together."""

    groups: dict[_Group, SimulationFinding] = field(default_factory=dict)
    undecided: list[SimulationUndecided] = field(default_factory=list)
    progress: SimulationProgress = field(default_factory=SimulationProgress)

    @property
    def findings(self) -> list[SimulationFinding]:
        """Those that would be refused first."""
        return sorted(
            self.groups.values(), key=lambda found: (found.after == Decision.DECISION_ALLOWED, -found.calls)
        )

    def add(self, found: SimulationFinding | None) -> None:
        """Takes a finding in."""
        if found is None:
            return
        group = (found.principal_arn, found.action, found.resource_arn, found.before, found.after)
        known = self.groups.setdefault(group, found)
        if known is found:
            return
        older, newer = sorted((known, found), key=lambda each: each.last_seen.ToNanoseconds())
        newer.calls += older.calls
        newer.refused_when_made += older.refused_when_made
        newer.first_seen.FromNanoseconds(min(newer.first_seen.ToNanoseconds(), older.first_seen.ToNanoseconds()))
        self.groups[group] = newer


def _change_key(
    session: Session, request: SimulatePolicyRequest, key: str, document: str | None, grant: str | None, *,
    disable: bool,
) -> None:
    if (document is not None) + (grant is not None) + disable != 1:
        raise _unclear()
    arn = session.key_id(key)
    if document is not None:
        request.key_policy.CopyFrom(ProposedKeyPolicy(key_id=arn, policy=read_document(document)))
    elif grant is not None:
        request.grant_revocation.CopyFrom(ProposedGrantRevocation(key_id=arn, grant_id=grant))
    else:
        request.key_disabling.CopyFrom(ProposedKeyDisabling(key_id=arn))


def _change_principal(
    session: Session, request: SimulatePolicyRequest, principal: str, name: str, document: str | None, *, remove: bool
) -> None:
    if (document is not None) is remove:
        raise _unclear()
    text = None if document is None else read_document(document)
    proposed = ProposedIdentityPolicy(
        principal_arn=principal_arn(session, principal), policy_name=name, policy_document=text
    )
    request.identity_policy.CopyFrom(proposed)


def _unclear() -> UsageError:
    return UsageError(
        "name one change",
        hint="--key with --policy-file, --grant or --disable-key; "
        "or --principal and --policy-name with --policy-file or --remove-policy",
    )


@contextmanager
def _shown_progress() -> Iterator[_Show]:
    """A function that shows how far it has come, on stderr if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    columns = (TextColumn("{task.completed:,.0f} records"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task: TaskID = bar.add_task("", total=None)
        yield lambda progress: bar.update(task, completed=progress.records_read, total=progress.records_total)


def _print(session: Session, result: _Result) -> None:
    if session.as_json:
        session.json({
            "findings": [plain(found) for found in result.findings],
            "undecided": [plain(each) for each in result.undecided],
            "progress": plain(result.progress),
        })
        return
    rows: list[dict[str, Plain]] = [
        {**plain(found), "decided_by": place(found.statement) if found.HasField("statement") else None}
        for found in result.findings
    ]
    session.rows("findings", rows, _COLUMNS)
    progress = result.progress
    sys.stderr.write(f"{progress.calls_decided} calls decided of {progress.records_read} records\n")
    for each in result.undecided:
        detail = f" ({each.detail})" if each.detail else ""
        sys.stderr.write(f"{each.calls} not decided: {each.reason}{detail}, such as {each.event_id or 'lines'}\n")
