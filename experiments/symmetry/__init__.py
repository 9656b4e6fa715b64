"""What is gained by taking a symmetry out?"""
