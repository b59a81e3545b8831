"""Requests and replies of the control socket: one JSON object a line in both directions.

docs/reference/control-socket.md describes every command, event and limit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgeinspect.errors import EdgeInspectError
from edgeinspect.files.json_text import finite, parse_json

PROTOCOL_VERSION = 1
MAX_REQUEST_BYTES = 16_384
MAX_REPLY_BYTES = 1_048_576


class ProtocolError(Exception):
    """A line is not a valid request; the server replies with ``code``."""

    def __init__(self, code: str, message: str, request_id: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id


def encode(message: Mapping[str, object]) -> bytes:
    """Encode a message as one line. NaN and infinities are not JSON, so they become null."""
    try:
        text = json.dumps(message, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(finite(message), separators=(",", ":"), allow_nan=False)
    return text.encode() + b"\n"


def decode_request(line: bytes) -> tuple[object, str, Mapping[str, Any]]:
    """Split a request into its id, command and arguments. Raises ProtocolError."""
    try:
        request = parse_json(line)
    except ValueError:
        raise ProtocolError("bad_json", "The line is not a JSON object.") from None
    if not isinstance(request, dict):
        raise ProtocolError("bad_json", "The line is not a JSON object.")
    request_id = request.pop("id", None)
    if not isinstance(request_id, str | int | None):
        raise ProtocolError("bad_request", "id must be a string or an integer.")
    version = request.pop("v", None)
    if version != PROTOCOL_VERSION or isinstance(version, bool):
        raise ProtocolError("bad_version", f"v must be {PROTOCOL_VERSION}.", request_id)
    command = request.pop("cmd", None)
    if not isinstance(command, str):
        raise ProtocolError("bad_request", "cmd must name a command.", request_id)
    return request_id, command, request


def success(request_id: object, result: Mapping[str, object]) -> bytes:
    """The reply to a command that was carried out."""
    return encode({"v": PROTOCOL_VERSION, "id": request_id, "ok": True, "result": result})


def failure(request_id: object, code: str, message: str, next_action: str = "") -> bytes:
    """The reply to a request that was not carried out."""
    error = {"code": code, "message": message, "next_action": next_action}
    return encode({"v": PROTOCOL_VERSION, "id": request_id, "ok": False, "error": error})


def error_reply(request_id: object, error: Exception) -> bytes:
    """The reply to a command that raised an error; ``code`` is the name of the error's class."""
    if isinstance(error, EdgeInspectError):
        return failure(request_id, type(error).__name__, error.message, error.next_action)
    return failure(request_id, "InternalError", f"{type(error).__name__}: {error}")
