"""The endless conversation of a scripted agent: a seed and a session give the same events every time. Pure.

Only times (``createdAt``) do not depend on the seed; the clock is an argument. The texts contain what careless clients
get wrong: several scripts, emoji outside the basic plane, raw U+0085 and U+2028, quotes, backslashes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any, NamedTuple

from bridge.simulator.scripts import agent_texts as texts


class ScriptedEvent(NamedTuple):
    """One event before it gets its id: the SSE event name and the exact bytes of its data."""

    name: str
    data: bytes


def encode(name: str, fields: Mapping[str, Any]) -> ScriptedEvent:
    """Encode the fields as compact UTF-8 JSON."""
    return ScriptedEvent(name, json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode())


def session_id_of(seed: int, number: int) -> str:
    """Return the id of the ``number``-th session of a server with this seed, in the form of a UUID."""
    digits = f"{_rng(f'{seed}/session/{number}').getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _rng(seed: str) -> Random:
    return Random(seed)  # noqa: S311 - a repeatable script, not a secret


class AgentScript:
    """One session's conversation. ``now`` returns Unix seconds. One thread only."""

    def __init__(self, seed: int, session_id: str, now: Callable[[], int]) -> None:
        self._session_id = session_id
        self._now = now
        self._rng = _rng(f"{seed}/{session_id}")

    def events(self) -> Iterator[ScriptedEvent]:
        """Yield user message, answer, user message, answer, without end."""
        while True:
            yield from self._turn()

    def _turn(self) -> Iterator[ScriptedEvent]:
        message, question = self._id("msg"), self._rng.choice(texts.QUESTIONS)
        yield _event("user_message_created", messageId=self._id("msg"), content=question)
        reasoning = self._rng.choice(texts.THOUGHTS)
        yield from self._deltas("thinking", reasoning, message)
        for _ in range(self._rng.randint(1, 4)):
            yield from self._step(message)
        answer = self._rng.choice(texts.ANSWERS)
        yield from self._deltas("content", answer, message)
        duration = self._rng.randint(300, 9000)
        fields = {"content": answer, "messageId": message, "reasoning": reasoning, "reasoningDuration": duration}
        yield _event("complete", done=True, **fields)

    def _step(self, message: str) -> Iterator[ScriptedEvent]:
        steps = (self._tool_step, self._remark, self._delegation, self._notification, self._failure)
        yield from self._rng.choices(steps, weights=(60, 15, 10, 9, 6))[0](message)

    def _tool_step(self, message: str, parent: str | None = None) -> Iterator[ScriptedEvent]:
        tool = self._rng.choice(texts.TOOLS)
        call = self._id("toolu")
        yield from self._tool_request(tool, call, message, parent)
        if tool.needs_permission:
            yield self._permission(tool, parent)
        yield _execution_start(tool, call, parent)
        success = self._rng.random() < 0.93  # noqa: PLR2004 - the share of successful tool calls
        yield _execution_complete(tool, call, parent, success=success)

    def _tool_request(self, tool: texts.Tool, call: str, message: str, parent: str | None) -> Iterator[ScriptedEvent]:
        yield _event("tool_use_start", parent, name=tool.name, id=call, assistantMessageId=message)
        parameters = json.dumps(tool.parameters, ensure_ascii=False)
        for piece in self._pieces(parameters, 8, 30):
            fields = {"toolCallId": call, "input": piece, "assistantMessageId": message}
            yield _event("tool_use_parameter_delta", parent, **fields)
        fields = {"name": tool.name, "input": parameters, "id": call, "assistantMessageId": message}
        yield _event("tool_use_parameter_streaming_complete", parent, **fields)

    def _permission(self, tool: texts.Tool, parent: str | None) -> ScriptedEvent:
        fields = {"id": self._id("perm"), "sessionId": self._session_id, "toolName": tool.name}
        fields |= {"description": tool.progress, "action": "execute"}
        return _event("permission", parent, **fields, params=tool.parameters, path=texts.WORKSPACE)

    def _delegation(self, message: str) -> Iterator[ScriptedEvent]:
        """Yield a Task call; the subagent's events in this stream have the call as their parent."""
        call = self._id("toolu")
        yield from self._tool_request(texts.TASK, call, message, None)
        yield _execution_start(texts.TASK, call, None)
        inner = self._id("msg")
        yield from self._deltas("thinking", self._rng.choice(texts.THOUGHTS), inner, call)
        yield from self._tool_step(inner, call)
        yield from self._deltas("content", self._rng.choice(texts.ANSWERS), inner, call)
        yield _execution_complete(texts.TASK, call, None, success=True)

    def _remark(self, message: str) -> Iterator[ScriptedEvent]:
        yield from self._deltas("content", self._rng.choice(texts.ANSWERS), message)

    def _notification(self, _message: str) -> Iterator[ScriptedEvent]:
        notice = self._rng.choice(texts.NOTICES)
        fields = {"id": self._id("ntf"), "sessionId": self._session_id, "notificationType": notice.kind}
        fields |= {"title": notice.title, "message": notice.message, "responseType": notice.response}
        times = {"timeout": self._rng.choice((30, 60, 300)), "createdAt": self._now()}
        choices = {"choices": list(notice.choices)} if notice.choices else {}
        yield _event("notification", **fields, **times, **choices)

    def _failure(self, _message: str) -> Iterator[ScriptedEvent]:
        """Yield one or two failed attempts of the model's provider."""
        for attempt in range(1, self._rng.randint(2, 3)):
            error = self._rng.choice(texts.FAILURES)
            yield _event("error", error=error, attempt=attempt, maxAttempts=3, retryAfter=1000 * 2**attempt)

    def _deltas(self, name: str, text: str, message: str, parent: str | None = None) -> Iterator[ScriptedEvent]:
        for piece in self._pieces(text, 4, 24):
            yield _event(name, parent, content=piece, assistantMessageId=message)

    def _pieces(self, text: str, shortest: int, longest: int) -> Iterator[str]:
        at = 0
        while at < len(text):
            size = self._rng.randint(shortest, longest)
            yield text[at : at + size]
            at += size

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{self._rng.getrandbits(64):016x}"


def _event(name: str, parent: str | None = None, /, **fields: Any) -> ScriptedEvent:  # noqa: ANN401 - JSON values
    if parent is not None:
        fields["parentToolCallId"] = parent
    return encode(name, {"type": name, **fields})


def _execution_start(tool: texts.Tool, call: str, parent: str | None) -> ScriptedEvent:
    return _event("tool_execution_start", parent, toolName=tool.name, progress=tool.progress, toolCallId=call)


def _execution_complete(tool: texts.Tool, call: str, parent: str | None, *, success: bool) -> ScriptedEvent:
    progress = tool.result if success else "Failed: exit status 1"
    fields = {"toolName": tool.name, "progress": progress, "toolCallId": call, "success": success}
    return _event("tool_execution_complete", parent, **fields)
