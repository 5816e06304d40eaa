"""Two threads in every order: one is interrupted before each of its instructions in turn.

A stress test meets a race by luck; this meets it by counting. The first function runs under a
trace that, before one bytecode instruction of adwebsocket's, lets the second run from beginning to
end, as a thread would that gets its turn there. Then all is made anew for the next instruction.
That covers every order with one change of threads and back.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import adwebsocket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_PACKAGE = str(Path(adwebsocket.__file__).parent)


def _never() -> bool:
    return False


class Interruption:
    """One run of two functions, the second before one instruction of the first."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.happened = False
        self._passed = 0

    def run(
        self,
        first: Callable[[], object],
        second: Callable[[], object],
        blocked: Callable[[], bool] = _never,
    ) -> None:
        """Run both; behind the first if that had fewer instructions.

        Arguments:
            blocked: tells whether the second would have to wait for a lock now; then it gets its
                turn at the first instruction where it would not.
        """

        def enter(frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
            if not frame.f_code.co_filename.startswith(_PACKAGE):
                return None
            frame.f_trace_opcodes = True
            return step

        def step(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
            if event == "opcode" and not self.happened:
                if self._passed >= self.position and not blocked():
                    self.happened = True
                    second()
                self._passed += 1
            return step

        previous = sys.gettrace()
        sys.settrace(enter)
        try:
            first()
        finally:
            sys.settrace(previous)
        if not self.happened:
            second()


def interruptions() -> Iterator[Interruption]:
    """Give one interruption for each instruction, and a last one behind them all."""
    position = 0
    while True:
        interruption = Interruption(position)
        yield interruption
        if not interruption.happened:
            # A trace that saw nothing would let every test pass.
            assert position > 3, "no instruction of adwebsocket was traced"
            return
        position += 1
