"""What is on this machine is reached directly, whatever proxy the environment names; everything else through the proxy."""

from __future__ import annotations

import os

import httpx
import pytest
from requests.utils import should_bypass_proxies

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
