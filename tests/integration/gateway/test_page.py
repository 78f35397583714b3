# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page at ``/``, in a real browser: what it shows, to whom, and that a name is never more than a text."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Callable, NamedTuple

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.lanes import Lane
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.pika_messages import to_pika
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.registry import (
    AVAILABLE,
    DEGRADED,
    Offering,
    Trouble,
)
from browser_parts import Tab
from fleet_gateway.settings.keys import new_key
from fleet_parts import (
    CHAT_MODEL,
    EMBED_MODEL,
    ScriptedOllama,
    WorkerProcess,
    answer,
    channel_to,
    configuration,
    delete_queues,
    eventually,
)
from gateway_parts import LANES, GatewayProcess, Stepwise

ALICE, ALICE_HASH = new_key()
BOB, BOB_HASH = new_key()
KEYS = [
    {"name": "alice", "hash": ALICE_HASH, "operator": True},
    {"name": "bob", "hash": BOB_HASH, "models": ["smollm2*"]},
]
CHAT = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "Hello"}]}

#: A name that would run a script wherever a page took it for HTML.
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'&amp;"

Open = Callable[..., Tab]
Start = Callable[..., Any]


class TwoNodes(NamedTuple):
    gateway: GatewayProcess
    ollama: ScriptedOllama


@pytest.fixture(scope="module")
def two_nodes(fleet_broker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:
    """A gateway with keys and two nodes, for all tests of this module that do not change it."""
    directory = tmp_path_factory.mktemp("page")
    with ScriptedOllama() as ollama, contextlib.ExitStack() as stack:
        stack.callback(delete_queues, fleet_broker, "llm.")
        for node in ("gpu-01", "gpu-02"):
            (directory / node).mkdir()
            settings = configuration(
                fleet_broker, ollama.url, node=node, lanes=LANES, registry={"heartbeat_interval": 1}
            )
            worker = WorkerProcess(directory / node, settings, password=fleet_broker.password)
            stack.callback(worker.close)
            worker.wait_ready()
        gateway = GatewayProcess(directory / "gateway", fleet_broker, keys=KEYS, node_timeout=6)
        stack.callback(gateway.close)
        gateway.wait_ready()
        eventually(
            lambda: [lane["nodes"] for lane in gateway.status()["lanes"]] == [["gpu-01", "gpu-02"]] * len(LANES),
            "the gateway to have heard both nodes of all lanes",
        )
        yield TwoNodes(gateway, ollama)


@pytest.fixture
def fleet(two_nodes: TwoNodes) -> GatewayProcess:
    two_nodes.ollama.behave = answer
    return two_nodes.gateway


@pytest.fixture
def stepwise(two_nodes: TwoNodes, fleet: GatewayProcess) -> Stepwise:
    two_nodes.ollama.behave = made = Stepwise()
    return made


@contextlib.contextmanager
def asked_beside(gateway: GatewayProcess, key: str) -> Iterator[None]:
    """Keep a chat of another client running."""
    thread = threading.Thread(target=gateway.ask, args=("/api/chat", CHAT), kwargs={"key": key})
    thread.start()
    yield
    thread.join(60)
    assert not thread.is_alive()


def announce(broker: Any, node: str, model: str, event: str = AVAILABLE, trouble: str = "") -> str:
    """Publish a registry event as any node of the fleet could; return the lane's queue."""
    # Not by lane(), which refuses odd names: a stranger's event was not made with it.
    served = Lane("model", "chat", "chat", model, f"llm.request.ollama.chat.{model}")
    reply = Offering(served, node, 1).event(event, Trouble("odd", trouble) if trouble else None)
    with channel_to(broker) as channel:
        channel.basic_publish(reply.exchange, reply.routing_key, reply.message.body, to_pika(reply.message))
    return served.queue


# What it shows.


def test_page_shows_nodes_lanes_and_a_request_until_its_end(
    fleet: GatewayProcess, stepwise: Stepwise, tab: Open
) -> None:
    opened = tab(fleet)
    opened.use_key(ALICE)
    opened.wait_for("#state", "Ready")
    opened.wait_for("#nodes", "gpu-02")
    assert [row[:2] for row in opened.rows("nodes")] == [["gpu-01", "available"], ["gpu-02", "available"]]
    assert [row[0] for row in opened.rows("models")] == [EMBED_MODEL, CHAT_MODEL]
    queues = {row[0]: row for row in opened.rows("lanes")}
    assert queues[f"llm.request.ollama.chat.{CHAT_MODEL.replace(':', '.')}"][2:6] == ["gpu-01, gpu-02", "4", "0", "0"]
    # What waits at the broker is asked for while somebody looks, so it is there at the next look.
    eventually(lambda: {row[6] for row in opened.rows("lanes") if row[0] in queues} == {"0"}, "the queues' depths")
    with asked_beside(fleet, BOB):
        assert stepwise.begun.acquire(timeout=20)
        opened.wait_for("#under-way", "is answered")
        key, model, path, _stage, node, _seconds = opened.rows("under-way")[0]
        assert (key, model, path) == ("bob", CHAT_MODEL, "/api/chat")
        assert node in ("gpu-01", "gpu-02")
        assert opened.page.locator("#count-running").text_content() == "1"
        for _word in range(3):
            stepwise.step.release()
    opened.wait_for("#ended", "bob")
    assert opened.rows("ended")[0][:5] == ["bob", CHAT_MODEL, "/api/chat", "200", node]
    assert opened.rows("ended")[0][6:] == ["3", "3"]
    opened.wait_for("#under-way", "Nothing is under way")
    assert int(opened.page.locator("#rate-requests").text_content() or "") >= 1
    label = opened.page.locator("#chart-tokens").get_attribute("aria-label") or ""
    assert int(label.split()[0]) >= 3 and "output tokens in 15 minutes" in label


def test_page_shows_a_node_that_died_as_silent(front: Start, fleet_broker: Any, tab: Open) -> None:
    gateway = front(node_timeout=2).wait_answering()
    announce(fleet_broker, "gpu-03", CHAT_MODEL)
    opened = tab(gateway)
    opened.wait_for("#nodes", "says nothing")
    assert ["gpu-03", "says nothing"] in [row[:2] for row in opened.rows("nodes")]


def test_page_without_its_gateway_says_so(front: Start, fleet_broker: Any, tab: Open) -> None:
    gateway = front(node_timeout=30).wait_answering()
    announce(fleet_broker, "gpu-01", CHAT_MODEL)
    opened = tab(gateway)
    opened.wait_for("#state", "Ready")
    gateway.terminate()
    opened.wait_for("#problem", "the gateway does not answer")
    assert opened.rows("nodes")[0][0] == "gpu-01"
    # The browser reports each request that fails; nothing else is wrong.
    assert all("ERR_CONNECTION_REFUSED" in complaint for complaint in opened.complaints)
    opened.complaints.clear()


def test_page_tries_a_model_word_by_word(fleet: GatewayProcess, stepwise: Stepwise, tab: Open) -> None:
    opened = tab(fleet)
    opened.use_key(BOB)
    opened.wait_for("#model", CHAT_MODEL)
    assert opened.page.locator("#model option").all_text_contents() == [CHAT_MODEL]
    opened.page.get_by_label("Message").fill("Count.")
    opened.page.get_by_label("Message").press("Control+Enter")
    opened.wait_for("#answer", "one")
    assert opened.page.locator("#answer").text_content() == "one"
    stepwise.step.release()
    opened.wait_for("#answer", "onetwo")
    stepwise.step.release()
    stepwise.step.release()
    opened.wait_for("#answer-details", "3 tokens in, 3 out")
    assert opened.page.locator("#answer").text_content() == "onetwothree"


def test_page_stops_an_answer_at_its_node(fleet: GatewayProcess, stepwise: Stepwise, tab: Open) -> None:
    opened = tab(fleet)
    opened.use_key(ALICE)
    opened.wait_for("#model", CHAT_MODEL)
    opened.page.get_by_label("Model", exact=True).select_option(CHAT_MODEL)
    opened.page.get_by_role("button", name="Send").click()
    opened.wait_for("#answer", "one")
    opened.page.get_by_role("button", name="Stop").click()
    opened.wait_for("#answer-details", "stopped")
    opened.wait_for("#ended", "499")
    stepwise.step.release()


def test_page_shows_the_error_of_a_model_that_fails(fleet: GatewayProcess, two_nodes: TwoNodes, tab: Open) -> None:
    two_nodes.ollama.behave = lambda _path, _body: (400, {"error": "prompt is <b>odd</b>"})
    opened = tab(fleet)
    opened.use_key(ALICE)
    opened.wait_for("#model", CHAT_MODEL)
    opened.page.get_by_label("Model", exact=True).select_option(CHAT_MODEL)
    opened.page.get_by_role("button", name="Send").click()
    opened.wait_for("#answer-details", "prompt is <b>odd</b>")
    # The browser reports the status; nothing else is wrong.
    assert all("400" in complaint for complaint in opened.complaints)
    opened.complaints.clear()


# Who sees what.


def test_page_without_a_key_shows_nothing_of_the_fleet(fleet: GatewayProcess, tab: Open) -> None:
    opened = tab(fleet)
    opened.wait_for("#state", "Locked")
    assert "gpu-01" not in opened.page.content()
    assert fleet.ask("/page/state").status == 401
    opened.use_key("flg_wrong")
    opened.wait_for("#problem", "not known here")
    opened.use_key(ALICE)
    opened.wait_for("#nodes", "gpu-01")
    opened.page.get_by_role("button", name="Forget the key").click()
    opened.wait_for("#state", "Locked")
    assert "gpu-01" not in opened.page.content()


def test_state_shows_a_key_its_models_and_requests_and_an_operator_those_of_all(fleet: GatewayProcess) -> None:
    before = [fleet.ask("/page/state", key=key).document for key in (ALICE, BOB)]
    for key in (ALICE, BOB):
        assert fleet.ask("/api/chat", {**CHAT, "stream": False}, key=key).status == 200
    assert fleet.ask("/api/embed", {"model": EMBED_MODEL, "input": "a"}, key=ALICE).status == 200
    bob = fleet.ask("/page/state", key=BOB).document
    assert {model["name"] for model in bob["models"]} == {CHAT_MODEL}
    assert {lane["model"] for lane in bob["lanes"]} == {CHAT_MODEL}
    assert {one["key"] for one in bob["ended"]} == {"bob"}
    assert "alice" not in str(bob)
    assert sum(bob["rates"]["requests"]) == sum(before[1]["rates"]["requests"]) + 2
    alice = fleet.ask("/page/state", key=ALICE).document
    assert [one["key"] for one in alice["ended"]][:3] == ["alice", "bob", "alice"]
    assert sum(alice["rates"]["requests"]) == sum(before[0]["rates"]["requests"]) + 3


def test_state_of_an_open_page_has_no_requests_for_strangers(fleet: GatewayProcess, front: Start) -> None:
    gateway = front(keys=KEYS, page="open").wait_ready()
    assert gateway.ask("/api/chat", {**CHAT, "stream": False}, key=BOB).status == 200
    seen = gateway.ask("/page/state").document
    assert [model["name"] for model in seen["models"]] == [EMBED_MODEL, CHAT_MODEL]
    assert seen["ended"] == [] and "bob" not in str(seen)
    # A key that is wrong is not the same as none: its owner must learn of it.
    assert gateway.ask("/page/state", key="flg_wrong").status == 401
    assert gateway.ask("/api/chat", CHAT).status == 401


def test_disabled_page_still_answers_clients_of_ollama(front: Start) -> None:
    gateway = front(page="disabled").wait_answering()
    assert gateway.ask("/", Accept="text/html").body == b"Ollama is running"
    for path in ("/page/state", "/page/page.js", "/page/index.html"):
        assert gateway.ask(path).status == 404


def test_root_is_a_page_for_browsers_and_a_text_for_clients_of_ollama(front: Start) -> None:
    gateway = front().wait_answering()
    assert gateway.ask("/").body == b"Ollama is running"
    assert gateway.ask("/", method="HEAD").status == 200
    found = gateway.ask("/", Accept="text/html,*/*;q=0.8")
    assert found.headers["content-type"].startswith("text/html")
    assert b"<h1>Fleet gateway" in found.body
    again = gateway.ask("/page/page.js", If_None_Match=gateway.ask("/page/page.js").headers["etag"])
    assert (again.status, again.body) == (304, b"")
    assert gateway.ask("/page/../settings/config.py").status == 404
    assert gateway.ask("/page/..%2Fcli.py").status == 404


# Hostile names.


def test_page_shows_hostile_names_as_text(front: Start, fleet_broker: Any, tab: Open) -> None:
    gateway = front(node_timeout=30).wait_answering()
    announce(fleet_broker, HOSTILE, CHAT_MODEL)
    queue = announce(fleet_broker, "gpu-01", f"m{HOSTILE}")
    announce(fleet_broker, "gpu-09", CHAT_MODEL, DEGRADED, HOSTILE)
    opened = tab(gateway)
    opened.wait_for("#nodes", "onerror=alert(1)")
    assert HOSTILE in [row[0] for row in opened.rows("nodes")]
    assert f"degraded: {HOSTILE}" in [row[1] for row in opened.rows("nodes")]
    assert f"m{HOSTILE}" in [row[0] for row in opened.rows("models")]
    assert queue in [row[0] for row in opened.rows("lanes")]
    assert f"m{HOSTILE}" in opened.page.locator("#model option").all_text_contents()
    # The icon and the script of the page itself, and no element that a name has made.
    assert opened.page.locator("img").count() == 0
    assert opened.page.locator("script").count() == 1


def test_page_policy_forbids_foreign_scripts(front: Start, tab: Open) -> None:
    opened = tab(front().wait_answering())
    opened.wait_for("#gateway-details", "version")
    ran = opened.page.evaluate(
        """async () => {
            const tried = {};
            const script = document.createElement("script");
            const violations = [];
            addEventListener("securitypolicyviolation", (event) => violations.push(event.effectiveDirective));
            try { script.textContent = "window.ran = 1"; } catch { tried.text = "refused"; }
            document.head.append(script);
            try { document.body.innerHTML += "<b>x</b>"; } catch { tried.html = "refused"; }
            await fetch("http://127.0.0.1:9/").catch(() => { tried.fetch = "refused"; });
            document.body.setAttribute("style", "color: red");
            await new Promise((done) => setTimeout(done, 200));
            return { ...tried, ran: window.ran || 0, violations: [...new Set(violations)].sort() };
        }"""
    )
    assert ran["ran"] == 0
    assert (ran["text"], ran["html"], ran["fetch"]) == ("refused",) * 3
    assert {"connect-src", "require-trusted-types-for"} <= set(ran["violations"])
    assert any(name.startswith("style-src") for name in ran["violations"])
    opened.complaints.clear()
    opened.addresses[:] = [address for address in opened.addresses if ":9/" not in address]


# Everybody.


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width, height", [(1200, 900), (360, 740)], ids=["desk", "phone"])
def test_page_is_accessible_and_fits_the_window(
    fleet: GatewayProcess, fleet_broker: Any, tab: Open, scheme: str, width: int, height: int
) -> None:
    announce(fleet_broker, "a-node-with-a-very-long-name-" * 4, CHAT_MODEL, DEGRADED, "Ollama is away. " * 10)
    assert fleet.ask("/api/chat", {**CHAT, "stream": False}, key=ALICE).status == 200
    opened = tab(fleet, color_scheme=scheme, viewport={"width": width, "height": height})
    opened.use_key(ALICE)
    opened.wait_for("#ended", "alice")
    opened.page.get_by_label("Model", exact=True).select_option(CHAT_MODEL)
    opened.page.get_by_role("button", name="Send").click()
    opened.wait_for("#answer-details", "tokens in")
    assert opened.barriers() == []
    assert not opened.is_wider_than_its_window()
    ground = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    lightness = sum(int(part) for part in ground.strip("rgb()").split(",")) / 3
    assert (lightness < 64) == (scheme == "dark")


def test_page_is_usable_by_keyboard_alone(fleet: GatewayProcess, two_nodes: TwoNodes, tab: Open) -> None:
    opened = tab(fleet)
    opened.wait_for("#state", "Locked")
    # A page that wants a key has put the focus where it is typed.
    opened.page.keyboard.type(ALICE)
    opened.page.keyboard.press("Enter")
    opened.wait_for("#model", CHAT_MODEL)
    seen: list[str] = []
    for _press in range(40):
        opened.page.keyboard.press("Tab")
        seen.append(opened.page.evaluate("document.activeElement.id"))
        if seen[-1] == "model":
            opened.page.keyboard.type(CHAT_MODEL[:2])
        if seen[-1] == "prompt":
            break
    assert seen[-1] == "prompt" and "model" in seen
    opened.page.keyboard.type("Hello")
    opened.page.keyboard.press("Tab")
    opened.page.keyboard.press("Enter")
    opened.wait_for("#answer", "Good morning.")
    # The next look, two seconds later, takes the focus from nowhere.
    opened.page.wait_for_timeout(2500)
    assert opened.page.evaluate("document.activeElement.id") in ("send", "prompt")
    assert [body for path, body in two_nodes.ollama.calls if path == "/api/chat"][-1]["messages"][0][
        "content"
    ] == "Hello"
