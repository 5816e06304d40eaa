"""What single pages of the documentation need: their tests, and what writes parts of them."""
