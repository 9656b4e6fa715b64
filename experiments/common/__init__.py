"""What experiments share: the command line, their results as files, training, and pages."""
