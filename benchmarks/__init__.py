"""Ratios, not promises: scripts that print, on servers of their own, what the product costs."""
