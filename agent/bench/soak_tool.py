"""The function that a soak lets the agent call."""

from __future__ import annotations


async def opening_hours(day: str) -> str:
    """When the shop is open on a day of the week.

    Args:
        day: the day of the week
    """
    return "closed" if day.lower().startswith("sun") else "from nine to five"
