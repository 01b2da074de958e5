"""The only I/O of checkpointer."""
