"""How the tables of the label store came to be, one revision a file. Run when a store is opened."""
