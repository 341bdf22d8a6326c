"""Checks that the dataclasses of settings share: a value that cannot be is refused, with its name."""

from collections.abc import Collection
from typing import Any

from pii_kit.errors import KitError


def check_positive(settings: Any, *names: str) -> None:
    """Raises KitError for the first of the named settings that is not above 0."""
    for name in names:
        if not getattr(settings, name) > 0:
            raise KitError(f"{name} is {getattr(settings, name)}; expected more than 0")


def check_shares(settings: Any, *names: str) -> None:
    """Raises KitError for the first of the named settings that is not from 0 to 1."""
    for name in names:
        if not 0 <= getattr(settings, name) <= 1:
            raise KitError(f"{name} is {getattr(settings, name)}; expected 0 to 1")


def check_choice(settings: Any, name: str, choices: Collection[str]) -> None:
    """Raises KitError if the named setting is none of `choices`."""
    if getattr(settings, name) not in choices:
        raise KitError(f"{name} is {getattr(settings, name)!r}; expected one of {', '.join(choices)}")


def check_overlap(settings: Any) -> None:
    """Raises KitError if windows of `window_size` pieces, two of them marks at the ends, cannot have that `overlap`."""
    if not 0 <= settings.overlap < settings.window_size - 2:
        raise KitError(f"overlap is {settings.overlap}; expected 0 to {settings.window_size - 3} in a window")
