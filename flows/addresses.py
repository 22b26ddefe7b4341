"""Addresses of servers, as they may be shown and handed to other machines."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit


def without_account(address: str) -> str:
    """The address without what may be secret in it: a user's name and password, and options."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
