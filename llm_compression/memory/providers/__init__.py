"""What turns texts, images and sounds into vectors for a memory system."""
