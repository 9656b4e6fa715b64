"""What is gained by adding dimensions of noise?"""
