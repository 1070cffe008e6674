"""What the bridge must survive, done to it at any size: a few times in the tests, often in ``make torture``."""
