"""The texts and tool calls of the scripted agents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

WORKSPACE = "/home/dana/projects/harbor"


class Tool(NamedTuple):
    """A tool call: its name and input, its progress text and its result."""

    name: str
    parameters: Mapping[str, Any]
    progress: str
    result: str

    @property
    def needs_permission(self) -> bool:
        return self.name in {"Bash", "Edit", "Write"}


class Notice(NamedTuple):
    """A notification: its kind, its text and the type of response."""

    kind: str
    title: str
    message: str
    response: str
    choices: tuple[str, ...] = ()


QUESTIONS = (
    "Why does the import job fail on Mondays?",
    "Add a retry to the upload and show me the diff, please.",
    "Summarise last week's tickets in three lines.",
    "Kannst du die Übersetzung prüfen? Größe und Maß stimmen nicht.",
    "このログの意味を説明してください。",
    "Plot revenue by month, one line per region 📈",
)

THOUGHTS = (
    "The job runs at 02:00, and on Mondays the weekly export holds the lock until 02:10. First look at the lock.",
    "They want a diff, not a rewrite. Keep the signature, wrap the call, cap the attempts.\nThen the tests.",
    "Three lines: what broke, what was fixed, what is open. Prüfen, ob die Zahlen stimmen \u2013 dann schreiben. 🤔",
    "The column is called `r\u00e9gion` in one file and `region` in the other; join on the code instead.",
)

ANSWERS = (
    "The weekly export still holds the lock when the import starts. Moving the import to 02:30 avoids it.",
    'Done. It tries three times now:\n\n```python\nfor attempt in range(3):\n    print(f"try {attempt}\\n")\n```\n',
    "Last week: 14 tickets closed, 3 open, 1 waiting for the supplier.\u2028Details are in the table below.",
    "Die Größe war in Zoll statt in Zentimetern angegeben; korrigiert. ✅",
    "ログには、接続が 3 回拒否されたと書かれています。再試行で解決しました。",
    "Here is the chart 📊👩‍💻. North grows by 4.5 %, south is flat.\u0085One month is missing in the source.",
    'C:\\data\\in was empty, so I read "/srv/data/in" instead </script> <!-- as agreed -->.',
)

TOOLS = (
    Tool("Bash", {"command": "grep -c 'lock wait' /var/log/import.log", "timeout": 30000}, "Counting lock waits", "12"),
    Tool("Bash", {"command": "printf '%s\\n' \"a\\tb\" | wc -c"}, "Counting bytes", "4"),
    Tool(
        "ReadText", {"file_path": f"{WORKSPACE}/jobs/schedule.toml", "limit": 200}, "Reading schedule.toml", "58 lines"
    ),
    Tool("Glob", {"pattern": "**/*.py", "path": WORKSPACE}, "Looking for Python files", "41 files"),
    Tool("Grep", {"pattern": "def upload\\(", "path": WORKSPACE}, "Searching for upload", "2 matches in 2 files"),
    Tool(
        "Edit",
        {"file_path": f"{WORKSPACE}/upload.py", "old": "send(part)", "new": "retry(lambda: send(part), times=3)"},
        "Editing upload.py",
        "1 replacement",
    ),
    Tool(
        "Write",
        {"file_path": f"{WORKSPACE}/NOTES.md", "content": "# Größe\n\n- in cm\n"},
        "Writing NOTES.md",
        "21 bytes",
    ),
    Tool("TodoWrite", {"todos": [{"content": "move the job", "status": "pending"}]}, "Updating the list", "1 item"),
    Tool("Search", {"query": "cron lock contention", "max_results": 5}, "Searching the web", "5 results"),
    Tool("github_list_issues", {"repo": "harbor", "state": "open", "labels": []}, "Listing issues", "17 open"),
    Tool(
        "metrics_query_range", {"query": "rate(errors[5m]) > 0.01", "step": 1.5e1}, "Asking for metrics", "288 points"
    ),
)

TASK = Tool(
    "Task",
    {
        "description": "Find the owner of the lock",
        "subagent_type": "general-purpose",
        "prompt": "Who holds it at 02:00?",
    },
    "Delegating to a subagent",
    "The export holds it for 9 min 40 s.",
)

NOTICES = (
    Notice("info", "Export finished", "The weekly export is done.", "acknowledge"),
    Notice("warning", "Disk almost full", "94 % of /srv is in use.", "acknowledge"),
    Notice("error", "Upload rejected", "The server answered 413.", "acknowledge"),
    Notice("question", "Which month?", "February has two versions. Which one is right?", "choice", ("first", "second")),
    Notice("question", "Name of the report", "How shall the report be called?", "text"),
)

FAILURES = (
    "The provider is overloaded (529)",
    "rate limit reached: 40000 input tokens per minute",
    "connection reset while reading the model's answer",
)
