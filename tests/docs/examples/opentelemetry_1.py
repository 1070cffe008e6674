from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from bridge.consumer import Event, model_of
from bridge.consumer.models import Complete, Error, ToolExecutionComplete, ToolExecutionStart, UserMessageCreated


@dataclass
class Span:
    name: str
    session: str
    start: datetime
    attributes: dict[str, str | bool]
    end: datetime | None = None
    children: list["Span"] = field(default_factory=list)


def spans(events: Iterable[Event]) -> Iterator[Span]:
    runs: dict[str, Span] = {}
    tools: dict[tuple[str, str], Span] = {}
    for event in events:
        session = {"gen_ai.conversation.id": event.session}
        match model_of(event):
            case UserMessageCreated():
                operation = {"gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": "mix"}
                runs[event.key] = Span("invoke_agent", event.key, event.time, {**session, **operation})
            case ToolExecutionStart(tool_name=tool, tool_call_id=call):
                operation = {
                    "gen_ai.operation.name": "execute_tool",
                    "gen_ai.tool.name": tool,
                    "gen_ai.tool.call.id": call,
                }
                tools[event.key, call] = Span(f"execute_tool {tool}", event.key, event.time, {**session, **operation})
            case ToolExecutionComplete(tool_call_id=call, success=success):
                span = tools.pop((event.key, call), None)
                if span is not None:
                    span.end = event.time
                    if not success:
                        span.attributes["error.type"] = "tool_failed"
                    if event.key in runs:
                        runs[event.key].children.append(span)
                    else:
                        yield span
            case Complete(parent_tool_call_id=None) | Error(parent_tool_call_id=None) as last:
                run = runs.pop(event.key, None)
                if run is not None:
                    run.end = event.time
                    if isinstance(last, Error):
                        run.attributes["error.type"] = "run_failed"
                    yield run
