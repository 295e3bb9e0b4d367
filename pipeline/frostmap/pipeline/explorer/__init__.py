"""A page on this machine to look at a run: the map, and behind each pixel its year and what the chain made of it."""
