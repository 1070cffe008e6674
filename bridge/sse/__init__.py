"""The SSE bank: bytes of a response become events, or a reason to reconnect."""
