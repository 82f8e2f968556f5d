"""The command line of the server: serve, a throw-away instance, and what an operator does on the spot.

Exit status: 0 done, 1 it can't be done (the message says why), 2 the words are off, 3 the audit trail has problems.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from kagitori_keystore.base import KeyStoreError
from kagitori_server.administration_ports import with_trees
from kagitori_server.audit.verify import report_lines, verify
from kagitori_server.aws_access import aws_environment, credentials_environment, exports, replace_access_key
from kagitori_server.bootstrap.certificates import CertificatesRefused, issue_client_certificate, load_authority
from kagitori_server.bootstrap.data_directory import DataDirectory, open_data_directory, write_private_file
from kagitori_server.bootstrap.first_start import FirstStart
from kagitori_server.bootstrap.hardening import harden_process
from kagitori_server.config import Config, ConfigurationError, load_config
from kagitori_server.configured import open_configured_catalog
from kagitori_server.delivery_opener import check_delivered
from kagitori_server.development import DevelopmentServer, PlantedAccessKey, for_development
from kagitori_server.identifiers import system_identifiers
from kagitori_server.laboratory.seed import load_seed
from kagitori_server.laboratory.seed_principals import Surroundings
from kagitori_server.logs import configure_logs
from kagitori_server.model.errors import KmsError
from kagitori_server.root_keys import check_root_key, open_root_key
from kagitori_server.storage.failures import CatalogUnusableError
from kagitori_server.transparency.checking import check_trees
from kagitori_server.transparency.notes import MAX_NOTE_BYTES, Head, read_head
from kagitori_server.transports.grpc.listeners import ListenerRefused
from kagitori_server.wiring import Addresses, Server

_FLAGS = {
    "grpc_listen": ("listen", "grpc", "ADDR", "TLS with API tokens, host:port; empty for none"),
    "grpc_mtls_listen": ("listen", "grpc_mtls", "ADDR", "TLS with client certificates, host:port"),
    "grpc_plaintext_listen": ("listen", "grpc_plaintext", "ADDR", "no TLS; loopback addresses only"),
    "grpc_socket": ("listen", "socket", "PATH", "Unix socket"),
    "socket_principal": ("listen", "socket_principal", "ARN", "user or role that calls by the socket stand for"),
    "metrics_listen": ("listen", "metrics", "ADDR", "Prometheus metrics and health pages"),
    "aws_listen": ("aws", "listen", "ADDR", "HTTPS for AWS SDKs and the AWS CLI; in dev HTTP, loopback addresses only"),
    "xks_proxy_listen": ("xks_proxy", "listen", "ADDR", "external key store proxy API over HTTPS"),
    "account": ("service", "account", "DIGITS", "the operator's own account, 12 digits"),
    "region": ("service", "region", "NAME", "Region of calls that name none"),
    "log_level": ("log", "level", "LEVEL", "debug, info, warning or error"),
}
_DEV_KEY_ID, _DEV_SECRET = "KAGITORI_DEV_ACCESS_KEY_ID", "KAGITORI_DEV_SECRET_ACCESS_KEY"
"""Variables with the root user's access key in an instance for tests. The secret has no flag: others could see it."""
SWITCH_SECONDS = 0.0005
"""How long a thread of a pool that computes may keep the event loop waiting for the interpreter lock."""
_COLLECT_AFTER = (20_000, 10, 1_000)
"""Objects more than before until the garbage collector looks at the youngest; how often it does until it looks at those
that are older; and that until it looks at all."""
_END_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_EXPECTED = (
    ConfigurationError, CatalogUnusableError, CertificatesRefused, KeyStoreError, KmsError, ListenerRefused, OSError
)


