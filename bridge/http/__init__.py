"""The one HTTP transport: connections that another thread can cut, redirects, TLS."""
