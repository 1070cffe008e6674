"""What every group of settings is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Group(BaseModel):
    """A group of settings; unknown keys are refused and no error quotes what was given."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
