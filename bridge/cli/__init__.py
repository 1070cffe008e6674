"""Commands: one thin file per family; the only place that exits the process."""
