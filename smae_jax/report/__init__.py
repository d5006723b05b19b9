"""One page that says what was measured, what was made of it, and what speaks against it."""
