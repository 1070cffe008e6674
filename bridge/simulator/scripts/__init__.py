"""What the simulated agents say, and the scripted runs of their sessions."""
