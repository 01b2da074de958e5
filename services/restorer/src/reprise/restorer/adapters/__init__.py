"""The only I/O of restorer."""
