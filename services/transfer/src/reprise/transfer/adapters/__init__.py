"""The only I/O of transfer that is not in a package."""
