"""The interfaces that a provider implements, one noun a file."""
