"""The simulated server's options. The command line is derived from the fields."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from bridge.simulator.faults.kinds import ConnectionIds
from bridge.simulator.faults.schedule import Chaos

ServerKind = Literal["mix", "snapshot"]
"""Which server is simulated: the published contract, or the public server of August 2025 (no ids, no replay, readers
take part)."""


def _option(default: Any, description: str, kind: Any = int) -> Any:  # noqa: ANN401 - as dataclasses.field itself
    """``kind``: a function from the text to the value, or a Literal."""
    return field(default=default, metadata={"help": description, "kind": kind})


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How the simulated server behaves."""

    host: str = _option("127.0.0.1", "address to listen on", str)
    port: int = _option(8088, "port to listen on; 0 picks one")
    sessions: int = _option(3, "main sessions at the start")
    subagents: int = _option(0, "subagent sessions at the start, children of the main ones in turn")
    rate: float | None = _option(
        None,
        "events per second of each session (default: 20; with --load as fast as readers read); 0: only on request",
        float,
    )
    events: int | None = _option(None, "each session ends its conversation after this many events; default: never")
    seed: int = _option(1, "the same seed gives the same sessions and events, times aside")
    heartbeat: float = _option(45.0, "seconds between heartbeats on each connection; 0: none", float)
    retry: int = _option(3000, "reconnection time sent to clients, in ms")
    replay: int = _option(
        20_000, "events kept per session for Last-Event-ID; publishing waits for a reader that far behind"
    )
    per_write: int = _option(1, "most events in one HTTP chunk and socket write")
    connection_ids: ConnectionIds = _option(  # noqa: RUF009 - it makes a field
        "position", "ids of connected and heartbeat: position, fresh or none", ConnectionIds
    )
    journal: Path | None = _option(None, "new file that records every published event (JSON lines)", Path)  # noqa: RUF009
    kind: ServerKind = _option(  # noqa: RUF009 - it makes a field
        "mix", "mix: the published contract; snapshot: the server of August 2025", ServerKind
    )
    connection_age: float = _option(
        600.0, "with --kind snapshot: seconds after which a connection ends, at its next heartbeat", float
    )
    faults: Path | None = _option(None, "faults by time: a JSON list of {at: seconds, fault: {...}}", Path)  # noqa: RUF009
    chaos: Chaos | None = _option(  # noqa: RUF009 - it makes a field
        None, "random faults that lose no events: SEED, or SEED:SECONDS between two", Chaos.parse
    )
    load: bool = _option(default=False, description="load test: all sessions send the same rendered events", kind=bool)
    held: bool = _option(default=False, description="nothing is published before POST /control/resume", kind=bool)
    event_bytes: int = _option(150, "with --load: bytes of data of each event")

    def __post_init__(self) -> None:
        least = {"sessions": 0, "subagents": 0, "rate": 0, "heartbeat": 0, "retry": 0, "replay": 1, "per_write": 1}
        for name, minimum in least.items():
            if (getattr(self, name) or 0) < minimum:
                raise ValueError(f"{name} must be at least {minimum}")
        if self.subagents and not self.sessions:
            raise ValueError("subagents need a main session")
        if self.load and self.connection_ids == "fresh":
            raise ValueError("the ids of a load test are fixed: connection_ids=fresh is not possible")
        if self.load and self.kind != "mix":
            raise ValueError("a load test needs the kind mix")


def parse_options(arguments: Sequence[str]) -> ServerOptions:
    """Parse a command line. Ends the program with code 2 and a message when an option is wrong."""
    parser = argparse.ArgumentParser("python -m bridge.simulator", description="A simulated Mix agent server.")
    for option in fields(ServerOptions):
        flag, kind, text = "--" + option.name.replace("_", "-"), option.metadata["kind"], option.metadata["help"]
        if kind is bool:
            parser.add_argument(flag, action="store_true", help=text)
            continue
        shown = text if option.default is None else f"{text} (default: {option.default})"
        choices = get_args(kind)
        parser.add_argument(
            flag, type=str if choices else kind, choices=choices or None, default=option.default, help=shown
        )
    try:
        return ServerOptions(**vars(parser.parse_args(arguments)))
    except ValueError as failure:
        parser.error(str(failure))
