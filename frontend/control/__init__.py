"""The control room: pages for the operator at `/ops`, the data they show, the buttons they have."""
