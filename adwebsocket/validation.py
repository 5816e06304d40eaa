"""What a value must be, told by an annotation: the types of settings, checked as they are read.

``conf.py`` asks here for each of its fields, so that a new setting is checked by being written
down. This module knows types and bounds, and no setting by its name.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from math import isfinite
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

if TYPE_CHECKING:
    from collections.abc import Iterable

_SERIES = (list, tuple, set, frozenset)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the most that a number may be; None for what the type says."""

    least: float | None = None
    most: float | None = None


def mismatch(value: Any, annotation: Any, bounds: Bounds, *, is_secret: bool = False) -> str | None:
    """Say what was expected and what came instead, or None where a value fits.

    Arguments:
        value: what was found.
        annotation: a type as ``typing.get_type_hints`` gives it: ``bool``, ``int``, ``float``,
            ``str``, ``os.PathLike``, a ``Literal``, a ``tuple`` or ``dict`` of them, ``None``, and
            unions of these. Others take anything.
        bounds: what numbers in it may be.
        is_secret: the value must not be shown.
    """
    kinds = _alternatives(annotation)
    if any(_fits(value, kind, bounds) for kind in kinds):
        return None
    expected = " or ".join(_describe(kind, bounds) for kind in kinds)
    return f"{expected}, not {_show(value, is_secret)}"


def suggest(name: str, known: Iterable[str]) -> str | None:
    """Give the one of the known names that somebody who wrote this one may have meant."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.8)), None)


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    is_union = get_origin(annotation) in (Union, UnionType)
    return get_args(annotation) if is_union else (annotation,)


def _fits(value: Any, kind: Any, bounds: Bounds) -> bool:
    origin = get_origin(kind) or kind
    if origin is Literal:
        # A list is no key, so it is compared, and not looked up.
        return any(value == each and type(value) is type(each) for each in get_args(kind))
    if origin is bool:
        return isinstance(value, int) and value in (0, 1)
    if origin in (int, float):
        return _is_number(value, origin) and _is_within(value, origin, bounds)
    if origin is tuple:
        element = get_args(kind)[0]
        return isinstance(value, _SERIES) and all(_fits(each, element, bounds) for each in value)
    if origin in (str, dict, NoneType, os.PathLike):
        return isinstance(value, origin)
    return True


def _is_number(value: Any, kind: type) -> bool:
    types = (int,) if kind is int else (int, float)
    return isinstance(value, types) and not isinstance(value, bool) and isfinite(value)


def _is_within(value: float, kind: type, bounds: Bounds) -> bool:
    return value >= _least(kind, bounds) and (bounds.most is None or value <= bounds.most)


def _least(kind: type, bounds: Bounds) -> float:
    if bounds.least is not None:
        return bounds.least
    return 1 if kind is int else 1e-3


def _describe(kind: Any, bounds: Bounds) -> str:
    origin = get_origin(kind) or kind
    if origin is Literal:
        return " or ".join(map(repr, get_args(kind)))
    if origin in (int, float):
        number = "a whole number" if origin is int else "a number"
        if bounds.most is not None:
            return f"{number} from {_least(origin, bounds)} to {bounds.most}"
        return f"{number} of at least {_least(origin, bounds)}"
    if origin is tuple:
        return "a list of strings" if get_args(kind)[0] is str else "a list"
    names = {bool: "True or False", str: "a string", dict: "a dict", os.PathLike: "a path"}
    return names.get(origin, "None")


def _show(value: Any, is_secret: bool) -> str:
    if is_secret or not isinstance(value, (int, float, str, NoneType)):
        # What is in a list or a dict may be a password.
        kind = type(value).__name__
        return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:80]}..."
