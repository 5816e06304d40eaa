"""What tests ask the server: what its views have noted, and what the process holds.

Views put notes here and wait at gates that tests open. The pages run on the event loop, so that
they need no thread which the census would count.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import resource
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db.transaction import non_atomic_requests
from django.http import HttpRequest, HttpResponse, JsonResponse

from adwebsocket.transport.waiting import pause

if TYPE_CHECKING:
    from collections.abc import Iterator

libc = ctypes.CDLL(None)

notes: defaultdict[str, list[Any]] = defaultdict(list)


class Gate:
    """Something to wait for in either colour, which a test opens."""

    def __init__(self) -> None:
        self.for_threads = threading.Event()
        self.for_tasks = asyncio.Event()


gates: defaultdict[str, Gate] = defaultdict(Gate)


@non_atomic_requests
async def show_notes(request: HttpRequest, name: str) -> JsonResponse:
    return JsonResponse(notes[name], safe=False)


@non_atomic_requests
async def open_gate(request: HttpRequest, name: str) -> HttpResponse:
    gates[name].for_threads.set()
    gates[name].for_tasks.set()
    return HttpResponse()


def pass_gate(name: str) -> None:
    """Wait at a gate, and let other views run meanwhile that may share the thread."""
    deadline = time.monotonic() + 60
    while not gates[name].for_threads.is_set():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody opened the gate {name}")
        pause(0.005)


async def pass_gate_async(name: str) -> None:
    async with asyncio.timeout(60):
        await gates[name].for_tasks.wait()


@non_atomic_requests
async def show_main_thread(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(threading.get_ident()))


COUNTED = ("WebSocketProtocol", "WebSocketRequest", "WebSocket", "AsyncWebSocket", "AsgiChannel")


@non_atomic_requests
async def take_census(request: HttpRequest) -> JsonResponse:
    """Count what a connection may leave behind."""
    gc.collect()
    objects = Counter(
        kind.__name__ for kind in map(type, gc.get_objects()) if kind.__name__ in COUNTED
    )
    descriptors = list(targets_of_descriptors())
    database = str(settings.DATABASES["default"]["NAME"])
    return JsonResponse(
        {
            "threads": threading.active_count(),
            "tasks": len(asyncio.all_tasks()),
            "descriptors": len(descriptors),
            "databases": sum(database in target for target in descriptors),
            **{name: objects[name] for name in COUNTED},
        }
    )


@non_atomic_requests
async def show_memory(request: HttpRequest) -> HttpResponse:
    """Forget all notes, and give the resident megabytes when all that is free went back."""
    notes.clear()
    gc.collect()
    if hasattr(libc, "malloc_trim"):  # in glibc
        libc.malloc_trim(0)
    return HttpResponse(str(resident_megabytes()))


def resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1024 / 1024


def targets_of_descriptors() -> Iterator[str]:
    """Give what each open descriptor of this process stands for."""
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            yield str(descriptor.readlink())
        except OSError:  # the one that lists them
            pass


def how_it_ended(socket: Any) -> dict[str, Any]:
    return {"code": socket.close_code, "reason": socket.close_reason}
