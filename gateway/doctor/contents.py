"""All checks, in the order in which one would look for a fault: files, cloud, gateway, building."""

from __future__ import annotations

from gateway.doctor.broker_checks import check_brokers
from gateway.doctor.certificate_checks import check_certificates
from gateway.doctor.cloud_checks import check_api, check_clock, check_organization
from gateway.doctor.controller_checks import check_controllers
from gateway.doctor.daemon_checks import (
    check_alarms,
    check_daemon,
    check_intake,
    check_reconciliation,
    check_sinks,
)
from gateway.doctor.disk_checks import check_disk
from gateway.doctor.examine import Check
from gateway.doctor.file_checks import check_examples, check_tables
from gateway.doctor.inventory_checks import check_inventory
from gateway.doctor.journal_checks import check_journal
from gateway.doctor.port_checks import check_ports
from gateway.doctor.public_checks import check_public_address
from gateway.doctor.secret_checks import (
    check_api_key,
    check_bearer_token,
    check_secrets,
    check_signing_secrets,
)
from gateway.doctor.webhook_checks import check_deliveries, check_webhook

_INFODECK = frozenset({"infodeck"})
_INTAKE = frozenset({"intake"})
_ADMIN = frozenset({"admin"})

CHECKS: tuple[Check, ...] = (
    Check("point tables", check_tables),
    Check("examples", check_examples, needs=_INFODECK),
    Check("secrets", check_secrets),
    Check("signing secret", check_signing_secrets, needs=_INTAKE),
    Check("API key", check_api_key, needs=_INFODECK),
    Check("bearer token", check_bearer_token, needs=_INFODECK),
    Check("clock", check_clock, needs=_INFODECK | _INTAKE),
    Check("API", check_api, needs=_INFODECK, asks_infodeck=True),
    Check("organization", check_organization, needs=_INFODECK, asks_infodeck=True),
    Check("inventory", check_inventory, needs=_INFODECK),
    Check("webhook", check_webhook, needs=_INFODECK | _INTAKE, asks_infodeck=True),
    Check("deliveries", check_deliveries, needs=_INFODECK, asks_infodeck=True),
    Check("public address", check_public_address, needs=_INFODECK | _INTAKE, asks_infodeck=True),
    Check("certificates", check_certificates, needs=_INTAKE),
    Check("gateway", check_daemon, needs=_ADMIN),
    Check("alarms", check_alarms, needs=_ADMIN),
    Check("intake", check_intake, needs=_ADMIN | _INTAKE),
    Check("journal", check_journal, needs=frozenset({"admin", "journal"})),
    Check("reconciliation", check_reconciliation, needs=_ADMIN | _INFODECK),
    Check("sinks", check_sinks, needs=_ADMIN),
    Check("brokers", check_brokers),
    Check("controllers", check_controllers, needs=_ADMIN),
    Check("ports", check_ports, needs=_ADMIN | _INTAKE),
    Check("disk", check_disk, needs=frozenset({"journal"})),
)
