"""The console's pages in a real headless Chromium: what they say, that everybody can read them, and that they stay true.

REPRISE_SCREENSHOTS=docs/console writes their pictures.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conftest import Console, wait
from issuer import Issuer
from playwright.sync_api import Page, expect
from reprise.console.gate import COOKIE
from reprise_lab.chromium import HEIGHT, PICTURED, PICTURES, VIEWS, picture, problems
from world import World

pytestmark = pytest.mark.component

PAGES = {
    "overview": "/", "workload": "/workloads/default/deployment/counter",
    "failing": "/workloads/factory/statefulset/plc-gateway",
    "given-up": "/workloads/edge/pod/mqtt-broker",
    "under-way": "/workloads/shop/deployment/ingest", "failover": "/failovers/{node_loss}",
    "nodes": "/nodes", "node": "/nodes/n2", "lost-node": "/nodes/n1", "events": "/events", "none": "/?q=nothing-like-it",
    "ask-checkpoint": "/workloads/default/deployment/counter/checkpoint",
    "ask-move": "/workloads/default/deployment/counter/move", "ask-drain": "/nodes/n2/drain",
    "ask-restore": "/workloads/default/deployment/counter/checkpoints/{good}/restore",
    "gone": "/?gone=1", "login": "/login",
    "missing": "/workloads/a/b/c", "malformed": "/events?before=x",
}  # fmt: skip
SHOWN = ("overview", "workload", "failover", "events", "ask-move")
"""Those of nodes and of what a checkpoint holds are pictured with a cluster behind them (tests/e2e/test_console.py)."""


def address(told: Console, name: str) -> str:
    lost = told.get("/api/v1/failovers", workload="counter", cause="node-loss").json()[0]["failover_id"]
    good = told.get("/api/v1/checkpoints", workload="counter", state="stored").json()[0]["checkpoint_id"]
    return told.url + PAGES[name].format(node_loss=lost, good=good)


@pytest.fixture
def page(chromium: Any) -> Iterator[Page]:
    """Fails the test for any error on it, or anything that it asks of another host."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    found, errors = context.new_page(), []
    found.on("pageerror", lambda error: errors.append(str(error)))
    found.on(
        "console", lambda said: errors.append(said.text) if said.type == "error" and "status of 4" not in said.text else None
    )
    found.on("request", lambda asked: None if "//127.0.0.1:" in asked.url else errors.append(asked.url))
    yield found
    context.close()
    assert not errors


def sign_in(context: Any, told: Console, issuer: Issuer) -> None:
    context.add_cookies([{"name": COOKIE, "value": issuer.token("ada"), "url": told.url}])


@pytest.mark.parametrize("view", VIEWS)
def test_every_page_passes_axe_and_fits(told: Console, chromium: Any, issuer: Issuer, view: str) -> None:
    width, scheme = VIEWS[view]
    context = chromium.new_context(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme)
    sign_in(context, told, issuer)
    shown, found = context.new_page(), list[str]()
    for name in PAGES:
        shown.goto(address(told, name))
        found += problems(shown, name)
    context.close()
    assert not found


def test_who_broke_a_node_finds_what_happened_why_and_the_trace(told: Console, page: Page) -> None:
    """From the first page, by one click."""
    page.goto(told.url)
    page.get_by_role("link", name="counter: node lost").click()
    story = page.get_by_role("article")
    expect(story).to_contain_text("counter lost its node n1; restored on n2 with its memory after 5.5 s")
    expect(story).to_contain_text("silent for 4.6 s by both ways")
    expect(story).to_contain_text(re.compile(r"was the newest good one: taken [\d.]+ s before the fault"))
    expect(story).to_contain_text("n2 holds its checkpoints ready")
    expect(story).to_contain_text(re.compile(r"What it did in the [\d.]+ s between that checkpoint and the fault"))
    trace = told.get("/api/v1/failovers", workload="counter", cause="node-loss").json()[0]["trace_id"]
    expect(story.get_by_role("link", name="Its trace")).to_have_attribute("href", f"http://localhost:16686/trace/{trace}")
    steps = [re.compile(rf"^\s*{step}\b") for step in ("notice", "plan", "fence", "restore", "verify", "adopt")]
    expect(page.locator(".waterfall tbody tr")).to_contain_text(steps)


def test_the_overview_has_the_worst_first_with_its_reason(told: Console, page: Page) -> None:
    page.goto(told.url)
    names = [each.inner_text().split()[0] for each in page.locator("tbody th[scope=row]").all()]
    assert names[:4] == ["mqtt-broker", "ingest", "plc-gateway", "notebook"]
    expect(page.locator("table")).to_contain_text("/dev/ttyUSB0: it is a character device; close the device while idle")
    row = page.get_by_role("row").filter(has_text="cart")
    expect(row).to_contain_text(re.compile("healthy|stale"))  # stale three minutes after its world was made
    for text in (re.compile(r"6[12]\d MB"), "1 min", "n3 warm", "node lost"):
        expect(row).to_contain_text(text)


