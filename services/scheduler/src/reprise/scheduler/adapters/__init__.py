"""The only I/O of scheduler besides the bus."""
