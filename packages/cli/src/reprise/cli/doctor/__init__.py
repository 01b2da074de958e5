"""Why checkpoints can work, or cannot: what is seen, weighed by a table of known causes."""
