"""The lifecycle topic: its records are true when they are written, and no crash loses one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from bridge.clock import unix_ms
from tests.support.lifecycle import BY_THE_BROKER, LifecycleRecord, assert_true, lifecycle, lifecycles
from tests.support.mix import MixServer
from tests.support.process import MIX_BRIDGE, Bridge, command
from tests.support.scene import (
    accepted,
    bridged,
    events,
    session,
    settings,
    texts,
    wait_acknowledged,
    wait_checkpoint,
)
from tests.support.scripted_mix import Feed, content, scripted_mix
from tests.support.scripted_mix import status as answering
from tests.support.waiting import TIMEOUT, wait_until

SILENT = ("--sessions", 0, "--heartbeat", 0, "--retry", 20)
SELF_KILLING = (MIX_BRIDGE[0], "-m", "tests.support.dying_bridge")


def kinds_and_reasons(announced: list[LifecycleRecord]) -> list[tuple[str, str]]:
    """Kinds and reasons."""
    return [(one.kind, one.reason) for one in announced]


def numbers(first: int, last: int) -> list[str]:
    """The texts of a feed, both ends included."""
    return [str(number) for number in range(first, last + 1)]


def all_true(kafka: str, namespace: str) -> None:
    """Check every record of the lifecycle topic by the broker's own times."""
    records = events(kafka, namespace)
    for key, announced in lifecycles(kafka, namespace).items():
        assert_true(announced, (one for one in records if (one.key or b"").decode() == key))


# --- ends


