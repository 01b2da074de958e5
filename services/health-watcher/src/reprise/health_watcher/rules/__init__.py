"""The rules of the node's agent, pure: one per file, named after it."""
