"""What does it cost to lose half of the dimensions?"""
