"""HTTP: the application that opens the store and hands it down, its health, its description, and its server."""
