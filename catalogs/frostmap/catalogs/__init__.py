"""What satellite and reference data exist, where they are, and how they are coded. Reads no arrays."""
