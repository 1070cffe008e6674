"""What commands that look into Kafka have in common: the settings, the client's configuration, texts for people."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from bridge.errors import SettingsError

if TYPE_CHECKING:
    from bridge.cli.options import Given
    from bridge.settings import Settings

JSON_OPTION = typer.Option("--json", help="One JSON document.")


@dataclass(frozen=True, slots=True)
class Access:
    """Settings, and the configuration of a client made from them."""

    settings: Settings
    config: dict[str, Any]


def access(given: Given) -> Access:
    """Read the settings and send logs to stderr; servers may be missing, Kafka's address may not."""
    settings = given.load().settings
    if not settings.kafka.bootstrap_servers:
        raise SettingsError.of("kafka.bootstrap_servers", "is missing; allowed: a list of host:port")
    from bridge.cli.logs import start_logging  # noqa: PLC0415 - as below
    from bridge.kafka.config import client_config  # noqa: PLC0415 - Kafka's client is slow to import

    start_logging(settings)
    if settings.log.level != "debug":  # what the client meets is in the command's own words
        logging.getLogger("bridge.kafka.librdkafka").setLevel(logging.CRITICAL)
    config = client_config(settings.kafka, "mix-bridge") | {"compression.type": settings.kafka.compression}
    return Access(settings, config)


def echo_json(document: dict[str, Any]) -> None:
    """The one document on stdout."""
    typer.echo(json.dumps(document, indent=2))


def moment(unix_milliseconds: int) -> str:
    """``2026-01-31 23:59:59``, in UTC."""
    return f"{datetime.fromtimestamp(unix_milliseconds // 1000, UTC):%Y-%m-%d %H:%M:%S}"


def size(count: int) -> str:
    """Bytes as people say it."""
    amount, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if amount < 1024:  # noqa: PLR2004 - the step of these units
            break
        amount, unit = amount / 1024, larger
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"


def age(milliseconds: int) -> str:
    """How long ago, in its largest unit: ``12s``, ``5m``, ``3h``, ``9d``."""
    seconds = max(0, milliseconds // 1000)
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def counted(count: int, noun: str) -> str:
    """``1 session``, ``2 sessions``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
