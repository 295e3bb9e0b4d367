"""From granules to a validated frozen-ground map: the stages, and the run that orders them."""
