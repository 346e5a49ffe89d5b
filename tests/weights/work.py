"""What the tests' other processes do; module-level functions, so that a process can be told."""
