"""What every command has: the connection options, the client made from them, and the two ways to print."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Annotated, Any, Concatenate, ParamSpec

import typer
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table

from kagitori.kms.v1.keys_pb2 import DescribeKeyRequest
from kagitori_client.calls import LONGEST_TIMEOUT
from kagitori_client.cli.failures import ReceiptMissing
from kagitori_client.cli.files import check_output, write_output
from kagitori_client.cli.text import Plain, cell, json_text, plain, printable
from kagitori_client.client import KmsClient
from kagitori_client.errors import KagitoriError
from kagitori_client.settings import Settings, load_settings

_PANEL = "Connection and output"
_UNLIMITED = 100_000
_PRIMES_TIMEOUT = 60.0


class Output(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"


@dataclass(slots=True)
class Options:
    """The options that every command takes; None where the user said nothing."""

    profile: str | None = None
    endpoint: str | None = None
    ca_file: str | None = None
    token_file: str | None = None
    region: str | None = None
    output: Output | None = None
    timeout: float | None = None
    debug: bool | None = None
    receipt: str | None = None

    def take(self, values: Mapping[str, Any]) -> None:
        """Takes out of a command's arguments what is there; later ones replace earlier ones."""
        for f in fields(self):
            if values.get(f.name) is not None:
                setattr(self, f.name, values[f.name])

    def settings(self) -> Settings:
        """Profile, environment and these options together. Raises ConfigurationError."""
        return load_settings(profile=self.profile, overrides=self.given())

    def given(self) -> Settings:
        """These options alone."""
        return Settings(
            endpoint=self.endpoint, ca_file=self.ca_file, token_file=self.token_file, region=self.region
        )


def _option(*names: str, help_text: str) -> Any:
    return typer.Option(*names, help=help_text, rich_help_panel=_PANEL, show_default=False)


_SHARED: dict[str, Any] = {
    "profile": Annotated[str | None, _option("--profile", help_text="Profile to use. [env: KAGITORI_PROFILE]")],
    "endpoint": Annotated[
        str | None,
        _option(
            "--endpoint",
            help_text="https://host:port, http://host:port (loopback) or unix:///path. [env: KAGITORI_ENDPOINT]",
        ),
    ],
    "ca_file": Annotated[
        str | None, _option("--ca-file", help_text="CA certificates to trust, PEM. [env: KAGITORI_CA_FILE]")
    ],
    "token_file": Annotated[
        str | None, _option("--token-file", help_text="File holding the token. [env: KAGITORI_TOKEN_FILE]")
    ],
    "region": Annotated[str | None, _option("--region", help_text="Region of the call. [env: KAGITORI_REGION]")],
    "output": Annotated[Output | None, _option("--output", help_text="table (default) or json.")],
    "timeout": Annotated[
        float | None,
        typer.Option(
            "--timeout", min=0.1, max=LONGEST_TIMEOUT, help="Seconds per call; 10, or 60 to make keys, by default.",
            rich_help_panel=_PANEL, show_default=False,
        ),
    ],
    "receipt": Annotated[
        str | None,
        _option("--receipt", help_text="File for proof that the (last) call was recorded; see audit verify-receipt."),
    ],
    "debug": Annotated[bool | None, _option("--debug", help_text="Show where in the program an error arose.")],
}


