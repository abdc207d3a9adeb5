"""Settings that all tests share, and what takes long to make."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from support.installing import make_wheelhouse, seal

if TYPE_CHECKING:
    from pathlib import Path

# Two noisy cores: how long one example takes says nothing here; timing is judged in bench/. Nor does it say
# anything of the gateway how many random examples were of no use.
_NO_FAULTS = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
settings.register_profile("gateway", deadline=None, suppress_health_check=_NO_FAULTS)
settings.load_profile("gateway")


# Files that take long: the parallel run begins with them, or one process would end with them alone.
_LONG = (
    "tests/packaging/test_install",
    "tests/docs/",
    "tests/system/",
    "tests/admin/dashboard/",
    "tests/cli/webhooks/",
    "tests/tools/",
    "tests/sinks/broker/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONG))


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a wheelhouse."""
    folder = tmp_path_factory.mktemp("stick") / "wheelhouse"
    make_wheelhouse(folder)
    return folder


@pytest.fixture
def newer(wheelhouse: Path, tmp_path: Path) -> Path:
    """Return another version: the same wheels, another unit file."""
    copy = tmp_path / "newer" / "wheelhouse"
    shutil.copytree(wheelhouse, copy)
    (copy / "install.sh").chmod(0o644)  # as on a stick, which has no such modes
    unit = copy / "gateway.service"
    unit.write_text(f"# newer\n{unit.read_text()}")
    seal(copy)
    return copy
