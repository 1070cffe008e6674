"""Settings: read from all sources, checked as a whole, one frozen tree.

`loading` shows all steps. `model` and `server` define one field per setting, with the types of `values` and the
`checks` of texts; `describe` derives texts from the types, `catalogue` finds keys, `mistakes` suggests them and words
pydantic's errors. `sources` read into `origins`; `files` and `rules` check the tree;
`reference` and `show` print it.
"""

from bridge.settings.loading import Loaded, load, load_all
from bridge.settings.model import Settings
from bridge.settings.server import ServerSettings

__all__ = ["Loaded", "ServerSettings", "Settings", "load", "load_all"]
