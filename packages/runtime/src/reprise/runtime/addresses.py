"""How an address is written in a URL."""


def bracketed(host: str) -> str:
    """An IPv6 address as RFC 3986 has it; anything else as it is."""
    return f"[{host}]" if ":" in host else host
