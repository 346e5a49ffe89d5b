"""The models in other runtimes beside ours: at fixed shapes and on real texts."""
