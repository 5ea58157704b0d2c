"""The vocabulary between deciding and doing: resources and facts."""
