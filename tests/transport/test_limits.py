"""The bounds of a connection: plain numbers that nobody can change behind one's back."""

from __future__ import annotations

import dataclasses

import pytest

from adwebsocket.transport.limits import Limits


def test_limits_have_defaults_and_cannot_be_changed() -> None:
    limits = Limits(inbox_messages=5)

    assert limits == dataclasses.replace(Limits(), inbox_messages=5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        limits.inbox_messages = 6  # type: ignore[misc]