def run(arguments: Sequence[str], server: type[Server] = Server) -> int:
    """Does what `arguments` say and returns the exit status. `server` is what serves: tests and benchmarks have parts
    of it made otherwise."""
    parser = _parser()
    parser.set_defaults(server=server)
    parsed = parser.parse_args(arguments)
    if parsed.command is not None and arguments[0] != parsed.command:
        # argparse would take them and forget them.
        parser.error(f"the options of {parsed.command} come after it")
    try:
        status: int = parsed.run(parsed)
    except _EXPECTED as error:
        print(f"kagitori-server: {error}", file=sys.stderr)  # noqa: T201 - a command line talks to its user
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kagitori-server",
        description="The Kagitori key management service. Without a sub-command it serves.",
        epilog="Settings: a flag, else KAGITORI_SECTION__NAME in the environment, else the file, else the default.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=_serve)
    _add_settings(parser, data_dir_needed=False)
    commands = parser.add_subparsers(title="sub-commands", metavar="", dest="command")
    dev = commands.add_parser("dev", help="a throw-away instance; its first line of output is JSON for clients")
    _add_settings(dev, data_dir_needed=False)
    dev.add_argument("--seed", metavar="FILE", type=Path, help="TOML file with what the instance holds at first")
    dev.add_argument(
        "--while-stdin-is-open", action="store_true", help="end, too, when standard input does: with its starter"
    )
    dev.add_argument(
        "--aws-access-key-id", metavar="TEXT", default=os.environ.get(_DEV_KEY_ID, "test"),
        help=f"the root user's, for --aws-listen (default: {_DEV_KEY_ID} in the environment, else test); "
        f"its secret is {_DEV_SECRET} in the environment, else test",
    )
    dev.set_defaults(run=_dev)
    token = commands.add_parser("root-token", help="revoke the root user's tokens and write a new one")
    _add_settings(token, data_dir_needed=True)
    token.set_defaults(run=_root_token)
    access_key = commands.add_parser("aws-access-key", help="end the root user's access keys and write a new one")
    _add_settings(access_key, data_dir_needed=True)
    access_key.set_defaults(run=_aws_access_key)
    variables = commands.add_parser("aws-env", help="what makes AWS SDKs and the AWS CLI use the service, for a shell")
    _add_settings(variables, data_dir_needed=True)
    variables.set_defaults(run=_aws_env)
    certificate = commands.add_parser("client-certificate", help="a client certificate from the local CA")
    _add_settings(certificate, data_dir_needed=True)
    certificate.add_argument("--uri", metavar="URI", help="URI among its names, such as spiffe://example/app")
    certificate.add_argument("--common-name", metavar="NAME", help="common name of its subject")
    certificate.add_argument("--days", type=int, default=90, help="days it is good for (default: 90)")
    certificate.add_argument("--out", metavar="PREFIX", default="client", help="writes PREFIX.crt and PREFIX.key")
    certificate.set_defaults(run=_client_certificate)
    root = commands.add_parser("root-key", help="make the root key that is configured, or see whether it can be opened")
    _add_settings(root, data_dir_needed=True)
    root.set_defaults(run=_root_key)
    check = commands.add_parser(
        "verify-audit", help="check the audit trail, its trees, and what was delivered of it",
        epilog="Exit status: 0 if all is sound, 1 if it can't be examined, 3 if anything is wrong.",
    )
    _add_settings(check, data_dir_needed=True)
    check.add_argument(
        "--checkpoint", metavar="FILE", type=Path, action="append", default=[],
        help="signed head that was kept elsewhere: the trail must still begin with it; may be repeated",
    )
    check.set_defaults(run=_verify_audit)
    return parser


def _add_settings(parser: argparse.ArgumentParser, *, data_dir_needed: bool) -> None:
    """The flags for settings."""
    parser.add_argument(
        "--data-dir", metavar="DIR", type=Path, required=data_dir_needed, help="where everything is kept"
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="TOML file with settings")
    parser.add_argument(
        "--set", metavar="SECTION.NAME=VALUE", action="append", default=[], help="any setting; may be repeated"
    )
    for flag, (_, _, placeholder, text) in _FLAGS.items():
        parser.add_argument(f"--{flag.replace('_', '-')}", metavar=placeholder, help=text)


def _configured(parsed: argparse.Namespace, defaults: dict[str, dict[str, Any]] | None = None) -> Config:
    flags: dict[str, dict[str, Any]] = defaults or {}
    for flag, (section, name, _, _) in _FLAGS.items():
        value = getattr(parsed, flag)
        if value is not None:
            flags.setdefault(section, {})[name] = value
    for setting in parsed.set:
        place, equals, value = setting.partition("=")
        section, dot, name = place.partition(".")
        if not equals or not dot:
            raise ConfigurationError(f"--set {setting}: it has the form SECTION.NAME=VALUE")
        flags.setdefault(section, {})[name] = value
    return load_config(parsed.config, os.environ, flags)


