"""The pinned requirements: complete, hashed, consistent, and without addresses."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT = (ROOT / "pyproject.toml").read_text()
LOCKS = ("build.txt", "demo.txt", "dev.txt", "installer.txt", "run.txt")


def pins(lock: str) -> dict[str, str]:
    """Return version by project name; fail on an entry that is not `name==version` with hashes."""
    text = (ROOT / "requirements" / lock).read_text().replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        entry = re.fullmatch(
            r"([a-z0-9-]+)==([0-9][0-9a-z.]*)(?: ; [^#]+?)?((?:\s+--hash=sha256:[0-9a-f]{64})+)", line.strip()
        )
        assert entry is not None, f"{lock}: not pinned with hashes: {line[:80]}"
        found[entry[1]] = entry[2]
    return found


@pytest.mark.parametrize("lock", [*LOCKS, "decoders.txt"])
def test_every_requirement_is_pinned_with_hashes_and_without_addresses(lock: str) -> None:
    """Each entry is one exact version with its hashes; no index or host is named."""
    text = (ROOT / "requirements" / lock).read_text()
    assert pins(lock)
    assert not re.search(r"://|--(index|extra-index|find-links|trusted)|@", text)


def test_the_locks_agree_with_each_other() -> None:
    """dev.txt has every pin of the other files: production runs what was tested."""
    tested = pins("dev.txt").items()
    for lock in LOCKS:
        assert pins(lock).items() <= tested, lock


def test_the_locks_contain_all_dependencies() -> None:
    """run.txt has the dependencies, `speed` and `nats`, demo.txt also `demo`, dev.txt the tools of dev.in."""
    project = tomllib.loads(PYPROJECT)["project"]
    extras = project["optional-dependencies"]
    tools = (ROOT / "requirements" / "dev.in").read_text().splitlines()
    assert names(project["dependencies"] + extras["speed"] + extras["nats"]) <= pins("run.txt").keys()
    assert names(extras["demo"]) <= pins("demo.txt").keys()
    assert names([line for line in tools if not line.startswith("#")]) <= pins("dev.txt").keys()
    assert not names(extras["demo"]) & pins("run.txt").keys()


def names(requirements: list[str]) -> set[str]:
    """Return the normalised project names."""
    return {re.split(r"[=<>~! ]", requirement)[0].lower().replace("_", "-") for requirement in requirements}


def test_the_build_backend_is_pinned_as_pyproject_says() -> None:
    """An install without build isolation uses the same backend."""
    (backend,) = tomllib.loads(PYPROJECT)["build-system"]["requires"]
    assert backend in (ROOT / "requirements" / "build.in").read_text().splitlines()
    assert backend == f"hatchling=={pins('build.txt')['hatchling']}"


def test_every_dependency_has_its_reason_beside_it() -> None:
    """Each line of pyproject.toml and dev.in that names a dependency ends in a comment."""
    project = tomllib.loads(PYPROJECT)["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    for requirement in [requirement for part in lists for requirement in part]:
        (line,) = [line for line in PYPROJECT.splitlines() if f'"{requirement}"' in line]
        assert re.search(r"\]?,?\s+# \w+", line), line
    tools = [(ROOT / "requirements" / name).read_text().splitlines() for name in ("dev.in", "decoders.in")]
    for line in [*tools[0], *tools[1]]:
        assert re.search(r"# \w+", line), line
