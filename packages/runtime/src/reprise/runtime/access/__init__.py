"""Who may do what at NATS: the table, the credentials that carry it, and how a service presents its own."""
