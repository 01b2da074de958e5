"""What the console talks to, beside its database and NATS."""
