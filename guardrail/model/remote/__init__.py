"""A chat model behind an OpenAI-compatible endpoint, in the place of one in memory."""
