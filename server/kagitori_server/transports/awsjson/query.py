"""The query protocol of AWS (STS): parameters of a form or a query string in, XML out.

Requests: `Tags.member.1.Key=team` is a member of a structure in a list; a parameter that the shape doesn't have is
ignored, as AWS does. Answers and failures are the documents that AWS's SDKs parse; times are ISO 8601 in UTC.
"""

from __future__ import annotations

import binascii
import dataclasses
import datetime as dt
import enum
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias
from xml.etree.ElementTree import Element, SubElement, tostring

from kagitori_server.model.errors import KmsError, SerializationException
from kagitori_server.transports.awsjson.failures import MESSAGE_MAX
from kagitori_server.transports.awsjson.members import aws_name, member_types, read_blob, read_time
from kagitori_server.transports.awsjson.messages import Received, Written
from kagitori_server.transports.awsjson.query_failures import told_as

if TYPE_CHECKING:
    from kagitori_server.transports.awsjson.services import AwsService, Reader, Writer

_DEPTH_MAX = 8
_NUMBER = re.compile(r"-?[0-9]{1,18}")
_INDEX = re.compile(r"[1-9][0-9]{0,3}")
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML 1.0 document may hold."""
_HEADERS: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"text/xml"),)
_OF_PROTOCOL = frozenset({"Action", "Version"})

_Tree: TypeAlias = "dict[str, str | _Tree]"
_Read = Callable[[Any], Any]
_Write = Callable[[Element, str, Any], None]
"""(parent, name, value): appends elements."""


class QueryCodec:
    """Reads and writes by shapes. `namespace` is the XML namespace of the service's documents."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def reader(self, service: AwsService, _operation: str, request: type[Any]) -> Reader:
        """Reads parameters into the members of `request`."""
        read = _structure_reader(request, service.member_names)

        def decode(received: Received) -> Mapping[str, Any]:
            found: Mapping[str, Any] = read(_tree(received.parameters))
            return found

        return decode

    def writer(self, service: AwsService, operation: str, response: type[Any]) -> Writer:
        """Writes answers of the class `response`."""
        write = _structure_writer(response, service.member_names)

        def encode(answer: Any, request_id: str) -> Written:
            if type(answer) is not response:
                raise TypeError(f"the answer is no {response.__name__}")
            document = Element(f"{operation}Response", xmlns=self._namespace)
            write(document, f"{operation}Result", answer)
            about = SubElement(document, "ResponseMetadata")
            _text(about, "RequestId", request_id)
            return Written(200, _HEADERS, _bytes(document))

        return encode

    def failure(self, error: KmsError, request_id: str) -> Written:
        """What a caller is told of `error`."""
        code, status = told_as(error)
        document = Element("ErrorResponse", xmlns=self._namespace)
        about = SubElement(document, "Error")
        _text(about, "Type", "Receiver" if status >= 500 else "Sender")
        _text(about, "Code", code)
        if error.message:
            shown = error.message if len(error.message) <= MESSAGE_MAX else error.message[:MESSAGE_MAX] + "..."
            _text(about, "Message", shown)
        _text(document, "RequestId", request_id)
        headers = _HEADERS
        if error.retry_after is not None:
            headers = (*headers, (b"retry-after", str(max(1, round(error.retry_after))).encode()))
        return Written(status, headers, _bytes(document))


def _tree(parameters: Sequence[tuple[str, str]]) -> _Tree:
    """Parameters by the parts of their names. Raises SerializationException for names that contradict each other."""
    root: _Tree = {}
    for name, value in parameters:
        if name in _OF_PROTOCOL:
            continue
        *above, last = name.split(".", _DEPTH_MAX)
        if "." in last:
            raise SerializationException("A parameter is nested too deeply.")
        branch = root
        for part in above:
            below = branch.setdefault(part, {})
            if isinstance(below, str):
                raise _contradiction()
            branch = below
        if last in branch:
            raise _contradiction()
        branch[last] = value
    return root


def _contradiction() -> SerializationException:
    return SerializationException("A parameter is a value and a structure at once.")


def _structure_reader(shape: type[Any], irregular: Mapping[str, str]) -> _Read:
    members = {
        aws_name(name, irregular): (name, _reader(hint, irregular)) for name, hint in member_types(shape).items()
    }

    def read(found: Any) -> Any:
        if not isinstance(found, dict):
            raise SerializationException("A structure is given as a value.")
        return {
            member: convert(found[name]) for name, (member, convert) in members.items() if name in found
        }

    return read


def _reader(hint: Any, irregular: Mapping[str, str]) -> _Read:
    if dataclasses.is_dataclass(hint):
        return _structure_reader(typing.cast("type[Any]", hint), irregular)
    if typing.get_origin(hint) is tuple:
        return _list_reader(_reader(typing.get_args(hint)[0], irregular))
    convert = _SCALARS[str if issubclass(hint, enum.StrEnum) else hint]

    def read(found: Any) -> Any:
        if not isinstance(found, str):
            raise SerializationException("A value is given as a structure.")
        return convert(found)

    return read


def _list_reader(element: _Read) -> _Read:
    def read(found: Any) -> Any:
        if found == "":
            return []  # how an empty list is written
        members = found.get("member") if isinstance(found, dict) and len(found) == 1 else None
        if not isinstance(members, dict) or not all(map(_INDEX.fullmatch, members)):
            raise SerializationException("A list is given as Name.member.1, Name.member.2 and so on.")
        return [element(members[index]) for index in sorted(members, key=int)]

    return read


def _read_number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise SerializationException("A number is given as decimal digits.")
    return int(text)


def _read_bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise SerializationException("A truth value is given as true or false.")
    return text == "true"


_SCALARS: Mapping[type, _Read] = {str: str, int: _read_number, bool: _read_bool, float: read_time, bytes: read_blob}


def _structure_writer(shape: type[Any], irregular: Mapping[str, str]) -> _Write:
    members = [
        (name, aws_name(name, irregular), _writer(hint, irregular)) for name, hint in member_types(shape).items()
    ]

    def write(parent: Element, name: str, value: Any) -> None:
        structure = SubElement(parent, name)
        for member, shown, append in members:
            inner = getattr(value, member)
            if inner is not None:
                append(structure, shown, inner)

    return write


def _writer(hint: Any, irregular: Mapping[str, str]) -> _Write:
    if dataclasses.is_dataclass(hint):
        return _structure_writer(typing.cast("type[Any]", hint), irregular)
    if typing.get_origin(hint) is tuple:
        element = _writer(typing.get_args(hint)[0], irregular)

        def write_list(parent: Element, name: str, values: Any) -> None:
            found = SubElement(parent, name)
            for value in values:
                element(found, "member", value)

        return write_list
    texts = _TEXTS[str if issubclass(hint, enum.StrEnum) else hint]

    def write(parent: Element, name: str, value: Any) -> None:
        _text(parent, name, texts(value))

    return write


def _written_time(value: float) -> str:
    return dt.datetime.fromtimestamp(value, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_TEXTS: Mapping[type, Callable[[Any], str]] = {
    str: str, int: str, bool: lambda value: "true" if value else "false", float: _written_time,
    bytes: lambda value: binascii.b2a_base64(value, newline=False).decode("ascii"),
}


def _text(parent: Element, name: str, text: str) -> None:
    SubElement(parent, name).text = _NO_XML.sub("\ufffd", text)


def _bytes(document: Element) -> bytes:
    text: bytes = tostring(document, encoding="utf-8", xml_declaration=False)
    return text
