"""Policies and reward models: their folders, chat templates, checks and weights."""
