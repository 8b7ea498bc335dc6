"""The documentation: pages, and the functions that keep their examples and tables equal to the program."""
