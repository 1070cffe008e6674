"""The live page: one HTML file, the stream of changes that feeds it, and the detail of a session."""
