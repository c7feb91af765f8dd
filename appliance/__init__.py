"""From a spreadsheet to a private model behind an OpenAI-compatible address."""

__version__ = "0.1.0"
