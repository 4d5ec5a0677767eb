"""What users type: one function a verb, named as it. Each returns the exit status, None for 0."""
