"""Talking to language models over the OpenAI protocol."""
