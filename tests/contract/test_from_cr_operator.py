"""docs/from-cr-operator.md leads to pages, sections and tests that there are."""

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs/from-cr-operator.md"
TEXT = PAGE.read_text()
LINKS = sorted({target for target in re.findall(r"\]\(([^)]+)\)", TEXT) if not target.startswith("https://")})
PROOFS = sorted(set(re.findall(r"`(tests/[^`]+|packages/[^`]+)::(\w+)`", TEXT)))


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("target", LINKS)
def test_a_link_leads_somewhere(target: str) -> None:
    path, _, anchor = target.partition("#")
    page = PAGE.parent / path if path else PAGE
    assert page.exists()
    assert not anchor or anchor in anchors(page)


@pytest.mark.parametrize(("path", "name"), PROOFS)
def test_a_proof_is_a_test(path: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (CHECKOUT / path).read_text(), re.M)


def test_each_annotation_of_the_prototype_is_answered_and_proved() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("|")]
    for name in ("cr_mode", "cr_interval", "ps_mode", "ps_interval", "ps_path", "ps_port"):
        assert any(name in row and "`tests/e2e/" in row for row in rows), name
