"""The only I/O: cluster, store, console."""
