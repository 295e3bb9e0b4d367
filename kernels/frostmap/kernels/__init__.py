"""Arithmetic of frozen ground on blocks of NumPy arrays: temperatures in °C, NaN where missing."""
