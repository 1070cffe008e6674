"""What stands in ``config/systemd`` and ``config/kubernetes``: that it fits the program it starts."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.errors import EXIT_SETTINGS, EXIT_USAGE
from bridge.settings import Settings
from tests.support.optional import missing
from tests.support.settings_sources import loaded

CONFIG = Path(__file__).parents[2] / "config"
UNIT = CONFIG / "systemd" / "mix-bridge@.service"
UNITS = (UNIT, CONFIG / "systemd" / "mix-bridge.service")
MANIFEST = CONFIG / "kubernetes" / "mix-bridge.yaml"
MOST_SESSIONS = 5000


def directives(unit: Path = UNIT) -> Iterator[tuple[str, str]]:
    """The unit's lines, without comments and sections."""
    for line in unit.read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            yield name, value


def directive(name: str) -> str:
    """The value of a line that the unit has once."""
    (value,) = [value for each, value in directives() if each == name]
    return value


def replica(number: int, host: str = "bridge-host.example.org") -> Settings:
    """The settings that systemd's environment gives a replica."""
    values = [value for name, value in directives() if name == "Environment"]
    filled = [value.replace("%i", str(number)).replace("%H", host) for value in values]
    return loaded(dict(value.split("=", 1) for value in filled))


def test_each_replica_of_the_unit_has_a_name_and_a_port_of_its_own() -> None:
    """Ten of them on one machine."""
    replicas = [replica(number) for number in range(10)]
    assert len({one.instance for one in replicas}) == 10
    assert [one.http.port for one in replicas] == list(range(8090, 8100))
    assert replica(0, "here").instance != replica(0, "there").instance


def test_the_unit_lets_a_replica_stop_in_order_and_starts_it_again_unless_that_is_no_use() -> None:
    """As the exit codes say."""
    assert float(directive("TimeoutStopSec")) > replica(0).delivery.drain_timeout
    assert directive("Restart") == "always"
    assert {int(code) for code in directive("RestartPreventExitStatus").split()} == {EXIT_USAGE, EXIT_SETTINGS}


def test_the_unit_allows_a_thread_and_a_descriptor_for_each_session() -> None:
    """The usual limits end at a thousand descriptors and a few thousand tasks."""
    assert int(directive("LimitNOFILE")) > 2 * MOST_SESSIONS
    assert directive("TasksMax") == "infinity"


HARDENED = {
    "NoNewPrivileges", "ProtectClock", "ProtectHome", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules",
    "ProtectKernelTunables", "ProtectControlGroups", "PrivateTmp", "PrivateDevices", "PrivateUsers", "RemoveIPC",
    "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality", "DynamicUser",
}  # fmt: skip


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_the_units_notify_reload_and_are_hardened(unit: Path) -> None:
    """What systemd-analyze grades is compared with a list, so that this needs no systemd."""
    lines = list(directives(unit))
    values = dict(lines)
    assert {name for name in HARDENED if values.get(name) != "yes"} == set()
    assert (values["ProtectSystem"], values["CapabilityBoundingSet"], values["UMask"]) == ("strict", "", "0077")
    filters = [value for name, value in lines if name == "SystemCallFilter"]
    assert filters == ["@system-service", "~@privileged @resources"]
    assert "ProtectProc" not in values  # a restart must see whether its former process lives: bridge.sharding.replica
    assert (values["Type"], values["WatchdogSec"], values["ExecReload"]) == ("notify", "30", "/bin/kill -HUP $MAINPID")
    assert values["KillMode"] == "mixed"  # a worker that got a signal of its own too would stop at once, with 75
    assert "check --offline" in values["ExecStartPre"]
    assert {"LoadCredential", "LoadCredentialEncrypted"} <= {
        line[1:].partition("=")[0] for line in unit.read_text().splitlines() if line.startswith("#L")
    }


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_accepts_the_units_and_grades_them_as_hardened(unit: Path, tmp_path: Path) -> None:
    """`verify` is clean, and the exposure is at most 2.0."""
    if shutil.which("systemd-analyze") is None:
        missing("systemd is not installed")
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/mix-bridge/bin/mix-bridge", "/bin/true"))
    verified = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    graded = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", copy],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert graded.returncode == 0, graded.stdout[-200:]


