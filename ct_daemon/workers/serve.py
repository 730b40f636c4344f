"""The worker's end of the channel: requests come in on stdin, replies go out on stdout.

A frame is a length (4 bytes, big endian) and so many bytes of JSON. A request is ``{"op": "take", "request":
{...}}``; the reply to it is a `Reply`. One request at a time; the end of the input is the end of the worker.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Generic, TypeVar

from ct_daemon import codec
from ct_daemon.errors import CtDaemonError, WorkerError

T = TypeVar("T")
Operations = Mapping[str, tuple[type[Any], Callable[[Any], object]]]
"""By name: the class of the request and the function that answers it."""

HEADER_BYTES = 4
MAX_FRAME_BYTES = 64 << 20
GREETING = bytes(HEADER_BYTES)
"""An empty frame, before any request is read: what ends the worker earlier is not the request's fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error on its way: class name in the `CtDaemonError` tree, reason and message."""

    kind: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply(Generic[T]):
    """Exactly one of `ok` and `error` is set."""

    ok: T | None = None
    error: Failure | None = None
    warnings: tuple[str, ...] = ()
    """What whoever runs the daemon should know though it went well."""


class _Heard(logging.Handler):
    """The warnings of our own modules."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def frame(text: str) -> bytes:
    """The text with its length before it.

    Raises
    ------
    ValueError
        If it is larger than `MAX_FRAME_BYTES`.
    """
    data = text.encode()
    if len(data) > MAX_FRAME_BYTES:
        raise ValueError(f"a message of {len(data)} bytes is over the {MAX_FRAME_BYTES} that are allowed")
    return len(data).to_bytes(HEADER_BYTES, "big") + data


def serve(operations: Operations, in_fd: int = 0, out_fd: int = 1) -> None:
    """Answer requests until the input ends.

    If the channel is stdin and stdout, it is moved out of the way first: whatever a library prints goes to
    stderr, and whatever it reads from stdin is empty. An error in an operation is answered, and the loop goes on.
    """
    with os.fdopen(os.dup(in_fd), "rb") as requests, os.fdopen(os.dup(out_fd), "wb") as replies:
        replies.write(GREETING)
        replies.flush()
        if in_fd == 0:
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.close(nothing)
        if out_fd == 1:
            sys.stdout.flush()
            os.dup2(2, 1)
        while (text := _read(requests)) is not None:
            replies.write(_answer(operations, text))
            replies.flush()


def _read(stream: BinaryIO) -> bytes | None:
    """The next message; None at the end, also when it comes in the middle of a frame."""
    header = stream.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return None
    size = int.from_bytes(header, "big")
    if size > MAX_FRAME_BYTES:  # nobody sane sends it, and the next frame can't be found without reading it
        raise WorkerError(f"a request of {size} bytes was announced; the worker ends", reason="bad_request")
    text = stream.read(size)
    return text if len(text) == size else None


def _answer(operations: Operations, text: bytes) -> bytes:
    """The reply as a frame, whatever happens."""
    heard, ours = _Heard(), logging.getLogger("ct_daemon")
    ours.addHandler(heard)
    try:
        found = _work(operations, text)
        return frame(codec.encode(Reply(ok=found, warnings=tuple(heard.said))))
    except CtDaemonError as error:
        failure = Failure(kind=type(error).__name__, reason=error.reason, message=str(error))
    except MemoryError:
        traceback.print_exc()
        failure = Failure(
            kind="WorkerError",
            reason="out_of_memory",
            message="the worker could not get the memory that it needed; raise limits.worker_memory_mb",
        )
    except Exception as error:  # noqa: BLE001  (the daemon must get an answer; the traceback is on stderr)
        traceback.print_exc()
        place = traceback.extract_tb(error.__traceback__)[-1]
        message = f"{type(error).__name__}: {str(error)[:2000]} ({place.filename}, line {place.lineno})"
        failure = Failure(kind="WorkerError", reason="worker_bug", message=message)
    finally:
        ours.removeHandler(heard)
    return frame(codec.encode(Reply(error=failure)))


def _work(operations: Operations, text: bytes) -> object:
    try:
        call = json.loads(text)
        kind, function = operations[call["op"]]
        request = codec.decode(kind, json.dumps(call["request"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WorkerError(f"not a request: {type(error).__name__}: {error}", reason="bad_request") from error
    return function(request)
