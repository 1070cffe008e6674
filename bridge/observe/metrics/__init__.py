"""The metrics: what each one is, its values in a snapshot, and the page that describes them all."""
