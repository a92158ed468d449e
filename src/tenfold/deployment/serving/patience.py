"""How long work for a client is worth doing."""

from __future__ import annotations

import time
from collections.abc import Callable

from tenfold.deployment.serving.guarding import State
from tenfold.deployment.serving.limits import Limits
from tenfold.deployment.serving.refusals import ClientGoneError, full


class Patience:
    """Patience with one request.

    It ends when its client leaves, or waits too long, or the server stops.

    Args:
        limits: `answer_seconds`, and `stop_seconds` from when the server begins to stop.
        state: of the server.
        is_gone: whether the client has left; called by any thread.
    """

    def __init__(
        self, limits: Limits, state: State, is_gone: Callable[[], bool] = lambda: False
    ) -> None:
        self._end = time.monotonic() + limits.answer_seconds
        self._stop_seconds, self._state, self._is_gone = limits.stop_seconds, state, is_gone

    def require(self) -> None:
        """Raise if nobody needs the result any more.

        Raises:
            ClientGoneError: nobody waits for it.
            RefusedError: it took too long.
        """
        if self._is_gone():
            raise ClientGoneError
        if time.monotonic() > min(self._end, self._state.stopped + self._stop_seconds):
            raise full("the request waited for too long")
