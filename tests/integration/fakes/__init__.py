"""Machines that are processes and not desktops: everything around them is the real thing."""
