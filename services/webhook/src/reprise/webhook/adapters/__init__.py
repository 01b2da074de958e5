"""The only I/O of webhook."""
