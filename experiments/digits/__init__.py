"""What are the components of handwritten digits?"""
