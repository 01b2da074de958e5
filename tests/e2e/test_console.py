"""The console as its user has it: what happened on the cluster is on its pages, and what is asked for there happens."""

import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect
from reprise_lab import counter, faults, listing
from reprise_lab.chromium import HEIGHT, PICTURED, PICTURES, VIEWS, chromium, picture, problems
from reprise_lab.shell import kubectl, poll
from reprise_lab.witness import Witness

pytestmark = pytest.mark.e2e

WITHIN_MS = 30_000


@pytest.fixture
def page() -> Iterator[Page]:
    with chromium() as browser:
        opened = browser.new_context(viewport={"width": 1280, "height": 800}, base_url=home()).new_page()
        opened.set_default_timeout(WITHIN_MS)
        yield opened


def home() -> str:
    return f"http://{listing.service_address('console')}:8080"


@pytest.fixture
def token(protected_counter: Witness) -> Iterator[str]:
    """Of a service account that may operate what is protected."""
    namespace = protected_counter.namespace
    kubectl("-n", namespace, "create", "serviceaccount", "ada")
    kubectl("create", "clusterrolebinding", namespace, "--clusterrole=reprise-operator", f"--serviceaccount={namespace}:ada")
    yield kubectl("-n", namespace, "create", "token", "ada", "--audience=reprise-console").strip()
    kubectl("delete", "clusterrolebinding", namespace)


@pytest.mark.alone
def test_who_lost_a_node_finds_out_what_happened_why_and_the_trace(
    protected_counter: Witness, node_comes_back: None, page: Page
) -> None:
    """Within a minute of the power cut, from the first page, by one click."""
    namespace = protected_counter.namespace
    page.goto("/")
    began = time.monotonic()
    faults.power_off("n1")
    row = counter.wait_failover(namespace, "node-loss")
    happened = page.locator(f"a[href='/failovers/{row['failover_id']}']").first
    happened.click()  # the page shows it by itself
    story = page.get_by_role("article")
    expect(story).to_contain_text(re.compile(r"counter lost its node n1; restored on n2 with its memory after [\d.]+ s"))
    expect(story).to_contain_text("was the newest good one")
    expect(story).to_contain_text("n2 holds its checkpoints ready")
    expect(story).to_contain_text(str(row["checkpoint_id"]))
    steps = [re.compile(rf"^\s*{step}\b") for step in ("notice", "plan", "fence", "restore", "verify", "adopt")]
    expect(page.locator(".waterfall tbody tr")).to_contain_text(steps)
    trace = story.get_by_role("link", name="Its trace").get_attribute("href")
    assert trace
    poll(20, lambda: {"saga.fence", "saga.adopt"} <= spans(trace), f"the failover's steps to be at {trace}", 0.5)
    took_s = time.monotonic() - began
    print(f"found out {took_s:.1f} s after the power cut")
    assert took_s < 60


def test_what_a_checkpoint_holds_and_who_would_go_where_is_told_of_the_real_one(
    protected_counter: Witness, token: str, page: Page
) -> None:
    """The archive's own processes, memory and sockets; the planner's own answer."""
    namespace = protected_counter.namespace
    [stored, *_] = counter.console(f"checkpoints?namespace={namespace}&state=stored&limit=1")
    page.goto(f"/workloads/{namespace}/deployment/counter/checkpoints/{stored['checkpoint_id']}?container=counter")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="What a checkpoint holds")).to_be_visible()

    def section(title: str) -> Locator:
        return page.locator("section", has=page.get_by_role("heading", name=title, exact=True))

    expect(section("Processes")).to_contain_text("/counter")
    expect(section("Memory")).to_contain_text("heap")
    expect(section("Sockets")).to_contain_text(":8080")
    expect(section("CRIU's log")).to_contain_text("Dumping finished successfully")
    everybody_can_read(page, "inspection")

    page.goto("/nodes/n1")
    row = page.get_by_role("row").filter(has_text=namespace)
    expect(row.locator("[data-label='Would go to']")).to_have_text("n2")
    expect(row.locator("[data-label='Because']")).to_contain_text("n2")
    everybody_can_read(page, "node")


def everybody_can_read(page: Page, name: str) -> None:
    for view, (width, scheme) in VIEWS.items():
        page.set_viewport_size({"width": width, "height": HEIGHT})
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert not problems(page, name)
        if PICTURES and view in PICTURED:
            picture(page, name, view)


def spans(trace: str) -> set[str]:
    told: dict[str, Any] = httpx.get(trace, timeout=10).json()
    return {span["operationName"] for one in told["data"] or [] for span in one["spans"]}


@pytest.mark.alone
def test_what_is_asked_for_by_its_buttons_is_done(protected_counter: Witness, token: str, page: Page) -> None:
    """A checkpoint, back to it, a move, a drain and its end: each says what it will do, and by whom it was asked for."""
    namespace, run = protected_counter.namespace, protected_counter.last().run
    counters = f"/workloads/{namespace}/deployment/counter"
    page.goto(counters)
    page.get_by_role("link", name="Checkpoint now…").click()
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".will")).to_contain_text("A checkpoint is taken at once")
    page.get_by_role("button", name="Take a checkpoint").click()
    asked = page.locator("section", has=page.locator("#asked"))
    expect(asked).to_contain_text(re.compile(r"asked for\s+Checkpoint\s+by\s+ada"))

    def on_demand() -> list[dict[str, Any]]:
        rows = counter.console(f"checkpoints?namespace={namespace}&state=stored&limit=20")
        return [row for row in rows if row["trigger"] == "demand"]

    poll(30, lambda: bool(on_demand()), "the checkpoint that was asked for to be stored", 0.2)
    [taken] = on_demand()

    page.goto(f"{counters}/checkpoints/{taken['checkpoint_id']}/restore")
    expect(page.locator(".will")).to_contain_text("is given up")
    page.get_by_role("button", name="Restore it").click()
    row = counter.wait_failover(namespace, "restore")
    assert (row["state"], row["checkpoint_id"]) == ("completed", taken["checkpoint_id"])
    assert protected_counter.last().run == run

    page.goto(f"{counters}/move")
    page.get_by_label("To").select_option("n2")
    page.get_by_role("button", name="Move it").click()
    assert counter.wait_failover(namespace, "move")["state"] == "completed"
    page.goto(counters)
    expect(page.locator(".facts")).to_contain_text("n2")

    try:
        page.goto("/nodes/n2")
        page.get_by_role("link", name="Drain").click()
        page.get_by_role("button", name="Drain n2").click()
        poll(60, lambda: [pod["spec"].get("nodeName") for pod in counter.pods(namespace)] == ["n1"], "it to be on n1 again")
        page.goto("/nodes/n2/undrain")
        page.get_by_role("button", name="Let it take pods").click()
        poll(10, lambda: not listing.get("/api/v1/nodes/n2")["spec"].get("unschedulable"), "n2 to take pods again")  # type: ignore[attr-defined]
    finally:
        kubectl("uncordon", "n2")
    protected_counter.wait(run, time.monotonic(), 20)
    assert protected_counter.runs(0) == {run}, "the same process all the while"
