"""The HTTP door: JSON on ``RUN_DIR/api.sock``, and descriptors on ``RUN_DIR/fd.sock``."""
