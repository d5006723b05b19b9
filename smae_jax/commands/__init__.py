"""What `smae-jax` can be told to do, one file per command; each takes options and a function to talk with."""
