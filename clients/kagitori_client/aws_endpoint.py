"""Where the service speaks AWS's own protocol, as AWS SDKs and the AWS CLI want to be told."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from kagitori_client.errors import ConfigurationError
from kagitori_client.settings import Settings

ENDPOINT_VARIABLES = (
    "AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_CLOUDTRAIL",
    "AWS_ENDPOINT_URL_RESOURCE_GROUPS_TAGGING_API",
)
"""Of the services of AWS that are spoken; others stay where they are."""


def aws_variables(settings: Settings) -> Mapping[str, str]:
    """The environment variables; none of them is a credential. Raises ConfigurationError for a bad endpoint."""
    endpoint = checked_aws_endpoint(settings.aws_endpoint or "")
    found = dict.fromkeys(ENDPOINT_VARIABLES, endpoint)
    if settings.ca_file and endpoint.startswith("https:"):
        found["AWS_CA_BUNDLE"] = settings.ca_file
    if settings.region:
        found |= {"AWS_REGION": settings.region, "AWS_DEFAULT_REGION": settings.region}
    return found


def checked_aws_endpoint(url: str) -> str:
    """`https://host[:port]`, or `http://` on loopback. Raises ConfigurationError for anything else."""
    refused = ConfigurationError(
        f"the endpoint of AWS's protocol can't be {url!r}", hint="https://host:port, or http://host:port on loopback"
    )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise refused from None
    plain = url.isprintable() and " " not in url and "@" not in parts.netloc and port != 0
    if not host or not plain or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise refused
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise refused
    return f"{parts.scheme}://{parts.netloc}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