class Session:
    """One run of one command."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._client: KmsClient | None = None
        self._receipt: bytes | None = None

    @property
    def client(self) -> KmsClient:
        """The client, made when first needed."""
        if self._client is None:
            self._client = KmsClient.from_settings(
                self.options.settings(), timeout=10.0 if self.options.timeout is None else self.options.timeout,
                receipts=None if self.options.receipt is None else self._take_receipt,
            )
        return self._client

    def _take_receipt(self, _method: str, receipt: bytes | None) -> None:
        self._receipt = receipt

    def check_receipt_file(self) -> None:
        """Refuses a file for the receipt that can't be written, before there is a call to prove."""
        if self.options.receipt is not None:
            check_output(self.options.receipt, force=True)

    def keep_receipt(self) -> None:
        """Writes the receipt of the last call, if the user wants one. Raises ReceiptMissing, LocalFileError."""
        if self.options.receipt is None:
            return
        if self._receipt is None:
            raise ReceiptMissing(
                "the service gave no receipt for the call", hint="kagitori audit prove finds it by its request id"
            )
        write_output(self.options.receipt, self._receipt, force=True)

    def keep_receipt_of_failure(self) -> None:
        """The same after a failure, which is what the user has to be told; of another one here there is a warning."""
        if self._receipt is not None:
            try:
                self.keep_receipt()
            except KagitoriError as error:
                sys.stderr.write(f"warning: the receipt was not written: {printable(error.message)}\n")

    @property
    def patience(self) -> float:
        """Seconds for a call that looks for large primes, unless the user said how many."""
        return _PRIMES_TIMEOUT if self.options.timeout is None else self.options.timeout

    def close(self) -> None:
        """Ends the connection, if there is one."""
        if self._client is not None:
            self._client.close()

    @property
    def as_json(self) -> bool:
        """True: print JSON only."""
        return self.options.output is Output.JSON

    def key_id(self, name: str) -> str:
        """The ARN behind an alias, for the operations that take none; other names as they are."""
        if name.startswith("alias/") or ":alias/" in name:
            return self.client.keys.DescribeKey(DescribeKeyRequest(key_id=name)).key_metadata.arn
        return name

    def json(self, data: Plain) -> None:
        """Prints one JSON value."""
        sys.stdout.write(json_text(data, indent=2) + "\n")

    def record(self, record: Message | Mapping[str, Plain]) -> None:
        """Prints one thing: JSON, or its members that are set, one to a line."""
        data = plain(record) if isinstance(record, Message) else dict(record)
        if self.as_json:
            self.json(data)
            return
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in data.items():
            if value not in (None, [], {}, ""):
                table.add_row(name.replace("_", " "), cell(value))
        _console().print(table, markup=False, highlight=False)

    def records(self, name: str, records: Iterable[Message], columns: Sequence[str]) -> None:
        """Prints a list: JSON `{name: [...]}` with all members, or a table of some."""
        self.rows(name, [plain(record) for record in records], columns)

    def rows(self, name: str, rows: Sequence[Mapping[str, Plain]], columns: Sequence[str]) -> None:
        """The same for plain data."""
        if self.as_json:
            self.json({name: [dict(row) for row in rows]})
            return
        if not rows:
            sys.stderr.write(f"no {name.replace('_', ' ')}\n")
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column.replace("_", " ").upper(), overflow="fold")
        for row in rows:
            table.add_row(*(cell(row.get(column)) for column in columns))
        _console().print(table, markup=False, highlight=False)

    def text(self, text: str) -> None:
        """Prints text as it stands."""
        sys.stdout.write(text)

    def done(self, text: str, **facts: Plain) -> None:
        """Prints that something was done: JSON with the facts, or the words."""
        if self.as_json:
            self.json(facts)
        else:
            _console().print(text, markup=False, highlight=False, soft_wrap=True)


def _console() -> Console:
    # Into a pipe or file, lines are as long as they are: a cut ARN is of no use.
    return Console() if sys.stdout.isatty() else Console(width=_UNLIMITED)


_Rest = ParamSpec("_Rest")


def command(
    app: typer.Typer, name: str, **settings: Any
) -> Callable[[Callable[Concatenate[Session, _Rest], None]], Callable[Concatenate[Session, _Rest], None]]:
    """Registers a function as a command.

    Its first parameter is the session; Typer sees the others, and the shared options after them, so that these
    may stand before or behind the command's name.
    """

    def register(
        function: Callable[Concatenate[Session, _Rest], None],
    ) -> Callable[Concatenate[Session, _Rest], None]:
        hints = typing.get_type_hints(function, include_extras=True)
        own = list(inspect.signature(function).parameters.values())[1:]
        parameters = [inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]
        parameters += [p.replace(annotation=hints[p.name], kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        parameters += shared_parameters()

        def run(*, ctx: typer.Context, **arguments: Any) -> None:
            options: Options = ctx.obj
            options.take({key: arguments.pop(key) for key in _SHARED})
            session = Session(options)
            session.check_receipt_file()
            try:
                call: Callable[..., None] = function
                call(session, **arguments)
                # Here, that a failure to write is told and not lost on the way out.
                sys.stdout.flush()
            except BaseException:
                session.keep_receipt_of_failure()
                raise
            finally:
                session.close()
            session.keep_receipt()

        run.__doc__ = function.__doc__
        run.__name__ = getattr(function, "__name__", name)
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by inspect
        app.command(name, **settings)(run)
        return function

    return register


def shared_parameters() -> list[inspect.Parameter]:
    """The shared options, as parameters of a function for Typer."""
    return [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for key, annotation in _SHARED.items()
    ]
