"""What a client is answered when its request meets an error of ours."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

log = logging.getLogger(__name__)

_P = ParamSpec("_P")
_T = TypeVar("_T")


def otherwise(answer: _T) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Answer this instead of raising, which would end all the client's channels."""

    def guard(asked: Callable[_P, _T]) -> Callable[_P, _T]:
        @functools.wraps(asked)
        def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            try:
                return asked(*args, **kwargs)
            except Exception:
                log.exception("front door: a request could not be answered")
                return answer

        return guarded

    return guard
