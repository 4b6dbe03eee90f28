"""What a result depends on (``versions``, ``identity``), what it holds (``outputs``), and what is only remembered of
the code that made it (``code``). Nothing here imports torch, and nothing here ever changes a result."""
