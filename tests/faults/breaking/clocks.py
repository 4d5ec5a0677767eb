"""Clocks off by minutes (DSLICE_CLOCK_OFFSET, which every daemon reads)."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from tests.faults.breaking.standins import names_of, with_settings
from tests.faults.stack import Stack


def off(seconds: int, *roles: str) -> Callable[[Stack], AbstractContextManager[None]]:
    """The clocks of all processes of these roles are ahead by so much, or behind."""

    @contextmanager
    def break_(stack: Stack) -> Iterator[None]:
        with ExitStack() as all_of_them:
            for role in roles:
                all_of_them.enter_context(with_settings(stack, role, {"DSLICE_CLOCK_OFFSET": str(seconds)}))
                stack.counted.broken += len(names_of(stack, role))
            yield

    return break_
