"""The consumer that the end-to-end tests judge by is itself judged here, on records made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.consumer import MemoryStore, Rule
from bridge.consumer.envelope import members_of
from bridge.consumer.rule import place_of
from tests.fakes.consumed_events import consumed_event
from tests.support.rule import follow, understand
from tests.support.topics import Read


def record(value: bytes, headers: dict[str, str], *, key: bytes = b"local/s1", partition: int = 0) -> Read:
    return Read("t", partition, 0, key, value, tuple((name, text.encode()) for name, text in headers.items()), 0)


def structured(epoch: int, sequence: int, data: str = '{"type":"x"}', **changes: object) -> Read:
    """A structured record; ``more`` are members between the attributes and the data."""
    more = str(changes.pop("more", ""))
    kind = str(changes.pop("kind", "application/json"))
    value = (
        f'{{"specversion":"1.0","source":"/mix/local/sessions/s1","type":"mix.content","datacontenttype":"{kind}","epoch":"{epoch:010}",'
        f'"sequence":"{epoch:010}:{sequence:012}",{more}"data":{data}}}'
    )
    headers = {"content-type": "application/cloudevents+json; charset=UTF-8"}
    return record(value.encode(), headers, **changes)  # type: ignore[arg-type]


def numbers(records: list[Read]) -> list[tuple[int, int]]:
    return [one.number for one in follow(records).accepted]


@pytest.mark.parametrize(
    "data", ['{"a":1}', ' {"b" : 1e5 , "a":"\\u00e9, }"}\t', "[1,2]", '"text, and }"', "0", "null"]
)
def test_structured_data_comes_back_byte_for_byte(data: str) -> None:
    """Order, blanks, escapes and the way numbers are written stay as they are."""
    assert understand(structured(1, 1, data)).data == data.encode()


def test_text_in_a_structured_record_comes_back_as_text() -> None:
    """Data that is no JSON is a JSON string in the envelope."""
    assert understand(structured(1, 1, '"a\\nb"', kind="text/plain")).data == b"a\nb"


def test_binary_and_raw_records_and_dead_letters_are_understood_by_their_headers() -> None:
    """Each carries epoch, sequence and event name in headers, the data is the value."""
    binary = {
        "ce_specversion": "1.0",
        "ce_epoch": "0000000007",
        "ce_sequence": "0000000007:000000000003",
        "ce_type": "mix.content",
        "content-type": "application/json",
    }
    raw = {"bridge.epoch": "0000000007", "bridge.sequence": binary["ce_sequence"], "bridge.event": "content"}
    for headers, event in ((binary, "mix.content"), (raw, "content"), ({**raw, "bridge.reason": "schema"}, "content")):
        one = understand(record(b'{"a":1}', headers))
        assert (one.number, one.event, one.data) == ((7, 3), event, b'{"a":1}')


def test_what_is_not_above_the_highest_is_a_repeat() -> None:
    """A repeat of the whole tail after a crash is dropped, what follows it is accepted."""
    assert numbers([structured(1, n) for n in (1, 2, 3, 2, 3, 4)]) == [(1, 1), (1, 2), (1, 3), (1, 4)]


def test_a_new_epoch_is_above_every_sequence_of_the_old_one() -> None:
    """And a late record of the old one is dropped."""
    assert numbers([structured(1, 9), structured(2, 1), structured(1, 10)]) == [(1, 9), (2, 1)]


def test_keys_and_partitions_are_judged_apart() -> None:
    """The same number under another key or in another partition is no repeat."""
    others = [structured(1, 1), structured(1, 1, key=b"local/s2"), structured(1, 1, partition=1)]
    assert len(numbers(others)) == 3


def test_replayed_records_are_put_aside_and_move_nothing() -> None:
    """They may have an old number, and coming twice they count once."""
    follower = follow([structured(1, 5), *[structured(1, 2, more='"replayed":"true",')] * 2, structured(1, 6)])
    assert [one.number for one in follower.accepted] == [(1, 5), (1, 6)]
    assert list(follower.replayed) == [("local/s1", "0000000001:000000000002")]
    assert follower.repeats == []


def test_members_are_cut_out_as_they_stand() -> None:
    """Blanks around a value belong to it."""
    assert list(members_of(' {"a": 1 ,"b":{"c":[1,"}"]}} ')) == [("a", " 1 "), ("b", '{"c":[1,"}"]}')]


def test_a_program_that_runs_for_months_does_not_keep_the_id_of_every_lifecycle_record() -> None:
    """Only those that can still be repeated; replayed records can come again at any time."""
    made = [consumed_event(number=number) for number in range(1, 201)]
    lifecycle = [replace(each, id=f"{each.sequence}:resumed:1") for each in made]
    replayed = [replace(each, replayed=True) for each in made]
    rule, store = Rule(), MemoryStore()
    for event in (*lifecycle, *replayed):
        assert rule.accepts(event)
        store.save({place_of(event): event.sequence})
    assert not any(map(rule.accepts, (*lifecycle[-20:], *replayed)))
    assert len(rule.by_place) == len(store.load("mix.events", 0)) == 232
    rule.forget("mix.events", 0)
    assert rule.accepts(lifecycle[-1])
    assert len(rule.by_place) == 1
