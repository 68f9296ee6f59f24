"""The soak: copies of a table under load, one after the other, while faults strike them."""
