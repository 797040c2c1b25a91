"""Progress of long calls, and how they are stopped: by the callback, by an exception in it, by Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Callable, Optional

from ._errors import CancelledError
from ._library import ProgressCallback


@dataclass(frozen=True)
class Progress:
    """What a long call reports; numbers that are not known yet are NaN."""

    stage: str
    step: int
    steps: int
    loss: float
    validation_skill: float
    best_skill: float
    steps_per_second: float
    seconds_left: float


#: Called ten times a second at most. Returning False cancels (None, as from a function without `return`, does not);
#: an exception cancels too and comes out of the call.
Callback = Callable[[Progress], Optional[bool]]


@contextmanager
def progress_function(callback: Callback | None) -> Iterator[Any]:
    """A C callback for the length of one call.

    There is always one, also without `callback`: it is where Python gets to see Ctrl-C. Python would raise
    KeyboardInterrupt on the way *into* the function, before any `try` of ours, and ctypes drops exceptions that reach
    it, so the interrupt is noted by a handler of our own while the call runs, and raised after it.
    """
    raised: list[BaseException] = []

    def note_interrupt(*_: object) -> None:
        raised.append(KeyboardInterrupt())

    def function(pointer: Any, _payload: Any) -> int:
        try:
            if not raised and callback is not None:
                p = pointer.contents
                progress = Progress(
                    p.stage.decode(), p.step, p.steps, p.loss, p.validation_skill, p.best_skill, p.steps_per_second,
                    p.seconds_left,
                )
                if callback(progress) is False:
                    return 1
        except BaseException as error:  # it must not reach the C frames, and is raised below
            raised.append(error)
        return 1 if raised else 0

    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, note_interrupt)
    try:
        yield ProgressCallback(function)
    except CancelledError:
        if not raised:
            raise
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if raised:
        raise raised[0]
