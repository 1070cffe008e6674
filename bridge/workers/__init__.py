"""Several bridge processes on one machine, supervised by one parent that serves one HTTP endpoint for all."""