def _serve(parsed: argparse.Namespace) -> int:
    config = _configured(parsed)
    configure_logs(config.log)
    if parsed.data_dir is None:
        raise ConfigurationError("--data-dir is needed: the directory where everything is kept")
    harden_process()
    data = open_data_directory(parsed.data_dir)
    if data.development.exists():
        raise ConfigurationError(f"{data.root} is an instance for tests, for kagitori-server dev alone")
    data.check_root_token()
    _hold_signals()
    server: Server = parsed.server(config, data)

    def say_ready(addresses: Addresses) -> None:
        if server.first_start:
            _say(f"First start: the root user's token is in {data.root_token}")
            _say(f"             the local CA's certificate is in {data.tls / 'ca.crt'}")
        if server.access_key_made:
            _say(f"First start: the root user's access key is in {data.aws_credentials}")
        for kind, address in _listening(addresses).items():
            _say(f"Listening: {kind} on {address}")
        if addresses.aws is not None:
            _say("For AWS SDKs and the AWS CLI:")
            for line in exports(aws_environment(addresses.aws, config, data) | credentials_environment(data)):
                _say(f"  {line}")

    return uvloop.run(_until_signalled(server, say_ready))


def _dev(parsed: argparse.Namespace) -> int:
    config = for_development(_configured(parsed, {
        "listen": {"grpc": "127.0.0.1:0"}, "log": {"level": "warning"}, "aws": {"plaintext": True},
    }))
    configure_logs(config.log)
    harden_process()
    service = config.service
    around = Surroundings(service.partition, service.account, service.region)
    seed = None if parsed.seed is None else load_seed(parsed.seed, around)
    _hold_signals()
    with contextlib.ExitStack() as stack:
        folder = parsed.data_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kagitori-dev-")))
        data = open_data_directory(folder)
        access_key = PlantedAccessKey(parsed.aws_access_key_id, os.environ.get(_DEV_SECRET, "test"))
        server = DevelopmentServer(config, data, seed, access_key)

        def say_ready(addresses: Addresses) -> None:
            env = _client_environment(addresses, data, config)
            if addresses.aws is not None:
                variables = aws_environment(addresses.aws, config, data)
                env |= variables | access_key.environment
                env["KAGITORI_AWS_ENDPOINT"] = variables["AWS_ENDPOINT_URL_KMS"]
            line = {"addresses": _listening(addresses), "env": env}
            _say(json.dumps(line))

        return uvloop.run(_until_signalled(server, say_ready, while_stdin=parsed.while_stdin_is_open))


