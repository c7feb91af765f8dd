"""The chat page in the browser: a process of its own beside the engine, in its own environment, `page`."""
