"""What mteb's mock sounds need of torchcodec, whose wheels want FFmpeg and CUDA, by soundfile."""
