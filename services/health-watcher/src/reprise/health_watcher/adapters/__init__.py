"""The only I/O of health-watcher."""
