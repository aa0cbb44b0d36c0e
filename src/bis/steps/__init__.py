"""Steps: the pieces that acts are made of."""
