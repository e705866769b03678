"""How a span is made, and what is written into it."""
