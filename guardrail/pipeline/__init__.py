"""The run of a Guard: a conversation on its way, one pass over a generated answer, its claims, and claims while they stream."""
