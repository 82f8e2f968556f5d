"""What operators need to use AWS SDKs and the AWS CLI: environment variables, a new access key for the root user."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping

from kagitori_keystore.software import SoftwareKeyStore
from kagitori_server.bootstrap.access_keys import PROFILE, RootAccessKeys
from kagitori_server.bootstrap.data_directory import DataDirectory
from kagitori_server.config import Config, ConfigurationError
from kagitori_server.configured import check_root_key, open_configured_catalog, open_root_key
from kagitori_server.identifiers import system_identifiers
from kagitori_server.wiring import AWS_SERVICES


def aws_environment(address: str, config: Config, data: DataDirectory) -> dict[str, str]:
    """Where the endpoint is, how to know it, and the Region."""
    host, _, port = address.rpartition(":")
    # Nobody connects to a wildcard address.
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - compared, not listened on
    url = f"{'http' if config.aws.plaintext else 'https'}://{host}:{port}"
    found = {service.endpoint_variable: url for service in AWS_SERVICES}
    if not config.aws.plaintext and not config.tls.certificate_file:
        found["AWS_CA_BUNDLE"] = str(data.tls / "ca.crt")
    return {**found, "AWS_REGION": config.service.region, "AWS_DEFAULT_REGION": config.service.region}


def credentials_environment(data: DataDirectory) -> dict[str, str]:
    """Whose access key to sign with: the root user's from the first start."""
    return {"AWS_SHARED_CREDENTIALS_FILE": str(data.aws_credentials), "AWS_PROFILE": PROFILE}


def exports(variables: Mapping[str, str]) -> list[str]:
    """Lines for a POSIX shell."""
    return [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]


def replace_access_key(config: Config, data: DataDirectory) -> None:
    """Ends the root user's access keys and writes a new one to its file. The service may run.

    Raises ConfigurationError without an account, and what opening catalog and root key raises.
    """
    catalog = open_configured_catalog(config, data, time.monotonic)
    try:
        service = config.service
        with catalog.read() as reader:
            if reader.get_account(service.account) is None:
                raise ConfigurationError(f"there is no account {service.account} in {data.root} yet: start the service")
        root_key = open_root_key(config, data)
        check_root_key(root_key, catalog)
        store = SoftwareKeyStore(root_key, catalog.kek_shelf, os.urandom)
        try:
            RootAccessKeys(
                catalog, store, time.time, system_identifiers(os.urandom), service.partition, service.account,
                service.region,
            ).replace(data.aws_credentials)
        finally:
            store.close()
    finally:
        catalog.close()
