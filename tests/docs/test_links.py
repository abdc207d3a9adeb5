"""Links between the pages."""

from __future__ import annotations

import pytest
from support.daemon import REPOSITORY
from support.guides import Guide

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *(f"docs/{page.name}" for page in (REPOSITORY / "docs").glob("*.md")),
]


@pytest.mark.parametrize("page", PAGES)
def test_links(page: str) -> None:
    """Every file and heading that a page links to exists."""
    assert Guide(page).broken_links() == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/")])
def test_every_page_is_found_from_the_first_one(page: str) -> None:
    """README.md links to each page of docs/."""
    assert f"]({page})" in Guide("README.md").text
