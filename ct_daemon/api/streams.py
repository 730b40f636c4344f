"""Server-Sent Events: so many streams and no more, a heartbeat, and an end when the daemon stops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from ct_daemon.api.problems import Refused
from ct_daemon.api.progress import Progress
from ct_daemon.errors import CtDaemonError

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.5
HEARTBEAT_S = 15.0
HEARTBEAT = b": still here\n\n"
KIND = "text/event-stream"
_EVENT = {
    "type": "object",
    "description": "One event; its data is a JSON document.",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "description": "For Last-Event-ID."},
        "event": {"type": "string", "enum": ["waiting", "run", "move", "metrics", "end"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
DESCRIBED: dict[int | str, dict[str, Any]] = {
    200: {"description": HTTPStatus.OK.phrase, "content": {KIND: {"schema": _EVENT}}}
}
"""The answer of a stream in the OpenAPI document."""


class Streams:
    """The progress streams of all clients of one listener."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def close(self) -> None:
        """The daemon stops: all streams end, new ones are refused."""
        self._closing.set()

    def enter(self) -> None:
        """Count one more.

        Raises
        ------
        Refused
            503 `too_many_streams` or `stopping`.
        """
        if self._closing.is_set():
            raise Refused(503, "stopping", "the daemon is stopping", Retry_After="5")
        with self._lock:
            if self._open >= self._most:
                detail = f"{self._most} progress streams are open; ask for the run itself instead"
                raise Refused(503, "too_many_streams", detail, Retry_After="10")
            self._open += 1

    def leave(self) -> None:
        """One has ended."""
        with self._lock:
            self._open -= 1

    async def frames(self, progress: Progress) -> AsyncIterator[bytes]:
        """What comes of `progress` until its end; the client reconnects where it was."""
        quiet_s = 0.0
        while not self._closing.is_set():
            try:
                told = await run_in_threadpool(progress.look)
            except CtDaemonError as error:
                # The headers are sent, so there is no status left to say it with; the client asks again.
                log.warning("stream.broke", reason=error.reason, error=str(error))
                return
            for one in told:
                yield one.frame()
            if progress.ended:
                return
            quiet_s = 0.0 if told else quiet_s + LOOK_EVERY_S
            if quiet_s >= HEARTBEAT_S:
                quiet_s = 0.0
                yield HEARTBEAT
            if not progress.behind:
                await asyncio.sleep(LOOK_EVERY_S)


class StreamAnswer(StreamingResponse):
    """A stream that is counted for as long as it is being sent, however that ends."""

    media_type = KIND

    def __init__(self, streams: Streams, progress: Progress) -> None:
        super().__init__(streams.frames(progress))
        self._streams = streams

    async def __call__(self, *asgi: Any) -> None:  # noqa: ANN401  (scope, receive, send)
        """Send it."""
        self._streams.enter()
        try:
            await super().__call__(*asgi)
        finally:
            self._streams.leave()
