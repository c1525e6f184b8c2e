"""One proxy for the whole run, one scripted upstream behind it, emptied for each test."""
from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))

import anthropic  # noqa: E402
import pytest  # noqa: E402
from proxy import KEY, Proxy, free_port, provider  # noqa: E402
from upstream import Upstream  # noqa: E402

NEWEST = int(anthropic.__version__.split(".")[0]) >= 2
USER = [{"role": "user", "content": "hi"}]


def pytest_report_header():
    return f"anthropic {anthropic.__version__}"


def config(up, **more) -> dict:
    return {
        "ak": KEY,
        "providers": [
            provider(up.url, {"id": "plain", "display_name": "Plain", "remote_id": "remote-plain"},
                     {"id": "blind", "vision": False}, {"id": "small", "context_window": 1000},
                     profile="generic", name="house"),
            provider(up.url, {"id": "deep"}, profile="deepseek"),
            provider(up.url, {"id": "oai"}, profile="openai"),
            provider(f"http://127.0.0.1:{free_port()}", {"id": "dead"}, profile="generic"),
        ],
        "aliases": {"claude-*": "plain"},
        **more,
    }


@pytest.fixture(scope="session")
def shared_upstream():
    up = Upstream()
    yield up
    up.stop()


@pytest.fixture(scope="session")
def proxy(shared_upstream):
    with Proxy(config(shared_upstream)) as p:
        yield p


@pytest.fixture(scope="session")
def hasty(shared_upstream):
    """The same with clocks that run out after a second."""
    with Proxy(config(shared_upstream, upstream_timeout_seconds=1, stream_idle_timeout_seconds=1)) as p:
        yield p


@pytest.fixture
def up(shared_upstream):
    shared_upstream.play()
    return shared_upstream


def connect(proxy, **more):
    return anthropic.Anthropic(**{"base_url": proxy.url, "api_key": KEY, "max_retries": 0, "timeout": 20.0, **more})


@pytest.fixture
def client(proxy):
    with connect(proxy) as c:
        yield c


@pytest.fixture
def ask(client):
    """messages.create with the usual arguments."""
    def create(**more):
        return client.messages.create(**{"model": "plain", "max_tokens": 64, "messages": USER, **more})
    return create
