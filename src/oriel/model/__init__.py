"""Values, states, errors and the wire protocol. Standard library only; imported by every room."""
