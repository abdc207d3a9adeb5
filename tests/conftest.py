"""Settings that all tests share."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Two noisy cores: how long one example takes says nothing here; timing is judged in bench/.
settings.register_profile("gateway", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gateway")
