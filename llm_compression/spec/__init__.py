"""What a model is: frozen dataclasses, standard library only."""