def documents() -> dict[str, Any]:
    """The manifest's objects by kind."""
    found = {one["kind"]: one for one in yaml.safe_load_all(MANIFEST.read_text())}
    assert all(one["metadata"]["name"] == "mix-bridge" for one in found.values())
    return found


def pod() -> Any:
    return documents()["StatefulSet"]["spec"]["template"]


def container() -> Any:
    (only,) = pod()["spec"]["containers"]
    return only


def mounted(volume: str) -> str:
    (path,) = [mount["mountPath"] for mount in container()["volumeMounts"] if mount["name"] == volume]
    return str(path)


def test_the_pods_belong_together() -> None:
    """Service, set and disruption budget mean the same pods; the set names its service."""
    found = documents()
    labels = pod()["metadata"]["labels"]
    assert set(labels) == {f"app.kubernetes.io/{name}" for name in ("name", "instance", "component", "part-of")}
    assert all(one["metadata"]["labels"] == labels for one in found.values())
    selector = {name: labels[name] for name in ("app.kubernetes.io/name", "app.kubernetes.io/instance")}
    assert found["Service"]["spec"]["selector"] == selector
    assert found["StatefulSet"]["spec"]["selector"]["matchLabels"] == selector
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == selector
    assert found["StatefulSet"]["spec"]["serviceName"] == found["Service"]["metadata"]["name"]
    volumes = {volume["name"] for volume in pod()["spec"]["volumes"]}
    assert {mount["name"] for mount in container()["volumeMounts"]} == volumes


def test_a_pods_name_is_its_instance() -> None:
    """A stable name of each, so that a restarted pod has its shards back at once."""
    (variable,) = container()["env"]
    assert variable == {"name": "MIX_BRIDGE_INSTANCE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    assert loaded({"MIX_BRIDGE_INSTANCE": "mix-bridge-0"}).instance == "mix-bridge-0"


def test_the_manifests_settings_are_ours(tmp_path: Path) -> None:
    """Read from the files as Kubernetes mounts them: behind links, in a folder whose name begins with two dots."""
    arguments = container()["args"]
    assert arguments[0] == "run"
    assert arguments[1:] == ["--config", f"{mounted('settings')}/bridge.toml", "--secrets-dir", mounted("secrets")]
    toml = tmp_path / "bridge.toml"
    toml.write_text(documents()["ConfigMap"]["data"]["bridge.toml"])
    secrets = tmp_path / "secrets"
    generation = secrets / "..2026_01_01"
    generation.mkdir(parents=True)
    (secrets / "..data").symlink_to(generation.name)
    for name, value in documents()["Secret"]["stringData"].items():
        (generation / name).write_text(value)
        (secrets / name).symlink_to(os.path.join("..data", name))  # noqa: PTH118 - as it stands in the link
    settings = loaded(toml=toml, secrets_dir=secrets)
    token = settings.servers["main"].token
    assert token is not None
    assert token.get_secret_value() == "change-me"
    assert [port["containerPort"] for port in container()["ports"]] == [settings.http.port]
    assert pod()["spec"]["terminationGracePeriodSeconds"] > settings.delivery.drain_timeout


def test_a_pod_gets_nothing_from_kubernetes_that_it_does_not_need() -> None:
    """Variables of Services could be taken for settings, and a token for the API is a secret to lose."""
    assert pod()["spec"]["enableServiceLinks"] is False
    assert pod()["spec"]["automountServiceAccountToken"] is False


def test_a_pod_that_is_not_ready_keeps_its_name() -> None:
    """Its `/readyz` and `/metrics` say why it is not ready."""
    service = documents()["Service"]["spec"]
    assert service["clusterIP"] == "None"
    assert service["publishNotReadyAddresses"] is True


@pytest.mark.parametrize(
    ("probe", "path"), [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]
)
def test_the_probes_ask_what_is_meant_for_them(probe: str, path: str) -> None:
    """At the port that is declared."""
    assert container()[probe]["httpGet"] == {"path": path, "port": container()["ports"][0]["name"]}
