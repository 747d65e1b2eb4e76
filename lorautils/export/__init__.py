"""Adapters and models for other programs: llama.cpp, Ollama."""
