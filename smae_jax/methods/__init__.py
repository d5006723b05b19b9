"""How pairs are made and predictions put back: one file per method, and the protocol they share."""