def test_a_workload_page_tells_what_if_and_draws_its_history(told: Console, page: Page) -> None:
    page.goto(address(told, "workload"))
    expect(page.locator(".whatif")).to_contain_text("If n2 died now: It would continue on n3 in about 7.6 s")
    expect(page.get_by_role("img", name=re.compile(r"Timeline: \d+ good checkpoints, 2 failed, 3 failovers"))).to_be_visible()
    for chart in ("Pause", "Size", "New in each"):
        drawn = page.get_by_role("img", name=re.compile(rf"{chart}: newest .+, between .+ and .+"))
        assert len(drawn.locator("rect.hover").all()) > 50
    page.get_by_role("link", name="older →").click()
    expect(page.get_by_role("link", name="newest")).to_be_visible()


def test_a_workload_page_tells_how_it_ended_and_the_real_pause_beside_crius(told: Console, page: Page) -> None:
    page.goto(address(told, "workload"))
    ended = page.locator("section", has=page.get_by_role("heading", name="How it ended"))
    expect(ended).to_contain_text("exit code 137 (SIGKILL)")
    expect(ended).to_contain_text("the last line of counter")
    expect(page.locator("[data-label=Pause]").first).to_have_text(re.compile(r"^\d.* m?s \(CRIU \d.* m?s\)$"))


def test_a_node_page_tells_who_would_go_where(told: Console, page: Page) -> None:
    page.goto(told.url + "/nodes/n2")
    for name, to in {"counter": "n3", "notebook": "nowhere", "wind-tunnel": "another node"}.items():
        expect(page.get_by_role("row").filter(has_text=name).locator("[data-label='Would go to']")).to_have_text(to)
    page.goto(told.url + "/nodes")
    expect(page.get_by_role("row").filter(has_text="n1").locator("[data-label=State]")).to_contain_text("lost")
    expect(page.get_by_role("row").filter(has_text="n3").locator("[data-label=State]")).to_contain_text("up")


def test_events_are_filtered_and_leafed_through(told: Console, page: Page) -> None:
    page.goto(told.url + "/events")
    page.get_by_label("Type").select_option("checkpoint.failed")
    page.get_by_label("Namespace").select_option("default")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.locator("summary").first.click()
    expect(page.locator("details[open] pre")).to_contain_text('"reason": "UnhealthyAfter"')
    page.goto(told.url + "/events?workload=counter")
    first = page.locator("tbody tr").first.get_attribute("data-key")
    page.get_by_role("link", name="older →").click()
    expect(page.locator(f"tr[data-key='{first}']")).to_have_count(0)


def test_a_reader_signs_in_is_asked_and_may_sign_out(told: Console, page: Page, issuer: Issuer) -> None:
    page.goto(told.url + "/nodes/n2/drain")
    page.get_by_label("Token").fill("no.real.token")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("nobody here vouches for tokens of this issuer")
    page.get_by_label("Token").fill(issuer.token("ada"))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Drain n2?")).to_be_visible()
    expect(page.locator(".will")).to_contain_text(re.compile(r"\d protected containers there are moved to other nodes"))
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("link", name="Cancel").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()


def test_without_javascript_everything_can_be_read(told: Console, chromium: Any) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(told.url)
    expect(page.get_by_role("button", name="Live")).to_be_hidden()
    page.get_by_role("link", name="counter", exact=True).click()
    expect(page.get_by_role("heading", name="Checkpoints", exact=True)).to_be_visible()
    page.goto(told.url + "/events")
    page.get_by_label("Type").select_option("failover.abandoned")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    context.close()


def test_the_keyboard_reaches_the_content_at_once(told: Console, page: Page) -> None:
    page.goto(told.url)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")


def test_a_new_event_appears_by_itself_and_what_was_open_stays_open(blank: Console, page: Page) -> None:
    page.goto(blank.url)
    expect(page.locator("main")).to_contain_text("Nothing is protected yet")
    world = World(datetime.now(UTC))
    blank.tell(list(world.notebook()))
    expect(page.get_by_role("link", name="notebook")).to_be_visible(timeout=5000)
    page.goto(blank.url + "/events")
    page.locator("summary").first.click()
    blank.tell(list(World(datetime.now(UTC) + timedelta(seconds=5), seed=8).notebook()))
    expect(page.locator("tbody tr")).to_have_count(2, timeout=5000)
    expect(page.locator("details[open]")).to_have_count(1)


def test_live_can_be_paused(blank: Console, page: Page) -> None:
    page.goto(blank.url + "/events")
    live = page.get_by_role("button", name="Live")
    live.click()
    expect(live).to_have_attribute("aria-pressed", "false")
    before = page.locator("tbody tr").count()
    blank.tell(list(World(datetime.now(UTC), seed=9).notebook()))
    page.wait_for_timeout(2500)
    assert page.locator("tbody tr").count() == before
    live.click()
    expect(page.locator("tbody tr")).to_have_count(before + 1, timeout=5000)


@pytest.mark.skipif(not PICTURES, reason="REPRISE_SCREENSHOTS names no folder")
def test_screenshots(told: Console, chromium: Any, issuer: Issuer) -> None:
    wait(lambda: told.looked_at <= datetime.now(UTC), 60)
    for view in PICTURED:
        width, scheme = VIEWS[view]
        context = chromium.new_context(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme)
        sign_in(context, told, issuer)
        page = context.new_page()
        for name in SHOWN:
            page.goto(address(told, name))
            picture(page, name, view)
        context.close()
