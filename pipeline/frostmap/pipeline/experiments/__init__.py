"""Experiments: how samples are best drawn, whether a network does better, and what each strategy is worth."""
