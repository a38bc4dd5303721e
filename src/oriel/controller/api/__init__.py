"""The routes, one module per resource. They parse, ask a part, and describe the answer."""
