"""Checkpoint archives: one reader and one writer, the manifest that commits them, and the images made of them."""
