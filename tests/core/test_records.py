"""What record an event becomes, in all three formats and under every policy."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from itertools import product
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.core.identity import SessionKey
from bridge.core.records.encoder import Encoder
from bridge.core.records.record import MARKER_BYTES, TEXT_BYTES, Record, epoch_text, prefix, sequence_text
from bridge.core.records.rules import CONNECTION_EVENTS, Format, Policy, Route, Rules
from bridge.core.records.topics import SizeLimits, batch_bytes
from bridge.core.stream.event import Event, Oversize
from bridge.core.terminal_text import one_line
from bridge.mix.events import VALIDATORS
from tests.support.dead_letters import RULES
from tests.support.json_texts import ALMOST_JSON, JSON_TEXTS, python_accepts

KEY = SessionKey("local", "5e55-10n")
EPOCH = 1_764_000_000
GOOD = '{"type":"content", "content":"caf\u00e9 \u2028", "new_field":[1.0, 1e2]}'
WRONG = '{"type":"content","content":42}'
BROKEN = '{"type":"content","content":"secret'
STRANGE = 'a"b\\c\n\x00\x1f%/# \u2028\u00e9\U0001f600'


def event(data: str = GOOD, name: str = "content", own_id: str | None = "41", **more: Any) -> Event:
    return Event(name, data, own_id, own_id or "40", 1_764_000_000_123)._replace(**more)


def encode(some: Event, rules: Rules = RULES, key: SessionKey = KEY) -> Record | None:
    return Encoder(rules, key).encode(some, EPOCH, 7)


def record(some: Event, rules: Rules = RULES, key: SessionKey = KEY) -> Record:
    made = encode(some, rules, key)
    assert made is not None
    return made


def texts(made: Record) -> dict[str, str]:
    assert len(dict(made.headers)) == len(made.headers)
    return {name: value.decode() for name, value in made.headers}


class TestStructured:
    def test_the_envelope_has_the_attributes_and_the_data_as_it_came(self) -> None:
        made = record(event())
        envelope = json.loads(made.value)
        assert made.value.endswith(b',"data":' + GOOD.encode() + b"}")
        assert envelope.pop("data") == json.loads(GOOD)
        assert envelope == {
            "specversion": "1.0",
            "id": "1764000000:000000000007",
            "source": "/mix/local/sessions/5e55-10n",
            "type": "mix.content",
            "subject": "5e55-10n",
            "time": "2025-11-24T16:00:00.123Z",
            "datacontenttype": "application/json",
            "sequence": "1764000000:000000000007",
            "epoch": "1764000000",
            "sseid": "41",
        }
        assert made.headers == [("content-type", b"application/cloudevents+json; charset=UTF-8")]
        assert (made.topic, made.key, made.timestamp_ms) == ("mix.events", b"local/5e55-10n", 1_764_000_000_123)
        assert made.dead_letter is None

    @pytest.mark.parametrize("own_id", [None, ""])
    def test_sseid_is_absent_when_the_block_had_no_id_and_an_empty_id_is_one(self, own_id: str | None) -> None:
        assert json.loads(record(event(own_id=own_id)).value).get("sseid") == own_id

    def test_data_that_is_no_json_becomes_a_string(self) -> None:
        envelope = json.loads(record(event(STRANGE, name="novelty")).value)
        assert (envelope["data"], envelope["datacontenttype"]) == (STRANGE, "text/plain")

    def test_untrusted_names_cannot_break_the_envelope(self) -> None:
        made = record(event("1", name=STRANGE, own_id=STRANGE), key=SessionKey("local", STRANGE))
        envelope = json.loads(made.value)
        assert (envelope["type"], envelope["subject"], envelope["sseid"]) == ("mix." + STRANGE, STRANGE, STRANGE)
        start, session = envelope["source"].rsplit("/", 1)
        assert (start, unquote(session)) == ("/mix/local/sessions", STRANGE)
        assert envelope["source"].isascii()
        assert not set(envelope["source"]) & set(' "\\#\n')


class TestBinary:
    RULES = replace(RULES, format="binary")

    def test_the_value_is_the_data_and_the_attributes_are_headers(self) -> None:
        made = record(event(), self.RULES)
        assert made.value == GOOD.encode()
        assert texts(made) == {
            "ce_specversion": "1.0",
            "ce_id": "1764000000:000000000007",
            "ce_source": "/mix/local/sessions/5e55-10n",
            "ce_type": "mix.content",
            "ce_subject": "5e55-10n",
            "ce_time": "2025-11-24T16:00:00.123Z",
            "ce_sequence": "1764000000:000000000007",
            "ce_epoch": "1764000000",
            "ce_sseid": "41",
            "content-type": "application/json",
        }

    def test_text_is_said_to_be_text_and_no_id_gives_no_sseid(self) -> None:
        headers = texts(record(event("plain words", name="novelty", own_id=None), self.RULES))
        assert headers["content-type"] == "text/plain"
        assert "ce_sseid" not in headers

    def test_header_values_are_utf8(self) -> None:
        headers = texts(record(event(name="événement", own_id="№ 7"), self.RULES, SessionKey("local", "séance")))
        assert (headers["ce_type"], headers["ce_subject"], headers["ce_sseid"]) == ("mix.événement", "séance", "№ 7")
        assert headers["ce_source"] == "/mix/local/sessions/s%C3%A9ance"


def test_raw_has_the_data_and_the_headers_of_a_dead_letter_without_reason_and_error() -> None:
    """Raw: no CloudEvents anywhere."""
    made = record(event(own_id=None), replace(RULES, format="raw"))
    assert made.value == GOOD.encode()
    assert texts(made) == {
        "bridge.server": "local",
        "bridge.session": "5e55-10n",
        "bridge.event": "content",
        "bridge.last_event_id": "40",
        "bridge.epoch": "1764000000",
        "bridge.sequence": "1764000000:000000000007",
        "bridge.received_at": "2025-11-24T16:00:00.123Z",
        "bridge.bytes": str(len(GOOD.encode())),
        "bridge.sha256": hashlib.sha256(GOOD.encode()).hexdigest(),
    }


class TestPolicies:
    @pytest.mark.parametrize("name", ["", "connected", "heartbeat", "thinking"])
    def test_connection_events_ids_alone_and_skipped_events_take_no_number(self, name: str) -> None:
        assert encode(event(name=name)) is None

    @pytest.mark.parametrize("name", ["connected", "heartbeat"])
    def test_without_a_schema_connected_and_heartbeat_are_ordinary_events(self, name: str) -> None:
        rules = replace(RULES, schema=None)
        assert encode(event(name=name), rules) is not None
        assert encode(event(name=name), replace(rules, skip=frozenset({name}))) is None

    @pytest.mark.parametrize(
        ("data", "reason"), [(WRONG, "schema"), (BROKEN, "invalid_json"), ('{"a":NaN}', "invalid_json")]
    )
    def test_invalid_events_are_dead_letters_that_say_why_without_payload(self, data: str, reason: str) -> None:
        made = record(event(data))
        headers = texts(made)
        assert (made.topic, made.dead_letter, made.value) == ("mix.dead-letters", reason, data.encode())
        assert (made.key, made.timestamp_ms) == (b"local/5e55-10n", 1_764_000_000_123)
        assert headers["bridge.reason"] == reason
        assert headers["bridge.sha256"] == hashlib.sha256(data.encode()).hexdigest()
        assert list(headers)[:2] == ["bridge.reason", "bridge.error"]
        assert len(headers) == 11
        assert "secret" not in headers["bridge.error"]
        assert "42" not in headers["bridge.error"]
        assert headers["bridge.error"]

    def test_invalid_events_are_published_on_request_json_as_json_and_text_as_text(self) -> None:
        rules = replace(RULES, invalid="publish")
        wrong, broken = record(event(WRONG), rules), record(event(BROKEN), rules)
        assert json.loads(wrong.value)["data"] == json.loads(WRONG)
        assert (json.loads(broken.value)["data"], json.loads(broken.value)["datacontenttype"]) == (BROKEN, "text/plain")
        assert (wrong.topic, wrong.dead_letter) == ("mix.events", None)

    @pytest.mark.parametrize("data", [WRONG, BROKEN, BROKEN * 1_000_000])
    def test_invalid_events_are_skipped_on_request_whatever_their_size(self, data: str) -> None:
        assert encode(event(data), replace(RULES, invalid="skip")) is None

    def test_unknown_events_are_data_or_dead_letters_or_skipped(self) -> None:
        novelty = event('{"x": 1}', name="novelty")
        published = record(novelty)
        assert (json.loads(published.value)["data"], published.dead_letter) == ({"x": 1}, None)
        dead = record(novelty, replace(RULES, unknown="dead_letter"))
        assert (dead.dead_letter, dead.value) == ("unknown_event", b'{"x": 1}')
        assert encode(novelty, replace(RULES, unknown="skip")) is None

    @pytest.mark.parametrize(("unknown", "invalid"), list(product(["publish", "dead_letter", "skip"], repeat=2)))
    def test_without_schema_everything_is_known_and_published(self, unknown: Policy, invalid: Policy) -> None:
        rules = replace(RULES, schema=None, unknown=unknown, invalid=invalid)
        assert json.loads(record(event(WRONG), rules).value)["datacontenttype"] == "application/json"
        assert json.loads(record(event(BROKEN, name="novelty"), rules).value)["datacontenttype"] == "text/plain"

    @pytest.mark.parametrize(
        "text", ['"NaN"', '"\\ud800"', "1" * 5000, "[" * 400 + "]" * 400, '"Infinity", "type": "x"']
    )
    def test_extremes_inside_a_known_event_go_through_as_they_came(self, text: str) -> None:
        data = f'{{"type":"content","content":"NaN \\udfff","extra":{text}}}'
        made = record(event(data))
        assert made.dead_letter is None
        assert made.value.endswith(data.encode() + b"}")

    def test_bottomless_nesting_is_a_dead_letter(self) -> None:
        made = record(event('{"type":"content","content":"x","deep":' + "[" * 100_000 + "]" * 100_000 + "}"))
        assert made.dead_letter == "invalid_json"


class TestOversize:
    def test_a_value_over_the_limit_is_a_whole_dead_letter_where_its_topic_accepts_that(self) -> None:
        data = json.dumps({"type": "content", "content": "é" * 500_000}, ensure_ascii=False)
        made = record(event(data))
        assert (made.dead_letter, made.value) == ("oversize", data.encode())

    def test_a_value_over_the_limit_of_the_dead_letters_topic_is_a_marker_with_size_and_digest_of_all(self) -> None:
        data = json.dumps({"type": "content", "content": "é" * 600_000}, ensure_ascii=False)
        made = record(event(data))
        headers = texts(made)
        assert (made.topic, made.dead_letter) == ("mix.dead-letters", "oversize")
        assert data.encode().startswith(made.value)
        assert MARKER_BYTES - 4 < len(made.value) <= MARKER_BYTES
        made.value.decode()
        assert headers["bridge.bytes"] == str(len(data.encode()))
        assert headers["bridge.sha256"] == hashlib.sha256(data.encode()).hexdigest()

    def test_the_limit_is_on_the_encoded_value(self) -> None:
        size = len(record(event()).value)
        assert record(event(), replace(RULES, max_bytes=size)).dead_letter is None
        made = record(event(), replace(RULES, max_bytes=size - 1))
        assert (made.dead_letter, made.value) == ("oversize", GOOD.encode())
        assert record(event(), replace(RULES, max_bytes=size - 1, format="binary")).dead_letter is None

    def test_an_invalid_event_over_the_limit_is_oversize_too(self) -> None:
        made = record(event(WRONG + " " * 100_000), replace(RULES, max_bytes=90_000))
        assert (made.dead_letter, len(made.value)) == ("oversize", len(WRONG) + 100_000)

    @pytest.mark.parametrize("form", ["structured", "binary", "raw"])
    @pytest.mark.parametrize("limit", [200, 700, 2000, 50_000, 200_000])
    def test_what_its_topic_does_not_accept_is_a_dead_letter_before_it_is_sent(self, form: Format, limit: int) -> None:
        """Each topic has its own limit; the dead letter is cut until its own topic accepts it."""
        encoder = Encoder(replace(RULES, format=form), KEY)
        limits = SizeLimits({RULES.events_topic: limit, RULES.dead_letters_topic: 1_000_000})
        encoder.follow(limits)
        for size in (0, 100, 500, 1500, 49_000, 49_900, 100_000, 300_000):
            made = encoder.encode(event(json.dumps({"type": "content", "content": "x" * size})), EPOCH, 7)
            assert made is not None
            is_within = batch_bytes(made.key, made.value, made.headers) <= limits.of(made.topic)
            assert is_within
            assert made.dead_letter in (None, "oversize")
        limits.update({RULES.events_topic: limit, RULES.dead_letters_topic: 2000})
        cut = encoder.encode(event(json.dumps({"type": "content", "content": "x" * 300_000})), EPOCH, 7)
        assert cut is not None
        assert batch_bytes(cut.key, cut.value, cut.headers) <= 2000
        assert texts(cut)["bridge.bytes"] == str(300_000 + 34)

    def test_a_raised_limit_is_followed(self) -> None:
        limits, encoder = SizeLimits({RULES.events_topic: 2000}), Encoder(RULES, KEY)
        encoder.follow(limits)
        large = event(json.dumps({"type": "content", "content": "x" * 5000}))
        before = encoder.encode(large, EPOCH, 7)
        limits.update({RULES.events_topic: 20_000})
        after = encoder.encode(large, EPOCH, 7)
        assert before is not None
        assert after is not None
        assert (before.dead_letter, after.dead_letter) == ("oversize", None)

    def test_what_the_reader_has_cut_is_a_marker_with_the_readers_size_and_digest(self) -> None:
        made = record(event("x" * 70_000, oversize=Oversize(5_000_000, "ab" * 32)))
        headers = texts(made)
        assert (made.dead_letter, len(made.value)) == ("oversize", MARKER_BYTES)
        assert (headers["bridge.bytes"], headers["bridge.sha256"]) == ("5000000", "ab" * 32)

    @pytest.mark.parametrize("form", ["structured", "binary", "raw"])
    @pytest.mark.parametrize("field", ["name", "own_id"])
    def test_endless_names_and_ids_give_a_marker_with_short_headers(self, form: Format, field: str) -> None:
        rules = replace(RULES, format=form, max_bytes=100_000)
        made = record(event(**{field: "é" * 1_000_000}), rules)
        assert made.dead_letter == "oversize"
        assert sum(len(value) for _, value in made.headers) < 2 * TEXT_BYTES + 1000
        texts(made)


class TestRejected:
    def test_it_is_a_dead_letter_under_the_same_number_with_one_short_line(self) -> None:
        error = "Broker: refused\r\n\ttwice\x00\x1b[31m\u2028" + "x" * 1_000_000
        made = Encoder(RULES, KEY).rejected(event(), EPOCH, 7, error)
        headers = texts(made)
        assert (made.topic, made.dead_letter, made.value) == ("mix.dead-letters", "rejected", GOOD.encode())
        assert headers["bridge.error"].startswith("Broker: refused twice [31m xxx")
        assert len(headers["bridge.error"]) == 500
        assert (headers["bridge.epoch"], headers["bridge.sequence"]) == ("1764000000", "1764000000:000000000007")

    def test_it_is_whole_where_its_topic_accepts_that(self) -> None:
        made = Encoder(RULES, KEY).rejected(event("x" * 70_000), EPOCH, 7, "too large")
        assert (len(made.value), texts(made)["bridge.bytes"]) == (70_000, "70000")


class TestRoutes:
    RULES = replace(
        RULES, routes=(Route("tool_*", "far.tools", "far"), Route("tool_*", "tools"), Route("*_start", "starts"))
    )
    DATA = '{"type":"t","name":"Bash","id":"1","toolName":"Bash","progress":"","toolCallId":"1"}'

    @pytest.mark.parametrize(
        ("server", "name", "topic"),
        [
            ("local", "tool_use_start", "tools"),
            ("far", "tool_use_start", "far.tools"),
            ("local", "run_start", "starts"),
            ("local", "Tool_use", "mix.events"),
        ],
    )
    def test_the_first_that_matches_wins(self, server: str, name: str, topic: str) -> None:
        assert record(event(self.DATA, name=name), self.RULES, SessionKey(server, "s")).topic == topic

    def test_dead_letters_are_not_routed(self) -> None:
        assert record(event("{", name="tool_use_start"), self.RULES).topic == "mix.dead-letters"


class TestFingerprint:
    @pytest.mark.parametrize(
        "change",
        [
            {"format": "raw"},
            {"type_prefix": "x."},
            {"skip": RULES.skip | CONNECTION_EVENTS},
        ],
    )
    def test_what_decides_neither_number_nor_topic_does_not_change_it(self, change: dict[str, Any]) -> None:
        assert replace(RULES, **change).fingerprint() == RULES.fingerprint()

    def test_each_setting_that_decides_number_or_topic_changes_it(self) -> None:
        changes: list[dict[str, Any]] = [
            {},
            {"skip": frozenset()},
            {"unknown": "skip"},
            {"invalid": "skip"},
            {"invalid": "skip", "max_bytes": 5},
            {"max_bytes": 5},
            {"events_topic": "e"},
            {"dead_letters_topic": "d"},
            {"routes": (Route("a", "t"), Route("*", "u"))},
            {"routes": (Route("*", "u"), Route("a", "t"))},
            {"routes": (Route("a", "t", "local"), Route("*", "u"))},
            {"schema": None},
            {"schema_version": "next"},
        ]
        assert len({replace(RULES, **change).fingerprint() for change in changes}) == len(changes)

    def test_it_is_stable_short_hex_without_regard_to_order(self) -> None:
        names = [f"event_{n}" for n in range(50)]
        one, other = replace(RULES, skip=frozenset(names)), replace(RULES, skip=frozenset(reversed(names)))
        assert one.fingerprint() == other.fingerprint()
        # Written into checkpoints: another value is a new epoch for every session. Version 1 of the records, which had
        # no epoch in ``sequence``, had ae3febdbb52727f8: no epoch continues in another form.
        assert RULES.fingerprint() == "e5c4a652ff1aecf4"

    def test_a_topics_limit_changes_it_only_where_it_decides_about_events(self) -> None:
        rules = replace(RULES, routes=(Route("a", "routed"),), max_bytes=100_000)
        plain = rules.fingerprint()
        for limits in ({"mix.dead-letters": 5}, {"mix.checkpoints": 5}, {"routed": 1_000_000}):
            assert rules.fingerprint(limits=SizeLimits(limits)) == plain, limits
        others = [SizeLimits(limits) for limits in ({"routed": 5}, {"routed": 6}, {RULES.events_topic: 5})]
        assert len({plain, *(rules.fingerprint(limits=limits) for limits in others)}) == 4
        assert len({rules.fingerprint("exactly_once", limits) for limits in others}) == 1, "nothing unwritten is known"

    def test_a_schema_version_says_nothing_without_a_schema(self) -> None:
        rules = replace(RULES, schema=None)
        assert replace(rules, schema_version="next").fingerprint() == rules.fingerprint()


def test_a_hostile_server_cannot_fill_the_memory_with_names() -> None:
    """What is remembered per event name is bounded in number and length."""
    encoder = Encoder(RULES, KEY)
    for number in range(2000):
        assert encoder.encode(event(name=f"new_{number}"), EPOCH, 1) is not None
    encoder.encode(event(name="x" * 300), EPOCH, 1)
    assert 0 < len(encoder._kinds) <= 256
    assert all(len(name) <= 256 for name in encoder._kinds)


def test_a_new_epoch_shows_in_every_attribute() -> None:
    """Nothing of an old epoch stays behind in the encoder."""
    encoder = Encoder(RULES, KEY)
    encoder.encode(event(), EPOCH, 7)
    made = encoder.encode(event(), EPOCH + 1, 1)
    assert made is not None
    envelope = json.loads(made.value)
    assert (envelope["id"], envelope["epoch"]) == ("1764000001:000000000001", "1764000001")


def test_one_line_and_prefix_keep_short_texts() -> None:
    """Short texts come out as they are, a cut never leaves half a character."""
    assert one_line("all well") == "all well"
    assert prefix(b"abc", 3) == b"abc"
    assert prefix("aé".encode(), 2) == b"a"


ANY_TEXT = st.text()
FORMATS = st.sampled_from(["structured", "binary", "raw"])
POLICIES = st.sampled_from(["publish", "dead_letter", "skip"])
RULE_SETS = st.builds(
    lambda form, unknown, invalid, schema: replace(RULES, format=form, unknown=unknown, invalid=invalid, schema=schema),
    FORMATS,
    POLICIES,
    POLICIES,
    st.sampled_from([None, VALIDATORS]),
)
EVENTS = st.builds(
    Event,
    st.sampled_from([*VALIDATORS, "novelty"]) | ANY_TEXT,
    JSON_TEXTS | ALMOST_JSON | ANY_TEXT,
    st.none() | ANY_TEXT,
    ANY_TEXT,
    st.integers(0, 4_000_000_000_000),
)


@settings(deadline=None, database=None)
@given(RULE_SETS, EVENTS, st.text(min_size=1), st.integers(1, 10**12 - 1))
def test_any_event_gives_the_same_readable_record_every_time(
    rules: Rules, some: Event, session: str, number: int
) -> None:
    """Structured values parse and hold the data byte for byte; other values are the data; every header is UTF-8."""
    key = SessionKey("local", session)
    made = Encoder(rules, key).encode(some, EPOCH, number)
    assert made == Encoder(rules, key).encode(some, EPOCH, number)
    if made is None:
        return
    headers = texts(made)
    if made.dead_letter or rules.format != "structured":
        assert made.value == some.data.encode()
        assert headers.get("bridge.session", session) == session
        return
    envelope = json.loads(made.value)
    assert (envelope["subject"], envelope["type"], envelope.get("sseid")) == (session, "mix." + some.name, some.id)
    if python_accepts(some.data):
        assert made.value.endswith(b'"data":' + some.data.encode() + b"}")
    else:
        assert envelope["data"] == some.data


@settings(deadline=None, database=None)
@given(*[st.tuples(st.integers(0, 10**10 - 1), st.integers(1, 10**12 - 1))] * 2)
def test_numbers_as_strings_sort_like_numbers(one: tuple[int, int], other: tuple[int, int]) -> None:
    """Across epochs: a consumer compares nothing but these strings."""
    as_text = [sequence_text(epoch_text(epoch), number) for epoch, number in (one, other)]
    assert (as_text[0] < as_text[1]) == (one < other)
