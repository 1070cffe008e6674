"""What an agent does, as an endless conversation: seed and session in, the same events out every time. Pure.

Only times (``createdAt``) are not decided by the seed; they come from the clock that is handed in. The texts hold what
trips careless readers: several scripts, emoji outside the basic plane, raw U+0085 and U+2028, quotes, backslashes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

from bridge.simulator.scripts import agent_texts as texts


class ScriptedEvent(NamedTuple):
    """One event before it gets its id: the SSE event name and the exact bytes of its data."""

    name: str
    data: bytes


def encode(name: str, fields: Mapping[str, Any]) -> ScriptedEvent:
    """The event with these fields as compact UTF-8 JSON."""
    return ScriptedEvent(name, json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode())


def session_id_of(seed: int, number: int) -> str:
    """The id of the ``number``-th session of a server with this seed, shaped like a UUID."""
    digits = f"{_rng(f'{seed}/session/{number}').getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _rng(seed: str) -> Random:
    return Random(seed)  # noqa: S311 - a script must repeat, it keeps no secret


class AgentScript:
    """One session's conversation. ``now`` gives Unix seconds. One thread only."""

    def __init__(self, seed: int, session_id: str, now: Callable[[], int]) -> None:
        self._session_id = session_id
        self._now = now
        self._rng = _rng(f"{seed}/{session_id}")

    def events(self) -> Iterator[ScriptedEvent]:
        """User message, answer, user message, answer, for ever."""
        while True:
            yield from self._turn()

    def _turn(self) -> Iterator[ScriptedEvent]:
        message, question = self._id("msg"), self._rng.choice(texts.QUESTIONS)
        yield self._event("user_message_created", None, messageId=self._id("msg"), content=question)
        reasoning = self._rng.choice(texts.THOUGHTS)
        yield from self._spoken("thinking", reasoning, message, None)
        for _ in range(self._rng.randint(1, 4)):
            yield from self._step(message)
        answer = self._rng.choice(texts.ANSWERS)
        yield from self._spoken("content", answer, message, None)
        yield self._event(
            "complete",
            None,
            done=True,
            content=answer,
            messageId=message,
            reasoning=reasoning,
            reasoningDuration=self._rng.randint(300, 9000),
        )

    def _step(self, message: str) -> Iterator[ScriptedEvent]:
        steps: Sequence[Callable[[str], Iterator[ScriptedEvent]]]
        steps = (self._tool_step, self._remark, self._delegation, self._notification, self._failure)
        yield from self._rng.choices(steps, weights=(60, 15, 10, 9, 6))[0](message)

    def _tool_step(self, message: str, parent: str | None = None) -> Iterator[ScriptedEvent]:
        tool = self._rng.choice(texts.TOOLS)
        call = self._id("toolu")
        yield from self._requested(tool, call, message, parent)
        if tool.needs_permission:
            yield self._permission(tool, parent)
        yield from self._executed(tool, call, parent)

    def _requested(self, tool: texts.Tool, call: str, message: str, parent: str | None) -> Iterator[ScriptedEvent]:
        yield self._event("tool_use_start", parent, name=tool.name, id=call, assistantMessageId=message)
        parameters = json.dumps(tool.parameters, ensure_ascii=False)
        for piece in self._pieces(parameters, 8, 30):
            yield self._event(
                "tool_use_parameter_delta", parent, toolCallId=call, input=piece, assistantMessageId=message
            )
        yield self._event(
            "tool_use_parameter_streaming_complete",
            parent,
            name=tool.name,
            input=parameters,
            id=call,
            assistantMessageId=message,
        )

    def _executed(self, tool: texts.Tool, call: str, parent: str | None) -> Iterator[ScriptedEvent]:
        yield self._event("tool_execution_start", parent, toolName=tool.name, progress=tool.progress, toolCallId=call)
        success = self._rng.random() < 0.93  # noqa: PLR2004 - the share of tool calls that work out
        progress = tool.result if success else "Failed: exit status 1"
        yield self._event(
            "tool_execution_complete",
            parent,
            toolName=tool.name,
            progress=progress,
            toolCallId=call,
            success=success,
        )

    def _permission(self, tool: texts.Tool, parent: str | None) -> ScriptedEvent:
        return self._event(
            "permission",
            parent,
            id=self._id("perm"),
            sessionId=self._session_id,
            toolName=tool.name,
            description=tool.progress,
            action="execute",
            params=tool.parameters,
            path=texts.WORKSPACE,
        )

    def _delegation(self, message: str) -> Iterator[ScriptedEvent]:
        """A Task call: what the subagent does appears in this stream with the call as its parent."""
        call = self._id("toolu")
        yield from self._requested(texts.TASK, call, message, None)
        yield self._event(
            "tool_execution_start", None, toolName=texts.TASK.name, progress=texts.TASK.progress, toolCallId=call
        )
        inner = self._id("msg")
        yield from self._spoken("thinking", self._rng.choice(texts.THOUGHTS), inner, call)
        yield from self._tool_step(inner, call)
        yield from self._spoken("content", self._rng.choice(texts.ANSWERS), inner, call)
        yield self._event(
            "tool_execution_complete",
            None,
            toolName=texts.TASK.name,
            progress=texts.TASK.result,
            toolCallId=call,
            success=True,
        )

    def _remark(self, message: str) -> Iterator[ScriptedEvent]:
        yield from self._spoken("content", self._rng.choice(texts.ANSWERS), message, None)

    def _notification(self, _message: str) -> Iterator[ScriptedEvent]:
        notice = self._rng.choice(texts.NOTICES)
        choices = {"choices": list(notice.choices)} if notice.choices else {}
        yield self._event(
            "notification",
            None,
            id=self._id("ntf"),
            sessionId=self._session_id,
            notificationType=notice.kind,
            title=notice.title,
            message=notice.message,
            responseType=notice.response,
            timeout=self._rng.choice((30, 60, 300)),
            createdAt=self._now(),
            **choices,
        )

    def _failure(self, _message: str) -> Iterator[ScriptedEvent]:
        """The model's provider was busy: one or two attempts fail, then the answer goes on."""
        for attempt in range(1, self._rng.randint(2, 3)):
            yield self._event(
                "error",
                None,
                error=self._rng.choice(texts.FAILURES),
                attempt=attempt,
                maxAttempts=3,
                retryAfter=1000 * 2**attempt,
            )

    def _spoken(self, name: str, text: str, message: str, parent: str | None) -> Iterator[ScriptedEvent]:
        for piece in self._pieces(text, 4, 24):
            yield self._event(name, parent, content=piece, assistantMessageId=message)

    def _pieces(self, text: str, shortest: int, longest: int) -> Iterator[str]:
        at = 0
        while at < len(text):
            size = self._rng.randint(shortest, longest)
            yield text[at : at + size]
            at += size

    def _event(self, name: str, parent: str | None, /, **fields: Any) -> ScriptedEvent:  # noqa: ANN401 - JSON values
        if parent is not None:
            fields["parentToolCallId"] = parent
        return encode(name, {"type": name, **fields})

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{self._rng.getrandbits(64):016x}"