def test_ends_are_announced_and_a_session_that_is_listed_again_resumes(
    kafka: str, namespace: str, tmp_path: Path
) -> None:
    """Gone or deleted, with the number at its end; listed again, it continues with the same numbers."""
    more = {"servers.local.gone_after": "300ms", **BY_THE_BROKER}
    gone, deleted = Feed(3), Feed(3)
    with (
        scripted_mix({"gone": gone, "deleted": deleted}) as mix,
        bridged(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge,
    ):
        for name in ("gone", "deleted"):
            wait_acknowledged(bridge, name, 3)
        mix.list()
        mix.streams["gone"] = answering(404)
        gone.cut()
        deleted.push("session_deleted", '{"type":"session_deleted","sessionId":"deleted"}')
        for name in ("gone", "deleted"):
            wait_checkpoint(kafka, namespace, name, lambda one: one["state"] == "ended")
            wait_until(lambda name=name: not session(bridge, name), what=f"the end of {name}", interval=0.05)  # type: ignore[misc]
        polls = mix.lists
        wait_until(lambda: mix.lists > polls + 1, what="a list without them")
        gone.add(2)
        mix.streams["gone"] = gone
        mix.list("gone")
        wait_acknowledged(bridge, "gone", 5)
    announced = lifecycle(kafka, namespace, "gone")
    assert kinds_and_reasons(announced) == [
        ("attached", "new_session"),
        ("ended", "gone"),
        ("resumed", "replay_proved"),
    ]
    assert [one.sequence for one in announced] == [0, 3, 3]
    assert {one.data["from_last_event_id"] for one in announced[1:]} == {"3"}
    announced = lifecycle(kafka, namespace, "deleted")
    assert kinds_and_reasons(announced) == [("attached", "new_session"), ("ended", "deleted")]
    assert announced[-1].sequence == 4
    assert texts(kafka, namespace, "gone") == numbers(1, 5)
    assert len({one.epoch for one in accepted(kafka, namespace, "gone")}) == 1
    all_true(kafka, namespace)


# --- crashes


@pytest.mark.parametrize("point", ["announcement_sent", "announcement_acknowledged"])
def test_an_announcement_cut_by_a_crash_is_written_again(
    kafka: str, namespace: str, tmp_path: Path, point: str
) -> None:
    """Killed at the first attach, at a gap with its new epoch, and at the end: each is announced, nothing is lost."""
    with MixServer(tmp_path / "mix", *SILENT) as mix:
        mix.post("/control/sessions", {"id": "a", "rate": 0})
        more = {"servers.local.gone_after": "300ms", "servers.local.sessions": "a", "servers.local.discover": False}
        chosen = settings(kafka, namespace, mix.url, {**more, **BY_THE_BROKER})

        def dies(occurrence: int, act: Callable[[Bridge], None] = lambda _: None) -> None:
            program = (*SELF_KILLING, "--point", point, "--occurrence", str(occurrence), "--")
            bridge = Bridge(tmp_path / "bridge", chosen, program).start(wait=False)
            act(bridge)
            assert bridge.wait(TIMEOUT) < 0
            # An epoch that was announced and not written may be announced again within its second.
            second = unix_ms() // 1000
            wait_until(lambda: unix_ms() // 1000 > second, what="the next second")

        dies(1)
        dies(2, lambda bridge: _gap(bridge, kafka, namespace, mix))
        dies(2, lambda _: _end(kafka, namespace, mix))
        with bridged(tmp_path, chosen):
            wait_checkpoint(kafka, namespace, "a", lambda one: one["state"] == "ended")
    announced = lifecycle(kafka, namespace, "a")
    kinds = [one.kind for one in announced]
    assert set(kinds) == {"attached", "gap", "ended"}
    assert kinds == sorted(kinds, key=["attached", "gap", "ended"].index)
    gaps = [one for one in announced if one.kind == "gap"]
    assert {(one.sequence, one.data["missing"]) for one in gaps} == {(5, 3)}
    assert len({one.new_epoch for one in gaps}) == len(gaps), "a new epoch was announced twice"
    assert gaps[-1].new_epoch == announced[-1].epoch
    assert texts(kafka, namespace, "a") == [*numbers(1, 5), *numbers(9, 10)]
    all_true(kafka, namespace)
    verified = command(["verify", "--json"], settings(kafka, namespace, "http://unknown.invalid"))
    assert verified.returncode == 0, verified.stdout + verified.stderr


def _publish(mix: MixServer, first: int, last: int) -> None:
    mix.publish("a", *(("content", content(number)) for number in range(first, last + 1)))


def _gap(_bridge: Bridge, kafka: str, namespace: str, mix: MixServer) -> None:
    """The session has five events; its server drops three that were never read."""
    _publish(mix, 1, 5)
    wait_until(lambda: len(events(kafka, namespace)) == 5, what="five events", interval=0.1)
    wait_checkpoint(kafka, namespace, "a", lambda one: one["sequence"] == 5)
    refusal = mix.fault("status", status=503)
    mix.fault("disconnect")
    _publish(mix, 6, 10)
    mix.fault("evict", keep=2)
    mix.clear(refusal)


def _end(kafka: str, namespace: str, mix: MixServer) -> None:
    """All remaining events are delivered, then the session is deleted."""
    wait_until(lambda: len(accepted(kafka, namespace, "a")) == 7, what="all events", interval=0.1)
    wait_checkpoint(kafka, namespace, "a", lambda one: one["sequence"] == 2)
    mix.delete("/control/sessions/a")


# --- jumps within a connection


def test_a_jump_is_filled_by_one_reconnect_and_announced_after_that(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Skipped events come with one reconnect: no gap. A second jump, or events that never come, are announced."""
    names = ("filled", "twice", "lost", "leap")
    with MixServer(tmp_path / "mix", *SILENT) as mix:
        for name in names:
            mix.post("/control/sessions", {"id": name, "rate": 0})
        more = {"servers.local.sessions": ",".join(names), "servers.local.discover": False, **BY_THE_BROKER}

        def publish(first: int, last: int, *those: str) -> None:
            for name in those or names:
                mix.publish(name, *(("content", content(number)) for number in range(first, last + 1)))

        def wait_texts(expected: Mapping[str, list[str]]) -> None:
            wait_until(
                lambda: {name: texts(kafka, namespace, name) for name in names} == expected,
                what=f"{expected}",
                interval=0.2,
            )

        with bridged(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
            publish(1, 5)
            wait_texts(dict.fromkeys(names, numbers(1, 5)))
            for name in ("filled", "twice"):
                mix.fault("skip", events=2, session=name, times=1)
            mix.fault("drop", session="lost", times=2)
            mix.fault("jump", session="leap", by=100)
            publish(6, 9)
            ten = numbers(1, 9)
            wait_texts(dict.fromkeys(names, ten) | {"lost": [*numbers(1, 5), *numbers(8, 9)]})
            mix.fault("skip", events=2, session="twice", times=1)
            publish(10, 15, "twice")
            wait_texts(
                {"filled": ten, "twice": [*ten, *numbers(12, 15)], "leap": ten}
                | {"lost": [*numbers(1, 5), *numbers(8, 9)]}
            )
            filled = [line for line in bridge.get("/metrics").text.splitlines() if line.startswith("mix_bridge_healed")]
            opened = {name: mix.counts(name)["opened"] for name in names}
    attached, proved, jumped = ("attached", "new_session"), ("resumed", "replay_proved"), ("gap", "ids_jumped")
    announced = {name: lifecycle(kafka, namespace, name) for name in names}
    assert {name: kinds_and_reasons(one) for name, one in announced.items()} == {
        "filled": [attached, proved],
        "twice": [attached, proved, jumped],
        "lost": [attached, proved, jumped],
        "leap": [attached, proved, jumped],
    }
    assert {name: one[-1].data["missing"] for name, one in announced.items()} == {
        "filled": None, "twice": 2, "lost": 2, "leap": 100
    }  # fmt: skip
    assert set(opened.values()) == {2}
    assert filled == ['mix_bridge_healed_total{server="local"} 2.0']
    all_true(kafka, namespace)
