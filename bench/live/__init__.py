"""What the figures of the live view share: a marker on the screen, a viewer in Chromium, and the rivals."""
