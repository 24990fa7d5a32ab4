"""Initialisation: theory turned round."""
