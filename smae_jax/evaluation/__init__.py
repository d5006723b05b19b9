"""Scores, simple filters, figures and reports: what shows how good a denoised scan is."""
