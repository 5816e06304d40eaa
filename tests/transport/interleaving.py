"""Two threads in every order: one is interrupted before each of its instructions in turn.

A stress test meets a race by luck; this meets it by counting. The first function runs under a
watch that, before one bytecode instruction of adwebsocket's, lets the second run from beginning to
end, as a thread would that gets its turn there. Then all is made anew for the next instruction.
That covers every order with one change of threads and back.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import adwebsocket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType

_PACKAGE = str(Path(adwebsocket.__file__).parent)
# One of the ids that nobody has claimed; the debugger, coverage and the profiler have 0 to 2.
_TOOL = 4


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
        """Run both; the second behind the first if that had fewer instructions.

        Arguments:
            blocked: tells whether the second would have to wait for a lock now; then it gets its
                turn at the first instruction where it would not.
        """

        def step() -> None:
            if self.happened:
                return
            if self._passed >= self.position and not blocked():
                self.happened = True
                second()
            self._passed += 1

        watch = _watch_by_monitoring if sys.version_info >= (3, 12) else _watch_by_trace
        with watch(step):
            first()
        if not self.happened:
            second()


def interruptions() -> Iterator[Interruption]:
    """Give one interruption for each instruction, and a last one behind them all."""
    position = 0
    while True:
        interruption = Interruption(position)
        yield interruption
        if not interruption.happened:
            # A watch that saw nothing would let every test pass.
            assert position > 3, "no instruction of adwebsocket was seen"
            return
        position += 1


@contextlib.contextmanager
def _watch_by_trace(step: Callable[[], None]) -> Iterator[None]:
    def enter(frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            return None
        frame.f_trace_opcodes = True
        return trace

    def trace(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        if event == "opcode":
            step()
        return trace

    previous = sys.gettrace()
    sys.settrace(enter)
    try:
        yield
    finally:
        sys.settrace(previous)


@contextlib.contextmanager
def _watch_by_monitoring(step: Callable[[], None]) -> Iterator[None]:
    # The trace of Python 3.12 and 3.13 misses the instructions of a function now and then.
    monitoring = sys.monitoring
    event = monitoring.events.INSTRUCTION

    def handle_instruction(code: CodeType, _: int) -> Any:
        if not code.co_filename.startswith(_PACKAGE):
            return monitoring.DISABLE
        return step()

    monitoring.use_tool_id(_TOOL, __name__)
    monitoring.register_callback(_TOOL, event, handle_instruction)
    monitoring.set_events(_TOOL, event)
    try:
        yield
    finally:
        monitoring.set_events(_TOOL, monitoring.events.NO_EVENTS)
        monitoring.register_callback(_TOOL, event, None)
        monitoring.free_tool_id(_TOOL)
