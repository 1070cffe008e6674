"""What is known of the Mix agent server: event schemas and the REST interface."""
