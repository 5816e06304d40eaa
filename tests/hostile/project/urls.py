"""Where the views of the project are: one of each colour for everything that may depend on it."""

from __future__ import annotations

from django.urls import path

from . import database, failing, inspection, shared, views

ARGUMENTS = {
    views: {
        "watch": "/<str:name>",
        "echo": "",
        "user": "",
        "gated": "/<str:name>",
        "backlog": "/<str:name>",
        "unread": "/<str:name>",
        "flood": "/<str:name>/<int:senders>/<int:count>/<int:size>",
    },
    shared: {
        "bystander": "/<str:name>",
        "closed-by-another": "/<str:name>",
        "last-words": "",
        "shared": "/<str:name>",
    },
    failing: {
        "failing": "/<str:kind>",
        "manual": "/<str:how>",
        "sender": "/<str:name>",
        "torrent": "/<str:name>",
        "leaving": "/<str:name>",
        "mistaken": "",
    },
    database: {
        "database": "/<str:name>",
    },
}

urlpatterns = [
    path("notes/<str:name>", inspection.show_notes),
    path("open/<str:name>", inspection.open_gate),
    path("main-thread", inspection.show_main_thread),
    path("census", inspection.take_census),
    path("memory", inspection.show_memory),
    path("async/chunks", database.async_chunks),
    path("sync/on-loop/<str:name>", shared.sync_on_loop),
    *(
        path(f"{colour}/{kind}{arguments}", getattr(module, f"{colour}_{kind.replace('-', '_')}"))
        for module, kinds in ARGUMENTS.items()
        for kind, arguments in kinds.items()
        for colour in ("sync", "async")
    ),
]
