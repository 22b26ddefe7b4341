"""Addresses of servers and databases, as they may be shown and handed on, and which of them no proxy is asked for."""

from __future__ import annotations

import os
import re

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_LOOPBACK = ("localhost", "127.0.0.1", "127.0.0.0/8", "::1")  # httpx knows no networks, requests does

_SERVER, _FILE = re.compile(r"\s*https?:", re.I), re.compile(r"(sqlite|file)[\w+]*:///", re.I)
_OF_SERVERS, _OF_DATABASES = re.compile("[^/?#]*@"), re.compile("[^:/]*(:[^@]*)?@")  # accounts
_HOST = re.compile(r"(\[[\da-f:.]+\]|localhost|[\w-]+(\.[\w-]+)+|[\w-]+(?=:\d))(:\d{1,5})?[/?#]", re.I)
_ONLY_OPTIONS = re.compile(r"[\w.-]+/[\w.-]*\?")
_ENDS = re.compile(r"[][/?#@\\\s]")  # what may end an account or the host behind it
_OPTION = re.compile("([?&][^=&]*password=)[^&]*", re.I)
_ESCAPED = "write each / ? # @ [ ] \\ and blank of a user and a password as %2F %3F %23 %40 %5B %5D %5C %20"
_TOLD = re.compile(r"(password=)[^&\s]+", re.I)


def reach_loopback_directly() -> None:
    """Have this process and its children ask no proxy for what is on this machine: complete NO_PROXY where one is set.

    Only there: a NO_PROXY of our own would make Python overlook the proxy that macOS has in its settings.
    """
    named = {name.lower() for name, value in os.environ.items() if value}
    if named.isdisjoint(_PROXIES):
        return
    lower, upper = os.environ.get("no_proxy", ""), os.environ.get("NO_PROXY", "")
    for name, value in (("no_proxy", lower or upper), ("NO_PROXY", upper or lower)):
        known = [entry.strip() for entry in value.split(",") if entry.strip()]
        os.environ[name] = value if known == ["*"] else ",".join(dict.fromkeys([*known, *_LOOPBACK]))


def without_account(address: str) -> str:
    """The address without what may be secret in it: a user's name and password, and options."""
    before, _, behind = _parted(_OPTION.sub(r"\1", address))
    return re.split("[?#]", before + behind, maxsplit=1)[0]


def shown(address: str) -> str:
    """An address with *** for its account, and for a password among its options."""
    before, account, behind = _parted(_OPTION.sub(r"\1***", address))
    return f"{before}***@{behind}" if account else before + behind


def first_line(error: Exception, address: str = "") -> str:
    """What an error says, on one line: a library's own words often go on for many.

    Nothing that may be secret in `address`, of which it tells, is among them; where a password holds letters that end it for
    some readers, a library may take any part of it for a host, a port or a path, so then its words are not repeated.
    """
    user, _, password = _parted(_OPTION.sub(r"\1", address))[1].removesuffix("@").partition(":")
    if _ENDS.search(password) or _ENDS.search(user.replace("@", "")):
        return f"{type(error).__name__}, in words that may hold a part of the password; {_ESCAPED}"
    parts = str(error).strip().split(address) if address else [str(error).strip()]
    told = shown(address).join(_TOLD.sub(r"\1***", re.sub("//.*@", "//***@", part)) for part in parts)
    return (told or type(error).__name__).splitlines()[0]


def _parted(address: str) -> tuple[str, str, str]:
    """What stands before the account, the account with its @, and what stands behind it.

    As it is found by those who use the address (requests and httpx, SQLAlchemy). An @ behind that end is a part of the account,
    too, unless a host stands there that is one by its looks: a password may hold any letter, and rather too much is secret.
    """
    scheme = re.match(r"\s*[\w+.-]+://", address)
    begin = scheme.end() if scheme else 0
    rest = address[begin:]
    if "@" not in rest or _FILE.match(address) or (not scheme and ":" not in rest.rpartition("@")[0]):
        return address, "", ""
    found = (_OF_SERVERS if _SERVER.match(address) else _OF_DATABASES).match(rest)
    end = found.end() if found else 0
    if "@" in rest[end:] and not _HOST.match(rest[end:]) and (found or not _ONLY_OPTIONS.match(rest)):
        end = rest.rfind("@") + 1
    return address[:begin], rest[:end], rest[end:]