async def _until_signalled(server: Server, say_ready: Any, *, while_stdin: bool = False) -> int:
    """Serves until SIGTERM, SIGINT or SIGHUP, or until standard input ends where that is wanted, then finishes calls in
    flight. Later signals change nothing."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    # Those that whoever started us had ignored stay so, as nohup(1) wants it.
    awaited = [number for number in _END_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in awaited:
        loop.add_signal_handler(number, stop.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _END_SIGNALS)
    if while_stdin:
        threading.Thread(target=_await_end_of_stdin, args=(loop, stop), daemon=True).start()
    try:
        await asyncio.to_thread(server.open)
        try:
            say_ready(await server.start())
            spare_the_collector()
            sys.setswitchinterval(SWITCH_SECONDS)
            await stop.wait()
        finally:
            await server.stop()
    finally:
        for number in awaited:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
    return 0


def _await_end_of_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while os.read(0, 4096):
        pass
    # The loop may have ended first.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(stop.set)


def spare_the_collector() -> None:
    """Lets the garbage collector leave alone what is there for as long as the server runs, and look seldom at all that
    is kept since.

    While it looks at all, every call waits: a tenth of a second in a small server, half a one beside 50,000 grants,
    whenever a caller makes the service make many objects. Calls make hundreds of them, and no cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def _hold_signals() -> None:
    """Signals wait until they are listened to, so that none comes between making a folder and removing it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _END_SIGNALS)


def _listening(addresses: Addresses) -> dict[str, str]:
    named = {
        "grpc": addresses.grpc,
        "grpc_mtls": addresses.grpc_mtls,
        "grpc_plaintext": addresses.grpc_plaintext,
        "socket": addresses.socket,
        "metrics": addresses.metrics,
        "aws": addresses.aws,
        "xks_proxy": addresses.xks_proxy,
    }
    return {kind: address for kind, address in named.items() if address is not None}


def _client_environment(addresses: Addresses, data: DataDirectory, config: Config) -> dict[str, str]:
    """What makes the client talk to a throw-away instance as its administrator."""
    environment = {"KAGITORI_TOKEN_FILE": str(data.root_token), "KAGITORI_REGION": config.service.region}
    if addresses.grpc is not None:
        environment["KAGITORI_ENDPOINT"] = f"https://{addresses.grpc}"
        environment["KAGITORI_CA_FILE"] = str(data.tls / "ca.crt")
    elif addresses.grpc_plaintext is not None:
        environment["KAGITORI_ENDPOINT"] = f"http://{addresses.grpc_plaintext}"
    elif addresses.socket is not None:
        environment["KAGITORI_ENDPOINT"] = f"unix://{addresses.socket}"
    return environment


def _root_token(parsed: argparse.Namespace) -> int:
    config = _configured(parsed)
    configure_logs(config.log)
    data = open_data_directory(parsed.data_dir, make=False)
    catalog = open_configured_catalog(config, data, time.monotonic)
    try:
        first = FirstStart(
            catalog, time.time, system_identifiers(os.urandom), config.service.partition, config.service.account
        )
        if not first.ensure_home_account(data.root_token):
            first.issue_root_token(data.root_token)
    finally:
        catalog.close()
    _say(f"The root user's new token is in {data.root_token}")
    return 0


def _root_key(parsed: argparse.Namespace) -> int:
    config = _configured(parsed)
    configure_logs(config.log)
    data = open_data_directory(parsed.data_dir)
    opened = open_root_key(config, data)
    try:
        _say(f"{config.root_key.provider}: version {opened.keys.current_version()}")
        catalog = open_configured_catalog(config, data, time.monotonic)
        try:
            check_root_key(opened.keys, catalog)
        finally:
            catalog.close()
    finally:
        opened.close()
    return 0


def _aws_access_key(parsed: argparse.Namespace) -> int:
    config = _configured(parsed)
    configure_logs(config.log)
    data = open_data_directory(parsed.data_dir, make=False)
    replace_access_key(config, data)
    _say(f"The root user's new access key is in {data.aws_credentials}")
    return 0


def _aws_env(parsed: argparse.Namespace) -> int:
    config = _configured(parsed)
    data = open_data_directory(parsed.data_dir, make=False)
    if config.aws.listen.rpartition(":")[2] in ("", "0"):
        raise ConfigurationError("aws.listen (--aws-listen) is needed, as the service has it")
    for line in exports(aws_environment(config.aws.listen, config, data) | credentials_environment(data)):
        _say(line)
    return 0


def _client_certificate(parsed: argparse.Namespace) -> int:
    data = open_data_directory(parsed.data_dir, make=False)
    if not parsed.uri and not parsed.common_name:
        raise ConfigurationError("--uri or --common-name is needed: the name that the certificate is mapped by")
    authority = load_authority(data.tls)
    try:
        issued = issue_client_certificate(
            authority, time.time, days=parsed.days, uri_san=parsed.uri, common_name=parsed.common_name
        )
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    write_private_file(Path(f"{parsed.out}.key"), issued.key)
    write_private_file(Path(f"{parsed.out}.crt"), issued.certificate)
    _say(f"Wrote {parsed.out}.crt and {parsed.out}.key")
    return 0


def _verify_audit(parsed: argparse.Namespace) -> int:
    data = open_data_directory(parsed.data_dir, make=False)
    audit = data.audit
    remembered = [_checkpoint(path) for path in parsed.checkpoint]
    report = with_trees(verify(audit), check_trees(audit, remembered))
    if not report.chains and not report.problems:
        raise ConfigurationError(f"there is no audit trail in {audit}")
    for line in report_lines(report):
        _say(line)
    config = _configured(parsed)
    delivered = _verify_delivered(config, data)
    return 0 if report.sound and delivered else 3


def _verify_delivered(config: Config, data: DataDirectory) -> bool:
    """Whether all that was delivered is as it should be, if anything is."""
    if not config.delivery.wanted:
        return True
    catalog = open_configured_catalog(config, data, time.monotonic)
    try:
        found = check_delivered(config, catalog, data.audit)
    finally:
        catalog.close()
    if found is None:
        return True
    _say(
        f"delivered: {found.digests} digests, {found.log_files} log files ({found.pending} not in a digest yet), "
        f"{found.records} records"
    )
    if found.sealed:
        unseen = "what is in them was not verified, nor that no record is missing"
        _say(f"  {found.sealed} log files are encrypted: {unseen}")
    for problem in found.problems:
        _say(f"  PROBLEM {problem.place}: {problem.description}")
    but = " That isn't said of the content of encrypted log files." if found.sealed else ""
    sound = f"What was delivered is sound.{but}"
    _say(sound if found.sound else f"What was delivered has {found.problem_count} problems.")
    return found.sound


def _checkpoint(path: Path) -> Head:
    """What a checkpoint says. Whoever kept it has to know whose it is: its signature isn't looked at."""
    with path.open("rb") as file:
        head = read_head(file.read(MAX_NOTE_BYTES + 1).decode("utf-8", "replace"))
    if head is None:
        raise ConfigurationError(f"{path} is no checkpoint of a log")
    return head


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command line talks to its user
