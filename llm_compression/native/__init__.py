"""The compiled code and its Python face; what it does is done elsewhere too, only slower."""
