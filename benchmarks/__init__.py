"""Speed beside the peers: named real shapes, one timing loop (timing.py), one file of rows per family."""
