"""What Reprise's services and other people's tooling agree on: events, subjects, annotations, errors.

This package does no I/O and depends on pydantic alone, so that a subscriber can install it by itself.
"""
