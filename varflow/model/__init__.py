"""Descriptions: what a network is, before anyone predicts or simulates it."""
