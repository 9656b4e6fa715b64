"""Lightning callbacks that read, draw and log; they never own the training."""
