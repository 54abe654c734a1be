"""Figures and reports, made from tables."""
