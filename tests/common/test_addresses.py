"""Addresses are told without what is secret; what is on this machine is reached past the proxy, all else through it."""

from __future__ import annotations

import os
import re

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests.utils import get_auth_from_url, should_bypass_proxies
from sqlalchemy import make_url
from urllib3.util import parse_url

from pipeline.common import addresses

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, *map(str.lower, PROXIES)):
        monkeypatch.setenv(name, "")  # to be put back afterwards, whatever a test made of it
        monkeypatch.delenv(name)


def _direct(url: str) -> tuple[bool, bool]:
    """Whether MLflow's library and Prefect's go past the proxy."""
    with httpx.Client() as client:
        return bool(should_bypass_proxies(url, None)), client._transport_for_url(httpx.URL(url)) is client._transport


@pytest.mark.parametrize("proxy", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize(("name", "value"), [("NO_PROXY", ""), ("NO_PROXY", "store.example"), ("no_proxy", " store.example ,")])
def test_only_this_machine_is_reached_past_the_proxy(
    monkeypatch: pytest.MonkeyPatch, proxy: str, name: str, value: str
) -> None:
    monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    monkeypatch.setenv(name, value)
    addresses.reach_loopback_directly()
    addresses.reach_loopback_directly()  # a flow's stage is the child of one that did so already
    for address in ("http://127.0.0.1:5000", "http://localhost:5000", "http://[::1]:5000"):
        assert _direct(address) == (True, True), address
    assert _direct("http://mlflow.example:5000") == (False, False)
    assert _direct("http://store.example") == (bool(value), bool(value))
    assert os.environ["NO_PROXY"].count("localhost") == 1


def test_each_spelling_keeps_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("NO_PROXY", "a.example")
    addresses.reach_loopback_directly()
    assert os.environ["no_proxy"] == "*"
    assert os.environ["NO_PROXY"].startswith("a.example,localhost,")


def test_without_a_proxy_nothing_is_set() -> None:
    addresses.reach_loopback_directly()
    assert "NO_PROXY" not in os.environ
    assert "no_proxy" not in os.environ


@pytest.mark.parametrize(
    ("address", "bare", "shown"),
    [
        (
            "https://jane@clinic.org:S3cret@mlflow.example.org/x",
            "https://mlflow.example.org/x",
            "https://***@mlflow.example.org/x",
        ),
        ("https://jane:p@ss@host:5000/x", "https://host:5000/x", "https://***@host:5000/x"),
        ("https://jane:S3cret@host:5000/@me", "https://host:5000/@me", "https://***@host:5000/@me"),
        ("https://jane:S3cret@[::1]/@me", "https://[::1]/@me", "https://***@[::1]/@me"),
        ("http://host:5000/@me", "http://host:5000/@me", "http://host:5000/@me"),
        ("https://host:5000/path?x=a@b", "https://host:5000/path", "https://host:5000/path?x=a@b"),
        ("postgresql://me:pa/ss@db/m", "postgresql://db/m", "postgresql://***@db/m"),
        ("postgresql://me:pa?s#s: @db/m", "postgresql://db/m", "postgresql://***@db/m"),
        ("postgresql://me:55/ss@db:5432/m", "postgresql://db:5432/m", "postgresql://***@db:5432/m"),
        ("postgresql://jane@clinic.org:S3cret@db/m", "postgresql://db/m", "postgresql://***@db/m"),
        ("postgresql://db/m?user=a@b", "postgresql://db/m", "postgresql://db/m?user=a@b"),
        ("postgresql://me:pw@db.org/m?x=a@b", "postgresql://db.org/m", "postgresql://***@db.org/m?x=a@b"),
    ],
)
def test_an_account_is_what_those_take_for_it_who_use_the_address(address: str, bare: str, shown: str) -> None:
    assert addresses.without_account(address) == bare
    assert addresses.shown(address) == shown
    if address.startswith("http"):
        assert parse_url(address).netloc == parse_url(bare).netloc == httpx.URL(address).netloc.decode()
        assert (get_auth_from_url(address) == ("", "")) == (address == shown)
    else:
        there, here = make_url(address), make_url(bare)
        assert (there.host, there.port, there.database) == (here.host, here.port, here.database)
        assert (there.password is None) == (address == shown)


@pytest.mark.parametrize(
    ("address", "bare", "shown"),
    [
        ("http://me:pa/55@host", "http://host", "http://***@host"),
        ("http://me:p@ss/word@host/x", "http://host/x", "http://***@host/x"),
        ("http://to/ken@host/x", "http://host/x", "http://***@host/x"),
        ("http://me:pa\nss@host/x", "http://host/x", "http://***@host/x"),
        ("postgresql://me:se@cret@host:1/db", "postgresql://host:1/db", "postgresql://***@host:1/db"),
        ("postgresql://me:pa/s@s:w@host:1/db", "postgresql://host:1/db", "postgresql://***@host:1/db"),
        ("postgresql://me:pa ss@host:x/db", "postgresql://host:x/db", "postgresql://***@host:x/db"),
        ("postgresql://db:1/m?password=p@s s&x=1", "postgresql://db:1/m", "postgresql://db:1/m?password=***&x=1"),
        ("me:secret@127.0.0.1:5000", "127.0.0.1:5000", "***@127.0.0.1:5000"),
        ("sqlite:////home/me@x/a.db", "sqlite:////home/me@x/a.db", "sqlite:////home/me@x/a.db"),
        ("/home/me@x/records", "/home/me@x/records", "/home/me@x/records"),
    ],
)
def test_in_doubt_it_is_secret_but_in_the_name_of_a_file(address: str, bare: str, shown: str) -> None:
    assert addresses.without_account(address) == bare
    assert addresses.shown(address) == shown


@given(
    st.sampled_from(["http", "postgresql+psycopg2"]),
    st.text(alphabet="ΔΣΩ/?#@:%[ \n", min_size=1),
    st.sampled_from(["host", "mlflow.example.org:5000/x", "127.0.0.1/m?sslmode=require"]),
)
def test_no_part_of_a_password_is_told_whatever_is_in_it(scheme: str, password: str, rest: str) -> None:
    address = f"{scheme}://me:{password}@{rest}"
    assert addresses.shown(address) == f"{scheme}://***@{rest}"
    assert addresses.without_account(address) == f"{scheme}://{rest.partition('?')[0]}"
    whole = [address, f"cannot use {address}, {address}"]
    parts = re.split("[/?#@:\\s]", password) if set(password) & set("/?#@ \n[") else []
    for told in (*whole, *parts, *(f"what is '{part}@{rest}'?" for part in parts)):
        said = addresses.first_line(ValueError(told), address)
        assert not set(said) & set("ΔΣΩ"), said
        assert "\n" not in said


def test_words_that_tell_no_address_are_the_librarys_own() -> None:
    assert addresses.first_line(ValueError("first\nsecond"), "http://me:pw@host") == "first"
    assert addresses.first_line(ValueError("no http://me:p w@host"), "") == "no http://***@host"
    assert addresses.first_line(ValueError("  "), "http://me:pw@host") == "ValueError"
