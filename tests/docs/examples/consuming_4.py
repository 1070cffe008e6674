from bridge.consumer import Event, model_of
from bridge.consumer.models import Content, ToolUseStart


def shown(event: Event) -> str:
    match model_of(event):
        case Content(content=text):
            return text
        case ToolUseStart(name=tool, id=call):
            return f"calls {tool} ({call})"
        case _:
            return ""
