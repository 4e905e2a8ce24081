"""Uncertainty distillation: a model is taught to state how sure it is of its answers (docs/explanation/distillation.md)."""
