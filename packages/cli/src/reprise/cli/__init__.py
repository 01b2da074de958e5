"""`reprise`: what is protected, and the store."""
