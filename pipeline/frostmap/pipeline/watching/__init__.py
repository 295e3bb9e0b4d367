"""Watching a run: its log, what it costs, how long it will take, and where others look on."""
