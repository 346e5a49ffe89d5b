"""This package's models in the terms of other libraries, one module for each."""
