"""One transformer for every family: tensors in, hidden states and named taps out."""
